//! One group of the catalog, with the documents about it that are made once and kept as bytes.

use crate::{discovery::describe, openapi};
use bytes::Bytes;
use ironclad_kinds::{Kind, Served};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// The rank of groups that are no part of the program: behind those that are, by their names.
const CUSTOM: u32 = 1_000_000;

/// A document that is kept: deflated, for few ask for it, and those mostly accept it so.
#[derive(Clone)]
pub(crate) struct Document {
    /// gzip, in as many pieces as it was put together from.
    pub(crate) packed: Arc<[Bytes]>,
}

/// What is served of a group.
pub(crate) struct Group {
    name: Arc<str>,
    pub(crate) rank: u32,
    rows: Vec<Arc<Kind>>,
    versions: Vec<Version>,
    /// By plural, in the version in which objects are stored.
    stored: HashMap<Arc<str>, Arc<Kind>>,
    discovery: OnceLock<Discovery>,
}

/// Discovery of a group.
struct Discovery {
    plain: Bytes,
    aggregated: Bytes,
    tag: String,
}

/// What is served of a group in one version.
pub(crate) struct Version {
    name: Arc<str>,
    kinds: Vec<Arc<Kind>>,
    by_plural: HashMap<Arc<str>, usize>,
    resources: OnceLock<Bytes>,
    tag: OnceLock<String>,
    /// OpenAPI of version 3, as JSON and as protobuf.
    pub(crate) openapi: [OnceLock<Document>; 2],
    /// What it adds to OpenAPI of version 2, as JSON and as protobuf.
    pub(crate) second: [OnceLock<Arc<openapi::Added>>; 2],
}

impl Group {
    pub(super) fn new(name: &str, rank: u32, rows: Vec<Arc<Kind>>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for kind in rows.iter().filter(|k| k.served != Served::Stored) {
            if !names.contains(&&*kind.version) {
                names.push(&kind.version);
            }
        }
        if rank == CUSTOM {
            names.sort_by(|a, b| by_priority(a, b));
        }
        let versions = names.iter().map(|v| Version::new(v, &rows)).collect();
        let stored = rows.iter().filter(|k| k.version == k.storage_version);
        let stored = stored.map(|k| (Arc::from(&*k.plural), k.clone())).collect();
        Self { name: name.into(), rank, rows, versions, stored, discovery: OnceLock::new() }
    }

    /// A group that is no part of the program, with nothing in it yet.
    pub(super) fn custom(name: &str) -> Self {
        Self::new(name, CUSTOM, Vec::new())
    }

    /// The group with other rows for some of its resources.
    pub(super) fn with(&self, changes: Vec<(String, Vec<Arc<Kind>>)>) -> Self {
        let kept = |k: &&Arc<Kind>| !changes.iter().any(|(plural, _)| k.plural == plural.as_str());
        let mut rows: Vec<Arc<Kind>> = self.rows.iter().filter(kept).cloned().collect();
        rows.extend(changes.into_iter().flat_map(|(_, rows)| rows));
        if self.rank == CUSTOM {
            rows.sort_by(|a, b| a.plural.cmp(&b.plural));
        }
        Self::new(&self.name, self.rank, rows)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The versions, the preferred one first.
    pub(crate) fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Whether it has kinds that no definition made.
    pub(crate) fn is_built_in(&self) -> bool {
        self.versions().iter().flat_map(Version::kinds).any(|kind| kind.custom.is_none())
    }

    pub(crate) fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| &*v.name == name)
    }

    pub(super) fn stored(&self, plural: &str) -> Option<&Arc<Kind>> {
        self.stored.get(plural)
    }

    fn discovery(&self) -> &Discovery {
        self.discovery.get_or_init(|| {
            let aggregated = Bytes::from(describe::aggregated(self).to_string());
            let tag = hex::encode_upper(Sha256::digest(&aggregated));
            Discovery { plain: Bytes::from(describe::plain(self).to_string()), aggregated, tag }
        })
    }

    /// The group as an item of `APIGroupList`.
    pub(crate) fn plain(&self) -> &Bytes {
        &self.discovery().plain
    }

    /// The group as an item of `APIGroupDiscoveryList`.
    pub(crate) fn aggregated(&self) -> &Bytes {
        &self.discovery().aggregated
    }

    /// A hash of [`Group::aggregated`].
    pub(crate) fn tag(&self) -> &String {
        &self.discovery().tag
    }
}

impl Version {
    fn new(name: &str, rows: &[Arc<Kind>]) -> Self {
        let served = rows.iter().filter(|k| k.version == name && k.served != Served::Stored);
        let kinds: Vec<Arc<Kind>> = served.cloned().collect();
        let by_plural = kinds.iter().enumerate().map(|(i, k)| (Arc::from(&*k.plural), i)).collect();
        let (resources, tag) = (OnceLock::new(), OnceLock::new());
        Self {
            name: name.into(),
            kinds,
            by_plural,
            resources,
            tag,
            openapi: [const { OnceLock::new() }; 2],
            second: [const { OnceLock::new() }; 2],
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    pub(super) fn find(&self, plural: &str) -> Option<&Arc<Kind>> {
        self.by_plural.get(plural).map(|i| &self.kinds[*i])
    }

    /// The `APIResourceList`.
    pub(crate) fn resources(&self) -> &Bytes {
        self.resources.get_or_init(|| Bytes::from(describe::resources(&self.kinds).to_string()))
    }

    /// A hash of all that the OpenAPI document depends on.
    pub(crate) fn tag(&self, release: &str) -> &str {
        self.tag.get_or_init(|| openapi::hash(&self.kinds, release))
    }
}

/// The order of versions: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`, then all others by name.
pub(crate) fn by_priority(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor of a version that is called like one of Kubernetes'.
fn parse(text: &str) -> Option<(u8, u64, u64)> {
    let rest = text.strip_prefix('v')?;
    let number = |t: &str| (!t.starts_with('0') && !t.is_empty()).then(|| t.parse::<u64>().ok()).flatten();
    for (word, stability) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, number(major)?, if minor.is_empty() { 0 } else { number(minor)? }));
        }
    }
    Some((2, number(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_stock_orders_them() {
        let mut versions =
            ["foo10", "v3beta1", "v12alpha1", "v10", "v11beta2", "foo1", "v1", "v2", "v11alpha2", "v12alpha2"];
        versions.sort_by(|a, b| by_priority(a, b));
        let stock = ["v10", "v2", "v1", "v11beta2", "v3beta1", "v12alpha2", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        assert_eq!(versions, stock);
    }
}
