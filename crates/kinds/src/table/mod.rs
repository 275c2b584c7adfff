//! The table of built-in kinds: one row for every kind of v1.37 that the API server serves, in every version.
//!
//! Rows of one group stand together, in the order in which discovery lists them; versions of a resource that share a
//! prefix are one set of stored objects.

mod apps;
mod build;
mod core;
mod extension;
mod network;
mod node;
mod security;

use crate::Kind;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

struct Table {
    rows: Vec<Arc<Kind>>,
    by_kind: HashMap<(String, String, String), usize>,
    by_resource: HashMap<(String, String, String), usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let parts = [core::rows(), apps::rows(), security::rows(), network::rows(), node::rows(), extension::rows()];
    let rows: Vec<Arc<Kind>> = parts.into_iter().flatten().map(Arc::new).collect();
    let key = |k: &Kind, last: &str| (k.group.to_string(), k.version.to_string(), last.to_owned());
    let by_kind = rows.iter().enumerate().map(|(i, k)| (key(k, &k.kind), i)).collect();
    let by_resource = rows.iter().enumerate().map(|(i, k)| (key(k, &k.plural), i)).collect();
    Table { rows, by_kind, by_resource }
});

/// Groups in the order in which `/apis` lists them, each with its versions, the preferred one first.
const GROUPS: &[(&str, &[&str])] = &[
    ("", &["v1"]),
    ("apiregistration.k8s.io", &["v1"]),
    ("apps", &["v1"]),
    ("events.k8s.io", &["v1"]),
    ("authentication.k8s.io", &["v1"]),
    ("authorization.k8s.io", &["v1"]),
    ("autoscaling", &["v2", "v1"]),
    ("batch", &["v1"]),
    ("certificates.k8s.io", &["v1", "v1beta1"]),
    ("networking.k8s.io", &["v1"]),
    ("policy", &["v1"]),
    ("rbac.authorization.k8s.io", &["v1"]),
    ("storage.k8s.io", &["v1"]),
    ("admissionregistration.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("apiextensions.k8s.io", &["v1"]),
    ("scheduling.k8s.io", &["v1", "v1beta1", "v1alpha3"]),
    ("coordination.k8s.io", &["v1", "v1beta1", "v1alpha2"]),
    ("node.k8s.io", &["v1"]),
    ("discovery.k8s.io", &["v1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1"]),
    ("resource.k8s.io", &["v1", "v1beta2", "v1beta1", "v1alpha3"]),
    ("storagemigration.k8s.io", &["v1", "v1beta1"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("lifecycle.k8s.io", &["v1alpha1"]),
];

/// Every row.
pub fn all() -> &'static [Arc<Kind>] {
    &TABLE.rows
}

/// The row of a kind in a version.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Arc<Kind>> {
    let key = (group.to_owned(), version.to_owned(), kind.to_owned());
    TABLE.by_kind.get(&key).map(|i| &TABLE.rows[*i])
}

/// The row of a resource in a version.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Kind>> {
    let key = (group.to_owned(), version.to_owned(), plural.to_owned());
    TABLE.by_resource.get(&key).map(|i| &TABLE.rows[*i])
}

/// Groups with their versions, in the order of discovery; the first version of a group is the preferred one. The core
/// group, which discovery lists apart, comes first with an empty name.
pub fn groups() -> &'static [(&'static str, &'static [&'static str])] {
    GROUPS
}

/// The row in whose version objects of `kind` are stored; `kind` itself for most.
pub fn storage_row(kind: &Kind) -> Option<&'static Arc<Kind>> {
    by_resource(&kind.storage_group, &kind.storage_version, &kind.plural)
}

/// `object` in the version of `to`: the form is changed where the versions differ, and `apiVersion` is set.
pub fn convert(mut object: Value, to: &Kind) -> Value {
    let target = to.api_version();
    if object.get("apiVersion").and_then(Value::as_str) == Some(&target) {
        return object;
    }
    object = to.strategy.convert(object, &to.version);
    object["apiVersion"] = Value::String(target);
    object
}

#[cfg(test)]
mod tests;
