//! Which built-in versions are served: what v1.37 serves by itself, what `--runtime-config` says, and feature gates.
//!
//! Pure. Invariant: a version in which objects of a served kind are stored is always known, though it may not be
//! served.

use ironclad_api::features::{FeatureGates, go_bool};
use ironclad_kinds::{Kind, Served};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was asked for with `--runtime-config`, in stock's form: `api/all`, `api/beta`, `group/version` and
/// `group/version/resource`, each with a truth value.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig(BTreeMap<String, String>);

/// Whole sorts of versions, in the order in which they are applied.
const SORTS: [(&str, fn(&str) -> bool); 4] = [
    ("api/all", |_| true),
    ("api/ga", |v| v.starts_with('v') && v[1..].bytes().all(|b| b.is_ascii_digit())),
    ("api/beta", |v| is_sort(v, "beta")),
    ("api/alpha", |v| is_sort(v, "alpha")),
];

fn is_sort(version: &str, word: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let parts = version.strip_prefix('v').and_then(|v| v.split_once(word));
    parts.is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// A version of a group.
type GroupVersion = (String, String);

/// What is on, by versions and by resources that are told apart from their version.
struct Enabled {
    versions: BTreeMap<GroupVersion, bool>,
    resources: BTreeMap<(GroupVersion, String), bool>,
}

impl RuntimeConfig {
    /// Reads pairs as they stand on the command line, `a=b,c`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        Self(pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// The built-in kinds that are served, and those in whose versions their objects are stored; an error in stock's
    /// words when something cannot be meant.
    pub fn select(&self, kinds: &[Arc<Kind>], gates: &FeatureGates) -> Result<Vec<Arc<Kind>>, String> {
        self.check(kinds)?;
        let enabled = self.apply(kinds)?;
        let is_served = |k: &Kind| {
            let version = (k.group.to_string(), k.version.to_string());
            let gated = k.gate.is_empty() || gates.enabled(k.gate);
            let resource = enabled.resources.get(&(version.clone(), k.plural.to_string()));
            gated && resource.or(enabled.versions.get(&version)).copied().unwrap_or(false)
        };
        let served: BTreeSet<(&str, &str)> =
            kinds.iter().filter(|k| is_served(k)).map(|k| (&*k.group, &*k.plural)).collect();
        let mut out = Vec::new();
        for kind in kinds {
            if is_served(kind) {
                out.push(kind.clone());
            } else if kind.version == kind.storage_version && served.contains(&(&*kind.group, &*kind.plural)) {
                out.push(Arc::new(Kind { served: Served::Stored, ..(**kind).clone() }));
            }
        }
        Ok(out)
    }

    /// Refuses what has no meaning whatever is known.
    fn check(&self, kinds: &[Arc<Kind>]) -> Result<(), String> {
        if self.0.len() == 1 && self.0.get("api/all").is_some_and(|v| v == "false") {
            return Err("invalid runtime-config with only api/all=false".to_owned());
        }
        let mut unknown = BTreeSet::new();
        for key in self.0.keys().filter(|k| !SORTS.iter().any(|s| s.0 == k.as_str())) {
            let parts: Vec<&str> = key.split('/').collect();
            let (2 | 3, [group, version, ..]) = (parts.len(), &parts[..]) else {
                return Err(format!("runtime-config invalid key {key}"));
            };
            if !kinds.iter().any(|k| k.group == *group) {
                unknown.insert(format!("{group}/{version}"));
            }
        }
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(format!("unknown api groups {}", Vec::from_iter(unknown).join(","))),
        }
    }

    fn apply(&self, kinds: &[Arc<Kind>]) -> Result<Enabled, String> {
        let version = |k: &Kind| (k.group.to_string(), k.version.to_string());
        let by_default = |k: &&Arc<Kind>| k.served == Served::Default;
        let mut versions: BTreeMap<GroupVersion, bool> = kinds.iter().map(|k| (version(k), false)).collect();
        versions.extend(kinds.iter().filter(by_default).map(|k| (version(k), true)));
        for (key, fits) in SORTS {
            let on = match self.0.get(key).map(String::as_str) {
                None => continue,
                Some("true") => true,
                Some("false") => false,
                Some(other) => return Err(format!("invalid value {key}={other}")),
            };
            versions.iter_mut().filter(|((_, version), _)| fits(version)).for_each(|(_, value)| *value = on);
        }
        let mut enabled = Enabled { versions, resources: BTreeMap::new() };
        for (key, value) in self.0.iter().filter(|(k, _)| !SORTS.iter().any(|s| s.0 == k.as_str())) {
            enabled.one(key, value)?;
        }
        Ok(enabled)
    }
}

