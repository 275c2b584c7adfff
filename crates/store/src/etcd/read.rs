//! Reads: linearizable when they are for now, exact when they are for a revision.

use super::client::Again;
use super::{Inner, header, wire};
use crate::{Entry, Error, Key, Page, RangeQuery, Result, Revision};
use bytes::Bytes;
use std::time::Duration;

pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
/// Keys in one answer of etcd; a larger page is made of several, all at one revision.
pub(super) const CHUNK: usize = 5_000;

impl Inner {
    /// Asks for a range, with the ends of history filled in when it lies outside.
    async fn ask(&self, question: wire::RangeRequest) -> Result<wire::RangeResponse> {
        let requested = super::revision(question.revision);
        match self.client.call(RANGE, question, Again::Yes).await {
            Err(Error::Compacted { .. }) => {
                self.forget(Revision(requested.0 + 1));
                Err(Error::Compacted { requested, oldest: self.forgotten() })
            }
            Err(Error::Future { .. }) => Err(Error::Future { requested, newest: self.newest().await? }),
            other => other,
        }
    }

    pub(super) async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>> {
        let revision = self.at(at)?;
        let key = self.keys.to_etcd(key);
        let answer = self.ask(wire::RangeRequest { key, revision, ..Default::default() }).await?;
        answer.kvs.first().map_or(Ok(None), |kv| self.entry(kv))
    }

    /// A revision as etcd wants it; 0 for now.
    fn at(&self, at: Option<Revision>) -> Result<i64> {
        match at {
            // Nothing was ever written at 0, but etcd would take it for "now".
            Some(Revision(0)) => {
                Err(Error::Compacted { requested: Revision(0), oldest: self.forgotten().max(Revision(1)) })
            }
            Some(at) => Ok(at.0 as i64),
            None => Ok(0),
        }
    }

    pub(super) async fn range(&self, query: &RangeQuery) -> Result<Page> {
        let (mut key, range_end) = self.keys.range(&query.prefix);
        if let Some(after) = query.start_after.as_ref().filter(|after| &***after >= query.prefix.as_str()) {
            key = behind(&self.keys.to_etcd(after));
        }
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let mut at = self.at(query.at)?;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let chunk = CHUNK.min(limit - entries.len());
            let question = wire::RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: chunk as i64,
                revision: at,
                ..Default::default()
            };
            let answer = self.ask(question).await?;
            if at == 0 {
                at = header(answer.header.as_ref()).0 as i64;
            }
            for kv in &answer.kvs {
                entries.extend(self.entry(kv)?);
            }
            let remaining = (answer.count.max(0) as usize).saturating_sub(answer.kvs.len());
            let Some(last) = answer.kvs.last().filter(|_| remaining > 0 && entries.len() < limit) else {
                return Ok(Page { entries, revision: super::revision(at), remaining });
            };
            key = behind(&last.key);
        }
    }

    pub(super) async fn count(&self, prefix: &str) -> Result<usize> {
        let (key, range_end) = self.keys.range(prefix);
        let question = wire::RangeRequest { key, range_end, count_only: true, ..Default::default() };
        Ok(self.ask(question).await?.count.max(0) as usize)
    }

    /// The newest revision that etcd's members agree on.
    pub(super) async fn newest(&self) -> Result<Revision> {
        self.newest_within(self.client.patience).await
    }

    /// The same, when it is heard in this time.
    pub(super) async fn newest_within(&self, patience: Duration) -> Result<Revision> {
        // A key that stock servers ask for too, so that whoever may read what lies below the prefix may ask for it.
        let key = self.keys.to_etcd(&format!("{}/health", self.keys.here));
        let question = wire::RangeRequest { key, count_only: true, ..Default::default() };
        let answer: wire::RangeResponse = self.client.call_within(patience, RANGE, question, Again::Yes).await?;
        Ok(header(answer.header.as_ref()))
    }

    /// The entry that a conflict is about.
    pub(super) fn current(&self, response: Option<wire::ResponseOp>) -> Result<Option<Entry>> {
        match response.and_then(|r| r.response) {
            Some(wire::Response::Range(range)) => range.kvs.first().map_or(Ok(None), |kv| self.entry(kv)),
            _ => Ok(None),
        }
    }
}

/// The key right behind another.
pub(super) fn behind(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}

/// What identifies a key in messages of etcd.
pub(super) fn named(inner: &Inner, key: &Key) -> Bytes {
    inner.keys.to_etcd(key)
}
