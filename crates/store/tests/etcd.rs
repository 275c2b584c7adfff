//! What only the etcd engine has to stand: members that go away, other servers, other people's keys.

mod common;

use common::*;
use ironclad_auth::pki::{Pki, Subject};
use ironclad_store::*;
use ironclad_testkit::Etcd;
use ironclad_testkit::etcd::Files;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn open(etcd: &Etcd) -> Arc<EtcdStore> {
    Arc::new(EtcdStore::open(etcd_options(&etcd.url(), "/x")).await.unwrap())
}

/// Writes a counter until it is told to stop; what was acknowledged, with its revision.
fn count(store: Arc<EtcdStore>, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<(Revision, u64)>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for n in 0u64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match store.commit(vec![put("/counter", Expect::Any, &n.to_string())]).await {
                Ok(done) => acknowledged.push((done.revision, n)),
                Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(other) => panic!("{other}"),
            }
        }
        acknowledged
    })
}

/// Whether a watch shows everything that was acknowledged, once and in order.
async fn check(watch: &mut Box<dyn Watch>, acknowledged: &[(Revision, u64)]) {
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    let end = acknowledged.last().unwrap().0;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(r, _)| *r < end) {
        let batch = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap();
        for event in batch.events.iter().filter(|e| &*e.entry.key == "/counter") {
            let text = text(&event.entry);
            let n: u64 = text.rsplit("\"v\":\"").next().unwrap().trim_end_matches("\"}").parse().unwrap();
            seen.push((batch.revision, n));
        }
    }
    assert!(seen.windows(2).all(|w| w[0].0 < w[1].0), "repeated or out of order");
    let missing: Vec<_> = acknowledged.iter().filter(|a| !seen.contains(a)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_watch_survives_restarts_of_etcd_without_lost_or_repeated_events() {
    let mut etcd = Etcd::start().unwrap();
    let store = open(&etcd).await;
    let mut watch = store.watch("/", store.revision().await.unwrap()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = count(store.clone(), stop.clone());
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        etcd.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        etcd.run().unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    check(&mut watch, &writing.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_end_of_any_member_of_three_loses_nothing() {
    let mut members = Etcd::cluster().unwrap();
    let servers = members.iter().map(Etcd::url).collect();
    let options = EtcdOptions { servers, ..etcd_options("", "/x") };
    let store = Arc::new(EtcdStore::open(options).await.unwrap());
    let mut watch = store.watch("/", store.revision().await.unwrap()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = count(store.clone(), stop.clone());
    for member in &mut members {
        tokio::time::sleep(Duration::from_millis(300)).await;
        member.kill();
        // The others go on, with another leader if this one was it.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        store.commit(vec![put("/alive", Expect::Any, "0")]).await.unwrap();
        member.run().unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    stop.store(true, Ordering::Relaxed);
    check(&mut watch, &writing.await.unwrap()).await;
}

#[tokio::test]
async fn members_and_clients_know_each_other_by_certificates() {
    ironclad_auth::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), "etcd").unwrap();
    let server = pki.issue("server", &Subject::server("etcd", "", vec!["127.0.0.1".into()])).unwrap();
    let client = pki.issue("client", &Subject::client("apiserver", "")).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = Files {
        ca: file("ca.pem", pki.ca()),
        certificate: file("server.pem", &server.certificate),
        key: file("server.key", &server.key),
    };
    let etcd = Etcd::with_tls(files).unwrap();
    let ca = Some(pki.ca().as_bytes().to_vec());
    let identity = Some((client.certificate.into_bytes(), client.key.into_bytes()));
    let with = |tls| EtcdOptions { tls, ..etcd_options(&etcd.url(), "/x") };
    let store = EtcdStore::open(with(Tls { ca: ca.clone(), identity: identity.clone() })).await.unwrap();
    let done = store.commit(vec![put("/a", Expect::Absent, "x")]).await.unwrap();
    let mut watch = store.watch("/", Revision(done.revision.0 - 1)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, done.revision);
    // Neither a client without a certificate nor a server from somewhere else.
    assert!(matches!(EtcdStore::open(with(Tls { ca, identity: None })).await, Err(Error::Unavailable(_))));
    let other = Pki::open_or_create(&dir.path().join("other"), "other").unwrap();
    let ca = Some(other.ca().as_bytes().to_vec());
    assert!(matches!(EtcdStore::open(with(Tls { ca, identity })).await, Err(Error::Unavailable(_))));
}

/// Asks etcd as its administrator.
fn etcdctl(etcd: &Etcd, dir: &std::path::Path, args: &str) -> String {
    let mut command = std::process::Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &etcd.url(), "--cacert"]).arg(dir.join("ca.pem"));
    command.arg("--cert").arg(dir.join("root.pem")).arg("--key").arg(dir.join("root.key")).args(args.split(' '));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn rights_by_the_name_in_a_certificate_suffice_below_the_prefix() {
    ironclad_auth::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(&dir.path().join("pki"), "etcd").unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let server = pki.issue("server", &Subject::server("etcd", "", vec!["127.0.0.1".into()])).unwrap();
    let files = Files {
        ca: file("ca.pem", pki.ca()),
        certificate: file("server.pem", &server.certificate),
        key: file("server.key", &server.key),
    };
    let root = pki.issue("root", &Subject::client("root", "")).unwrap();
    file("root.pem", &root.certificate);
    file("root.key", &root.key);
    let etcd = Etcd::with_tls(files).unwrap();
    let ask = |args: &str| etcdctl(&etcd, dir.path(), args);
    for args in [
        "user add --no-password root",
        "user grant-role root root",
        "role add servers",
        "role grant-permission servers --prefix=true readwrite /x/",
        "role grant-permission servers readwrite compact_rev_key",
        "user add --no-password apiserver",
        "user grant-role apiserver servers",
    ] {
        ask(args);
    }
    // Of this version on a watch hears how far it is; before that it has to see every change.
    if ask("endpoint status --write-out=json").contains("\"version\":\"3.4.2") {
        ask("role grant-permission servers --prefix=true read ");
    }
    ask("auth enable");
    let client = pki.issue("client", &Subject::client("apiserver", "")).unwrap();
    let identity = Some((client.certificate.into_bytes(), client.key.into_bytes()));
    let tls = Tls { ca: Some(pki.ca().as_bytes().to_vec()), identity };
    let store = EtcdStore::open(EtcdOptions { tls: tls.clone(), ..etcd_options(&etcd.url(), "/x") }).await.unwrap();
    let begin = store.revision().await.unwrap();
    let mut watch = store.watch("/", begin).await.unwrap();
    let done = store.commit(vec![put("/a", Expect::Absent, "x")]).await.unwrap();
    store.commit(vec![put_for("/b", "x", Duration::from_secs(100))]).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, done.revision);
    assert_eq!(store.count("/").await.unwrap(), 2);
    let elsewhere = EtcdStore::open(EtcdOptions { tls, ..etcd_options(&etcd.url(), "/y") }).await;
    let refused = match elsewhere {
        Ok(store) => store.commit(vec![put("/a", Expect::Absent, "x")]).await.err(),
        Err(error) => Some(error),
    };
    let Some(Error::Refused(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(why, "etcdserver: permission denied");
}

#[tokio::test]
async fn progress_tells_of_revisions_that_others_made() {
    let etcd = Etcd::start().unwrap();
    let store = open(&etcd).await;
    let other = EtcdStore::open(etcd_options(&etcd.url(), "/y")).await.unwrap();
    let mut watch = store.watch("/", store.revision().await.unwrap()).await.unwrap();
    let done = other.commit(vec![put("/a", Expect::Any, "x")]).await.unwrap();
    store.request_progress().await;
    let batch = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap().unwrap();
    assert!(batch.events.is_empty());
    assert_eq!(batch.revision, done.revision);
}

#[tokio::test]
async fn servers_on_one_etcd_agree_on_who_compacts() {
    let etcd = Etcd::start().unwrap();
    let (one, two) = (open(&etcd).await, open(&etcd).await);
    let first = one.commit(vec![put("/a", Expect::Any, "0")]).await.unwrap().revision;
    let token = CancellationToken::new();
    let interval = Duration::from_millis(150);
    let tasks = [one.compact_every(interval, token.clone()), two.compact_every(interval, token.clone())];
    let compacted = async {
        while one.get("/a", Some(first)).await.is_ok() {
            one.commit(vec![put("/a", Expect::Any, "1")]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), compacted).await.unwrap();
    assert!(matches!(two.get("/a", Some(first)).await, Err(Error::Compacted { .. })));
    // What is new can be read and watched.
    let now = one.commit(vec![put("/a", Expect::Any, "2")]).await.unwrap().revision;
    assert!(one.get("/a", Some(now)).await.unwrap().is_some());
    token.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn an_etcd_that_is_away_is_reported() {
    let mut etcd = Etcd::start().unwrap();
    let options = EtcdOptions { patience: Duration::from_secs(2), ..etcd_options(&etcd.url(), "/x") };
    let store = EtcdStore::open(options).await.unwrap();
    etcd.kill();
    let begun = std::time::Instant::now();
    let error = store.commit(vec![put("/a", Expect::Any, "x")]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    etcd.run().unwrap();
    store.commit(vec![put("/a", Expect::Any, "x")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unsent_waits_for_etcd() {
    let mut etcd = Etcd::start().unwrap();
    let store = open(&etcd).await;
    etcd.kill();
    // A read goes on asking, and so finds out that the connection is gone: a write on it might have been sent.
    let read = tokio::time::timeout(Duration::from_secs(1), store.count("/"));
    assert!(read.await.is_err(), "nobody is there to answer");
    let waiting = tokio::spawn(async move { store.commit(vec![put("/a", Expect::Absent, "x")]).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    etcd.run().unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_says_in_etcds_words_that_it_cannot() {
    let mut members = Etcd::cluster().unwrap();
    let options = EtcdOptions { patience: Duration::from_secs(20), ..etcd_options(&members[0].url(), "/x") };
    let store = EtcdStore::open(options).await.unwrap();
    members[1].kill();
    members[2].kill();
    let error = store.commit(vec![put("/a", Expect::Any, "x")]).await.unwrap_err();
    let Error::Unavailable(why) = &error else { panic!("{error}") };
    assert!(why.starts_with("etcdserver: "), "{why}");
}

#[tokio::test]
async fn the_second_member_is_asked_when_the_first_is_away() {
    let etcd = Etcd::start().unwrap();
    let servers = vec!["http://127.0.0.1:1".to_owned(), etcd.url()];
    let options = EtcdOptions { servers, ..etcd_options(&etcd.url(), "/x") };
    let store = EtcdStore::open(options).await.unwrap();
    store.commit(vec![put("/a", Expect::Absent, "x")]).await.unwrap();
    assert_eq!(store.count("/").await.unwrap(), 1);
}

#[tokio::test]
async fn pages_larger_than_one_answer_of_etcd_show_one_revision() {
    let etcd = Etcd::start().unwrap();
    let store = open(&etcd).await;
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..6 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..17 {
                let ops = (0..60).map(|i| put(&format!("/{part}/{n}/{i}"), Expect::Absent, "x")).collect();
                store.commit(ops).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let page = store.range(&RangeQuery { prefix: "/".into(), ..RangeQuery::default() }).await.unwrap();
    assert_eq!((page.entries.len(), page.remaining), (6120, 0));
    assert!(page.entries.windows(2).all(|w| w[0].key < w[1].key));
    let query = RangeQuery { prefix: "/".into(), limit: 5500, ..RangeQuery::default() };
    let page = store.range(&query).await.unwrap();
    assert_eq!((page.entries.len(), page.remaining), (5500, 620));
}

/// Seals everything with its mark.
struct Mark(u8);

impl Transform for Mark {
    fn seal(&self, _: &str, plain: &[u8]) -> std::result::Result<Vec<u8>, String> {
        Ok([&[self.0], plain].concat())
    }

    fn open(&self, _: &str, stored: &[u8]) -> std::result::Result<Opened, String> {
        match stored {
            [mark @ 0..=9, rest @ ..] => Ok(Opened { plain: rest.to_vec(), stale: *mark != self.0 }),
            _ => Ok(Opened { plain: stored.to_vec(), stale: true }),
        }
    }
}

#[tokio::test]
async fn what_was_sealed_with_an_older_key_is_sealed_anew() {
    let etcd = Etcd::start().unwrap();
    let plain = open(&etcd).await;
    plain.commit(vec![put("/a", Expect::Absent, "x"), put("/b", Expect::Absent, "y")]).await.unwrap();
    let marked = |mark| EtcdOptions { transform: Some(Arc::new(Mark(mark))), ..etcd_options(&etcd.url(), "/x") };
    for mark in [1, 2] {
        let store = EtcdStore::open(marked(mark)).await.unwrap();
        store.reseal().await.unwrap();
        let done = store.revision().await.unwrap();
        store.reseal().await.unwrap();
        assert_eq!(store.revision().await.unwrap(), done, "nothing is stale any more");
        assert!(text(&store.get("/a", None).await.unwrap().unwrap()).contains("\"x\""));
        assert!(plain.get("/a", None).await.is_err(), "it is not there in plain");
    }
}
