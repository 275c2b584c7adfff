//! What survives: kill -9 at any moment, torn tails, damage, a second process, a newer format.

mod common;

use common::*;
use ironclad_store::*;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "IRONCLAD_STORE_TEST_DIR";

/// Not a test of its own: the child of the next one. Writes and prints each revision once it is acknowledged.
#[test]
fn child_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = std::sync::Arc::new(LogStore::open(Path::new(&dir), small()).unwrap());
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let store = store.clone();
            writers.spawn(async move {
                for n in 0u64.. {
                    let done =
                        store.commit(vec![put(&format!("/{writer}"), Expect::Any, &n.to_string())]).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "acknowledged {writer} {n} {}", done.revision).unwrap();
                    out.flush().unwrap();
                }
            });
        }
        writers.join_all().await;
    });
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut newest = [None::<u64>; 4];
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(|line| line.ok());
        let mut round_newest = [None::<u64>; 4];
        for (count, line) in lines.enumerate() {
            if count == 40 + round * 97 {
                child.kill().unwrap();
            }
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may have been cut by the kill.
            if let ["acknowledged", writer, n, revision] = words.as_slice()
                && !revision.is_empty()
            {
                round_newest[writer.parse::<usize>().unwrap()] = n.parse().ok();
            }
        }
        child.wait().unwrap();
        let store = LogStore::open(dir.path(), small()).unwrap();
        for (writer, acknowledged) in round_newest.iter().enumerate() {
            let Some(acknowledged) = acknowledged else { continue };
            let entry = store.get(&format!("/{writer}"), None).await.unwrap().unwrap();
            let text = text(&entry);
            let stored: u64 = text.rsplit("\"v\":\"").next().unwrap().trim_end_matches("\"}").parse().unwrap();
            assert!(stored >= *acknowledged, "round {round}: {stored} < {acknowledged}");
            newest[writer] = Some(stored);
        }
    }
    assert!(newest.iter().all(Option::is_some));
}

async fn filled(dir: &Path) -> Revision {
    let store = LogStore::open(dir, Options::default()).unwrap();
    for n in 0..20 {
        store.commit(vec![put("/a", Expect::Any, &n.to_string())]).await.unwrap();
    }
    store.revision().await.unwrap()
}

fn log_file(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    files.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("log-")).max().unwrap()
}

/// Where the last frame begins: the frames of these tests are all of one length.
fn last_frame(bytes: &[u8]) -> usize {
    let magic = 0x4e52_4943u32.to_le_bytes();
    (24..bytes.len() - 4).step_by(8).rfind(|at| bytes[*at..*at + 4] == magic).unwrap()
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let newest = filled(dir.path()).await;
    let path = log_file(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let at = last_frame(&bytes);
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0xff; 4], at as u64 + 20).unwrap();
    let store = LogStore::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.revision().await.unwrap(), Revision(newest.0 - 1));
    store.commit(vec![put("/b", Expect::Absent, "new")]).await.unwrap();
    drop(store);
    let store = LogStore::open(dir.path(), Options::default()).unwrap();
    assert!(store.get("/b", None).await.unwrap().is_some());
}

#[tokio::test]
async fn damage_in_the_middle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let path = log_file(dir.path());
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0xff; 4], 60).unwrap();
    let error = LogStore::open(dir.path(), Options::default()).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_format_and_a_second_process_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), Options::default()).unwrap();
    assert!(matches!(LogStore::open(dir.path(), Options::default()).err().unwrap(), Error::Locked(_)));
    drop(store);
    let path = log_file(dir.path());
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&9u32.to_le_bytes(), 4).unwrap();
    let error = LogStore::open(dir.path(), Options::default()).err().unwrap();
    assert!(matches!(error, Error::Format { found: 9, .. }), "{error}");
}

#[tokio::test]
async fn a_directory_is_free_when_its_store_is_gone() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A process has a copy of every open file until it runs its program.
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(std::process::Command::new("true").status().unwrap().success());
                }
            });
        }
        let opened: Result<Vec<()>> = (0..200).map(|_| LogStore::open(dir.path(), small()).map(drop)).collect();
        done.store(true, Ordering::Relaxed);
        opened.unwrap();
    });
}

/// Seals with a byte; opens what any byte sealed.
struct Flip(u8);

impl Transform for Flip {
    fn seals(&self, key: &str) -> bool {
        key != "/open"
    }
    fn seal(&self, _: &str, plain: &[u8]) -> std::result::Result<Vec<u8>, String> {
        Ok(std::iter::once(self.0).chain(plain.iter().map(|b| b ^ self.0)).collect())
    }
    fn open(&self, key: &str, stored: &[u8]) -> std::result::Result<Opened, String> {
        if !self.seals(key) {
            return Ok(Opened { plain: stored.to_vec(), stale: false });
        }
        let (by, rest) = stored.split_first().ok_or("nothing is sealed")?;
        Ok(Opened { plain: rest.iter().map(|b| b ^ by).collect(), stale: *by != self.0 })
    }
}

fn on_disk(dir: &std::path::Path, text: &[u8]) -> bool {
    let read = |file: std::io::Result<std::fs::DirEntry>| std::fs::read(file.unwrap().path()).unwrap();
    std::fs::read_dir(dir).unwrap().any(|f| read(f).windows(text.len()).any(|w| w == text))
}

#[tokio::test]
async fn a_new_key_seals_what_an_older_one_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let options = |by| Options { transform: Some(std::sync::Arc::new(Flip(by))), ..small() };
    let sealed = |by: u8| b"top-secret".map(|b| b ^ by);
    let store = LogStore::open(dir.path(), options(1)).unwrap();
    store.commit(vec![put("/a", Expect::Any, "top-secret"), put("/open", Expect::Any, "known")]).await.unwrap();
    assert!(on_disk(dir.path(), &sealed(1)) && on_disk(dir.path(), b"known"));
    drop(store);
    let store = LogStore::open(dir.path(), options(2)).unwrap();
    assert!(on_disk(dir.path(), &sealed(2)) && !on_disk(dir.path(), &sealed(1)));
    store.commit(vec![put("/b", Expect::Any, "more")]).await.unwrap();
    store.reseal().await.unwrap();
    store.commit(vec![put("/c", Expect::Any, "more")]).await.unwrap();
    drop(store);
    let store = LogStore::open(dir.path(), options(2)).unwrap();
    assert_eq!((store.count("/").await.unwrap(), store.revision().await.unwrap()), (4, Revision(3)));
    assert!(text(&store.get("/a", None).await.unwrap().unwrap()).contains("top-secret"));
}

#[tokio::test]
async fn sealed_values_are_not_on_the_disk_in_plain() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { transform: Some(std::sync::Arc::new(Flip(9))), ..small() };
    let store = LogStore::open(dir.path(), options()).unwrap();
    for n in 0..200 {
        store.commit(vec![put(&format!("/{n}"), Expect::Any, "top-secret")]).await.unwrap();
    }
    drop(store);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(10).any(|w| w == b"top-secret"));
    }
    let store = LogStore::open(dir.path(), options()).unwrap();
    assert_eq!(store.count("/").await.unwrap(), 200);
    assert!(text(&store.get("/7", None).await.unwrap().unwrap()).contains("top-secret"));
}
