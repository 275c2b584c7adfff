use super::*;
use crate::{Served, Verb};
use std::collections::HashSet;

/// Kinds that are not resources: options, lists of versions, messages, and bodies of subresources and webhooks.
const NOT_RESOURCES: &[&str] = &[
    "APIGroup",
    "APIGroupDiscovery",
    "APIVersions",
    "AdmissionReview",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ImageReview",
    "ListOptions",
    "NodeProxyOptions",
    "PatchOptions",
    "PodAttachOptions",
    "PodExecOptions",
    "PodLogOptions",
    "PodPortForwardOptions",
    "PodProxyOptions",
    "RangeAllocation",
    "Scale",
    "SerializedReference",
    "ServiceProxyOptions",
    "Status",
    "TokenRequest",
    "UpdateOptions",
    "WatchEvent",
];

/// Versions that older releases served and v1.37 does not.
const RETIRED: &[(&str, &str)] = &[
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("extensions", "v1beta1"),
    ("batch", "v1beta1"),
    ("authentication.k8s.io", "v1beta1"),
    ("authorization.k8s.io", "v1beta1"),
    ("discovery.k8s.io", "v1beta1"),
    ("events.k8s.io", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3"),
    ("networking.k8s.io", "v1beta1"),
    ("node.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1beta1"),
    ("policy", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1alpha1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1alpha1"),
    ("storage.k8s.io", "v1beta1"),
    ("certificates.k8s.io", "v1alpha1"),
];

/// Kinds that left a version which still serves others.
const RETIRED_KINDS: &[(&str, &str)] = &[
    ("v1alpha1", "ValidatingAdmissionPolicy"),
    ("v1alpha1", "ValidatingAdmissionPolicyBinding"),
    ("v1beta1", "MutatingWebhookConfiguration"),
    ("v1beta1", "ValidatingWebhookConfiguration"),
    ("v1beta1", "ValidatingAdmissionPolicy"),
    ("v1beta1", "ValidatingAdmissionPolicyBinding"),
    ("v1beta1", "CertificateSigningRequest"),
    ("v1beta1", "Lease"),
    ("v1beta1", "PriorityClass"),
    ("v1", "Eviction"),
];

/// The kinds of the upstream library at v1.37, as `group.version.Kind` with `core` for the core group.
const UPSTREAM: &str = include_str!("upstream-kinds.txt");

#[test]
fn every_upstream_kind_that_is_served_has_a_row() {
    let mut missing = Vec::new();
    for line in UPSTREAM.lines().filter(|l| !l.is_empty()) {
        let (rest, kind) = line.rsplit_once('.').unwrap();
        let (group, version) = rest.rsplit_once('.').unwrap();
        let group = if group == "core" { "" } else { group };
        let retired = RETIRED.contains(&(group, version)) || RETIRED_KINDS.contains(&(version, kind));
        if !retired && !NOT_RESOURCES.contains(&kind) && by_kind(group, version, kind).is_none() {
            missing.push(line);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn rows_are_unique_and_agree_with_the_group_list() {
    let mut seen = HashSet::new();
    for kind in all() {
        assert!(seen.insert(kind.gvk()), "{kind:?} twice");
        let versions = groups().iter().find(|(g, _)| *g == kind.group).unwrap().1;
        assert!(versions.contains(&&*kind.version), "{kind:?}");
        if kind.allows(Verb::List) {
            let stored = storage_row(kind).unwrap_or_else(|| panic!("{kind:?} has no storage row"));
            assert_eq!(stored.prefix, kind.prefix);
        }
    }
    for (group, versions) in groups() {
        for version in *versions {
            assert!(all().iter().any(|k| k.group == *group && k.version == *version), "{group}/{version}");
        }
    }
}

#[test]
fn prefixes_are_those_of_stock_etcd() {
    let table = [
        ("", "v1", "pods", "/registry/pods/"),
        ("", "v1", "nodes", "/registry/minions/"),
        ("", "v1", "services", "/registry/services/specs/"),
        ("", "v1", "endpoints", "/registry/services/endpoints/"),
        ("", "v1", "replicationcontrollers", "/registry/controllers/"),
        ("networking.k8s.io", "v1", "ingresses", "/registry/ingress/"),
        ("apps", "v1", "deployments", "/registry/deployments/"),
        ("events.k8s.io", "v1", "events", "/registry/events/"),
    ];
    for (group, version, plural, prefix) in table {
        assert_eq!(by_resource(group, version, plural).unwrap().prefix, prefix, "{plural}");
    }
}

#[test]
fn alpha_and_beta_are_served_on_request_only() {
    assert_eq!(by_kind("", "v1", "Pod").unwrap().served, Served::Default);
    assert_eq!(by_kind("scheduling.k8s.io", "v1alpha3", "Workload").unwrap().served, Served::OptIn);
}
