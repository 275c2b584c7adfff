//! Valid and invalid objects, with what stock says of them.

use super::*;
use crate::Strategy;

fn says(rules: &Rules, mut object: Value) -> Vec<String> {
    rules.default(&mut object);
    rules.validate(&object).iter().map(ToString::to_string).collect()
}

fn claim_of(devices: Value) -> Value {
    json!({"spec": {"devices": devices}})
}

#[test]
fn a_claim_asks_in_one_way_and_refers_to_what_it_asks() {
    let exactly = |class: &str| json!({"name": "r", "exactly": {"deviceClassName": class}});
    assert!(says(&CLAIM, claim_of(json!({"requests": [exactly("c")]}))).is_empty());
    let found = says(
        &CLAIM,
        claim_of(json!({"requests": [exactly(""), {"name": "r"}],
        "constraints": [{"requests": ["x"], "matchAttribute": "a"}]})),
    );
    let expected = [
        "spec.devices.requests[0].exactly.deviceClassName: Required value",
        "spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        "spec.devices.requests[1]: Duplicate value: \"r\"",
        "spec.devices.constraints[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
        "spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name separated by a slash",
    ];
    assert_eq!(found, expected);
    let all = json!({"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 2}});
    let why = "must not be specified when allocationMode is 'All'";
    let expected = [format!("spec.devices.requests[0].exactly.count: Invalid value: 2: {why}")];
    assert_eq!(says(&CLAIM, claim_of(json!({"requests": [all]}))), expected);
}

#[test]
fn what_a_claim_got_stays_until_it_is_given_back() {
    let result = |device: &str| json!({"request": "r", "driver": "d.x", "pool": "p", "device": device});
    let claim = |status: Value| json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}, "status": status});
    let got = |device: &str| claim(json!({"allocation": {"devices": {"results": [result(device)]}}}));
    let bare = claim(json!({}));
    assert!(claim::status(&got("one"), &bare).is_empty());
    assert_eq!(claim::status(&got("two"), &got("one")).len(), 1);
    let reserved = claim(json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]}));
    let found = claim::status(&reserved, &bare)[0].to_string();
    assert_eq!(found, "status.reservedFor: Forbidden: may not be specified when `allocated` is not set");
}

#[test]
fn a_slice_is_of_one_place_and_its_devices_have_names() {
    let slice = |place: Value, device: Value| {
        let mut spec = json!({"driver": "d.x", "pool": {"name": "p", "resourceSliceCount": 1}, "devices": [device]});
        spec.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        json!({"metadata": {"name": "s"}, "spec": spec})
    };
    let device =
        json!({"name": "one", "attributes": {"v": {"version": "1.2.3"}}, "capacity": {"memory": {"value": "1Gi"}}});
    assert!(says(&SLICE, slice(json!({"nodeName": "n"}), device.clone())).is_empty());
    let found = says(&SLICE, slice(json!({"nodeName": "n", "allNodes": true}), device));
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set";
    assert_eq!(found, [format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {one}")]);
    let found =
        says(&SLICE, slice(json!({"allNodes": true}), json!({"name": "one", "attributes": {"v": {"version": "1.2"}}})));
    let why = "must be a string compatible with semver.org spec 2.0.0";
    assert_eq!(found, [format!("spec.devices[0].attributes[v].version: Invalid value: \"1.2\": {why}")]);
}
