//! What a write does to the fields of all managers.

use super::compare::{Change, compare};
use super::conflict::Conflicts;
use super::managers::{Managed, Manager};
use super::place::Place;
use super::set::Set;
use super::{Schema, fields, merge};
use serde_json::Value;
use std::collections::BTreeMap;

/// An object before and after a write in one version.
pub(super) struct Update<'a> {
    pub(super) schema: &'a Schema<'a>,
    pub(super) old: &'a Value,
    pub(super) new: &'a Value,
    pub(super) version: &'a str,
}

impl Update<'_> {
    /// Takes from everybody but the applier what the write changed or took away. Without `force` fields that others own
    /// may not change.
    pub(super) fn settle(
        &self,
        managed: &mut Managed,
        applier: Option<&Manager>,
        force: bool,
    ) -> Result<Change, Conflicts> {
        let own = compare(self.schema.root(), self.old, self.new).without(&self.schema.ignored);
        let own = (own.touched(), own);
        let mut others: BTreeMap<String, Option<(Set, Change)>> = BTreeMap::new();
        let mut conflicts = Vec::new();
        let mut kept = Vec::with_capacity(managed.entries.len());
        for (manager, set) in managed.entries.drain(..) {
            if applier.is_some_and(|a| manager.same(a)) {
                kept.push((manager, set));
                continue;
            }
            let change = if manager.api_version == self.version {
                Some(&own)
            } else {
                let there = others.entry(manager.api_version.clone());
                there.or_insert_with(|| self.in_version(&manager.api_version)).as_ref()
            };
            // A version that is no longer served has no fields.
            let Some((touched, change)) = change else { continue };
            if !set.meets(touched) && !set.meets(&change.removed) {
                kept.push((manager, set));
                continue;
            }
            let lost = set.intersection(touched);
            if !lost.is_empty() {
                conflicts.push((manager.clone(), lost.clone()));
            }
            kept.push((manager, set.minus(&lost).minus(&change.removed)));
        }
        managed.entries = kept;
        managed.prune();
        if !force && !conflicts.is_empty() { Err(conflicts) } else { Ok(own.1) }
    }

    fn in_version(&self, version: &str) -> Option<(Set, Change)> {
        let (old, bundle, shape) = self.schema.versions.convert(self.old, version)?;
        let (new, ..) = self.schema.versions.convert(self.new, version)?;
        let change = compare(Place::root(bundle, &shape), &old, &new).without(&self.schema.ignored);
        Some((change.touched(), change))
    }
}

/// `merged` without what its applier owned before and now nobody owns any more. What it owned is known in the version in
/// which it applied then.
pub(super) fn without_dropped(
    schema: &Schema<'_>,
    merged: Value,
    before: &Manager,
    last: &Set,
    managed: &Managed,
    now: &Manager,
) -> Value {
    if before.api_version == now.api_version {
        return dropped(schema.root(), &merged, last, managed);
    }
    let Some((there, bundle, shape)) = schema.versions.convert(&merged, &before.api_version) else { return merged };
    let pruned = dropped(Place::root(bundle, &shape), &there, last, managed);
    schema.versions.convert(&pruned, &now.api_version).map_or(merged, |(back, ..)| back)
}

fn dropped(root: Place<'_>, merged: &Value, last: &Set, managed: &Managed) -> Value {
    let set = |value: &Value| merge::with_fields(root, &fields::field_set(root, value));
    let last = merge::with_fields(root, last);
    let pruned = merge::remove(root, merged, &last);
    let owned = managed.entries.iter().fold(Set::default(), |all, (_, set)| all.union(set));
    let kept = set(&pruned).union(&merge::with_fields(root, &owned));
    let all = set(merged);
    let pruned = merge::remove(root, merged, &all.minus(&kept));
    let gone = all.minus(&set(&pruned)).intersection(&last);
    merge::remove(root, merged, &gone)
}
