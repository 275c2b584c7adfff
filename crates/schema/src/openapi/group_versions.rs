//! The kinds that stock registers with every version of every group.

use crate::bundle::Bundle;
use ironclad_json::{Value, json};
use std::collections::BTreeSet;

/// Versions whose objects nobody serves any more, or that have none, but that stock still knows.
const OLD: &[(&str, &[&str])] = &[
    ("admission.k8s.io", &["v1", "v1beta1"]),
    ("admissionregistration.k8s.io", &["v1alpha1", "v1beta1"]),
    ("apiextensions.k8s.io", &["v1beta1"]),
    ("apiregistration.k8s.io", &["v1beta1"]),
    ("apps", &["v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1alpha1", "v1beta1"]),
    ("authorization.k8s.io", &["v1beta1"]),
    ("batch", &["v1beta1"]),
    ("certificates.k8s.io", &["v1alpha1", "v1beta1"]),
    ("coordination.k8s.io", &["v1alpha2", "v1beta1"]),
    ("discovery.k8s.io", &["v1beta1"]),
    ("events.k8s.io", &["v1beta1"]),
    ("extensions", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1beta1", "v1beta2", "v1beta3"]),
    ("imagepolicy.k8s.io", &["v1alpha1"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("networking.k8s.io", &["v1beta1"]),
    ("node.k8s.io", &["v1alpha1", "v1beta1"]),
    ("policy", &["v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1alpha1", "v1beta1"]),
    ("resource.k8s.io", &["v1alpha3", "v1beta1", "v1beta2"]),
    ("scheduling.k8s.io", &["v1beta1"]),
    ("storage.k8s.io", &["v1alpha1", "v1beta1"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
];

/// Every group and version with a kind of each, for a definition that all of them have; `None` for others.
pub(super) fn of(bundle: &Bundle, definition: &str) -> Option<Value> {
    let kind = definition.strip_prefix("io.k8s.apimachinery.pkg.apis.meta.v1.")?;
    if !matches!(kind, "DeleteOptions" | "WatchEvent") {
        return None;
    }
    let mut all: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (_, ty) in bundle.types() {
        if let Some(gvk) = ty.gvk.as_ref().filter(|_| !ty.definition.contains("apimachinery")) {
            all.insert((&gvk.group, &gvk.version));
        }
    }
    for (group, versions) in OLD {
        all.extend(versions.iter().map(|v| (*group, *v)));
    }
    let one = |(group, version): (&str, &str)| json!({"group": group, "kind": kind, "version": version});
    Some(all.into_iter().map(one).collect())
}
