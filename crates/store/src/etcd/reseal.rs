//! Sealing anew: values that were sealed with older keys, or not at all, are written again as they are sealed now.

use super::client::Again;
use super::read::{CHUNK, RANGE, behind};
use super::wire::{self, Request};
use super::{Inner, commit};
use crate::{Error, Result, Transform};
use bytes::Bytes;

impl Inner {
    pub(super) async fn reseal(&self) -> Result<()> {
        let Some(transform) = &self.transform else { return Ok(()) };
        let (mut key, range_end) = self.keys.range(&self.keys.here);
        loop {
            let question =
                wire::RangeRequest { key, range_end: range_end.clone(), limit: CHUNK as i64, ..Default::default() };
            let answer: wire::RangeResponse = self.client.call(RANGE, question, Again::Yes).await?;
            for kv in &answer.kvs {
                if let Some(value) = self.sealed_anew(&**transform, kv)? {
                    self.replace(kv, value).await?;
                }
            }
            match answer.kvs.last().filter(|_| answer.count as usize > answer.kvs.len()) {
                Some(last) => key = behind(&last.key),
                None => return Ok(()),
            }
        }
    }

    /// Writes a value again, unless somebody else has written the key since: then it is sealed anew already.
    async fn replace(&self, kv: &wire::KeyValue, value: Bytes) -> Result<()> {
        let with = Some(wire::Target::ModRevision(kv.mod_revision));
        let question = wire::TxnRequest {
            compare: vec![wire::Compare { result: 0, target: wire::MOD, key: kv.key.clone(), with }],
            success: vec![Request::Put(wire::PutRequest { key: kv.key.clone(), value, lease: kv.lease }).into()],
            failure: Vec::new(),
        };
        self.client.call::<_, wire::TxnResponse>(commit::TXN, question, Again::Unsent).await.map(drop)
    }

    /// A stale value as it would be sealed now.
    fn sealed_anew(&self, transform: &dyn Transform, kv: &wire::KeyValue) -> Result<Option<Bytes>> {
        let Some(key) = self.keys.of_etcd(&kv.key) else { return Ok(None) };
        let bad = |why| Error::Value { key: key.clone(), why };
        let opened = transform.open(&key, &kv.value).map_err(bad)?;
        if !opened.stale {
            return Ok(None);
        }
        let value = match transform.seals(&key) {
            true => transform.seal(&key, &opened.plain).map_err(bad)?,
            false => opened.plain,
        };
        Ok(Some(value.into()))
    }
}
