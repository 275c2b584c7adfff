//! What holds for every row.

use super::cluster::{COORD, SCHED};
use super::network::NET;
use super::storage::STORAGE;
use super::*;
use ironclad_json::json;
use std::collections::BTreeSet;

#[test]
fn rows_have_a_cell_for_every_column_and_defaults_that_hold() {
    let objects = [json!({}), json!({"metadata": {"name": "x"}, "spec": {}, "status": {}})];
    for kind in all() {
        for object in &objects {
            let cells = kind.strategy.cells(object).len();
            let more = usize::from(&*kind.kind == "IPAddress");
            assert_eq!(cells, kind.strategy.columns().len() + more, "{kind:?}");
        }
        let mut once = objects[1].clone();
        kind.strategy.default(&mut once);
        let mut twice = once.clone();
        kind.strategy.default(&mut twice);
        assert_eq!(once, twice, "{kind:?}");
        kind.strategy.validate(&once);
        kind.strategy.validate_update(&once, &twice);
    }
}

#[test]
fn each_row_is_a_type_of_the_api_and_stands_once() {
    let mut seen = BTreeSet::new();
    for kind in all() {
        assert!(seen.insert(kind.gvr()), "{kind:?}");
        assert!(ironclad_schema::bundle().kind(&kind.gvk()).is_some(), "{kind:?}");
        assert!(
            kind.storage_version == kind.version
                || all().iter().any(|k| k.kind == kind.kind && k.version == kind.storage_version)
        );
    }
}

#[test]
fn every_generally_available_type_has_a_row() {
    let not_resources =
        ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status", "TokenRequest", "Scale", "Eviction"];
    for (_, ty) in ironclad_schema::bundle().types() {
        let Some(gvk) = &ty.gvk else { continue };
        if gvk.version.contains("alpha") || gvk.version.contains("beta") || not_resources.contains(&gvk.kind.as_str()) {
            continue;
        }
        assert!(all().iter().any(|k| k.gvk() == *gvk), "{gvk}");
    }
}

fn first_error(group: &str, kind: &str, object: &ironclad_json::Value) -> String {
    let row = all().iter().find(|k| k.group == group && k.kind == kind).unwrap();
    let mut object = object.clone();
    row.strategy.default(&mut object);
    row.strategy.prepare_create(&mut object);
    row.strategy.validate(&object).first().map_or_else(String::new, ToString::to_string)
}

#[test]
fn mistakes_have_the_stock_wording() {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let table = [
        (NET, "Ingress", json!({"spec": {"defaultBackend": backend}}), ""),
        (
            NET,
            "Ingress",
            json!({"spec": {"rules": [{"http": {"paths": [{"path": "a", "pathType": "Prefix", "backend": backend}]}}]}}),
            "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path",
        ),
        (NET, "IngressClass", json!({"spec": {}}), "spec.controller: Required value"),
        (NET, "NetworkPolicy", json!({"spec": {"podSelector": {}}}), ""),
        (
            NET,
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}, "ingress": [{"from": [{}]}]}}),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            "policy",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": "101%"}}),
            "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%",
        ),
        (
            SCHED,
            "PriorityClass",
            json!({"metadata": {"name": "p"}, "value": 1_000_000_001}),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            COORD,
            "Lease",
            json!({"spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (STORAGE, "StorageClass", json!({}), "provisioner: Required value"),
        ("node.k8s.io", "RuntimeClass", json!({"handler": "runc"}), ""),
        ("batch", "Job", json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": template}}), ""),
        (
            "batch",
            "Job",
            json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"parallelism": -1, "template": template}}),
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "batch",
            "CronJob",
            json!({"spec": {"schedule": "* *", "jobTemplate": {"spec": {"template": template}}}}),
            "spec.schedule: Invalid value: \"* *\": expected exactly 5 fields, found 2: [* *]",
        ),
    ];
    for (group, kind, object, expected) in table {
        assert_eq!(first_error(group, kind, &object), expected, "{kind} {object}");
    }
}

/// Where stock generates a rule, what that rule says takes the place of what was written by hand.
#[test]
fn generated_rules_have_words_of_their_own() {
    let slice = |kind: &str, addresses: ironclad_json::Value| json!({"addressType": kind, "endpoints": [{"addresses": addresses}]});
    let required = [
        (
            "rbac.authorization.k8s.io",
            "ClusterRole",
            json!({"rules": [{"nonResourceURLs": ["/a"]}]}),
            "rules[0].verbs: Required value",
        ),
        ("discovery.k8s.io", "EndpointSlice", slice("IPv4", json!([])), "endpoints[0].addresses: Required value"),
        ("autoscaling", "HorizontalPodAutoscaler", json!({"spec": {}}), "spec.maxReplicas: Required value"),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": -1}}),
            "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
        ),
    ];
    for (group, kind, object, expected) in required {
        assert_eq!(first_error(group, kind, &object), expected, "{kind} {object}");
    }
    let fixed = [
        (STORAGE, "VolumeAttachment", json!({"spec": {"attacher": "a"}}), json!({"spec": {"attacher": "b"}}), "spec"),
        ("node.k8s.io", "RuntimeClass", json!({"handler": "a"}), json!({"handler": "b"}), "handler"),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            slice("IPv4", json!(["10.0.0.1"])),
            json!({"addressType": "FQDN"}),
            "addressType",
        ),
    ];
    for (group, kind, new, old, at) in fixed {
        let row = all().iter().find(|k| k.group == group && k.kind == kind).unwrap();
        let found: Vec<String> = row.strategy.validate_update(&new, &old).iter().map(ToString::to_string).collect();
        let want = format!("{at}: Invalid value: null: field is immutable");
        assert!(found.contains(&want), "{kind} {found:?}");
    }
}

#[test]
fn a_put_creates_only_what_stock_lets_it() {
    let plurals: BTreeSet<&str> = all().iter().filter(|k| k.create_on_update).map(|k| &*k.plural).collect();
    let mut stock = ["endpoints", "events", "leases", "limitranges", "runtimeclasses", "services"].to_vec();
    stock.extend(["clusterrolebindings", "clusterroles", "rolebindings", "roles"]);
    assert_eq!(plurals, stock.into_iter().collect());
}
