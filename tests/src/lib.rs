//! End-to-end tests: scenarios that the stock kubectl plays on a real cluster.
//!
//! Invariant: all scenarios of one test program share one cluster, each in a namespace of its own; the cluster is gone
//! when the test ends, however it ends.

pub mod parts;

use ironclad_testkit::{Cluster, Namespace};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A scenario: its name and what it does.
pub type Scenario = (&'static str, fn(&Namespace<'_>));

/// Lists functions as scenarios.
#[macro_export]
macro_rules! scenarios {
    ($($module:ident :: { $($name:ident),* $(,)? }),* $(,)?) => {
        [$($((stringify!($name), $module::$name as fn(&ironclad_testkit::Namespace<'_>))),*),*]
    };
}

/// How many scenarios play at the same time.
const AT_ONCE: usize = 6;

/// Whether the stock kubectl is on this machine.
pub fn has_kubectl() -> bool {
    let found = std::process::Command::new("kubectl").args(["version", "--client"]).output().is_ok();
    if !found {
        eprintln!("skipped: there is no kubectl on PATH");
    }
    found
}

/// Plays all scenarios, or those whose name contains the variable `SCENARIO`, and fails with the names of the failed.
pub fn play(scenarios: &[Scenario]) {
    if !has_kubectl() {
        return;
    }
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let chosen: Vec<&Scenario> = scenarios.iter().filter(|s| s.0.contains(&only)).collect();
    let cluster = Cluster::start().unwrap_or_else(|e| panic!("{e}"));
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(chosen.len()) {
            scope.spawn(|| {
                while let Some((name, act)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !stage(&cluster, name, *act) {
                        failed.lock().unwrap_or_else(|e| e.into_inner()).push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(|e| e.into_inner());
    let refused = refused(&cluster);
    assert!(refused.is_empty(), "parts of the cluster may not do what they need: {refused:#?}");
    assert!(failed.is_empty(), "{} of {} scenarios failed: {failed:?}", failed.len(), chosen.len());
}

/// What the cluster's own parts were refused for want of a permission, as their log says.
pub fn refused(cluster: &Cluster) -> Vec<String> {
    let log = std::fs::read_to_string(cluster.data_dir().join("ironclad.log")).unwrap_or_default();
    let own = |line: &&str| line.contains("is forbidden: User") && line.contains("\\\"system:");
    let plain = |line: &&str| line.contains("is forbidden: User \"system:");
    log.lines().filter(|line| own(line) || plain(line)).map(str::to_owned).collect()
}

fn stage(cluster: &Cluster, name: &str, act: fn(&Namespace<'_>)) -> bool {
    let start = Instant::now();
    let namespace = name.replace('_', "-");
    let namespace = namespace[..namespace.len().min(40)].trim_end_matches('-');
    let good = catch_unwind(AssertUnwindSafe(|| {
        act(&cluster.namespace(namespace));
        cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]).ok();
    }));
    eprintln!("{} {name} ({:.1}s)", if good.is_ok() { " ✓" } else { " ✗" }, start.elapsed().as_secs_f32());
    good.is_ok()
}
