//! Watches: how many events reach how many watchers, and how long one takes.

use super::Result;
use super::client::{Connection, JSON, Server};
use super::objects::{self, MAPS};
use super::report::{Report, percentile};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Watches that share a connection, as the informers of one process do.
const SHARED: usize = 10;
const WRITERS: usize = 32;

/// Counts what arrives.
#[derive(Default)]
struct Seen {
    events: AtomicU64,
    bytes: AtomicU64,
    /// Watches that ended before they were dropped.
    ended: AtomicU64,
}

pub(crate) async fn run(server: &Server, watchers: usize, time: Duration, report: &mut Report) -> Result<()> {
    objects::fill(server, MAPS, WRITERS, |n| objects::map(&format!("m{n}"))).await?;
    let before = server.memory()?;
    measure(server, 100, None, time, report).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    measure(server, watchers, Some(1000), time, report).await?;
    many(server, before, report).await
}

async fn watch(server: &Server, count: usize, seen: &Arc<Seen>) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let mut tasks = Vec::new();
    let mut connection = server.connect().await?;
    for n in 0..count {
        if n % SHARED == 0 {
            connection = server.connect().await?;
        }
        tasks.push(follow(&mut connection, &format!("{MAPS}?watch=1&resourceVersion=0"), seen.clone()).await?);
    }
    Ok(tasks)
}

async fn follow(connection: &mut Connection, path: &str, seen: Arc<Seen>) -> Result<tokio::task::JoinHandle<()>> {
    let response = connection.open(Method::GET, path, (JSON, JSON), Bytes::new()).await?;
    let mut body = response.into_body();
    Ok(tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            let lines = memchr::memchr_iter(b'\n', data).count();
            seen.events.fetch_add(lines as u64, Ordering::Relaxed);
            seen.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        seen.ended.fetch_add(1, Ordering::Relaxed);
    }))
}

/// Writers change objects as fast as they can, or so many a second, while all watch.
async fn measure(
    server: &Server,
    watchers: usize,
    rate: Option<u64>,
    time: Duration,
    report: &mut Report,
) -> Result<()> {
    let seen = Arc::new(Seen::default());
    let watching = watch(server, watchers, &seen).await?;
    let first = (watchers * WRITERS) as u64;
    while seen.events.load(Ordering::Relaxed) < first {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bytes = seen.bytes.load(Ordering::Relaxed);
    let begin = Instant::now();
    let written = write(server, rate, begin + time).await?;
    let wanted = first + written * watchers as u64;
    let patience = Instant::now() + Duration::from_secs(20);
    while seen.events.load(Ordering::Relaxed) < wanted && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (took, events) = (begin.elapsed().as_secs_f64(), seen.events.load(Ordering::Relaxed) - first);
    let size = (seen.bytes.load(Ordering::Relaxed) - bytes) as f64 / events.max(1) as f64;
    let note = format!(
        "{:.0} changes/s, {size:.0} B each, {} missing, {} watches ended, last event {:.0} ms after the writers",
        written as f64 / time.as_secs_f64(),
        wanted.saturating_sub(events + first),
        seen.ended.load(Ordering::Relaxed),
        (took - time.as_secs_f64()) * 1e3
    );
    let what = match rate {
        Some(rate) => format!("watch events, {watchers} watchers x {rate} changes/s"),
        None => format!("watch events, {watchers} watchers"),
    };
    report.rate(&what, events as f64 / took, "/s", Some(52_600.0), &note);
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

async fn write(server: &Server, rate: Option<u64>, end: Instant) -> Result<u64> {
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let mut connection = server.connect().await?;
        let path = format!("{MAPS}/m{writer}");
        let pause = rate.map(|r| Duration::from_secs_f64(WRITERS as f64 / r as f64));
        tasks.push(tokio::spawn(async move {
            let (mut count, mut next) = (0u64, Instant::now());
            while Instant::now() < end {
                let body = json!({"data": {"round": format!("{count:>8}")}}).to_string().into();
                connection.ask(Method::PATCH, &path, "application/merge-patch+json", body).await?;
                count += 1;
                if let Some(pause) = pause {
                    next += pause;
                    tokio::time::sleep_until(next.into()).await;
                }
            }
            Ok::<u64, Box<dyn std::error::Error + Send + Sync>>(count)
        }));
    }
    let mut all = 0;
    for task in tasks {
        all += task.await??;
    }
    Ok(all)
}

/// 10,000 watchers of one resource: what each costs, and how long a change takes to all of them.
async fn many(server: &Server, before: f64, report: &mut Report) -> Result<()> {
    const MANY: usize = 10_000;
    const PER_CONNECTION: usize = 100;
    let seen = Arc::new(Seen::default());
    let mut watching = Vec::new();
    let newest = server.connect().await?.ask(Method::GET, &format!("{MAPS}?limit=1"), JSON, Bytes::new()).await?;
    let newest: serde_json::Value = serde_json::from_slice(&newest)?;
    let version = newest["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    for _ in 0..MANY / PER_CONNECTION {
        let mut connection = server.connect().await?;
        for _ in 0..PER_CONNECTION {
            watching.push(follow(&mut connection, &path, seen.clone()).await?);
        }
    }
    report.cost(
        "memory of a watcher, 10,000 of one resource",
        (server.memory()? - before) / MANY as f64 / 1024.0,
        "KiB",
        None,
        "",
    );
    let mut connection = server.connect().await?;
    let mut times = Vec::new();
    for round in 0..10 {
        let wanted = seen.events.load(Ordering::Relaxed) + MANY as u64;
        let body = json!({"data": {"round": format!("many {round}")}}).to_string().into();
        let begin = Instant::now();
        connection.ask(Method::PATCH, &format!("{MAPS}/m0"), "application/merge-patch+json", body).await?;
        while seen.events.load(Ordering::Relaxed) < wanted && begin.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(begin.elapsed());
    }
    report.cost("one change to 10,000 watchers", percentile(&mut times, 50), "ms", None, "until the last has it");
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}
