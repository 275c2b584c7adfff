//! Server-side apply by the schemas of custom resources: list types wherever they stand, defaults of keys, what no
//! schema knows, schemas that change.

use ironclad_json::{Value, json};
use ironclad_schema::Shape;
use ironclad_schema::apply::{Manager, Operation, Schema as Owners, apply, track};
use ironclad_structural::{Schema, shapes};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

struct Kind(ironclad_schema::Bundle, Shape);

impl Kind {
    fn of(spec: &Value) -> Self {
        let raw = json!({"type": "object", "properties": {"spec": spec}});
        let (bundle, shape) = shapes::shape(&Schema::parse(&raw).unwrap());
        Self(bundle, shape)
    }

    fn owners(&self) -> Owners<'_> {
        Owners::new(&self.0, self.1.clone())
    }

    fn apply(&self, live: &Value, spec: &Value, name: &str, force: bool) -> Result<Value, String> {
        apply(&self.owners(), live, &thing(spec), &manager(name, Operation::Apply), force).map_err(|e| e.message)
    }

    /// Applies one after the other, each by its own manager, and gives the last object.
    fn after(&self, steps: &[(&str, Value)]) -> Value {
        let one = |live: Value, (name, spec): &(&str, Value)| self.apply(&live, spec, name, false).unwrap();
        steps.iter().fold(Value::Null, one)
    }

    fn update(&self, live: &Value, spec: &Value, name: &str) -> Value {
        let mut new = live.clone();
        new["apiVersion"] = json!("example.com/v1");
        new["kind"] = json!("Thing");
        new["spec"] = spec.clone();
        track(&self.owners(), live, &mut new, &manager(name, Operation::Update));
        new
    }
}

fn thing(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": spec})
}

fn manager(name: &str, operation: Operation) -> Manager {
    let (api_version, time) = ("example.com/v1".to_owned(), "2026-01-01T00:00:00Z".to_owned());
    Manager { name: name.into(), operation, api_version, subresource: String::new(), time }
}

fn owned<'a>(object: &'a Value, name: &str) -> &'a Value {
    let mut list = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    list.find(|m| m["manager"] == name).map_or(&Value::Null, |m| &m["fieldsV1"]["f:spec"])
}

fn strings(list: &str) -> Value {
    json!({"type": "array", "x-kubernetes-list-type": list, "items": {"type": "string"}})
}

fn keyed(items: &Value, keys: &[&str]) -> Value {
    let items = json!({"type": "object", "properties": items});
    json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": items})
}

#[test]
fn lists_in_items_of_lists_are_told_apart() {
    let inner =
        keyed(&json!({"key": {"type": "string"}, "value": {"type": "string"}, "set": strings("set")}), &["key"]);
    let kind = Kind::of(&keyed(&json!({"name": {"type": "string"}, "inner": inner}), &["name"]));
    let with = |inner: Value| json!([{"name": "a", "inner": inner}]);
    let live = kind.after(&[
        ("one", with(json!([{"key": "1", "value": "x", "set": ["p"]}]))),
        ("two", with(json!([{"key": "1", "set": ["q"]}, {"key": "2", "value": "y"}]))),
    ]);
    let want = with(json!([{"key": "1", "value": "x", "set": ["p", "q"]}, {"key": "2", "value": "y"}]));
    assert_eq!(live["spec"], want);
    let item = |name: &str| owned(&live, name)["k:{\"name\":\"a\"}"]["f:inner"]["k:{\"key\":\"1\"}"].clone();
    assert_eq!(item("one"), json!({".": {}, "f:key": {}, "f:value": {}, "f:set": {"v:\"p\"": {}}}));
    assert_eq!(item("two"), json!({".": {}, "f:key": {}, "f:set": {"v:\"q\"": {}}}));
    // Who takes back takes back only what is his alone.
    let live = kind.apply(&live, &with(json!([{"key": "2", "value": "y"}])), "two", false).unwrap();
    assert_eq!(live["spec"], with(json!([{"key": "1", "value": "x", "set": ["p"]}, {"key": "2", "value": "y"}])));
}

