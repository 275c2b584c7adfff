//! Watches: gap-free, filtered, bounded; history and its end; keys that go away by themselves.

mod common;

use common::*;
use ironclad_store::*;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watch_sees_every_commit_once_and_in_order_under_concurrent_writers() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(LogStore::open(dir.path(), Options::default()).unwrap());
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
    let mut all = store.watch("/", Revision(0)).await.unwrap();
    let mut some = store.watch("/a/", Revision(0)).await.unwrap();
    for want in 1..=800 {
        assert_eq!(all.next().await.unwrap().revision, Revision(want));
    }
    let mut last = Revision(0);
    for _ in 0..400 {
        let batch = some.next().await.unwrap();
        assert!(batch.revision > last && batch.events[0].entry.key.starts_with("/a/"));
        last = batch.revision;
    }
    writers.join_all().await;
}

#[tokio::test]
async fn a_delete_shows_the_last_state_at_its_own_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), Options::default()).unwrap();
    store.commit(vec![put("/a", Expect::Absent, "x")]).await.unwrap();
    let mut watch = store.watch("/", Revision(1)).await.unwrap();
    store.commit(vec![delete("/a", Expect::Modified(Revision(1)))]).await.unwrap();
    let event = watch.next().await.unwrap().events[0].clone();
    assert!(event.deleted);
    assert_eq!(text(&event.entry), r#"{"rv":"2","v":"x"}"#);
    assert_eq!(text(&event.previous.unwrap()), r#"{"rv":"1","v":"x"}"#);
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

#[tokio::test]
async fn history_ends_where_it_was_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), Options { history_commits: 5, ..Options::default() }).unwrap();
    for n in 0..10 {
        store.commit(vec![put("/a", Expect::Any, &n.to_string())]).await.unwrap();
    }
    assert!(matches!(store.get("/a", Some(Revision(4))).await, Err(Error::Compacted { oldest: Revision(5), .. })));
    assert_eq!(text(&store.get("/a", Some(Revision(5))).await.unwrap().unwrap()), r#"{"rv":"5","v":"4"}"#);
    store.compact(Revision(8)).await.unwrap();
    assert!(store.watch("/", Revision(7)).await.is_err());
    assert!(store.watch("/", Revision(8)).await.is_ok());
    assert!(matches!(store.get("/a", Some(Revision(11))).await, Err(Error::Future { .. })));
}

#[tokio::test]
async fn a_key_with_a_time_to_live_goes_away_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), Options::default()).unwrap();
    store.commit(vec![put_for("/short", "x", Duration::from_millis(50))]).await.unwrap();
    let mut watch = store.watch("/short", Revision(1)).await.unwrap();
    assert!(watch.next().await.unwrap().events[0].deleted);
    store.commit(vec![put_for("/later", "x", Duration::from_millis(80))]).await.unwrap();
    store.commit(vec![put_for("/renewed", "x", Duration::from_millis(10))]).await.unwrap();
    store.commit(vec![put("/renewed", Expect::Any, "y")]).await.unwrap();
    drop(store);
    let store = LogStore::open(dir.path(), Options::default()).unwrap();
    let mut watch = store.watch("/later", store.revision().await.unwrap()).await.unwrap();
    assert!(watch.next().await.unwrap().events[0].deleted);
    assert!(store.get("/renewed", None).await.unwrap().is_some());
}
