//! The embedded store: durable commits a second with more and more clients; many objects and what they cost.

use ironclad_store::{Change, Expect, LogStore, Op, Options, Store, Template};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a value.
const VALUE: usize = 1024;
/// How many clients write at once.
const CLIENTS: [usize; 3] = [1, 64, 1000];

pub(crate) async fn run(dir: Option<&std::path::Path>, seconds: u64) -> Result<(), Box<dyn std::error::Error>> {
    let time = Duration::from_secs(seconds.max(1));
    for clients in CLIENTS {
        let place = match dir {
            Some(dir) => tempfile::tempdir_in(dir)?,
            None => tempfile::tempdir()?,
        };
        let store = Arc::new(LogStore::open(place.path(), Options::default())?);
        let start = Instant::now();
        let tasks: Vec<_> = (0..clients).map(|n| tokio::spawn(write(store.clone(), n, start + time))).collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await??);
        }
        let elapsed = start.elapsed().as_secs_f64();
        took.sort_unstable();
        println!(
            "store: {clients:>4} clients, {VALUE} B values: {:>7.0} commits/s, p50 {:>6.2} ms, p99 {:>6.2} ms",
            took.len() as f64 / elapsed,
            percentile(&took, 50).as_secs_f64() * 1e3,
            percentile(&took, 99).as_secs_f64() * 1e3,
        );
    }
    Ok(())
}

/// One client: each of its commits begins when the one before is durable.
async fn write(store: Arc<LogStore>, client: usize, end: Instant) -> ironclad_store::Result<Vec<Duration>> {
    let value = Template::new(vec![b'x'; VALUE].into(), 8);
    let mut took = Vec::new();
    let mut round = 0u64;
    while Instant::now() < end {
        // Keys come again, as objects do that are updated.
        let key = format!("/registry/bench/{client}/{}", round % 64).into();
        let change = Change::Put { value: value.clone(), ttl: None };
        let begin = Instant::now();
        store.commit(vec![Op { key, expect: Expect::Any, change }]).await?;
        took.push(begin.elapsed());
        round += 1;
    }
    Ok(took)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Loads many objects, opens the store again, and tells what that took.
pub(crate) async fn many(dir: Option<&std::path::Path>, objects: usize) -> Result<(), Box<dyn std::error::Error>> {
    let place = match dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let before = resident()?;
    let store = Arc::new(LogStore::open(place.path(), Options::default())?);
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..CLIENTS[1] {
        tasks.spawn(load(store.clone(), client, objects));
    }
    let mut slowest = Duration::ZERO;
    while let Some(done) = tasks.join_next().await {
        slowest = slowest.max(done??);
    }
    let took = start.elapsed().as_secs_f64();
    let per_object = resident()?.saturating_sub(before) as f64 / objects as f64;
    println!(
        "store: {objects} objects of {VALUE} B: loaded in {took:.1} s ({:.0}/s, slowest commit {:.0} ms), {per_object:.0} B of memory each, {:.2} GB on disk",
        objects as f64 / took,
        slowest.as_secs_f64() * 1e3,
        store.size().await? as f64 / 1e9,
    );
    drop(store);
    let start = Instant::now();
    let store = LogStore::open(place.path(), Options::default())?;
    let opened = start.elapsed().as_secs_f64();
    let found = store.count("/registry/").await?;
    println!("store: opened again in {opened:.2} s with {found} objects");
    Ok(())
}

/// One client's part of the objects; the longest that a commit took.
async fn load(store: Arc<LogStore>, client: usize, objects: usize) -> ironclad_store::Result<Duration> {
    let mut slowest = Duration::ZERO;
    for n in (client..objects).step_by(CLIENTS[1]) {
        let key = format!("/registry/pods/namespace-{}/pod-{n}", n % 1000).into();
        let value = Template::new(vec![b'x'; VALUE].into(), 8);
        let begin = Instant::now();
        store.commit(vec![Op { key, expect: Expect::Absent, change: Change::Put { value, ttl: None } }]).await?;
        slowest = slowest.max(begin.elapsed());
    }
    Ok(slowest)
}

/// Bytes of memory that this process holds.
fn resident() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024)
}
