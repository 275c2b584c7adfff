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
        "spec.devices.constraints[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
        "spec.devices.requests[1]: Duplicate value: {\"name\":\"r\"}",
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

fn selecting(expression: &str) -> Value {
    let exactly = json!({"deviceClassName": "c", "selectors": [{"cel": {"expression": expression}}]});
    claim_of(json!({"requests": [{"name": "r", "exactly": exactly}]}))
}

#[test]
fn selectors_are_compiled_when_they_come() {
    let at = "spec.devices.requests[0].exactly.selectors[0].cel.expression";
    let ten = "[1,2,3,4,5,6,7,8,9,10]";
    let mut nested = "int('1'.find('[0-9]*')) < 100".to_owned();
    for name in ["z5", "z4", "z3", "z2", "z", "y", "x"] {
        nested = format!("{ten}.all({name}, {nested})");
    }
    let table = [
        (r#"device.attributes["d.x"].name"#, String::new()),
        (r#"cel.bind(d, device.attributes["d.x"], d.a && d.b > 1)"#, String::new()),
        ("1", format!("{at}: Invalid value: \"1\": must evaluate to bool or the unknown type, not int")),
        (&nested, format!("{at}: Forbidden: too complex, exceeds cost limit")),
        (&"x".repeat(10 * 1024 + 1), format!("{at}: Too long: may not be more than 10240 bytes")),
    ];
    for (expression, want) in table {
        assert_eq!(says(&CLAIM, selecting(expression)).join(";"), want);
    }
    let [broken] = &says(&CLAIM, selecting("no.such"))[..] else { panic!("one error") };
    let want = format!(
        "{at}: Invalid value: \"no.such\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'no'"
    );
    assert!(broken.starts_with(&want), "{broken}");
    // What is stored is not compiled again.
    let class = |n: u8| json!({"spec": {"selectors": [{"cel": {"expression": "no.such"}}]}, "n": n});
    assert_eq!(CLASS.validate(&class(1)).len(), 1);
    assert!(CLASS.validate_update(&class(1), &class(2)).is_empty());
    assert_eq!(CLASS.validate_update(&class(1), &json!({"spec": {}})).len(), 1);
}

#[test]
fn what_may_be_asked_of_a_shared_capacity_fits_it() {
    let at = "spec.devices[0].capacity[memory].requestPolicy";
    let slice = |policy: Value, shared: bool| {
        let capacity = json!({"memory": {"value": "10Gi", "requestPolicy": policy}});
        let device = json!({"name": "one", "allowMultipleAllocations": shared, "capacity": capacity});
        json!({"metadata": {"name": "s"}, "spec": {"driver": "d.x", "pool": {"name": "p", "resourceSliceCount": 1},
            "allNodes": true, "devices": [device]}})
    };
    let table = [
        (json!({"default": "1Gi", "validValues": ["1Gi", "2Gi"]}), vec![]),
        (json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "9Gi", "step": "1Gi"}}), vec![]),
        (json!({"default": "500m", "validRange": {"min": "250m", "step": "250m"}}), vec![]),
        (json!({"validValues": ["1Gi"]}), vec!["default: Required value: required when validValues is defined"]),
        (
            json!({"default": "1Gi", "validValues": ["1Gi"], "validRange": {"min": "1"}}),
            vec![
                "!: Forbidden: exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
            ],
        ),
        (
            json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "1Gi", "11Gi"]}),
            vec![
                "validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order",
                "validValues[3]: Invalid value: \"11Gi\": option is larger than capacity value: 10Gi",
                "validValues[2]: Duplicate value: \"1073741824\"",
                "validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy",
            ],
        ),
        (
            json!({"default": "1Gi", "validRange": {}}),
            vec!["validRange.min: Required value: required when validRange is defined"],
        ),
        (
            json!({"default": "1Gi", "validRange": {"min": "2Gi", "max": "11Gi", "step": "10Gi"}}),
            vec![
                "validRange.default: Invalid value: \"1Gi\": default is less than min: 2Gi",
                "validRange.max: Invalid value: \"11Gi\": max is larger than capacity value: 10Gi",
                "validRange.step: Invalid value: \"10Gi\": one step 12Gi is larger than capacity value: 10Gi",
                "validRange.step: Invalid value: \"1Gi\": value is not a multiple of a given step (10Gi) from (2Gi)",
                "validRange.step: Invalid value: \"11Gi\": value is not a multiple of a given step (10Gi) from (2Gi)",
            ],
        ),
        (
            json!({"default": "1", "validRange": {"min": "0", "step": "0"}}),
            vec!["validRange.step: Invalid value: \"0\": must be greater than zero"],
        ),
        (
            json!({"default": "1", "validRange": {"min": "-1", "step": "1"}}),
            vec!["validRange.min: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (
            json!({"default": "1u", "validRange": {"min": "0", "step": "1"}}),
            vec!["validRange.default: Invalid value: \"1u\": value cannot be represented as a milli value"],
        ),
    ];
    for (policy, want) in table {
        let want: Vec<String> = want.into_iter().map(|w| format!("{at}.{w}").replace(".!", "")).collect();
        assert_eq!(says(&SLICE, slice(policy.clone(), true)), want, "{policy}");
    }
    let found = says(&SLICE, slice(json!({}), false));
    assert_eq!(found, [format!("{at}: Forbidden: allowMultipleAllocations must be true")]);
    // What is as it was stays.
    let wrong = slice(json!({"validValues": ["1Gi"]}), true);
    assert!(SLICE.validate_update(&wrong, &wrong).is_empty());
}

