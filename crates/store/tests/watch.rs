//! Watches: gap-free, filtered, bounded; history and its end; keys that go away by themselves. Both engines.

mod common;

use common::*;
use ironclad_store::*;
use std::time::Duration;

/// The next batch that says something.
async fn next(watch: &mut Box<dyn Watch>) -> Batch {
    loop {
        let batch = watch.next().await.unwrap();
        if !batch.events.is_empty() {
            return batch;
        }
    }
}

async fn every_commit_once_and_in_order(engine: Engine) {
    let store = engine.open().await;
    let start = store.revision().await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..100 {
                let key = format!("/{}/{writer}", if n % 2 == 0 { "a" } else { "b" });
                store.commit(vec![put(&key, Expect::Any, &n.to_string())]).await.unwrap();
            }
        });
    }
    let mut all = store.watch("/", start).await.unwrap();
    let mut some = store.watch("/a/", start).await.unwrap();
    let mut last = start;
    for want in 1..=800 {
        let batch = next(&mut all).await;
        match engine.is_etcd() {
            true => assert!(batch.revision > last),
            false => assert_eq!(batch.revision, Revision(start.0 + want)),
        }
        last = batch.revision;
    }
    let mut last = start;
    for _ in 0..400 {
        let batch = next(&mut some).await;
        assert!(batch.revision > last && batch.events[0].entry.key.starts_with("/a/"));
        last = batch.revision;
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watch_sees_every_commit_once_and_in_order_under_concurrent_writers() {
    every_commit_once_and_in_order(Engine::log()).await;
    every_commit_once_and_in_order(Engine::etcd()).await;
}

async fn deletes(engine: Engine) {
    let store = engine.open().await;
    let put = store.commit(vec![put("/a", Expect::Absent, "x")]).await.unwrap().revision;
    let mut watch = store.watch("/", put).await.unwrap();
    let done = store.commit(vec![delete("/a", Expect::Modified(put))]).await.unwrap();
    let event = next(&mut watch).await.events[0].clone();
    assert!(event.deleted);
    assert_eq!(text(&event.entry), format!(r#"{{"rv":"{}","v":"x"}}"#, done.revision));
    assert_eq!(done.entries, [Some(event.entry)]);
    assert_eq!(text(&event.previous.unwrap()), format!(r#"{{"rv":"{put}","v":"x"}}"#));
}

#[tokio::test]
async fn a_delete_shows_the_last_state_at_its_own_revision() {
    deletes(Engine::log()).await;
    deletes(Engine::etcd()).await;
}

#[tokio::test]
async fn a_slow_watcher_is_told_and_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), Options { watch_buffer: 4, ..Options::default() }).unwrap();
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    for n in 0..10 {
        store.commit(vec![put("/a", Expect::Any, &n.to_string())]).await.unwrap();
    }
    for want in 1..=4 {
        assert_eq!(watch.next().await.unwrap().revision, Revision(want));
    }
    assert!(matches!(watch.next().await, Err(Error::Lagged(Revision(4)))));
}

async fn history(engine: Engine) {
    let store = engine.open().await;
    let mut at = Vec::new();
    for n in 0..10 {
        at.push(store.commit(vec![put("/a", Expect::Any, &n.to_string())]).await.unwrap().revision);
    }
    store.compact(at[4]).await.unwrap();
    let old = store.get("/a", Some(at[3])).await;
    assert!(matches!(&old, Err(Error::Compacted { oldest, .. }) if *oldest == at[4]), "{old:?}");
    let kept = text(&store.get("/a", Some(at[4])).await.unwrap().unwrap());
    assert_eq!(kept, format!(r#"{{"rv":"{}","v":"4"}}"#, at[4]));
    store.compact(at[7]).await.unwrap();
    store.compact(at[7]).await.unwrap();
    assert!(matches!(store.watch("/", at[6]).await.err(), Some(Error::Compacted { .. })));
    let mut watch = store.watch("/", at[7]).await.unwrap();
    assert_eq!(next(&mut watch).await.revision, at[8]);
    let future = Revision(at[9].0 + 1000);
    assert!(matches!(store.get("/a", Some(future)).await, Err(Error::Future { .. })));
    assert!(matches!(store.watch("/a", future).await.err(), Some(Error::Future { .. })));
    assert!(matches!(store.compact(future).await, Err(Error::Future { .. })));
}

#[tokio::test]
async fn history_ends_where_it_was_compacted() {
    history(Engine::log()).await;
    history(Engine::own_etcd()).await;
}

#[tokio::test]
async fn history_is_bounded() {
    let store = Engine::log_with(Options { history_commits: 5, ..Options::default() }).open().await;
    for n in 0..10 {
        store.commit(vec![put("/a", Expect::Any, &n.to_string())]).await.unwrap();
    }
    assert!(matches!(store.get("/a", Some(Revision(4))).await, Err(Error::Compacted { oldest: Revision(5), .. })));
    assert_eq!(text(&store.get("/a", Some(Revision(5))).await.unwrap().unwrap()), r#"{"rv":"5","v":"4"}"#);
}

async fn time_to_live(engine: Engine) {
    // etcd counts in seconds, and two are the least.
    let unit = Duration::from_millis(if engine.is_etcd() { 1000 } else { 20 });
    let store = engine.open().await;
    let begun = std::time::Instant::now();
    let at = store.commit(vec![put_for("/short", "x", unit * 2)]).await.unwrap().revision;
    let mut watch = store.watch("/short", at).await.unwrap();
    assert!(next(&mut watch).await.events[0].deleted);
    // Clocks are read in whole milliseconds.
    assert!(begun.elapsed() + Duration::from_millis(5) >= unit * 2);
    store.commit(vec![put_for("/later", "x", unit * 3)]).await.unwrap();
    store.commit(vec![put_for("/renewed", "x", unit * 2)]).await.unwrap();
    store.commit(vec![put("/renewed", Expect::Any, "y")]).await.unwrap();
    drop(store);
    let store = engine.open().await;
    let mut watch = store.watch("/later", store.revision().await.unwrap()).await.unwrap();
    assert!(next(&mut watch).await.events[0].deleted);
    assert!(store.get("/renewed", None).await.unwrap().is_some());
}

#[tokio::test]
async fn a_key_with_a_time_to_live_goes_away_also_after_a_restart() {
    time_to_live(Engine::log()).await;
    time_to_live(Engine::etcd()).await;
}
