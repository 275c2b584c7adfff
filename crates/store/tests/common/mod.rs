//! What the store's tests share: values, operations, and both engines behind one trait.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use ironclad_store::*;
use ironclad_testkit::Etcd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

/// A value `{"rv":"<revision>","v":"<text>"}`.
pub(crate) fn template(text: &str) -> Template {
    Template::new(Bytes::from(format!("{{\"rv\":\"\",\"v\":\"{text}\"}}")), 7)
}

pub(crate) fn put(key: &str, expect: Expect, text: &str) -> Op {
    Op { key: key.into(), expect, change: Change::Put { value: template(text), ttl: None } }
}

pub(crate) fn put_for(key: &str, text: &str, ttl: Duration) -> Op {
    Op { key: key.into(), expect: Expect::Any, change: Change::Put { value: template(text), ttl: Some(ttl) } }
}

pub(crate) fn delete(key: &str, expect: Expect) -> Op {
    Op { key: key.into(), expect, change: Change::Delete { last: None } }
}

pub(crate) fn text(entry: &Entry) -> String {
    String::from_utf8(entry.value.bytes().to_vec()).unwrap()
}

/// Small files, so that rotation and snapshots happen all the time.
pub(crate) fn small() -> Options {
    Options { segment_bytes: 4096, snapshot_bytes: 8192, ..Options::default() }
}

/// A store that can be closed and opened again.
pub(crate) enum Engine {
    Log(tempfile::TempDir, Options),
    Etcd(Arc<Mutex<Etcd>>, String),
}

impl Engine {
    pub(crate) fn log() -> Self {
        Self::log_with(Options::default())
    }

    pub(crate) fn log_with(options: Options) -> Self {
        Self::Log(tempfile::tempdir().unwrap(), options)
    }

    /// Keys of its own in an etcd that tests of this process share while one of them runs.
    pub(crate) fn etcd() -> Self {
        static SHARED: LazyLock<Mutex<Weak<Mutex<Etcd>>>> = LazyLock::new(Mutex::default);
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mut shared = SHARED.lock().unwrap();
        let etcd = shared.upgrade().unwrap_or_else(|| Arc::new(Mutex::new(Etcd::start().unwrap())));
        *shared = Arc::downgrade(&etcd);
        Self::Etcd(etcd, format!("/test-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// An etcd that no other test disturbs.
    pub(crate) fn own_etcd() -> Self {
        Self::Etcd(Arc::new(Mutex::new(Etcd::start().unwrap())), "/own".to_owned())
    }

    pub(crate) fn is_etcd(&self) -> bool {
        matches!(self, Self::Etcd(..))
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Log(dir, options) => Arc::new(LogStore::open(dir.path(), options.clone()).unwrap()),
            Self::Etcd(etcd, prefix) => {
                let url = etcd.lock().unwrap().url();
                Arc::new(EtcdStore::open(etcd_options(&url, prefix)).await.unwrap())
            }
        }
    }
}

pub(crate) fn etcd_options(url: &str, prefix: &str) -> EtcdOptions {
    EtcdOptions {
        servers: vec![url.to_owned()],
        tls: Tls::default(),
        prefix: (String::new(), prefix.to_owned()),
        codec: Arc::new(Plain),
        patience: Duration::from_secs(10),
        transform: None,
        way: ironclad_remote::Way::default(),
    }
}

/// Stores values as they are; the revision belongs behind `{"rv":"`.
pub(crate) struct Plain;

impl Codec for Plain {
    fn encode(&self, _: &str, value: &Template) -> std::result::Result<Vec<u8>, String> {
        let (head, tail) = value.parts();
        Ok([head, tail].concat())
    }

    fn decode(&self, _: &str, stored: &[u8]) -> std::result::Result<Option<Template>, String> {
        match stored.starts_with(b"{\"rv\":\"") {
            true => Ok(Some(Template::new(Bytes::copy_from_slice(stored), 7))),
            false => Err("no such value".to_owned()),
        }
    }
}
