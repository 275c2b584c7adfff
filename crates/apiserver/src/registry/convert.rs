//! Objects between the versions of their kind: as they are stored, and as a request sees them.
//!
//! Invariant: what a request sees of a custom resource has the form of the version that it asked for, whatever
//! version and schema the object was stored with.

use super::{Answer, Answered, Registry, Request};
use crate::cache::{Cached, Changed};
use crate::encode;
use ironclad_api::{ApiError, object};
use ironclad_json::Value;
use ironclad_kinds::Kind;
use ironclad_kinds::custom::Custom;
use ironclad_store::Entry;
use std::sync::Arc;

impl Registry {
    /// A stored object in the version of the request.
    pub(crate) async fn load(&self, request: &Request<'_>, entry: &Entry) -> Result<Value, ApiError> {
        self.convert_one(request, self.caches.decoded(&entry.key, entry.value.bytes())).await
    }

    /// An object of any version in that of the request.
    pub(crate) async fn convert_one(&self, request: &Request<'_>, object: Value) -> Result<Value, ApiError> {
        match &request.kind.custom {
            None => Ok(request.to_requested(object)),
            Some(custom) => {
                let mut object = self.versioned(request.kind, custom, vec![object]).await?.remove(0);
                custom.settle(&mut object);
                Ok(object)
            }
        }
    }

    /// The answer that shows what is stored.
    pub(crate) async fn show(&self, request: &Request<'_>, entry: &Entry) -> Result<Answer, ApiError> {
        let Some(custom) = &request.kind.custom else { return Ok(Answer::stored(entry)) };
        let stored = encode::decode(entry.value.bytes());
        let mut shown = self.versioned(request.kind, custom, vec![stored.clone()]).await?.remove(0);
        custom.settle(&mut shown);
        Ok(if shown == stored { Answer::stored(entry) } else { Answer::value(200, shown) })
    }

    /// An object of the request in the version in which it is stored.
    pub(crate) async fn store_form(&self, request: &Request<'_>, object: Value) -> Result<Value, ApiError> {
        let Some(custom) = &request.stored.custom else { return Ok(request.to_stored(object)) };
        let mut stored = self.versioned(request.stored, custom, vec![object]).await?.remove(0);
        ironclad_kinds::custom::without_fractions(&mut stored);
        Ok(stored)
    }

    /// Objects of any version in that of a row, in their order.
    async fn versioned(&self, to: &Kind, custom: &Custom, objects: Vec<Value>) -> Result<Vec<Value>, ApiError> {
        let wanted = to.api_version();
        let mut objects = objects;
        let others: Vec<usize> =
            (0..objects.len()).filter(|i| object::text(&objects[*i], &["apiVersion"]) != wanted).collect();
        if others.is_empty() {
            return Ok(objects);
        }
        for at in &others {
            let from = object::gvk(&objects[*at]);
            if from.group != to.group || !custom.versions.contains(&from.version) {
                let message = format!("request to convert CR from an invalid group/version: {}", from.api_version());
                return Err(ApiError::new(ironclad_api::Reason::Unknown, message));
            }
        }
        match &custom.webhook {
            None => others.iter().for_each(|at| objects[*at]["apiVersion"] = wanted.clone().into()),
            Some(webhook) => {
                let sent: Vec<Value> = others.iter().map(|at| std::mem::take(&mut objects[*at])).collect();
                let converted = self.webhooks.convert(webhook, sent, &wanted).await?;
                others.into_iter().zip(converted).for_each(|(at, object)| objects[at] = object);
            }
        }
        Ok(objects)
    }

    /// Objects of the cache as a request sees them.
    pub(crate) async fn seen(
        &self,
        kind: &Kind,
        stored: &Kind,
        objects: Vec<Arc<Cached>>,
    ) -> Result<Vec<Arc<Cached>>, ApiError> {
        let Some(custom) = &kind.custom else { return Ok(objects) };
        if custom.webhook.is_none() {
            return Ok(objects.into_iter().map(|o| seen_plain(kind, stored, o)).collect());
        }
        let mut out = objects;
        let others: Vec<usize> = (0..out.len()).filter(|i| !is_seen(kind, stored, &out[*i])).collect();
        let values = others.iter().map(|i| out[*i].value()).collect();
        let converted = self.versioned(kind, custom, values).await?;
        for (at, mut value) in others.into_iter().zip(converted) {
            custom.settle(&mut value);
            out[at] = Arc::new(out[at].remade(kind, &value));
        }
        Ok(out)
    }

    /// A change as a request sees it.
    pub(crate) async fn seen_change(
        &self,
        kind: &Kind,
        stored: &Kind,
        change: Arc<Changed>,
    ) -> Result<Arc<Changed>, ApiError> {
        let both: Vec<Arc<Cached>> = std::iter::once(change.object.clone()).chain(change.previous.clone()).collect();
        let mut both = self.seen(kind, stored, both).await?.into_iter();
        let object = both.next().unwrap_or_else(|| change.object.clone());
        Ok(Arc::new(change.with(object, both.next())))
    }
}

/// Whether an object of the cache has the form that a request wants.
fn is_seen(kind: &Kind, stored: &Kind, object: &Cached) -> bool {
    kind.version == stored.version && object.is_version(&kind.api_version())
}

/// An object of the cache as a request sees it, where no webhook converts it.
pub(super) fn seen_plain(kind: &Kind, stored: &Kind, object: Arc<Cached>) -> Arc<Cached> {
    let Some(custom) = &kind.custom else { return object };
    if is_seen(kind, stored, &object) {
        return object;
    }
    let mut value = object.value();
    value["apiVersion"] = kind.api_version().into();
    custom.settle(&mut value);
    Arc::new(object.remade(kind, &value))
}

/// The value of an answer, in the version of the request.
pub(crate) fn answered(request: &Request<'_>, answer: &Answered) -> Value {
    match answer {
        Answered::Stored(bytes) => request.to_requested(encode::decode(bytes)),
        Answered::Value(value) => value.clone(),
    }
}
