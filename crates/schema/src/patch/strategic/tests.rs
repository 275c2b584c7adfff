use super::*;
use crate::bundle;
use ironclad_api::GroupVersionKind;
use ironclad_json::json;

fn pod(target: Value, patch: Value) -> Value {
    let id = bundle().kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
    let wrap = |spec: Value| json!({"spec": spec});
    strategic(bundle(), id, &wrap(target), &wrap(patch)).unwrap()["spec"].clone()
}

#[test]
fn containers_merge_by_name() {
    let target = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]});
    let patch = json!({"containers": [{"name": "b", "image": "2"}, {"name": "c"}]});
    assert_eq!(
        pod(target, patch),
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]})
    );
}

#[test]
fn directives_delete_replace_retain_and_order() {
    let list = || json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
    assert_eq!(
        pod(list(), json!({"containers": [{"$patch": "delete", "name": "b"}]})),
        json!({"containers": [{"name": "a"}, {"name": "c"}]})
    );
    assert_eq!(
        pod(list(), json!({"containers": [{"$patch": "replace"}, {"name": "z"}]})),
        json!({"containers": [{"name": "z"}]})
    );
    assert_eq!(
        pod(list(), json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]})),
        json!({"containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}]})
    );
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let patch = json!({"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]});
    assert_eq!(pod(volumes, patch), json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}));
}

#[test]
fn lists_without_a_key_are_replaced_and_null_removes() {
    assert_eq!(
        pod(
            json!({"tolerations": [{"key": "a"}], "hostname": "x"}),
            json!({"tolerations": [{"key": "b"}], "hostname": null})
        ),
        json!({"tolerations": [{"key": "b"}]})
    );
}

fn refused(target: Value, patch: Value) -> Refused {
    let id = bundle().kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
    strategic(bundle(), id, &json!({"spec": target}), &json!({"spec": patch})).unwrap_err()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect()
}

#[test]
fn lists_end_up_in_the_order_of_the_patch_between_what_the_server_has() {
    let list = |names: &[&str]| Value::from(names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>());
    let merged = |have: &[&str], patch: &[&str]| {
        let out = pod(json!({"containers": list(have)}), json!({"containers": list(patch)}));
        names(&out["containers"]).join("")
    };
    assert_eq!(merged(&["a", "b", "c"], &["c", "a"]), "bca");
    assert_eq!(merged(&["a", "b"], &["x"]), "xab");
    assert_eq!(merged(&["a", "b", "c", "d"], &["b", "d"]), "abcd");
}

#[test]
fn new_values_come_without_nulls_and_directives() {
    let patch = json!({"containers": [{"name": "a", "command": null, "env": [{"$patch": "delete", "name": "x"}, {"name": "y"}],
        "$retainKeys": ["name"]}]});
    // Only what is marked goes; other directives are fields that nobody knows.
    let want = json!({"containers": [{"name": "a", "env": [{"name": "y"}], "$retainKeys": ["name"]}]});
    assert_eq!(pod(json!({}), patch), want);
}

#[test]
fn finalizers_are_a_list_of_plain_values() {
    let id = bundle().kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
    let target = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "d", "a"],
        "finalizers": ["d"]}});
    let out = strategic(bundle(), id, &target, &patch).unwrap();
    assert_eq!(out["metadata"]["finalizers"], json!(["c", "d", "a"]));
}

#[test]
fn what_is_wrong_is_said_as_stock_says_it() {
    let list = json!({"containers": [{"name": "a"}]});
    let form = |why: &str| Refused::Form(why.to_owned());
    let other = |why: &str| Refused::Other(why.to_owned());
    let table = [
        (json!({"containers": [{"image": "x"}]}), other("map: map[image:x] does not contain declared merge key: name")),
        (json!({"$patch": "merge"}), other("unknown patch type: merge in map: map[$patch:merge]")),
        (
            json!({"containers": [{"$patch": "merge", "name": "a"}]}),
            other("merging lists cannot yet be specified in the patch"),
        ),
        (json!({"$retainKeys": ["a"], "b": 1}), form("invalid patch format of retainKeys")),
        (
            json!({"$setElementOrder/containers": {}}),
            other("expected a []interface {}, but received a map[string]interface {}"),
        ),
        (json!({"$setElementOrder/containers": [1]}), other("value for key 0 is not a map")),
        (
            json!({"$setElementOrder/foo": []}),
            other("unable to find api field in struct PodSpec for the json field \"foo\""),
        ),
        (json!({"$patch": 3}), other("unknown patch type: %!s(int64=3) in map: map[$patch:3]")),
        (json!({"containers": [1]}), other("list element types are not identical: [[map[name:a]] [1]]")),
        (
            json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}),
            other("The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n"),
        ),
    ];
    for (patch, want) in table {
        assert_eq!(refused(list.clone(), patch.clone()), want, "{patch}");
    }
}
