//! What was done and is not seen yet in the cache: without it pods would be made twice.

use ironclad_client::{Change, ObjectKey};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After so long what was expected is no longer waited for.
const EXPECTED: Duration = Duration::from_mins(5);

/// Of one set: names of pods that were made, uids of pods that were deleted.
#[derive(Default)]
pub(super) struct Expected {
    pub(super) created: HashSet<String>,
    pub(super) deleted: HashSet<String>,
    pub(super) since: Option<Instant>,
}

pub(super) type Expectations = Arc<Mutex<HashMap<ObjectKey, Expected>>>;

pub(super) fn observe(expectations: &Expectations, key: &ObjectKey, change: &Change<Pod>) {
    let mut all = expectations.lock();
    let Some(expected) = all.get_mut(key) else { return };
    let (name, uid) = (&change.object().metadata.name, &change.object().metadata.uid);
    match change {
        Change::Added(_) => drop(expected.created.remove(name.as_deref().unwrap_or_default())),
        Change::Deleted(_) => drop(expected.deleted.remove(uid.as_deref().unwrap_or_default())),
        Change::Modified { new, .. } if new.metadata.deletion_timestamp.is_some() => {
            expected.deleted.remove(uid.as_deref().unwrap_or_default());
        }
        Change::Modified { .. } => {}
    }
}

/// Whether the cache shows everything that was done before.
pub(super) fn settled(expectations: &Expectations, key: &ObjectKey) -> bool {
    let all = expectations.lock();
    all.get(key).is_none_or(|e| {
        (e.created.is_empty() && e.deleted.is_empty()) || e.since.is_none_or(|since| since.elapsed() > EXPECTED)
    })
}
