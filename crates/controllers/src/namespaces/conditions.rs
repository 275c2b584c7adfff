//! What the conditions of a namespace say of its deletion. Pure; the wording is that of the stock controller.

use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// What was found while a namespace was emptied.
#[derive(Default)]
pub(super) struct Findings {
    /// Why the kinds could not be discovered.
    pub(super) discovery: Option<String>,
    /// What could not be deleted.
    pub(super) failures: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Findings {
    /// Notes the objects of a kind that are still there.
    pub(super) fn note<'a>(&mut self, kind: &str, left: impl Iterator<Item = &'a ObjectMeta>) {
        for meta in left {
            *self.remaining.entry(kind.to_owned()).or_default() += 1;
            for finalizer in meta.finalizers.iter().flatten() {
                *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
    }

    /// Whether nothing is left and nothing went wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.discovery.is_none() && self.failures.is_empty() && self.remaining.is_empty()
    }

    /// Each condition: its type, whether it holds, reason and message.
    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let list = |of: &BTreeMap<String, usize>, text: fn(&str, usize) -> String| {
            of.iter().map(|(k, n)| text(k, *n)).collect::<Vec<_>>().join(", ")
        };
        let state = |kind, bad: Option<String>, wrong, right, fine: &str| match bad {
            Some(message) => (kind, true, wrong, message),
            None => (kind, false, right, fine.to_owned()),
        };
        let discovery = self.discovery.as_ref().map(|e| format!("Discovery failed for some groups, 1 failing: {e}"));
        let failures = (!self.failures.is_empty()).then(|| {
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                self.failures.len(),
                self.failures.join(", ")
            )
        });
        let remaining = (!self.remaining.is_empty()).then(|| {
            let items = list(&self.remaining, |k, n| format!("{k} has {n} resource instances"));
            format!("Some resources are remaining: {items}")
        });
        let finalizers = (!self.finalizers.is_empty()).then(|| {
            let items = list(&self.finalizers, |k, n| format!("{k} in {n} resource instances"));
            format!("Some content in the namespace has finalizers remaining: {items}")
        });
        [
            state(
                "NamespaceDeletionDiscoveryFailure",
                discovery,
                "DiscoveryFailed",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            state(
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                "GroupVersionParsingFailed",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            state(
                "NamespaceDeletionContentFailure",
                failures,
                "ContentDeletionFailed",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            state(
                "NamespaceContentRemaining",
                remaining,
                "SomeResourcesRemain",
                "ContentRemoved",
                "All content successfully removed",
            ),
            state(
                "NamespaceFinalizersRemaining",
                finalizers,
                "SomeFinalizersRemain",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ]
    }
}

/// The conditions after a round; a time changes only with the status.
pub(super) fn update(before: &[NamespaceCondition], findings: &Findings, now: Timestamp) -> Vec<NamespaceCondition> {
    let mut after = before.to_vec();
    for (kind, holds, reason, message) in findings.conditions() {
        let status = if holds { "True" } else { "False" };
        let known = after.iter_mut().find(|c| c.type_ == kind);
        let since = known.as_ref().filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
        let fresh = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since.or(Some(Time(now))),
        };
        match known {
            Some(condition) => *condition = fresh,
            None => after.push(fresh),
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_counted_and_named() {
        let mut findings = Findings::default();
        let held = ObjectMeta { finalizers: Some(vec!["a.b/c".into()]), ..ObjectMeta::default() };
        findings.note("pods", [&ObjectMeta::default(), &held].into_iter());
        findings.note("deployments.apps", [&held].into_iter());
        let now = Timestamp::from_second(1).unwrap();
        let first = update(&[], &findings, now);
        let message = |kind: &str| first.iter().find(|c| c.type_ == kind).unwrap().message.clone().unwrap();
        assert_eq!(
            message("NamespaceContentRemaining"),
            "Some resources are remaining: deployments.apps has 1 resource instances, pods has 2 resource instances"
        );
        assert_eq!(
            message("NamespaceFinalizersRemaining"),
            "Some content in the namespace has finalizers remaining: a.b/c in 2 resource instances"
        );
        assert_eq!(update(&first, &findings, Timestamp::from_second(9).unwrap()), first);
        assert!(!findings.is_empty() && Findings::default().is_empty());
    }
}
