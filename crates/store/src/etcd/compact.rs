//! Compaction: servers on one etcd agree by a compare on one key who forgets history, as stock servers do.

use super::client::Again;
use super::wire::{self, Request, Response};
use super::{EtcdStore, Inner, header};
use crate::{Error, Result, Revision};
use bytes::Bytes;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const COMPACT: &str = "/etcdserverpb.KV/Compact";
/// Holds the revision up to which history was forgotten; its version counts the compactions.
const KEY: &[u8] = b"compact_rev_key";

/// What one round of one server found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// How often compaction was done by anybody.
    pub(super) version: i64,
    /// The newest revision: the next round forgets up to here.
    pub(super) revision: Revision,
}

impl EtcdStore {
    /// Forgets history every `interval`: at each round what is older than the round before.
    pub fn compact_every(&self, interval: Duration, token: CancellationToken) -> tokio::task::JoinHandle<()> {
        let store = self.clone();
        tokio::spawn(async move {
            let mut known = Round { version: 0, revision: Revision(0) };
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(interval) => {}
                }
                match store.0.compact_round(&known).await {
                    Ok(round) => {
                        known = round;
                        // Quiet watches learn how far they are, so that what they wait behind is never forgotten.
                        store.0.progress.send_replace(());
                    }
                    Err(error) => tracing::warn!(%error, "etcd's history was not compacted"),
                }
            }
        })
    }
}

impl Inner {
    pub(super) async fn compact(&self, revision: Revision) -> Result<()> {
        let question = wire::CompactionRequest { revision: revision.0 as i64 };
        let answer: Result<wire::CompactionResponse> = self.client.call(COMPACT, question, Again::Yes).await;
        match answer {
            // Somebody else was faster.
            Ok(_) | Err(Error::Compacted { .. }) => {
                self.forget(revision);
                Ok(())
            }
            Err(Error::Future { .. }) => Err(Error::Future { requested: revision, newest: self.newest().await? }),
            Err(error) => Err(error),
        }
    }

    /// Forgets what is older than `known`, unless another server did since then.
    pub(super) async fn compact_round(&self, known: &Round) -> Result<Round> {
        let key = Bytes::from_static(KEY);
        let with = Some(wire::Target::Version(known.version));
        let put = wire::PutRequest { key: key.clone(), value: known.revision.to_string().into(), lease: 0 };
        let question = wire::TxnRequest {
            compare: vec![wire::Compare { result: 0, target: wire::VERSION, key: key.clone(), with }],
            success: vec![Request::Put(put).into()],
            failure: vec![Request::Range(wire::RangeRequest { key, ..Default::default() }).into()],
        };
        let answer: wire::TxnResponse = self.client.call("/etcdserverpb.KV/Txn", question, Again::Unsent).await?;
        let revision = header(answer.header.as_ref());
        if answer.succeeded {
            if known.revision > Revision(0) {
                self.compact(known.revision).await?;
            }
            return Ok(Round { version: known.version + 1, revision });
        }
        let kv = answer.responses.into_iter().next().and_then(|r| match r.response {
            Some(Response::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let version = kv.as_ref().map_or(0, |kv| kv.version);
        if let Some(done) = kv.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse().ok()) {
            self.forget(Revision(done));
        }
        Ok(Round { version, revision })
    }
}