#[test]
fn what_was_told_of_devices_is_checked_and_forgotten_with_them() {
    let spec = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let result = |device: &str| json!({"request": "r", "driver": "d.x", "pool": "p", "device": device});
    let claim = |results: Value, told: Value| json!({"spec": spec, "status": {"allocation": {"devices": {"results": results}}, "devices": told}});
    let told = |more: Value| {
        let mut device = json!({"driver": "d.x", "pool": "p", "device": "one"});
        device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let new = claim(json!([result("one")]), json!([device]));
        let found = CLAIM.validate_status_update(&new, &json!({"spec": spec}));
        found.iter().map(|e| e.to_string().replace("status.devices[0]", "")).collect::<Vec<_>>().join(";")
    };
    let table = [
        (json!({"networkData": {"ips": ["10.0.0.1/24"]}}), ""),
        (
            json!({"networkData": {"ips": ["10.0.0.1", "fd00::0:1/64"]}}),
            ".networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64);\
             .networkData.ips[1]: Invalid value: \"fd00::0:1/64\": must be in canonical form (\"fd00::1/64\")",
        ),
        (
            json!({"networkData": {"ips": ["10.0.0.1/8", "10.0.0.1/8"]}}),
            ".networkData.ips[1]: Duplicate value: \"10.0.0.1/8\"",
        ),
        (
            json!({"networkData": {"hardwareAddress": "x".repeat(129)}}),
            ".networkData.hardwareAddress: Too long: may not be more than 128 bytes",
        ),
    ];
    for (more, want) in table {
        assert_eq!(told(more), want);
    }
    let shared = told(json!({"shareID": "X"}));
    assert!(
        shared.contains(";.shareID: Invalid value: \"X\": must be a lowercase UUID in 8-4-4-4-12 format"),
        "{shared}"
    );
    let all = json!([{"driver": "d.x", "pool": "p", "device": "one"}, {"driver": "d.x", "pool": "p", "device": "two"}]);
    let old = claim(json!([result("one"), result("two")]), all.clone());
    let mut new = claim(json!([result("two")]), all);
    CLAIM.prepare_status_update(&mut new, &old);
    assert_eq!(new["status"]["devices"].as_array().unwrap().len(), 1);
}

