//! What a write does to the fields of all managers.

use super::compare::{Change, compare};
use super::conflict::Conflicts;
use super::managers::{Managed, Manager};
use super::place::Place;
use super::set::Set;
use super::{Schema, fields, merge};
use crate::bundle::{Bundle, Shape};
use ironclad_json::Value;
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
        let ignored = self.schema.versions.ignored(version);
        let change =
            compare(Place::root(bundle, &shape), &old, &new).without(ignored.as_ref().unwrap_or(&self.schema.ignored));
        Some((change.touched(), change))
    }
}

/// An object in one version, with how it is told apart there.
struct At<'a> {
    object: Value,
    bundle: &'a Bundle,
    shape: Shape,
}

impl At<'_> {
    fn root(&self) -> Place<'_> {
        Place::root(self.bundle, &self.shape)
    }

    /// The fields that are set, with all that they stand in.
    fn fields(&self) -> Set {
        merge::with_fields(self.root(), &fields::field_set(self.root(), &self.object))
    }

    fn without(&self, set: &Set) -> Value {
        merge::remove(self.root(), &self.object, set)
    }
}

/// `merged` without what its applier owned before and now nobody owns any more. What it owned is known in the version in
/// which it applied then, and so with all others.
pub(super) fn without_dropped(
    schema: &Schema<'_>,
    merged: Value,
    before: &Manager,
    last: &Set,
    managed: &Managed,
    now: &Manager,
) -> Value {
    let at = |object: &Value, version: &str| {
        let sent = object["apiVersion"].as_str();
        if version == now.api_version && sent.is_none_or(|s| s == version) {
            return Some(At { object: object.clone(), bundle: schema.bundle, shape: schema.shape.clone() });
        }
        let (object, bundle, shape) = schema.versions.convert(object, version)?;
        Some(At { object, bundle, shape })
    };
    let Some(whole) = at(&merged, &before.api_version) else { return merged };
    let last = merge::with_fields(whole.root(), last);
    let mut pruned = whole.without(&last);
    let mut versions = vec![before.api_version.as_str()];
    versions.extend(managed.entries.iter().map(|(m, _)| m.api_version.as_str()));
    versions.dedup();
    for version in versions {
        // What somebody owns comes back. A version that is no longer served has no owners.
        let (Some(all), Some(left)) = (at(&merged, version), at(&pruned, version)) else { continue };
        let mine = managed.entries.iter().filter(|(m, _)| m.api_version == version);
        let owned = mine.fold(Set::default(), |all, (_, set)| all.union(set));
        let kept = left.fields().union(&merge::with_fields(all.root(), &owned));
        pruned = all.without(&all.fields().minus(&kept));
    }
    let Some(left) = at(&pruned, &before.api_version) else { return merged };
    let gone = whole.fields().minus(&left.fields()).intersection(&last);
    let result = whole.without(&gone);
    if before.api_version == now.api_version {
        return result;
    }
    schema.versions.convert(&result, &now.api_version).map_or(merged, |(back, ..)| back)
}
