//! Valid and invalid objects, with what stock says of them.

use super::*;
use crate::Strategy;
use crate::rules::Rules;
use ironclad_json::{Value, json};

fn says(rules: &Rules, mut object: Value) -> Vec<String> {
    rules.default(&mut object);
    rules.validate(&object).iter().map(ToString::to_string).collect()
}

fn update(rules: &Rules, mut new: Value, mut old: Value) -> Vec<String> {
    rules.default(&mut new);
    rules.default(&mut old);
    rules.validate_update(&new, &old).iter().map(ToString::to_string).collect()
}

#[test]
fn classes_name_a_provisioner_and_topologies() {
    let term = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a", "a"]}]});
    let table: [(Value, &[&str]); 4] = [
        (json!({"provisioner": "Example.com/x"}), &[]),
        (json!({}), &["provisioner: Required value"]),
        (
            json!({"provisioner": "p", "volumeBindingMode": "Later", "reclaimPolicy": "Recycle"}),
            &[
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            ],
        ),
        (
            json!({"provisioner": "p", "allowedTopologies": [term, {"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]}),
            &[
                "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
                "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
            ],
        ),
    ];
    for (object, expected) in table {
        assert_eq!(says(&CLASS, object), expected);
    }
    let old = json!({"provisioner": "p", "parameters": {"a": "b"}});
    let new = json!({"provisioner": "q", "volumeBindingMode": "WaitForFirstConsumer"});
    let expected = [
        "provisioner: Invalid value: null: field is immutable",
        "parameters: Invalid value: null: field is immutable",
        "volumeBindingMode: Invalid value: null: field is immutable",
    ];
    assert_eq!(update(&CLASS, new, old), expected);
    let missing = ["parameters: Required value: must contain at least one key/value pair"];
    assert_eq!(says(&ATTRIBUTES, json!({"driverName": "d"})), missing);
}

#[test]
fn drivers_keep_what_volumes_rely_on() {
    let driver = |spec: Value| json!({"metadata": {"name": "d"}, "spec": spec});
    let tokens = json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 60}, {"audience": "a"}]});
    let expected = [
        "spec.tokenRequests[0].expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
        "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
    ];
    assert_eq!(says(&DRIVER, driver(tokens)), expected);
    let expected = ["spec.attachedRequired: Invalid value: false: field is immutable"];
    assert_eq!(update(&DRIVER, driver(json!({"attachRequired": false})), driver(json!({}))), expected);
}

#[test]
fn a_driver_on_a_node_may_change_its_count_alone() {
    let node = |id: &str, count: i64| json!({"spec": {"drivers": [{"name": "d", "nodeID": id, "allocatable": {"count": count}}]}});
    assert!(update(&NODE, node("n", 2), node("n", 1)).is_empty());
    assert_eq!(update(&NODE, node("m", 1), node("n", 1)).len(), 1);
    assert_eq!(says(&NODE, node("", 1)), ["spec.drivers[0].nodeID: Required value"]);
}

#[test]
fn an_attachment_is_of_one_volume_and_stays() {
    let attachment = |source: Value| json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": source}});
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    assert_eq!(says(&ATTACHMENT, attachment(json!({}))), [format!("spec.source: Required value: {one}")]);
    assert!(says(&ATTACHMENT, attachment(json!({"persistentVolumeName": "v"}))).is_empty());
    let inline = says(&ATTACHMENT, attachment(json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"]}})));
    let at = "spec.source.inlineVolumeSpec.csi";
    assert_eq!(inline, [format!("{at}: Required value: has to be specified in the context of inline volumes")]);
    let (new, old) = (json!({"persistentVolumeName": "v"}), json!({"persistentVolumeName": "w"}));
    assert!(update(&ATTACHMENT, attachment(new), attachment(old))[0].ends_with("field is immutable"));
}

#[test]
fn a_capacity_belongs_to_a_class() {
    let capacity = json!({"storageClassName": "c", "capacity": "1024Mi"});
    let mut shown = capacity.clone();
    CAPACITY.default(&mut shown);
    assert_eq!(shown["capacity"], "1Gi");
    let other = json!({"storageClassName": "d", "capacity": "1Gi"});
    assert_eq!(update(&CAPACITY, other, capacity), ["storageClassName: Invalid value: \"d\": field is immutable"]);
}

#[test]
fn a_driver_keeps_no_pods_away_unless_it_says_so() {
    let mut driver = json!({"metadata": {"name": "d.x"}, "spec": {}});
    super::driver::DRIVER.default(&mut driver);
    assert_eq!(driver["spec"]["preventPodSchedulingIfMissing"], false);
    assert!(super::driver::DRIVER.validate(&driver).is_empty());
    driver["spec"]["serviceAccountTokenInSecrets"] = json!(true);
    assert_eq!(super::driver::DRIVER.validate(&driver).len(), 1);
}

#[test]
fn what_is_empty_is_told_as_stock_tells_it() {
    let class = |more: Value| {
        let mut class = json!({"provisioner": "p"});
        class.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        says(&class::CLASS, class)
    };
    let twice = |i: usize| format!("allowedTopologies[{i}].matchLabelExpressions: Duplicate value: \"\"");
    let table = [
        (json!({"reclaimPolicy": ""}), vec![]),
        (
            json!({"volumeBindingMode": ""}),
            vec![
                "volumeBindingMode: Unsupported value: \"\": supported values: \"Immediate\", \"WaitForFirstConsumer\""
                    .to_owned(),
            ],
        ),
        (json!({"allowedTopologies": [{}]}), vec![twice(0)]),
        (
            json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "k", "values": ["v"]}]}, {}]}),
            vec![twice(1)],
        ),
    ];
    for (more, want) in table {
        assert_eq!(class(more.clone()), want, "{more}");
    }
    let driver = |o: Value| driver::DRIVER.warnings(&json!({"spec": o}), None).len();
    assert_eq!(driver(json!({"tokenRequests": [{"audience": "a"}]})), 1);
    assert_eq!(driver(json!({"tokenRequests": [{"audience": "a"}], "serviceAccountTokenInSecrets": false})), 0);
}
