//! Discovery of this server's groups and of those that other servers answer, as one.

use super::remote::Remote;
use super::{Aggregator, priorities};
use crate::catalog::{Group, Table, by_priority};
use crate::discovery::describe;
use bytes::Bytes;
use ironclad_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group with whoever answers for its versions.
#[derive(Default)]
pub(crate) struct Merged {
    name: String,
    priority: i64,
    local: Option<Arc<Group>>,
    remotes: Vec<Arc<Remote>>,
}

/// One version of a merged group.
struct Version {
    name: String,
    priority: i64,
    aggregated: Value,
}

impl Aggregator {
    /// All groups but the core group, in the order of discovery; `None` when no other server answers for any.
    pub(crate) fn groups(&self, table: &Table) -> Option<Vec<Merged>> {
        let remotes = self.remotes();
        if remotes.iter().all(|r| r.group.is_empty()) {
            return None;
        }
        let mut groups: BTreeMap<String, Merged> = BTreeMap::new();
        let local = table.groups().iter().filter(|g| !g.name().is_empty() && !g.versions().is_empty());
        for group in local {
            let merged = groups.entry(group.name().to_owned()).or_default();
            merged.priority = priorities::of_group(group.name());
            merged.local = Some(group.clone());
        }
        for remote in remotes.iter().filter(|r| !r.group.is_empty()) {
            let merged = groups.entry(remote.group.clone()).or_default();
            merged.priority = merged.priority.max(remote.group_priority);
            merged.remotes.push(remote.clone());
        }
        let named = groups.into_iter().map(|(name, merged)| Merged { name, ..merged });
        let mut all: Vec<Merged> = named.collect();
        all.sort_by(|a, b| (Reverse(a.priority), &a.name).cmp(&(Reverse(b.priority), &b.name)));
        Some(all)
    }
}

impl Merged {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn versions(&self) -> Vec<Version> {
        let mut all: Vec<Version> = Vec::new();
        let is_remote = |name: &str| self.remotes.iter().any(|r| r.version == name);
        if let Some(group) = &self.local {
            let whole = describe::aggregated(group);
            for aggregated in whole["versions"].as_array().into_iter().flatten() {
                let name = aggregated["version"].as_str().unwrap_or_default().to_owned();
                if !is_remote(&name) {
                    let priority = priorities::of(&self.name, &name).map_or(priorities::CUSTOM.1, |p| p.1);
                    all.push(Version { name, priority, aggregated: aggregated.clone() });
                }
            }
        }
        for remote in &self.remotes {
            let known = remote.documents.load().discovery.clone();
            let mut aggregated = known.unwrap_or_else(|| json!({"version": remote.version}));
            if !remote.is_available() || aggregated["freshness"].is_null() {
                aggregated["freshness"] = json!("Stale");
            }
            all.push(Version { name: remote.version.clone(), priority: remote.version_priority, aggregated });
        }
        all.sort_by(|a, b| Reverse(a.priority).cmp(&Reverse(b.priority)).then_with(|| by_priority(&a.name, &b.name)));
        all
    }

    /// As an item of `APIGroupList`.
    pub(crate) fn plain(&self) -> Bytes {
        if let (Some(group), []) = (&self.local, self.remotes.as_slice()) {
            return group.plain().clone();
        }
        Bytes::from(self.described().to_string())
    }

    /// As an `APIGroup` without its kind.
    pub(crate) fn described(&self) -> Value {
        let version = |v: &Version| json!({"groupVersion": format!("{}/{}", self.name, v.name), "version": v.name});
        let all: Vec<Value> = self.versions().iter().map(version).collect();
        json!({"name": self.name, "versions": all, "preferredVersion": all.first()})
    }

    /// As an item of `APIGroupDiscoveryList`, with its hash.
    pub(crate) fn aggregated(&self) -> (Bytes, String) {
        if let (Some(group), []) = (&self.local, self.remotes.as_slice()) {
            return (group.aggregated().clone(), group.tag().clone());
        }
        let versions: Vec<Value> = self.versions().into_iter().map(|v| v.aggregated).collect();
        let metadata = json!({"name": self.name});
        let item = json!({"metadata": metadata, "versions": versions}).to_string();
        let tag = hex::encode_upper(Sha256::digest(&item));
        (Bytes::from(item), tag)
    }
}
