//! Commits: one transaction of etcd each, guarded by the revisions that its operations expect.

use super::client::Again;
use super::read::named;
use super::wire::{self, Request, RequestOp, Response, ResponseOp};
use super::{Inner, header, revision};
use crate::{Change, Committed, Entry, Error, Expect, Op, Result, Revision, Template};

pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";

impl Inner {
    pub(super) async fn commit(&self, ops: Vec<Op>) -> Result<Committed> {
        let mut question = wire::TxnRequest::default();
        for op in &ops {
            question.compare.extend(self.compare(op));
            question.success.extend(self.requests(op).await?);
            if op.expect != Expect::Any {
                question.failure.push(read(self, op, false));
            }
        }
        let answer: wire::TxnResponse = self.client.call(TXN, question, Again::Unsent).await?;
        let at = header(answer.header.as_ref());
        let mut responses = answer.responses.into_iter();
        if !answer.succeeded {
            return Err(self.conflict(&ops, &mut responses));
        }
        let entries: Result<Vec<_>> = ops.into_iter().map(|op| self.written(op, at, &mut responses)).collect();
        Ok(Committed { revision: at, entries: entries? })
    }

    fn compare(&self, op: &Op) -> Option<wire::Compare> {
        let at = match op.expect {
            Expect::Any => return None,
            Expect::Absent => 0,
            Expect::Modified(at) => at.0 as i64,
        };
        let with = Some(wire::Target::ModRevision(at));
        Some(wire::Compare { result: 0, target: wire::MOD, key: named(self, &op.key), with })
    }

    async fn requests(&self, op: &Op) -> Result<Vec<RequestOp>> {
        Ok(match &op.change {
            Change::Check => Vec::new(),
            Change::Put { value, ttl } => {
                let lease = match ttl {
                    Some(ttl) => self.leases.take(&self.client, *ttl).await?,
                    None => 0,
                };
                let value = self.seal(&op.key, value)?.into();
                let put = Request::Put(wire::PutRequest { key: named(self, &op.key), value, lease });
                // When the key came to be is asked for in the same transaction.
                let before = (op.expect != Expect::Absent).then(|| read(self, op, true));
                before.into_iter().chain([put.into()]).collect()
            }
            Change::Delete { .. } => {
                let key = named(self, &op.key);
                vec![Request::Delete(wire::DeleteRangeRequest { key, prev_kv: true, ..Default::default() }).into()]
            }
        })
    }

    /// What one operation wrote or removed.
    fn written(&self, op: Op, at: Revision, responses: &mut impl Iterator<Item = ResponseOp>) -> Result<Option<Entry>> {
        let mut next = || responses.next().and_then(|r| r.response);
        match op.change {
            Change::Check => Ok(None),
            Change::Put { value, .. } => {
                let created = match op.expect {
                    Expect::Absent => at,
                    _ => match next() {
                        Some(Response::Range(range)) => range.kvs.first().map_or(at, |kv| revision(kv.create_revision)),
                        _ => at,
                    },
                };
                next();
                Ok(Some(Entry { value: value.render(at), key: op.key, modified: at, created }))
            }
            Change::Delete { last } => {
                let Some(Response::Delete(removed)) = next() else { return Ok(None) };
                let Some(kv) = removed.prev_kvs.first() else { return Ok(None) };
                self.removed(kv, last, at)
            }
        }
    }

    /// The final state of a removed key: the given one, or what was stored, at the revision of the removal.
    pub(super) fn removed(&self, kv: &wire::KeyValue, last: Option<Template>, at: Revision) -> Result<Option<Entry>> {
        let Some(entry) = self.entry(kv)? else { return Ok(None) };
        let last = last.unwrap_or_else(|| entry.value.template());
        Ok(Some(Entry { value: last.render(at), modified: at, ..entry }))
    }

    fn conflict(&self, ops: &[Op], responses: &mut impl Iterator<Item = ResponseOp>) -> Error {
        for op in ops.iter().filter(|op| op.expect != Expect::Any) {
            let current = match self.current(responses.next()) {
                Ok(current) => current,
                Err(error) => return error,
            };
            let holds = match op.expect {
                Expect::Any => true,
                Expect::Absent => current.is_none(),
                Expect::Modified(at) => current.as_ref().is_some_and(|c| c.modified == at),
            };
            if !holds {
                return Error::Conflict { key: op.key.clone(), current: current.map(Box::new) };
            }
        }
        Error::Refused("etcd refused a transaction whose conditions hold".to_owned())
    }
}

fn read(inner: &Inner, op: &Op, keys_only: bool) -> RequestOp {
    Request::Range(wire::RangeRequest { key: named(inner, &op.key), keys_only, ..Default::default() }).into()
}
