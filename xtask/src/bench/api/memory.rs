//! Memory: of an idle server, and of each stored pod.

use super::Result;
use super::client::Server;
use super::objects::{self, PODS};
use super::report::Report;
use std::path::Path;
use std::time::Duration;

const MIB: f64 = (1 << 20) as f64;
/// Pods that are made before the count begins.
const WARM: usize = 500;

pub(crate) async fn idle(server: &Server, report: &mut Report) -> Result<()> {
    report.cost("start to first answer", server.started.as_secs_f64() * 1e3, "ms", None, "");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = server.processor()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    report.cost("memory of the idle API server (PSS)", server.memory()? / MIB, "MiB", Some(434.0), "");
    let share = (server.processor()? - used) / 5.0 * 100.0;
    report.cost("processor of the idle API server", share, "% of a core", None, "");
    Ok(())
}

pub(crate) async fn run(dir: &Path, pods: usize, report: &mut Report) -> Result<()> {
    let server = Server::start(dir, None).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let empty = server.memory()?;
    objects::account(&mut server.connect().await?).await?;
    // Pools, connections and code that is touched once are there before the count begins.
    objects::fill(&server, PODS, WARM, |n| objects::pod(&format!("warm-{n}"), "node").to_string().into()).await?;
    let before = server.memory()?;
    objects::fill(&server, PODS, pods, |n| {
        objects::pod(&format!("web-{n}"), &format!("node-{}", n % 500)).to_string().into()
    })
    .await?;
    let each = (server.memory()? - before) / pods as f64;
    report.cost("memory of a stored pod", each / 1024.0, "KiB", None, "with its history, after creation");
    server.stop().await?;
    let server = Server::start(dir, None).await?;
    let started = server.started.as_secs_f64() * 1e3;
    report.cost(&format!("start with {pods} pods to first answer"), started, "ms", None, "");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let note = format!("{:.1} MiB in all", server.memory()? / MIB);
    let each = (server.memory()? - empty).max(0.0) / (pods + WARM) as f64;
    report.cost("memory of a stored pod after a start", each / 1024.0, "KiB", None, &note);
    server.stop().await
}
