//! Feature gates: what of Kubernetes v1.37 can be switched on and off, and what somebody switched.
//!
//! Invariant: every gate of stock is known with its stage and default, and what stock refuses is refused; nobody who
//! switches a gate that changes nothing here is left in the belief that it does ([`FeatureGates::idle`]).

mod others;

use others::OTHERS;
use std::collections::BTreeMap;

/// How far a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off by default.
    Alpha,
    /// Tried by many.
    Beta,
    /// Generally available.
    Stable,
    /// On its way out.
    Deprecated,
}

use Stage::{Alpha, Beta, Deprecated, Stable};

/// The binary form of JSON on the wire.
pub const CBOR: &str = "CBORServingAndStorage";
/// LeaseCandidates, by which components agree on who leads.
pub const COORDINATED_LEADER_ELECTION: &str = "CoordinatedLeaderElection";
/// Groups of groups of pods.
pub const COMPOSITE_POD_GROUP: &str = "CompositePodGroup";
/// Pools of devices that tell their state.
pub const DRA_RESOURCE_POOL_STATUS: &str = "DRAResourcePoolStatus";
/// Rules that taint devices.
pub const DRA_DEVICE_TAINT_RULES: &str = "DRADeviceTaintRules";
/// Evictions that others take part in.
pub const EVICTION_REQUEST_API: &str = "EvictionRequestAPI";
/// Workloads and groups of pods.
pub const GENERIC_WORKLOAD: &str = "GenericWorkload";
/// Bundles of certificates that signers publish.
pub const CLUSTER_TRUST_BUNDLE: &str = "ClusterTrustBundle";
/// Certificates of pods.
pub const POD_CERTIFICATE_REQUEST: &str = "PodCertificateRequest";
/// Migrations of stored objects.
pub const STORAGE_VERSION_MIGRATOR: &str = "StorageVersionMigrator";
/// Webhooks and policies from directories of manifests.
pub const MANIFEST_BASED_ADMISSION: &str = "ManifestBasedAdmissionControlConfig";
/// Policies that change objects.
pub const MUTATING_ADMISSION_POLICY: &str = "MutatingAdmissionPolicy";
/// gzip of answers.
pub const API_RESPONSE_COMPRESSION: &str = "APIResponseCompression";
/// Watches that begin with what is there.
pub const WATCH_LIST: &str = "WatchList";

/// The gates that change something: name, stage, whether it is on by default, whether that is fixed.
const GATES: &[(&str, Stage, bool, bool)] = &[
    (API_RESPONSE_COMPRESSION, Beta, true, false),
    (CBOR, Alpha, false, false),
    (CLUSTER_TRUST_BUNDLE, Stable, true, false),
    (COMPOSITE_POD_GROUP, Alpha, false, false),
    (COORDINATED_LEADER_ELECTION, Beta, false, false),
    (DRA_DEVICE_TAINT_RULES, Stable, true, false),
    (DRA_RESOURCE_POOL_STATUS, Beta, false, false),
    ("DeclarativeValidation", Stable, true, true),
    ("DeclarativeValidationTakeover", Deprecated, false, true),
    ("DynamicResourceAllocation", Stable, true, true),
    (EVICTION_REQUEST_API, Alpha, false, false),
    (GENERIC_WORKLOAD, Beta, false, false),
    (MANIFEST_BASED_ADMISSION, Alpha, false, false),
    (MUTATING_ADMISSION_POLICY, Stable, true, false),
    (POD_CERTIFICATE_REQUEST, Stable, true, false),
    ("SeparateCacheWatchRPC", Deprecated, false, true),
    (STORAGE_VERSION_MIGRATOR, Stable, true, false),
    ("WatchCacheInitializationPostStartHook", Stable, true, true),
    (WATCH_LIST, Beta, true, false),
];
/// Gates that stand for all of a stage.
const STAGES: [(&str, Stage); 2] = [("AllAlpha", Alpha), ("AllBeta", Beta)];

/// Which features are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates {
    set: BTreeMap<&'static str, bool>,
}

type Gate = &'static (&'static str, Stage, bool, bool);

/// Every gate that stock knows.
fn known() -> impl Iterator<Item = Gate> {
    GATES.iter().chain(OTHERS)
}

