//! APIServices of what this server answers itself: one for each group version, as stock servers register them.
//!
//! Invariant: only objects that carry the label are changed or removed; what somebody else registered stays.

use super::priorities;
use crate::catalog::Table;
use crate::encode;
use crate::server::Inner;
use ironclad_api::{ApiError, object};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_store::{Change, Expect, Key, Op};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Registered when the server starts; what becomes of it then is the users' business.
const ON_START: &str = "onstart";
/// Registered for as long as the version is served.
const ALWAYS: &str = "true";

/// What an APIService of this server's own says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    group: String,
    version: String,
    how: &'static str,
    priorities: (i64, i64),
}

impl Own {
    fn spec(&self) -> Value {
        let (group_priority, version_priority) = self.priorities;
        let mut spec = json!({
            "groupPriorityMinimum": group_priority, "version": self.version, "versionPriority": version_priority,
        });
        if !self.group.is_empty() {
            spec["group"] = json!(self.group);
        }
        spec
    }

    fn object(&self, name: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {LABEL: self.how}}, "spec": self.spec()})
    }
}

/// The APIServices that should be there, by name.
type Wanted = BTreeMap<String, Own>;

fn wanted(table: &Table) -> Wanted {
    let mut out = Wanted::new();
    for group in table.groups() {
        for version in group.versions() {
            let (group, version) = (group.name().to_owned(), version.name().to_owned());
            let (how, priorities) = match priorities::of(&group, &version) {
                Some(priorities) => (ON_START, priorities),
                None if priorities::is_own(&group) => continue,
                None => (ALWAYS, priorities::CUSTOM),
            };
            out.insert(format!("{version}.{group}"), Own { group, version, how, priorities });
        }
    }
    out
}

/// Registers what is served now; returns what that is.
pub(super) async fn begin(inner: &Inner) -> Registered {
    let wanted = wanted(&inner.catalog.now());
    if let Err(error) = settle(inner, &wanted).await {
        tracing::warn!(%error, "not every group version is registered");
    }
    Registered(wanted)
}

/// What is registered.
pub(super) struct Registered(Wanted);

/// Registers what comes, and removes what goes, until `token` is cancelled.
pub(super) async fn run(
    inner: Arc<Inner>,
    registered: Registered,
    mut tables: watch::Receiver<u64>,
    token: CancellationToken,
) {
    let mut known = registered.0;
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            changed = tables.changed() => if changed.is_err() { return },
        }
        let now = wanted(&inner.catalog.now());
        if let Err(error) = change(&inner, &known, &now).await {
            tracing::warn!(%error, "not every group version is registered");
        }
        known = now;
    }
}

/// Makes what somebody removed that is still served.
pub(super) async fn restore(inner: &Inner, removed: &Value) {
    let name = object::name(removed);
    let own = wanted(&inner.catalog.now()).remove(name).filter(|own| own.how == ALWAYS);
    if let Some(own) = own.filter(|_| label(removed) == ALWAYS)
        && let Err(error) = make(inner, name, &own).await
    {
        tracing::warn!(%error, name, "a group version is not registered");
    }
}

fn label(object: &Value) -> &str {
    object::at(object, &["metadata", "labels", LABEL]).and_then(Value::as_str).unwrap_or_default()
}

fn kind(inner: &Inner) -> Result<Arc<Kind>, ApiError> {
    inner.kind_of("apiregistration.k8s.io", "apiservices").ok_or_else(|| ApiError::internal("there are no APIServices"))
}

async fn make(inner: &Inner, name: &str, own: &Own) -> Result<(), ApiError> {
    inner.ensure("apiregistration.k8s.io", "apiservices", own.object(name)).await
}

/// At the start: makes, changes and removes what differs from what should be there.
async fn settle(inner: &Inner, wanted: &Wanted) -> Result<(), ApiError> {
    let kind = kind(inner)?;
    let present: BTreeMap<String, Value> = match inner.registry.caches.of(&kind) {
        Some(cache) => cache.list(&kind.prefix, None).iter().map(|c| (c.name().to_owned(), c.value())).collect(),
        None => BTreeMap::new(),
    };
    let missing = wanted.iter().filter(|(name, _)| !present.contains_key(*name));
    futures::future::try_join_all(missing.map(|(name, own)| make(inner, name, own))).await?;
    for (name, old) in present.iter().filter(|(_, old)| matches!(label(old), ON_START | ALWAYS)) {
        match wanted.get(name) {
            Some(own) if old["spec"] != own.spec() => respecify(inner, &key(&kind, name), own).await?,
            None if label(old) == ALWAYS => remove(inner, &key(&kind, name)).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Makes what came and removes what went.
async fn change(inner: &Inner, before: &Wanted, now: &Wanted) -> Result<(), ApiError> {
    let came = now.iter().filter(|(name, own)| own.how == ALWAYS && !before.contains_key(*name));
    futures::future::try_join_all(came.map(|(name, own)| make(inner, name, own))).await?;
    let kind = kind(inner)?;
    for (name, _) in before.iter().filter(|(name, own)| own.how == ALWAYS && !now.contains_key(*name)) {
        remove(inner, &key(&kind, name)).await?;
    }
    Ok(())
}

fn key(kind: &Kind, name: &str) -> Key {
    format!("{}{name}", kind.prefix).into()
}

/// Removes an APIService that carries the label.
async fn remove(inner: &Inner, key: &Key) -> Result<(), ApiError> {
    let Some(entry) = inner.registry.entry(key).await? else { return Ok(()) };
    if label(&encode::decode(entry.value.bytes())) != ALWAYS {
        return Ok(());
    }
    write(inner, key, Expect::Modified(entry.modified), Change::Delete { last: None }).await
}

async fn respecify(inner: &Inner, key: &Key, own: &Own) -> Result<(), ApiError> {
    let Some(entry) = inner.registry.entry(key).await? else { return Ok(()) };
    let mut object = encode::decode(entry.value.bytes());
    object["spec"] = own.spec();
    let change = Change::Put { value: encode::template(&object), ttl: None };
    write(inner, key, Expect::Modified(entry.modified), change).await
}

async fn write(inner: &Inner, key: &Key, expect: Expect, change: Change) -> Result<(), ApiError> {
    match inner.registry.store.commit(vec![Op { key: key.clone(), expect, change }]).await {
        // Another server, or a user, was faster.
        Ok(_) | Err(ironclad_store::Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(crate::registry::store_error(&error)),
    }
}
