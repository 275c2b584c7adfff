//! The stock priorities of group versions: where a group stands in discovery, and which version of it is preferred.

/// Group, its priority, and its versions with theirs.
type Row = (&'static str, i64, &'static [(&'static str, i64)]);

const TABLE: &[Row] = &[
    ("", 18_000, &[("v1", 1)]),
    ("apps", 17_800, &[("v1", 15)]),
    ("events.k8s.io", 17_750, &[("v1", 15), ("v1beta1", 5)]),
    ("authentication.k8s.io", 17_700, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("authorization.k8s.io", 17_600, &[("v1", 15)]),
    ("autoscaling", 17_500, &[("v2", 30), ("v1", 15)]),
    ("batch", 17_400, &[("v1", 15), ("v1beta1", 9)]),
    ("certificates.k8s.io", 17_300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17_200, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("policy", 17_100, &[("v1", 15), ("v1beta1", 9)]),
    ("lifecycle.k8s.io", 17_050, &[("v1alpha1", 1)]),
    ("rbac.authorization.k8s.io", 17_000, &[("v1", 15)]),
    ("storage.k8s.io", 16_800, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("admissionregistration.k8s.io", 16_700, &[("v1", 15), ("v1beta1", 12), ("v1alpha1", 9)]),
    ("apiextensions.k8s.io", 16_700, &[("v1", 15)]),
    ("scheduling.k8s.io", 16_600, &[("v1", 15), ("v1beta1", 12), ("v1alpha3", 9), ("v1alpha1", 1)]),
    ("coordination.k8s.io", 16_500, &[("v1", 15), ("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16_300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("discovery.k8s.io", 16_200, &[("v1", 15), ("v1beta1", 12)]),
    ("resource.k8s.io", 16_200, &[("v1", 21), ("v1beta2", 15), ("v1beta1", 9), ("v1alpha3", 1)]),
    ("flowcontrol.apiserver.k8s.io", 16_100, &[("v1", 21), ("v1beta3", 18), ("v1beta2", 15), ("v1beta1", 12)]),
    ("internal.apiserver.k8s.io", 16_000, &[("v1alpha1", 9)]),
    ("storagemigration.k8s.io", 15_800, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
];

/// The group that aggregation itself is in: it has no APIService, and stands before all others.
const OWN: (&str, i64) = ("apiregistration.k8s.io", 20_000);
/// Groups of custom resources, and all their versions.
pub(super) const CUSTOM: (i64, i64) = (1000, 100);

/// The priority of a group that is part of the program, and of one of its versions.
pub(super) fn of(group: &str, version: &str) -> Option<(i64, i64)> {
    let (_, priority, versions) = TABLE.iter().find(|row| row.0 == group)?;
    versions.iter().find(|v| v.0 == version).map(|v| (*priority, v.1))
}

/// Whether a group is the one that aggregation itself is in.
pub(super) fn is_own(group: &str) -> bool {
    group == OWN.0
}

/// Where a group of the catalog stands.
pub(super) fn of_group(group: &str) -> i64 {
    match TABLE.iter().find(|row| row.0 == group) {
        Some(row) => row.1,
        None if group == OWN.0 => OWN.1,
        None => CUSTOM.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_version_has_a_priority_and_groups_stand_in_its_order() {
        let mut last = i64::MAX;
        for kind in ironclad_kinds::all() {
            if kind.group != OWN.0 {
                assert!(of(&kind.group, &kind.version).is_some(), "{}/{}", kind.group, kind.version);
            }
            let priority = if kind.group.is_empty() { i64::MAX } else { of_group(&kind.group) };
            assert!(priority <= last, "{} stands behind {last}", kind.group);
            last = priority;
        }
    }
}