impl Enabled {
    /// Switches a version, or one resource of it.
    fn one(&mut self, key: &str, value: &str) -> Result<(), String> {
        let mut parts = key.split('/').map(str::to_owned);
        let version = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Some(whole) = self.versions.get_mut(&version) else {
            return Err(format!("group version {}/{} that has not been registered", version.0, version.1));
        };
        let wrong = || {
            let why = format!("strconv.ParseBool: parsing {value:?}: invalid syntax");
            format!("invalid value of {key}: {value}, err: {why}")
        };
        let on = if value.is_empty() { true } else { go_bool(value).ok_or_else(wrong)? };
        match parts.next() {
            None => *whole = on,
            Some(resource) if resource.to_lowercase() != resource => {
                let why = "group/version/resource and resource is always lowercase plural, not";
                return Err(format!("invalid key {key}: {why} {resource:?}"));
            }
            Some(resource) => drop(self.resources.insert((version, resource), on)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(config: &str, gates: &str) -> Result<BTreeSet<String>, String> {
        let gates = FeatureGates::parse(gates).unwrap();
        let kinds = RuntimeConfig::parse(config).select(ironclad_kinds::all(), &gates)?;
        let names = kinds.iter().filter(|k| k.served != Served::Stored);
        Ok(names.map(|k| format!("{}/{}/{}", k.group, k.version, k.plural)).collect())
    }

    #[test]
    fn only_what_is_generally_available_is_served_by_default() {
        let kinds = served("", "").unwrap();
        assert!(kinds.iter().all(|k| !k.contains("/v1beta") && !k.contains("/v1alpha")), "{kinds:?}");
        for kind in ["clustertrustbundles", "podcertificaterequests"] {
            assert!(kinds.contains(&format!("certificates.k8s.io/v1/{kind}")), "{kind}");
        }
        assert!(kinds.contains("storagemigration.k8s.io/v1/storageversionmigrations"));
        assert!(kinds.contains("resource.k8s.io/v1/devicetaintrules"));
    }

    #[test]
    fn versions_and_resources_are_switched_and_gates_have_the_last_word() {
        let table = [
            ("api/beta=true", "", "resource.k8s.io/v1beta1/deviceclasses", true),
            ("api/beta=true", "", "internal.apiserver.k8s.io/v1alpha1/storageversions", false),
            ("api/alpha=true", "", "internal.apiserver.k8s.io/v1alpha1/storageversions", true),
            ("api/all=true", "", "lifecycle.k8s.io/v1alpha1/evictions", false),
            ("api/all=true", "EvictionRequestAPI=true", "lifecycle.k8s.io/v1alpha1/evictions", true),
            ("coordination.k8s.io/v1beta1=true", "", "coordination.k8s.io/v1beta1/leasecandidates", false),
            (
                "coordination.k8s.io/v1beta1=true",
                "CoordinatedLeaderElection=true",
                "coordination.k8s.io/v1beta1/leasecandidates",
                true,
            ),
            ("resource.k8s.io/v1beta1/deviceclasses=true", "", "resource.k8s.io/v1beta1/deviceclasses", true),
            ("resource.k8s.io/v1beta1/deviceclasses", "", "resource.k8s.io/v1beta1/deviceclasses", true),
            ("resource.k8s.io/v1beta1/deviceclasses=true", "", "resource.k8s.io/v1beta1/resourceslices", false),
            (
                "api/beta=true,resource.k8s.io/v1beta1/deviceclasses=false",
                "",
                "resource.k8s.io/v1beta1/deviceclasses",
                false,
            ),
            ("api/beta=true,resource.k8s.io/v1beta1=false", "", "resource.k8s.io/v1beta1/deviceclasses", false),
            ("batch/v1=false", "", "batch/v1/jobs", false),
            ("apps/v1/daemonsets=0", "", "apps/v1/daemonsets", false),
            ("", "ClusterTrustBundle=false", "certificates.k8s.io/v1/clustertrustbundles", false),
        ];
        for (config, gates, kind, expected) in table {
            assert_eq!(served(config, gates).unwrap().contains(kind), expected, "{config} {gates} {kind}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_the_words_of_stock() {
        let table = [
            ("api/all=false", "invalid runtime-config with only api/all=false"),
            ("v1=true", "runtime-config invalid key v1"),
            ("a/b/c/d", "runtime-config invalid key a/b/c/d"),
            ("z.io/v1=true,example.com/v2", "unknown api groups example.com/v2,z.io/v1"),
            ("api/beta=yes", "invalid value api/beta=yes"),
            ("apps/v9=true", "group version apps/v9 that has not been registered"),
            (
                "apps/v1=maybe",
                "invalid value of apps/v1: maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "apps/v1/Deployments=true",
                "invalid key apps/v1/Deployments: group/version/resource and resource is always lowercase plural, not \"Deployments\"",
            ),
        ];
        for (config, expected) in table {
            assert_eq!(served(config, "").unwrap_err(), expected);
        }
    }

    #[test]
    fn a_version_that_objects_are_stored_in_is_known_though_it_is_not_served() {
        let kinds = RuntimeConfig::default().select(ironclad_kinds::all(), &FeatureGates::default()).unwrap();
        let of = |plural: &str| kinds.iter().filter(|k| k.plural == plural).map(|k| (&*k.version, k.served)).collect();
        let found: Vec<(&str, Served)> = of("podcertificaterequests");
        assert_eq!(found, [("v1", Served::Default), ("v1beta1", Served::Stored)]);
    }
}
