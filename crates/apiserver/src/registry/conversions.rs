//! What a webhook has to convert before it can be said who owns which fields.
//!
//! Owners are told apart by a pure function that cannot wait. It notes what it lacks, that is fetched, and the function
//! is called again with what is known by then; every round brings it further, so that it ends.

use super::{Registry, Request};
use ironclad_api::ApiError;
use ironclad_json::Value;
use ironclad_kinds::custom::ConversionWebhook;
use ironclad_schema::{Empties, Which};
use parking_lot::Mutex;
use std::sync::Arc;

/// How often the function may ask for more.
const ROUNDS: usize = 100;

#[derive(Default)]
struct Memory {
    /// Objects with the version that was wanted, and what became of them.
    known: Vec<(Value, String, Value)>,
    wanted: Vec<(Arc<ConversionWebhook>, Value, String)>,
}

/// The conversions of one request.
#[derive(Default)]
pub(crate) struct Conversions(Mutex<Memory>);

impl Conversions {
    /// The object in a version, if it is known; else it is noted.
    pub(super) fn get(&self, webhook: &Arc<ConversionWebhook>, object: &Value, version: &str) -> Option<Value> {
        let mut memory = self.0.lock();
        let found = memory.known.iter().find(|(from, to, _)| to == version && from == object);
        if let Some((_, _, converted)) = found {
            return Some(converted.clone());
        }
        memory.wanted.push((webhook.clone(), object.clone(), version.to_owned()));
        None
    }
}

impl Registry {
    /// Calls a function that needs conversions until it lacks none.
    pub(super) async fn converted<T>(
        &self,
        request: &Request<'_>,
        mut function: impl FnMut() -> T,
    ) -> Result<T, ApiError> {
        for _ in 0..ROUNDS {
            let result = function();
            let wanted = std::mem::take(&mut request.conversions.0.lock().wanted);
            if wanted.is_empty() {
                return Ok(result);
            }
            for (webhook, object, version) in wanted {
                let mut converted = self.webhooks.convert(&webhook, vec![object.clone()], &version).await?;
                let Some(there) = converted.pop() else { continue };
                request.conversions.0.lock().known.push((object, version, there));
            }
        }
        Err(ApiError::internal("conversions of an object do not come to an end"))
    }

    /// [`Self::track`] for an object of which something was sent empty: who sends what Go always writes owns it.
    pub(super) async fn track_sent(&self, request: &Request<'_>, old: &Value, new: &mut Value, empties: &Empties) {
        let Some(mut sent) = request.laid(empties, new, Which::Owned) else {
            return self.track(request, old, new).await;
        };
        self.track(request, old, &mut sent).await;
        let meta = ironclad_api::object::metadata_mut(new);
        match sent["metadata"].get("managedFields") {
            Some(noted) => drop(meta.insert("managedFields", noted.clone())),
            None => drop(meta.remove("managedFields")),
        }
    }

    /// Notes in `new` what this write changed from `old`, which is null for a new object. Where a webhook does not
    /// answer, everybody keeps what he has.
    pub(super) async fn track(&self, request: &Request<'_>, old: &Value, new: &mut Value) {
        if request.kind.custom.as_ref().is_none_or(|c| c.webhook.is_none()) {
            return request.track(old, new);
        }
        let noted = self.converted(request, || {
            let mut noted = new.clone();
            request.track(old, &mut noted);
            noted
        });
        match noted.await {
            Ok(noted) => *new = noted,
            Err(error) => {
                tracing::warn!(%error, "managed fields are left as they were");
                let meta = ironclad_api::object::metadata_mut(new);
                match old["metadata"].get("managedFields") {
                    Some(kept) => drop(meta.insert("managedFields", kept.clone())),
                    None => drop(meta.remove("managedFields")),
                }
            }
        }
    }
}