#[test]
fn lists_of_lists_and_values_of_maps_have_their_own_types() {
    let kind = Kind::of(&json!({"type": "object", "properties": {
        "sets": {"type": "object", "additionalProperties": strings("set")},
        "rows": {"type": "array", "items": strings("set")},
        "whole": {"type": "object", "additionalProperties": {"type": "object", "x-kubernetes-map-type": "atomic",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}},
        "pairs": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
    }}));
    let live = kind.after(&[
        ("one", json!({"sets": {"x": ["a"]}, "rows": [["a"]], "whole": {"k": {"a": "1"}}, "pairs": {"a": "1"}})),
        ("two", json!({"sets": {"x": ["b"]}})),
    ]);
    assert_eq!(live["spec"]["sets"], json!({"x": ["a", "b"]}));
    assert_eq!(
        *owned(&live, "one"),
        json!({"f:sets": {"f:x": {".": {}, "v:\"a\"": {}}}, "f:rows": {}, "f:whole": {"f:k": {}}, "f:pairs": {}})
    );
    let error = kind.apply(&live, &json!({"whole": {"k": {"b": "2"}}, "pairs": {"b": "2"}}), "two", false).unwrap_err();
    assert_eq!(error, "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.pairs\n- .spec.whole.k");
    let forced = kind.apply(&live, &json!({"whole": {"k": {"b": "2"}}, "pairs": {"b": "2"}}), "two", true).unwrap();
    assert_eq!((&forced["spec"]["whole"]["k"], &forced["spec"]["pairs"]), (&json!({"b": "2"}), &json!({"b": "2"})));
}

#[test]
fn keys_have_defaults_and_may_be_missing() {
    let ports = keyed(
        &json!({"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"},
            "zone": {"type": "string"}, "name": {"type": "string"}}),
        &["port", "protocol", "zone"],
    );
    let kind = Kind::of(&ports);
    let live = kind.after(&[
        ("one", json!([{"port": 80, "name": "a"}])),
        ("two", json!([{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}, {"port": 80, "zone": "z"}])),
    ]);
    let fields: Vec<&ironclad_json::Text> = owned(&live, "two").as_object().unwrap().keys().collect();
    let want = [
        r#"k:{"port":80,"protocol":"TCP","zone":"z"}"#,
        r#"k:{"port":80,"protocol":"TCP"}"#,
        r#"k:{"port":80,"protocol":"UDP"}"#,
    ];
    assert_eq!(fields, want);
    assert_eq!(live["spec"].as_array().unwrap().len(), 3);
    assert_eq!(live["spec"][0], json!({"port": 80, "protocol": "TCP", "name": "a"}));
    let kind = Kind::of(&keyed(&json!({"a": {"type": "string"}, "b": {"type": "string"}}), &["a"]));
    assert!(kind.apply(&Value::Null, &json!([{"b": "x"}]), "one", false).unwrap_err().ends_with(
        ".spec: element 0: associative list with keys has an element that omits all key fields [\"a\"] (and doesn't have default values for any key fields)"
    ));
}

#[test]
fn what_stands_twice_may_stay_but_not_be_applied() {
    let kind = Kind::of(&keyed(&json!({"name": {"type": "string"}, "value": {"type": "integer"}}), &["name"]));
    let twice = json!([{"name": "a", "value": 1}, {"name": "a", "value": 2}, {"name": "b"}]);
    let live = kind.update(&Value::Null, &twice, "controller");
    let error = kind.apply(&live, &twice, "one", false).unwrap_err();
    assert!(error.ends_with(".spec: duplicate entries for key [name=\"a\"]"), "{error}");
    // What is applied besides leaves the two alone; what is applied in their place makes one of them.
    let besides = kind.apply(&live, &json!([{"name": "c"}]), "one", false).unwrap();
    assert_eq!(besides["spec"].as_array().unwrap().len(), 4);
    let error = kind.apply(&live, &json!([{"name": "a", "value": 3}]), "one", false).unwrap_err();
    assert_eq!(
        error,
        "Apply failed with 1 conflict: conflict with \"controller\" using example.com/v1: .spec[name=\"a\"]"
    );
    let one = kind.apply(&live, &json!([{"name": "a", "value": 3}]), "one", true).unwrap();
    assert_eq!(one["spec"], json!([{"name": "a", "value": 3}, {"name": "b"}]));
    // An update that makes one of them owns its parts.
    let mended = kind.update(&live, &json!([{"name": "a", "value": 1}, {"name": "b"}]), "mender");
    assert_eq!(owned(&mended, "mender")["k:{\"name\":\"a\"}"], json!({".": {}, "f:name": {}, "f:value": {}}));
}

