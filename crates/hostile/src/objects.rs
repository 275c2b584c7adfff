//! Objects, patches and configurations, as JSON and as protobuf.

use ironclad_api::GroupVersionKind;
use ironclad_json::{Value, json};
use ironclad_schema::apply::{self, Manager, Operation, Schema};
use ironclad_schema::{Shape, TypeId, bundle, check, json, patch, proto};

pub(crate) const JSON_WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "\"metadata\"",
    "\"name\"",
    "\"spec\"",
    "\"apiVersion\":\"v1\"",
    "\"kind\":\"Pod\"",
    "\"labels\"",
    "\"managedFields\"",
    "\"fieldsV1\"",
];
pub(crate) const PATCH_WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "\"$patch\":\"delete\"",
    "\"$patch\":\"replace\"",
    "\"$retainKeys\"",
    "\"$setElementOrder/containers\"",
    "\"$deleteFromPrimitiveList/finalizers\"",
    "\"containers\"",
    "\"name\"",
    "\"ports\"",
    "\"containerPort\"",
    "\"op\":\"add\"",
    "\"op\":\"move\"",
    "\"op\":\"test\"",
    "\"path\"",
    "\"from\"",
    "\"value\"",
    "/spec/containers/0",
    "/-",
    "~1",
    "~0",
    "\"tolerations\"",
    "\"finalizers\"",
    "\"f:a\"",
    "k:{}",
];

fn pod() -> TypeId {
    bundle().kind(&GroupVersionKind::new("", "v1", "Pod")).expect("pods are in the bundle")
}

/// A pod with most sorts of fields in it.
fn sample() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["x/y"], "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}}]},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"httpGet": {"port": "http"}}}],
            "tolerations": [{"key": "a"}], "volumes": [{"name": "v", "configMap": {"name": "x"}}]}})
}

/// What is checked can be encoded, and decoded again.
pub(crate) fn json(data: &[u8]) {
    let parsed = match json::parse(data) {
        Ok(parsed) => parsed,
        Err(error) => return drop(json::in_go(&error, data)),
    };
    json::places(data, &parsed.duplicates);
    let mut object = parsed.value;
    if check::object(bundle(), pod(), &mut object).is_ok() && object.is_object() {
        bundle().complete_all(pod(), &mut object);
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Pod");
        if let Some(Ok(bytes)) = proto::encode(bundle(), &object) {
            proto::decode(bundle(), &bytes).expect("what was encoded is decoded");
        }
    }
}

/// Every form of patch of a pod.
pub(crate) fn patches(data: &[u8]) {
    let Ok(change) = serde_json::from_slice::<Value>(data) else { return };
    let mut merged = sample();
    if patch::merge(&mut merged, &change).is_ok() {
        let once = merged.clone();
        patch::merge(&mut merged, &change).expect("it was applied before");
        assert_eq!(merged, once, "a merge patch says what is to be");
    }
    let mut patched = sample();
    if patch::json(&mut patched, &change).is_ok() {
        drop(check::object(bundle(), pod(), &mut patched));
    }
    if let Ok(mut patched) = patch::strategic(bundle(), pod(), &sample(), &change) {
        drop(check::patched(bundle(), pod(), &mut patched, &ironclad_json::Value::Null));
    }
    patch::go_value(&change);
}

/// A configuration that is applied twice changes nothing the second time.
pub(crate) fn apply(data: &[u8]) {
    let Ok(mut config) = serde_json::from_slice::<Value>(data) else { return };
    if !config.is_object() || check::config(bundle(), &Shape::Object(pod()), &mut config).is_err() {
        return;
    }
    let schema = Schema::new(bundle(), Shape::Object(pod()));
    let manager = Manager {
        name: "fuzz".into(),
        operation: Operation::Apply,
        api_version: "v1".into(),
        subresource: String::new(),
        time: "2026-01-01T00:00:00Z".into(),
    };
    let Ok(once) = apply::apply(&schema, &sample(), &config, &manager, true) else { return };
    let pods = ironclad_kinds::all().iter().find(|k| k.kind == "Pod").expect("pods are a kind");
    if !pods.strategy.validate(&once).is_empty() {
        // It would not have been stored.
        return;
    }
    if let Ok(twice) = apply::apply(&schema, &once, &config, &manager, true) {
        assert_eq!(once, twice, "applied once and twice");
    }
}

/// What is decoded can be encoded, and is then decoded to the same, or is refused with a reason.
pub(crate) fn protobuf(data: &[u8]) {
    let Ok(object) = proto::decode(bundle(), data) else { return };
    if let Some(Ok(bytes)) = proto::encode(bundle(), &object) {
        let again = proto::decode(bundle(), &bytes).expect("what was encoded is decoded");
        let third = proto::encode(bundle(), &again).expect("it is of a kind").expect("it was encoded before");
        assert_eq!(bytes, third, "an object has one form");
    }
}
