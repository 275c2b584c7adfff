//! Durable commits of the embedded store: how many a second, and how long one takes, with more and more clients.

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