#[test]
fn what_no_schema_knows_is_told_apart_by_what_it_is() {
    let kind = Kind::of(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "known": {"type": "object", "properties": {"a": {"type": "string"}}},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
    }}));
    let live = kind.after(&[
        ("one", json!({"free": {"a": {"b": 1}}, "list": [{"x": 1}], "any": {"p": 1}, "known": {"a": "x", "more": 1}})),
        ("two", json!({"free": {"a": {"c": 2}}, "any": {"q": [1]}})),
    ]);
    assert_eq!(live["spec"]["free"], json!({"a": {"b": 1, "c": 2}}));
    assert_eq!(live["spec"]["any"], json!({"p": 1, "q": [1]}));
    assert_eq!(live["spec"]["known"], json!({"a": "x", "more": 1}));
    let fields = owned(&live, "one");
    assert_eq!((&fields["f:list"], &fields["f:free"]["f:a"]["f:b"]), (&json!({}), &json!({})));
    // A map that becomes a text takes its fields with it.
    let text = kind.update(&live, &json!({"free": "text", "any": 5}), "three");
    assert_eq!(*owned(&text, "three"), json!({"f:any": {}, "f:free": {}}));
    assert_eq!(*owned(&text, "two"), Value::Null);
}

#[test]
fn fields_that_no_schema_has_and_wrong_types_are_named() {
    let kind = Kind::of(&json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "s": {"type": "string"}, "b": {"type": "boolean"},
        "whole": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "number"}}}}}}));
    let error = |spec: Value| {
        let error = kind.apply(&Value::Null, &spec, "one", false).unwrap_err();
        error.strip_prefix("failed to create typed patch object (/x; example.com/v1, Kind=Thing): ").unwrap().to_owned()
    };
    assert_eq!(error(json!({"no": 1})), ".spec.no: field not declared in schema");
    assert_eq!(error(json!({"n": "1"})), ".spec.n: expected numeric (int or float), got string");
    assert_eq!(error(json!({"b": "yes"})), ".spec.b: expected boolean, got &{yes}");
    assert_eq!(error(json!({"whole": [{"a": 1}, {"c": 1}]})), ".spec.whole[1].c: field not declared in schema");
    assert_eq!(error(json!({"whole": {"a": 1}})), ".spec.whole: expected list, got &{map[a:1]}");
}

#[test]
fn null_stays_where_it_is_a_value_and_says_nothing_of_what_has_parts() {
    let kind = Kind::of(&json!({"type": "object", "properties": {"n": {"type": "string", "nullable": true},
        "map": {"type": "object", "nullable": true, "additionalProperties": {"type": "string"}}}}));
    let live = kind.after(&[("one", json!({"n": null, "map": {"a": "1"}})), ("two", json!({"map": null}))]);
    assert_eq!(live["spec"], json!({"n": null, "map": {"a": "1"}}));
}