impl FeatureGates {
    /// Whether a feature is on; one that is not in the list is off.
    pub fn enabled(&self, name: &str) -> bool {
        let known = known().find(|g| g.0 == name);
        self.set.get(name).copied().or(known.map(|g| g.2)).unwrap_or(false)
    }

    /// Reads a list such as `A=true,B=false`, in stock's words where something is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut gates = Self::default();
        let mut given = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("missing bool value for {part}"))?;
            let (name, value) = (name.trim(), value.trim());
            let on = go_bool(value).ok_or_else(|| {
                format!("invalid value {value:?} of {name}: strconv.ParseBool: parsing {value:?}: invalid syntax")
            })?;
            given.insert(name, on);
        }
        // Whole stages first: what is named by itself counts more.
        for (name, stage) in STAGES {
            if let Some(on) = given.remove(name) {
                let of_stage = known().filter(|g| g.1 == stage && !g.3);
                gates.set.extend(of_stage.map(|g| (g.0, on)));
            }
        }
        for (name, on) in given {
            let Some((known, _, default, locked)) = known().find(|g| g.0 == name) else {
                return Err(format!("unrecognized feature gate: {name}"));
            };
            if *locked && on != *default {
                return Err(format!("cannot set feature gate {name} to {on}, feature is locked to {default}"));
            }
            gates.set.insert(known, on);
        }
        Ok(gates)
    }

    /// The gates that were switched and change nothing here, with what they were switched to. Those that a stage was
    /// switched with are not meant.
    pub fn idle(&self) -> Vec<(&'static str, bool)> {
        let stage = |gate: &&(&str, Stage, bool, bool)| {
            let whole = known().filter(|g| g.1 == gate.1 && !g.3);
            whole.into_iter().all(|g| self.set.get(g.0) == self.set.get(gate.0))
        };
        let switched = OTHERS.iter().filter(|g| self.set.get(g.0).is_some_and(|on| *on != g.2));
        switched.filter(|g| !stage(g)).map(|g| (g.0, !g.2)).collect()
    }

    /// Every gate with its stage and whether it is on, in the order of names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Stage, bool)> {
        let mut all: Vec<_> = known().map(|g| (g.0, g.1, self.enabled(g.0))).collect();
        all.sort_unstable_by_key(|g| g.0);
        all.into_iter()
    }
}

/// A truth value as Go reads it.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_stock_reads_them() {
        let gates = FeatureGates::parse("CBORServingAndStorage=true, WatchList=false,").unwrap();
        assert!(gates.enabled(CBOR) && !gates.enabled(WATCH_LIST) && gates.enabled(CLUSTER_TRUST_BUNDLE));
        let gates = FeatureGates::parse("AllBeta=true,WatchList=false,AllAlpha=1").unwrap();
        assert!(gates.enabled(COORDINATED_LEADER_ELECTION) && gates.enabled(CBOR) && !gates.enabled(WATCH_LIST));
        assert!(!FeatureGates::default().enabled(GENERIC_WORKLOAD));
    }

    #[test]
    fn gates_that_change_nothing_are_known_and_told() {
        let gates = FeatureGates::parse("HPAScaleToZero=true,KubeletTracing=true,WatchList=false").unwrap();
        assert_eq!(gates.idle(), [("HPAScaleToZero", true)]);
        assert!(FeatureGates::parse("AllAlpha=true").unwrap().idle().is_empty());
        assert!(gates.all().count() > 200);
        let names: std::collections::HashSet<_> = known().map(|g| g.0).collect();
        assert_eq!(names.len(), known().count(), "no gate stands twice");
    }

    #[test]
    fn what_cannot_be_set_is_refused_in_the_words_of_stock() {
        let table = [
            ("Flying=true", "unrecognized feature gate: Flying"),
            ("WatchList", "missing bool value for WatchList"),
            (
                "WatchList=maybe",
                "invalid value \"maybe\" of WatchList: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "DynamicResourceAllocation=false",
                "cannot set feature gate DynamicResourceAllocation to false, feature is locked to true",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(FeatureGates::parse(text).unwrap_err(), expected);
        }
    }
}
