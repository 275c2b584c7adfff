//! APIServices of what this server answers itself: one for each group version, as stock servers register them.
//!
//! Invariant: only objects that carry the label are changed or removed; what somebody else registered stays.

use super::priorities;
use crate::catalog::Table;
use crate::encode;
use crate::server::Inner;
use ironclad_api::{ApiError, object};
use ironclad_kinds::Kind;
use ironclad_store::{Change, Expect, Key, Op};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Registered when the server starts; what becomes of it then is the users' business.
const ON_START: &str = "onstart";
/// Registered for as long as the version is served.
const ALWAYS: &str = "true";

/// Registers what is served now.
pub(super) async fn begin(inner: &Inner) {
    if let Err(error) = settle(inner, true).await {
        tracing::warn!(%error, "not every group version is registered");
    }
}

/// Registers what comes and goes, until `token` is cancelled.
pub(super) async fn run(inner: Arc<Inner>, mut tables: watch::Receiver<u64>, token: CancellationToken) {
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            changed = tables.changed() => if changed.is_err() { return },
        }
        if let Err(error) = settle(&inner, false).await {
            tracing::warn!(%error, "not every group version is registered");
        }
    }
}

/// The APIServices that should be there, by name.
fn wanted(table: &Table) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for group in table.groups() {
        for version in group.versions() {
            let built_in = priorities::of(group.name(), version.name());
            let custom = version.kinds().iter().all(|k| !is_built_in(k));
            let (how, (group_priority, version_priority)) = match built_in {
                Some(priority) => (ON_START, priority),
                None if custom => (ALWAYS, priorities::CUSTOM),
                None => continue,
            };
            let name = format!("{}.{}", version.name(), group.name());
            let mut spec = json!({
                "groupPriorityMinimum": group_priority, "version": version.name(), "versionPriority": version_priority,
            });
            if !group.name().is_empty() {
                spec["group"] = json!(group.name());
            }
            out.insert(name.clone(), json!({"metadata": {"name": name, "labels": {LABEL: how}}, "spec": spec}));
        }
    }
    out
}

fn is_built_in(kind: &Kind) -> bool {
    ironclad_kinds::all().iter().any(|k| k.group == kind.group && k.plural == kind.plural)
}

/// Makes, changes and removes what differs from what should be there.
async fn settle(inner: &Inner, start: bool) -> Result<(), ApiError> {
    let wanted = wanted(&inner.catalog.now());
    let kind = inner
        .kind_of("apiregistration.k8s.io", "apiservices")
        .ok_or_else(|| ApiError::internal("there are no APIServices"))?;
    let present: BTreeMap<String, Value> = match inner.registry.caches.of(&kind) {
        Some(cache) => cache.list(&kind.prefix, None).iter().map(|c| (c.name().to_owned(), c.value())).collect(),
        None => BTreeMap::new(),
    };
    let missing = wanted.iter().filter(|(name, object)| {
        !present.contains_key(*name) && (start || object["metadata"]["labels"][LABEL] == ALWAYS)
    });
    let made = missing.map(|(_, object)| inner.ensure(&kind.group, &kind.plural, object.clone()));
    futures::future::try_join_all(made).await?;
    for (name, old) in &present {
        let how = object::at(old, &["metadata", "labels", LABEL]).and_then(Value::as_str).unwrap_or_default();
        let key: Key = format!("{}{name}", kind.prefix).into();
        match (wanted.get(name), how) {
            (None, ALWAYS) => {
                let op = Op { key, expect: Expect::Any, change: Change::Delete { last: None } };
                inner.registry.store.commit(vec![op]).await.map_err(|e| crate::registry::store_error(&e))?;
            }
            (Some(new), ALWAYS) if old["spec"] != new["spec"] => respecify(inner, key, &new["spec"]).await?,
            (Some(new), ON_START) if start && old["spec"] != new["spec"] => {
                respecify(inner, key, &new["spec"]).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn respecify(inner: &Inner, key: Key, spec: &Value) -> Result<(), ApiError> {
    let Some(entry) = inner.registry.entry(&key).await? else { return Ok(()) };
    let mut object = encode::decode(entry.value.bytes());
    object["spec"] = spec.clone();
    let change = Change::Put { value: encode::template(&object), ttl: None };
    let op = Op { key, expect: Expect::Modified(entry.modified), change };
    inner.registry.store.commit(vec![op]).await.map(drop).map_err(|e| crate::registry::store_error(&e))
}
