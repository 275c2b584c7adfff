//! A full disk: commits are refused, nothing that was acknowledged is missing, and commits are taken when there is room.

mod common;

use common::*;
use ironclad_store::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::path::Path;
use std::time::Duration;

/// A file system of its own, so small that it fills at once.
struct Small(tempfile::TempDir);

impl Small {
    fn new(bytes: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(size.as_c_str())).unwrap();
        Self(dir)
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.0.path().join("ballast")
    }

    fn store(&self) -> std::path::PathBuf {
        self.0.path().join("store")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The test has failed already if the mount is gone.
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

fn options() -> Options {
    Options { segment_bytes: 128 << 10, snapshot_bytes: 256 << 10, ..Options::default() }
}

async fn check(dir: &Path, acknowledged: &[Revision]) {
    let store = LogStore::open(dir, options()).unwrap();
    for (n, revision) in acknowledged.iter().enumerate() {
        let entry = store.get(&format!("/a/{n}"), None).await.unwrap().unwrap();
        assert_eq!(entry.modified, *revision);
    }
    assert_eq!(store.count("/a/").await.unwrap(), acknowledged.len(), "what was refused is not there");
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_loses_none_and_recovers() {
    let disk = Small::new("3m");
    std::fs::write(disk.ballast(), vec![0; 1 << 20]).unwrap();
    let store = LogStore::open(&disk.store(), options()).unwrap();
    let mut watch = store.watch("/a/", Revision(0)).await.unwrap();
    let mut acknowledged = Vec::new();
    let value = "x".repeat(2000);
    let next = |n: usize| put(&format!("/a/{n}"), Expect::Absent, &value);
    let refused = loop {
        match store.commit(vec![next(acknowledged.len())]).await {
            Ok(done) => acknowledged.push(done.revision),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::Full(why) if why.contains("No space left")), "{refused}");
    assert!(acknowledged.len() > 300, "{}", acknowledged.len());
    // It is still read and watched, and goes on refusing.
    assert!(store.get("/a/0", None).await.unwrap().is_some());
    for _ in 0..20 {
        assert!(matches!(store.commit(vec![next(acknowledged.len())]).await, Err(Error::Full(_))));
    }
    for revision in &acknowledged {
        assert_eq!(watch.next().await.unwrap().revision, *revision);
    }
    // As long as the disk is full it opens again, unless even that needs room.
    drop(store);
    check(&disk.store(), &acknowledged).await;
    std::fs::remove_file(disk.ballast()).unwrap();
    let store = LogStore::open(&disk.store(), options()).unwrap();
    for _ in 0..50 {
        acknowledged.push(store.commit(vec![next(acknowledged.len())]).await.unwrap().revision);
    }
    drop(store);
    check(&disk.store(), &acknowledged).await;
}

#[tokio::test]
async fn room_is_noticed_without_a_restart_and_what_has_expired_goes() {
    let disk = Small::new("2m");
    let store = LogStore::open(&disk.store(), options()).unwrap();
    store.commit(vec![put_for("/short", "x", Duration::from_millis(300))]).await.unwrap();
    let mut watch = store.watch("/short", store.revision().await.unwrap()).await.unwrap();
    let free = rustix::fs::statvfs(disk.0.path()).unwrap();
    std::fs::write(disk.ballast(), vec![0; (free.f_bavail * free.f_frsize) as usize]).unwrap();
    let value = "x".repeat(2000);
    let mut n = 0;
    while store.commit(vec![put(&format!("/a/{n}"), Expect::Absent, &value)]).await.is_ok() {
        n += 1;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    std::fs::remove_file(disk.ballast()).unwrap();
    store.commit(vec![put("/b", Expect::Absent, "x")]).await.unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap().unwrap();
    assert!(gone.events[0].deleted);
}
