//! What the store's tests share.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use ironclad_store::*;
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