#[test]
fn a_list_that_becomes_one_value_belongs_to_who_owned_its_parts() {
    let before = Kind::of(&json!({"type": "object", "properties": {"l": strings("set"), "m": {"type": "object",
        "additionalProperties": {"type": "string"}}}}));
    let after = Kind::of(&json!({"type": "object", "properties": {"l": strings("atomic"), "m": {"type": "object",
        "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}}}}));
    let live = before.after(&[("one", json!({"l": ["a"], "m": {"x": "1"}})), ("two", json!({"l": ["b"]}))]);
    let error = after.apply(&live, &json!({"l": ["c"], "m": {"y": "1"}}), "three", false).unwrap_err();
    let want = "Apply failed with 3 conflicts: conflicts with \"one\":\n- .spec.l\n- .spec.m\nconflicts with \"two\":\n- .spec.l";
    assert_eq!(error, want);
    // An ordinary write sees it as well.
    let written = after.update(&live, &json!({"l": ["z"], "m": {"x": "1"}}), "three");
    assert_eq!(*owned(&written, "one"), json!({"f:m": {}}));
    assert_eq!(*owned(&written, "two"), Value::Null);
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned)
}

/// Values of a schema that has every way of telling parts apart, nested in one another.
fn nested() -> impl Strategy<Value = Value> {
    let set = || prop::collection::btree_set(word(), 0..3);
    let inner = prop::collection::btree_map(word(), (prop::option::of(0..3), set()), 0..3).prop_map(|items| {
        let one = |(k, (n, s)): (String, (Option<i32>, BTreeSet<String>))| {
            let mut item = json!({"k": k, "s": s});
            if let Some(n) = n {
                item["n"] = json!(n);
            }
            item
        };
        items.into_iter().map(one).collect::<Value>()
    });
    let whole = prop::option::of(prop::collection::btree_map(word(), 0..3, 1..3));
    let free = prop::option::of(prop::collection::btree_map(word(), word(), 1..3));
    prop::collection::btree_map(word(), (inner, whole, free), 0..3).prop_map(|items| {
        let one = |(name, (inner, whole, free)): (
            String,
            (Value, Option<BTreeMap<String, i32>>, Option<BTreeMap<String, String>>),
        )| {
            let mut item = json!({"name": name, "inner": inner});
            if let Some(whole) = whole {
                item["whole"] = json!(whole);
            }
            if let Some(free) = free {
                item["free"] = json!(free);
            }
            item
        };
        items.into_iter().map(one).collect()
    })
}

fn nested_kind() -> Kind {
    let inner = keyed(&json!({"k": {"type": "string"}, "n": {"type": "integer"}, "s": strings("set")}), &["k"]);
    let whole =
        json!({"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "integer"}});
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Kind::of(&keyed(&json!({"name": {"type": "string"}, "inner": inner, "whole": whole, "free": free}), &["name"]))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_apply_again_changes_nothing(specs in prop::collection::vec(nested(), 1..4)) {
        let kind = nested_kind();
        let names = ["one", "two", "three"];
        let live = specs.iter().zip(names).fold(Value::Null, |live, (spec, name)| kind.apply(&live, spec, name, true).unwrap());
        let (last, name) = specs.iter().zip(names).next_back().unwrap();
        // Of an object that nobody owns anything of, all belongs to those before.
        if !live["metadata"]["managedFields"].is_null() {
            prop_assert_eq!(kind.apply(&live, last, name, false).unwrap(), live);
        }
    }

    #[test]
    fn force_takes_exactly_what_conflicts(a in nested(), b in nested()) {
        let kind = nested_kind();
        let live = kind.apply(&Value::Null, &a, "one", false).unwrap();
        let forced = kind.apply(&live, &b, "two", true).unwrap();
        match kind.apply(&live, &b, "two", false) {
            Ok(same) => prop_assert_eq!(same, forced),
            Err(error) => {
                // What was named is no longer the first one's, and nothing else is lost.
                let lost = |object: &Value| paths(owned(object, "one"), ".spec");
                let named: Vec<String> = error.lines().filter_map(|l| l.strip_prefix("- ").or_else(|| l.rsplit_once("\"one\": ").map(|(_, p)| p))).map(str::to_owned).collect();
                let (before, after) = (lost(&live), lost(&forced));
                let gone: Vec<String> = before.iter().filter(|p| !after.contains(p)).cloned().collect();
                prop_assert_eq!(gone.len(), named.len(), "{:?} {:?}", gone, named);
            }
        }
    }

    #[test]
    fn only_what_one_alone_owned_is_removed(a in nested(), b in nested()) {
        let kind = nested_kind();
        let live = kind.apply(&Value::Null, &a, "one", true).unwrap();
        let both = kind.apply(&live, &b, "two", true).unwrap();
        // The second takes everything back: what the first still owns stays as it is.
        let left = kind.apply(&both, &json!([]), "two", true).unwrap();
        let still = paths(owned(&left, "one"), ".spec");
        prop_assert_eq!(still, paths(owned(&both, "one"), ".spec"));
    }
}

/// The members of written fields.
fn paths(fields: &Value, prefix: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (key, below) in fields.as_object().into_iter().flatten().filter(|(k, _)| *k != ".") {
        let here = format!("{prefix}/{key}");
        if below.as_object().is_some_and(|b| b.is_empty() || b.contains_key(".")) {
            out.push(here.clone());
        }
        out.extend(paths(below, &here));
    }
    out
}
