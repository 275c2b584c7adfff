//! Bytes and values from outside that nobody sends in good faith: nothing panics, nothing grows without bounds.

use ironclad_api::GroupVersionKind;
use ironclad_json::{Value, json};
use ironclad_schema::apply::{self, Manager, Operation, Schema, Set};
use ironclad_schema::{Shape, TypeId, bundle, check, json, patch, proto};
use proptest::prelude::*;

fn pod() -> TypeId {
    bundle().kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap()
}

/// A pod with most sorts of fields in it.
fn sample() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"a": "b"}, "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:a": {}}}]},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": "http"}}}], "volumes": [{"name": "v", "configMap": {"name": "x"}}]}})
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z$/~.]{0,6}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "containers",
        "name",
        "ports",
        "containerPort",
        "labels",
        "$patch",
        "$retainKeys",
        "finalizers",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "volumes",
        "tolerations",
        "managedFields",
        "x",
    ]);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|pairs| { Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()) }),
        ]
    })
}

fn operation() -> impl Strategy<Value = Value> {
    let op = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "nothing"]);
    let path = prop_oneof![
        Just("/spec/containers/0".to_owned()),
        Just("/spec/containers/-".to_owned()),
        Just("/metadata/labels/a".to_owned()),
        "(/[a-z0-9~-]{0,4}){0,4}",
        "[a-z/~]{0,5}",
    ];
    (op, path.clone(), path, any_json())
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = proto::decode(bundle(), &bytes);
        let mut enveloped = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12".to_vec();
        enveloped.push(bytes.len().min(127) as u8);
        enveloped.extend_from_slice(&bytes[..bytes.len().min(127)]);
        let _ = proto::decode(bundle(), &enveloped);
    }

    #[test]
    fn damaged_objects_are_decoded_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = proto::encode(bundle(), &sample()).unwrap().unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(object) = proto::decode(bundle(), &bytes) {
            // What was decoded can be encoded again, or is refused with a reason.
            let _ = proto::encode(bundle(), &object);
        }
        let cut = cut.index(bytes.len());
        let _ = proto::decode(bundle(), &bytes[..cut]);
    }

    #[test]
    fn any_value_is_checked_and_encoded_or_refused(value in any_json()) {
        let mut object = value;
        if check::object(bundle(), pod(), &mut object).is_ok() && object.is_object() {
            object["apiVersion"] = json!("v1");
            object["kind"] = json!("Pod");
            let bytes = proto::encode(bundle(), &object).unwrap();
            if let Ok(bytes) = bytes {
                prop_assert!(proto::decode(bundle(), &bytes).is_ok());
            }
        }
    }

    #[test]
    fn any_patch_is_applied_or_refused(change in any_json(), operations in prop::collection::vec(operation(), 0..6)) {
        let _ = patch::strategic(bundle(), pod(), &sample(), &change);
        let _ = patch::merge(&mut sample(), &change);
        let _ = patch::json(&mut sample(), &Value::from(operations));
        let _ = patch::json(&mut sample(), &change);
    }

    #[test]
    fn any_configuration_is_applied_or_refused(live in any_json(), config in any_json(), fields in any_json()) {
        let schema = Schema::new(bundle(), Shape::Object(pod()));
        let manager = Manager { name: "m".into(), operation: Operation::Apply, api_version: "v1".into(),
            subresource: String::new(), time: "2026-01-01T00:00:00Z".into() };
        let _ = apply::apply(&schema, &sample(), &config, &manager, true);
        let mut live = if live.is_object() { live } else { sample() };
        let mut new = live.clone();
        apply::track(&schema, &live, &mut new, &manager);
        live["metadata"] = json!({"managedFields": [{"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields}]});
        let _ = apply::apply(&schema, &live, &sample(), &manager, false);
        let _ = Set::from_value(&fields);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in r#"[\[\]{}",:a0-9.\\ -]{0,200}"#) {
        if let Ok(parsed) = json::parse(text.as_bytes()) {
            let paths = parsed.duplicates;
            prop_assert!(json::places(text.as_bytes(), &paths).iter().all(|p| *p < usize::MAX));
        }
    }
}

#[test]
fn deep_messages_are_refused() {
    // A message within itself: JSONSchemaProps not.not.not...
    let mut inner = Vec::new();
    for _ in 0..50_000 {
        if inner.len() > 3 << 20 {
            break;
        }
        let mut outer = vec![28 << 3 & 0x7f | 2 | 0x80, 1];
        let mut length = inner.len();
        while length >= 0x80 {
            outer.push((length as u8) | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend_from_slice(&inner);
        inner = outer;
        if inner.len() > 20_000 {
            break;
        }
    }
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"});
    let whole = proto::encode(bundle(), &crd).unwrap().unwrap();
    assert!(proto::decode(bundle(), &whole).is_ok());
    let meta = b"k8s\0\x0a\x36\x0a\x17apiextensions.k8s.io/v1\x12\x18CustomResourceDefinition\x12";
    let mut bytes = meta.to_vec();
    // spec.versions.schema.openAPIV3Schema
    for tag in [1u8, 1, 4, 7, 2] {
        let mut outer = vec![tag << 3 | 2];
        let mut length = inner.len();
        while length >= 0x80 {
            outer.push((length as u8) | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend_from_slice(&inner);
        inner = outer;
    }
    bytes.extend_from_slice(&inner[1..]);
    assert!(proto::decode(bundle(), &bytes).is_err());
}

#[test]
fn a_large_patch_of_lists_takes_a_moment() {
    let items =
        |n: usize| Value::from((0..n).map(|i| json!({"name": format!("c{i}"), "image": "x"})).collect::<Vec<_>>());
    let target = json!({"spec": {"containers": items(1000)}});
    let begun = std::time::Instant::now();
    patch::strategic(bundle(), pod(), &target, &target).unwrap();
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