#[test]
fn fields_of_features_that_are_off_are_dropped() {
    let mut slice = json!({"spec": {"skipNodeOperations": ["*"], "devices": [
        {"name": "d", "nodeAllocatableResources": {}, "attributes": {"a": {"bools": [true]}, "b": {"bool": true}}}]}});
    SLICE.prepare_create(&mut slice);
    let want = json!({"spec": {"devices": [{"name": "d", "attributes": {"a": {}, "b": {"bool": true}}}]}});
    assert_eq!(slice, want);
}

#[test]
fn tolerations_and_taints_say_what_was_left_out() {
    let tolerant = |o: Value| json!({"name": "r", "exactly": {"deviceClassName": "c", "tolerations": [o]}});
    let mut claim = claim_of(json!({"requests": [tolerant(json!({"key": "k"}))]}));
    CLAIM.default(&mut claim);
    let toleration = &claim["spec"]["devices"]["requests"][0]["exactly"]["tolerations"][0];
    assert_eq!(*toleration, json!({"key": "k", "operator": "Equal"}));
    assert!(CLAIM.validate(&claim).is_empty());
    let mut slice = json!({"spec": {"devices": [{"name": "d", "capacity": {"m": {}}, "taints": [{"key": "k"}]}]}});
    SLICE.default(&mut slice);
    let device = &slice["spec"]["devices"][0];
    assert_eq!(device["capacity"]["m"], json!({"value": "0"}));
    assert!(device["taints"][0]["timeAdded"].is_string());
    // The time of a taint changes with its effect, unless somebody says when it was.
    let rule = |effect: &str, time: &str| json!({"spec": {"taint": {"key": "k", "effect": effect, "timeAdded": time}}});
    let (early, late) = ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z");
    let table = [("None", early, true), ("NoExecute", early, false), ("NoExecute", late, true)];
    for (effect, time, stays) in table {
        let mut new = rule(effect, time);
        TAINT.prepare_update(&mut new, &rule("None", early));
        assert_eq!(new["spec"]["taint"]["timeAdded"] == time, stays, "{effect} {time}");
    }
}

#[test]
fn too_many_conditions_of_a_binding_are_told_with_those_that_stand_twice() {
    let found = |device: Value| {
        let mut errors = ErrorList::new();
        names::binding(&device, &Path::root(), &mut errors);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let good = ["a", "a", "b", "c", "d"];
    let expected = [
        "bindingConditions: Too many: 5: must have at most 4 items",
        "bindingConditions[1]: Duplicate value: \"a\"",
        "bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
    ];
    assert_eq!(found(json!({"bindingConditions": good})), expected);
}

#[test]
fn what_generated_rules_find_stands_last_and_in_their_words() {
    let config = json!([{"opaque": {"driver": "Bad_Driver", "parameters": {}}, "requests": ["a/"]}]);
    let subs = json!([{"name": "s", "deviceClassName": ""}, {"name": "s", "deviceClassName": "c", "count": -1}]);
    let found = says(&CLAIM, claim_of(json!({"requests": [{"name": "r", "firstAvailable": subs}], "config": config})));
    let [count, empty, request, twice, class, driver] = &found[..] else { panic!("{found:#?}") };
    assert!(count.ends_with("firstAvailable[1].count: Invalid value: -1: must be greater than zero"), "{count}");
    assert!(empty.starts_with("spec.devices.config[0].requests[0]: Invalid value: \"\": a lowercase RFC 1123 label"));
    assert!(request.contains("requests[0]: Invalid value: \"a/\": must be the name of a request"), "{request}");
    assert!(class.ends_with("firstAvailable[0].deviceClassName: Required value"), "{class}");
    assert!(twice.contains("firstAvailable[1]: Duplicate value: "), "{twice}");
    assert!(driver.contains("\"Bad_Driver\": an RFC 1123 subdomain must consist of alphanumeric"), "{driver}");
    // A template is checked with each change, and its metadata has labels and annotations alone.
    let template = json!({"spec": {"metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}}, "spec": {}}});
    let found = TEMPLATE.validate_update(&template, &json!({"spec": {"spec": {}}}));
    let paths: Vec<&str> = found.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["spec.metadata.name", "spec.metadata.uID", "spec"]);
}
