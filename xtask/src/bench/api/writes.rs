//! Creates and patches: every answer comes after the commit is on disk.

use super::Result;
use super::client::{Connection, JSON, Server};
use super::objects::{self, MAPS, PODS};
use super::report::{Report, percentile};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// What one client does again and again: its own number, and the number of the round.
pub(crate) type Act = fn(usize, usize) -> (Method, String, &'static str, Bytes);

/// So many clients act, each on a connection of its own, one request after the other.
pub(crate) async fn drive(server: &Server, clients: usize, time: Duration, act: Act) -> Result<Driven> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(server.connect().await?);
    }
    let (begin, used) = (Instant::now(), server.processor()?);
    let end = begin + time;
    let run = |client: usize, mut connection: Connection| async move {
        let mut took = Vec::new();
        for round in 0.. {
            let from = Instant::now();
            if from >= end {
                break;
            }
            let (method, path, kind, body) = act(client, round);
            connection.ask(method, &path, kind, body).await?;
            took.push(from.elapsed());
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(took)
    };
    let tasks: Vec<_> = connections.into_iter().enumerate().map(|(n, c)| tokio::spawn(run(n, c))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    let rate = all.len() as f64 / begin.elapsed().as_secs_f64();
    let processor = (server.processor()? - used) / all.len() as f64 * 1e6;
    Ok(Driven { rate, processor, times: all })
}

/// What came of it.
pub(crate) struct Driven {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds of the server's processor for each: it hardly depends on what else the machine does.
    processor: f64,
    times: Vec<Duration>,
}

impl Driven {
    pub(crate) fn note(&mut self) -> String {
        let (half, most) = (percentile(&mut self.times, 50), percentile(&mut self.times, 99));
        format!("p50 {half:.2} ms, p99 {most:.2} ms, server {:.0} µs each", self.processor)
    }
}

pub(crate) async fn creates(server: &Server, time: Duration, report: &mut Report) -> Result<()> {
    for (clients, stock) in [(1, 300.0), (64, 1773.0)] {
        // A name of its own for each round of each number of clients.
        let act: Act = match clients {
            1 => |c, n| (Method::POST, MAPS.to_owned(), JSON, objects::map(&format!("one-{c}-{n}"))),
            _ => |c, n| (Method::POST, MAPS.to_owned(), JSON, objects::map(&format!("many-{c}-{n}"))),
        };
        let mut driven = drive(server, clients, time, act).await?;
        let what = format!("durable creates of 1 KB, {clients} clients");
        report.rate(&what, driven.rate, "/s", Some(stock), &driven.note());
    }
    Ok(())
}

const CLIENTS: usize = 64;

pub(crate) async fn patches(server: &Server, time: Duration, report: &mut Report) -> Result<()> {
    objects::account(&mut server.connect().await?).await?;
    objects::fill(server, MAPS, CLIENTS, |n| objects::map(&format!("m{n}"))).await?;
    objects::fill(server, PODS, CLIENTS, |n| objects::pod(&format!("p{n}"), "node-1").to_string().into()).await?;
    let strategic: Act = |c, n| {
        let body = json!({"metadata": {"labels": {"round": n.to_string()}}}).to_string().into();
        (Method::PATCH, format!("{PODS}/p{c}"), "application/strategic-merge-patch+json", body)
    };
    let mut driven = drive(server, CLIENTS, time, strategic).await?;
    report.rate("strategic patches of a pod, 64 clients", driven.rate, "/s", Some(1260.0), &driven.note());
    let merge: Act = |c, n| {
        let body = json!({"metadata": {"labels": {"round": n.to_string()}}}).to_string().into();
        (Method::PATCH, format!("{MAPS}/m{c}"), "application/merge-patch+json", body)
    };
    let mut driven = drive(server, CLIENTS, time, merge).await?;
    report.rate("merge patches of a 1 KB ConfigMap, 64 clients", driven.rate, "/s", Some(1260.0), &driven.note());
    let apply: Act = |c, n| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{c}")},
            "data": {"round": n.to_string()}});
        let path = format!("{MAPS}/m{c}?fieldManager=bench-apply");
        (Method::PATCH, path, "application/apply-patch+yaml", body.to_string().into())
    };
    let mut driven = drive(server, CLIENTS, time, apply).await?;
    report.rate("applies of a ConfigMap, 64 clients", driven.rate, "/s", Some(1260.0), &driven.note());
    Ok(())
}
