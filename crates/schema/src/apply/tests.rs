use super::*;
use crate::bundle;
use ironclad_api::GroupVersionKind;

fn schema() -> Schema<'static> {
    let id = bundle().kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap();
    Schema::new(bundle(), Shape::Object(id))
}

fn manager(name: &str, operation: Operation) -> Manager {
    let (api_version, time) = ("apps/v1".to_owned(), "2026-01-01T00:00:00Z".to_owned());
    Manager { name: name.into(), operation, api_version, subresource: String::new(), time }
}

fn applier(name: &str) -> Manager {
    manager(name, Operation::Apply)
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

#[test]
fn an_apply_owns_what_it_sets_and_drops_what_it_no_longer_sets() {
    let first = deployment(json!({"replicas": 3, "paused": true}));
    let live = apply(&schema(), &Value::Null, &first, &applier("a"), false).unwrap();
    assert_eq!(live["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}));
    let second = deployment(json!({"replicas": 3}));
    let live = apply(&schema(), &live, &second, &applier("a"), false).unwrap();
    assert_eq!((&live["spec"]["replicas"], live["spec"].get("paused")), (&json!(3), None));
}

#[test]
fn a_field_of_another_manager_conflicts_unless_forced() {
    let live = apply(&schema(), &Value::Null, &deployment(json!({"replicas": 3})), &applier("a"), false).unwrap();
    let want = deployment(json!({"replicas": 5}));
    let error = apply(&schema(), &live, &want, &applier("b"), false).unwrap_err();
    assert_eq!(error.code, 409);
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    assert_eq!(error.details.unwrap().causes[0].field, ".spec.replicas");
    let forced = apply(&schema(), &live, &want, &applier("b"), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    let managers = forced["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers.len(), 1);
    assert_eq!(managers[0]["manager"], "b");
}

#[test]
fn the_same_value_is_shared_without_conflict_and_survives_one_owner() {
    let config = deployment(json!({"replicas": 3}));
    let live = apply(&schema(), &Value::Null, &config, &applier("a"), false).unwrap();
    let live = apply(&schema(), &live, &config, &applier("b"), false).unwrap();
    let live = apply(&schema(), &live, &deployment(json!({"paused": true})), &applier("a"), false).unwrap();
    assert_eq!((&live["spec"]["replicas"], &live["spec"]["paused"]), (&json!(3), &json!(true)));
}

#[test]
fn an_update_takes_what_it_changes() {
    let live =
        apply(&schema(), &Value::Null, &deployment(json!({"replicas": 3, "paused": true})), &applier("a"), false)
            .unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(7);
    track(&schema(), &live, &mut scaled, &manager("kubectl", Operation::Update));
    let managers = scaled["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers[0]["fieldsV1"], json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(managers[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let error = apply(&schema(), &scaled, &deployment(json!({"replicas": 3})), &applier("a"), false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas");
}

#[test]
fn list_items_belong_to_whoever_applied_them() {
    let container = |name: &str, image: &str| json!({"name": name, "image": image, "ports": [{"containerPort": 80}]});
    let pod = |containers: Vec<Value>| deployment(json!({"template": {"spec": {"containers": containers}}}));
    let live = apply(&schema(), &Value::Null, &pod(vec![container("a", "1")]), &applier("x"), false).unwrap();
    let live = apply(&schema(), &live, &pod(vec![container("b", "1")]), &applier("y"), false).unwrap();
    let names = |v: &Value| -> Vec<String> {
        let list = v["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&live), ["a", "b"]);
    let fields = &live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"];
    let item = &fields["k:{\"name\":\"a\"}"];
    assert_eq!(item["."], json!({}));
    assert_eq!(
        item["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"],
        json!({".": {}, "f:containerPort": {}})
    );
    let live = apply(&schema(), &live, &pod(vec![container("a", "2")]), &applier("x"), false).unwrap();
    assert_eq!(names(&live), ["a", "b"]);
    let live = apply(&schema(), &live, &deployment(json!({"replicas": 1})), &applier("y"), false).unwrap();
    assert_eq!(names(&live), ["a"]);
}

#[test]
fn an_apply_that_changes_nothing_keeps_the_time() {
    let config = deployment(json!({"replicas": 3}));
    let live = apply(&schema(), &Value::Null, &config, &applier("a"), false).unwrap();
    let later = Manager { time: "2027-01-01T00:00:00Z".into(), ..applier("a") };
    assert_eq!(apply(&schema(), &live, &config, &later, false).unwrap(), live);
}

#[test]
fn an_empty_list_of_managers_asks_to_forget_them_but_not_through_a_subresource() {
    let live = apply(&schema(), &Value::Null, &deployment(json!({"replicas": 3})), &applier("a"), false).unwrap();
    for empty in [json!([]), json!([{}])] {
        let mut sent = live.clone();
        sent["metadata"]["managedFields"] = empty;
        let mut through = sent.clone();
        track(&schema(), &live, &mut sent, &manager("b", Operation::Update));
        assert!(sent["metadata"].get("managedFields").is_none(), "{sent}");
        let status = Manager { subresource: "status".into(), ..manager("b", Operation::Update) };
        track(&schema(), &live, &mut through, &status);
        assert_eq!(through["metadata"]["managedFields"], live["metadata"]["managedFields"]);
    }
}

#[test]
fn old_updaters_become_one() {
    let mut live = deployment(json!({"replicas": 0}));
    track(&schema(), &Value::Null, &mut live, &manager("first", Operation::Update));
    for n in 0..15 {
        let mut next = live.clone();
        next["metadata"]["labels"][format!("l{n}")] = json!("x");
        let updater =
            Manager { time: format!("2026-01-{:02}T00:00:00Z", n + 1), ..manager(&format!("m{n}"), Operation::Update) };
        track(&schema(), &live, &mut next, &updater);
        live = next;
    }
    let managers = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers.len(), UPDATERS);
    assert!(managers.iter().any(|m| m["manager"] == ANCIENT));
}

/// The list types of the API where they are easily mistaken.
#[test]
fn lists_and_objects_are_told_apart_as_the_api_says() {
    let owned = |group: &str, kind: &str, object: Value| {
        let id = bundle().kind(&GroupVersionKind::new(group, "v1", kind)).unwrap();
        fields::field_set(Place::root(bundle(), &Shape::Object(id)), &object).describe()
    };
    let claims = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "a"}}]}});
    assert_eq!(owned("apps", "StatefulSet", claims), [".spec.volumeClaimTemplates"]);
    let conditions = json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    assert_eq!(owned("batch", "Job", conditions), [".status.conditions"]);
    let volume = json!({"spec": {"claimRef": {"name": "a", "namespace": "b"}}});
    assert_eq!(owned("", "PersistentVolume", volume), [".spec.claimRef.name", ".spec.claimRef.namespace"]);
    let policy = json!({"spec": {"paramKind": {"kind": "K", "apiVersion": "v1"}}});
    assert_eq!(owned("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", policy), [".spec.paramKind"]);
}
