//! What two API servers on one etcd have acknowledged outlives whatever happens to either while many write: nothing is
//! lost, no watch misses or repeats a change, and writing goes on by itself.
//!
//! `FAULTS=<rounds>` plays longer than the gate does and shows what it measured.

mod link;
mod watchers;
mod writers;

use ironclad_testkit::Etcd;
use ironclad_tests::parts::{Part, Place};
use link::Link;
use std::time::{Duration, Instant};
use watchers::Watcher;
use writers::Writers;

/// How many write at the same time.
const WRITERS: usize = 64;
/// How long etcd and servers stay away.
const AWAY: Duration = Duration::from_millis(500);
/// Longer than a server waits for etcd's answer to one call.
const CUT: Duration = Duration::from_secs(12);

/// The etcd and the servers, each of which reaches it by a way of its own.
struct Stage {
    etcd: Etcd,
    place: Place,
    links: [Link; 2],
    servers: [Option<Part>; 2],
}

impl Stage {
    async fn set() -> Self {
        let etcd = Etcd::start().unwrap_or_else(|e| panic!("{e}"));
        let place = Place::new();
        let links = [Link::to(etcd.port()).await, Link::to(etcd.port()).await];
        let servers = [0, 1].map(|n| Some(place.apiserver(&links[n].url(), n)));
        place.ready(0);
        place.ready(1);
        Self { etcd, place, links, servers }
    }
}

/// How long it took after a fault was over until somebody wrote again, and until everybody had.
struct Recovery(&'static str, Duration, Duration);

/// Waits until all write again.
async fn recover(what: &'static str, writers: &Writers) -> Recovery {
    let over = Instant::now();
    let (first, last) = writers.all_since(over).await;
    Recovery(what, first - over, last - over)
}

async fn round(stage: &mut Stage, writers: &Writers, cut: Duration) -> Vec<Recovery> {
    stage.etcd.kill();
    tokio::time::sleep(AWAY).await;
    stage.etcd.run().unwrap_or_else(|e| panic!("{e}"));
    let mut seen = vec![recover("etcd killed", writers).await];
    for server in [0, 1] {
        // The writers of this one go to the other one.
        drop(stage.servers[server].take());
        seen.push(recover("server killed", writers).await);
        stage.servers[server] = Some(stage.place.apiserver(&stage.links[server].url(), server));
        stage.place.ready(server);
    }
    stage.links[0].cut();
    tokio::time::sleep(cut).await;
    stage.links[0].mend();
    seen.push(recover("one server cut off", writers).await);
    stage.links.iter().for_each(Link::cut);
    tokio::time::sleep(AWAY).await;
    stage.links.iter().for_each(Link::mend);
    seen.push(recover("both cut off", writers).await);
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nothing_acknowledged_is_lost_and_no_watch_has_a_gap() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    ironclad_auth::install_crypto();
    let mut stage = Stage::set().await;
    let clients = writers::clients(&stage.place).await;
    let rounds: Option<usize> = std::env::var("FAULTS").ok().and_then(|rounds| rounds.parse().ok());
    let begin = writers::newest(&clients).await;
    let watching: Vec<_> = (0..4).map(|n| Watcher::start(clients.clone(), n, begin.clone())).collect();
    let writers = Writers::start(clients.clone(), WRITERS);
    let begun = Instant::now();
    writers.all_since(begun).await;
    let mut recoveries = Vec::new();
    for _ in 0..rounds.unwrap_or(1) {
        let cut = if rounds.is_some() { CUT } else { AWAY };
        recoveries.extend(round(&mut stage, &writers, cut).await);
    }
    let record = writers.stop().await;
    let took = begun.elapsed();
    writers::say_the_end(&clients).await;
    for watcher in watching {
        let seen = watcher.finish().await;
        seen.check(&record);
    }
    for Recovery(what, first, all) in recoveries {
        println!("{what}: first write after {} ms, all {WRITERS} after {} ms", first.as_millis(), all.as_millis());
    }
    let rate = record.acknowledged() as f64 / took.as_secs_f64();
    println!("{} writes acknowledged ({rate:.0}/s), {} unanswered", record.acknowledged(), record.unanswered);
}
