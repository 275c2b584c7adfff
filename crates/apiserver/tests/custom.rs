//! Custom resources, from their definition to the last of their instances.

mod support;

use futures::StreamExt;
use ironclad_api::GroupResource;
use ironclad_api::source::{Change, Source};
use ironclad_apiserver::{ApiServer, Reader};
use ironclad_json::{Value, json};
use support::hook::Hook;
use support::{JSON, ask, send, server};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &str = "application/merge-patch+json";

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "blue"},
            "replicas": {"type": "integer"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}}}})
}

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]}})
}

/// Waits until the definition has a condition.
async fn wait(reader: &Reader, name: &str, kind: &str) -> Value {
    let mut changes = reader.subscribe(&GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions"));
    let found = async {
        while let Some(change) = changes.next().await {
            if let Change::Put(d) = change
                && d["metadata"]["name"] == name
                && ironclad_kinds::custom::condition(&d, kind).is_some_and(|c| c["status"] == "True")
            {
                return (*d).clone();
            }
        }
        unreachable!("the server runs")
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), found).await.expect("the definition settles")
}

async fn define(server: &ApiServer, reader: &Reader, definition: Value) -> Value {
    let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
    let (code, made) = ask(server, "POST", DEFINITIONS, JSON, definition).await;
    assert_eq!(code, 201, "{made}");
    wait(reader, &name, "Established").await
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_pruned_defaulted_checked_and_counted() {
    let (server, reader, _dir) = server().await;
    let settled = define(&server, &reader, definition()).await;
    assert_eq!(settled["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(settled["status"]["acceptedNames"]["listKind"], "WidgetList");
    let made = widget("a", json!({"size": 3, "odd": 1, "free": {"any": 1}}));
    let (code, made) = ask(&server, "POST", WIDGETS, JSON, made).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"], json!({"size": 3, "color": "blue", "free": {"any": 1}}));
    assert_eq!(made["metadata"]["generation"], 1);
    let one = format!("{WIDGETS}/a");
    assert_eq!(ask(&server, "GET", &one, JSON, Value::Null).await.1, made);

    let (code, error) = ask(&server, "POST", WIDGETS, JSON, widget("b", json!({"size": 0, "color": 7}))).await;
    assert_eq!(code, 422);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        "{message}"
    );
    assert!(
        message
            .contains(r#"spec.color: Invalid value: "integer": spec.color in body must be of type string: "integer""#),
        "{message}"
    );
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, error) = ask(&server, "POST", &strict, JSON, widget("b", json!({"size": 1, "odd": 1}))).await;
    assert_eq!(
        (code, error["message"].as_str()),
        (
            400,
            Some(
                r#"Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.odd""#
            )
        )
    );

    let (code, changed) =
        ask(&server, "PATCH", &one, MERGE, json!({"spec": {"size": 4}, "status": {"phase": "x"}})).await;
    assert_eq!((code, &changed["metadata"]["generation"], changed.get("status")), (200, &json!(2), None));
    let (code, changed) =
        ask(&server, "PATCH", &format!("{one}/status"), MERGE, json!({"spec": {"size": 9}, "status": {"phase": "x"}}))
            .await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(
        (&changed["metadata"]["generation"], &changed["spec"]["size"], &changed["status"]["phase"]),
        (&json!(2), &json!(4), &json!("x"))
    );
    let strategic = "application/strategic-merge-patch+json";
    assert_eq!(ask(&server, "PATCH", &one, strategic, json!({"spec": {"size": 5}})).await.0, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_tables_and_selectors_work_as_for_built_in_kinds() {
    let (server, reader, _dir) = server().await;
    define(&server, &reader, definition()).await;
    for (name, spec) in [("a", json!({"size": 1, "replicas": 2})), ("b", json!({"size": 2, "color": "red"}))] {
        assert_eq!(ask(&server, "POST", WIDGETS, JSON, widget(name, spec)).await.0, 201);
    }
    let scale = format!("{WIDGETS}/a/scale");
    let (code, found) = ask(&server, "GET", &scale, JSON, Value::Null).await;
    assert_eq!((code, &found["spec"]["replicas"], &found["kind"]), (200, &json!(2), &json!("Scale")));
    let (code, found) = ask(&server, "PATCH", &scale, MERGE, json!({"spec": {"replicas": 5}})).await;
    assert_eq!((code, &found["spec"]["replicas"]), (200, &json!(5)));
    let (_, found) = ask(&server, "GET", &format!("{WIDGETS}/a"), JSON, Value::Null).await;
    assert_eq!((&found["spec"]["replicas"], &found["metadata"]["generation"]), (&json!(5), &json!(2)));

    let (_, list) = ask(&server, "GET", &format!("{WIDGETS}?fieldSelector=spec.color%3Dred"), JSON, Value::Null).await;
    let names: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["b"]);
    assert_eq!(list["kind"], "WidgetList");
    let (code, error) = ask(&server, "GET", &format!("{WIDGETS}?fieldSelector=spec.size%3D1"), JSON, Value::Null).await;
    assert_eq!((code, error["message"].as_str()), (400, Some("field label not supported: spec.size")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_merges_lists_by_their_keys() {
    let (server, reader, _dir) = server().await;
    define(&server, &reader, definition()).await;
    let apply = |manager: &str, parts: Value| {
        let path = format!("{WIDGETS}/a?fieldManager={manager}");
        let body = widget("a", json!({"size": 1, "parts": parts})).to_string();
        let server = server.clone();
        async move { send(&server, "PATCH", &path, "application/apply-patch+yaml", body).await.status().as_u16() }
    };
    assert_eq!(apply("one", json!([{"name": "x", "n": 1}])).await, 201);
    assert_eq!(apply("two", json!([{"name": "y", "n": 2}])).await, 200);
    let (_, found) = ask(&server, "GET", &format!("{WIDGETS}/a"), JSON, Value::Null).await;
    assert_eq!(found["spec"]["parts"], json!([{"name": "x", "n": 1}, {"name": "y", "n": 2}]));
    assert_eq!(apply("two", json!([{"name": "x", "n": 3}])).await, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_goes_takes_its_instances_along() {
    let (server, reader, _dir) = server().await;
    define(&server, &reader, definition()).await;
    let widgets = GroupResource::new("example.com", "widgets");
    let mut changes = reader.subscribe(&widgets);
    assert_eq!(ask(&server, "POST", WIDGETS, JSON, widget("a", json!({"size": 1}))).await.0, 201);
    let one = format!("{DEFINITIONS}/widgets.example.com");
    let (code, going) = ask(&server, "DELETE", &one, JSON, Value::Null).await;
    assert_eq!((code, &going["metadata"]["finalizers"]), (200, &json!(["customresourcecleanup.apiextensions.k8s.io"])));
    let deleted = async { while !matches!(changes.next().await, Some(Change::Delete(_))) {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), deleted).await.expect("the instance goes");
    let gone = async {
        while ask(&server, "GET", "/apis/example.com/v1", JSON, Value::Null).await.0 != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("the group goes");
    assert_eq!(ask(&server, "GET", WIDGETS, JSON, Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_differ_in_name_where_nothing_converts_them() {
    let (server, reader, _dir) = server().await;
    let mut two = definition();
    let mut v2 = two["spec"]["versions"][0].clone();
    v2["name"] = json!("v2");
    v2["storage"] = json!(false);
    v2["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"]["default"] = json!("green");
    v2["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["new"] =
        json!({"type": "string", "default": "n"});
    // What is selected alike in all versions belongs to a schema that they share.
    v2["selectableFields"] = json!([{"jsonPath": ".spec.new"}]);
    two["spec"]["versions"].as_array_mut().unwrap().push(v2);
    define(&server, &reader, two).await;
    assert_eq!(ask(&server, "POST", WIDGETS, JSON, widget("a", json!({"size": 1}))).await.0, 201);
    let newer = WIDGETS.replace("/v1/", "/v2/");
    let (code, found) = ask(&server, "GET", &format!("{newer}/a"), JSON, Value::Null).await;
    assert_eq!((code, &found["apiVersion"]), (200, &json!("example.com/v2")));
    assert_eq!(found["spec"], json!({"size": 1, "color": "blue", "new": "n"}));
    let (_, list) = ask(&server, "GET", &newer, JSON, Value::Null).await;
    assert_eq!((&list["items"][0], &list["apiVersion"]), (&found, &json!("example.com/v2")));
}

/// A definition whose `v1` has a host and a port in one field and whose `v2` has two, as a webhook converts them.
fn converted(hook: &Hook) -> Value {
    let version = |name: &str, storage: bool, fields: Value, selectable: Value| {
        let mut properties = fields;
        for head in ["apiVersion", "kind"] {
            properties[head] = json!({"type": "string"});
        }
        json!({"name": name, "served": true, "storage": storage, "selectableFields": selectable,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    let text = json!({"type": "string"});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "hosts.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "hosts", "kind": "Host"},
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
                "clientConfig": {"url": hook.url(), "caBundle": hook.bundle}}},
            "versions": [version("v1", true, json!({"hostPort": text}), json!([{"jsonPath": ".hostPort"}])),
                version("v2", false, json!({"host": text, "port": text}), json!([{"jsonPath": ".host"}]))]}})
}

fn convert(review: &Value) -> Value {
    let request = &review["request"];
    let one = |object: &Value| {
        let mut new = object.clone();
        new["apiVersion"] = request["desiredAPIVersion"].clone();
        let map = new.as_object_mut().unwrap();
        match request["desiredAPIVersion"].as_str() {
            Some("example.com/v2") => {
                let both = map.remove("hostPort").unwrap();
                let (host, port) = both.as_str().unwrap().split_once(':').unwrap();
                map.insert("host", json!(host));
                map.insert("port", json!(port));
            }
            _ => {
                let (host, port) = (map.remove("host").unwrap(), map.remove("port").unwrap());
                map.insert("hostPort", json!(format!("{}:{}", host.as_str().unwrap(), port.as_str().unwrap())));
            }
        }
        new
    };
    let objects: Vec<Value> = request["objects"].as_array().unwrap().iter().map(one).collect();
    let failed = objects.iter().any(|o| o["metadata"]["name"] == "bad");
    let result = if failed {
        json!({"status": "Failed", "message": "cannot convert this"})
    } else {
        json!({"status": "Success"})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": {"uid": request["uid"], "result": result, "convertedObjects": objects}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_converts_what_is_read_listed_selected_and_watched() {
    let (server, reader, _dir) = server().await;
    let hook = Hook::start(convert).await;
    define(&server, &reader, converted(&hook)).await;
    let (one, two) = ("/apis/example.com/v1/namespaces/default/hosts", "/apis/example.com/v2/namespaces/default/hosts");
    let host = |name: &str, text: &str| json!({"apiVersion": "example.com/v1", "kind": "Host", "metadata": {"name": name}, "hostPort": text});
    assert_eq!(ask(&server, "POST", one, JSON, host("a", "localhost:80")).await.0, 201);
    let newer = json!({"apiVersion": "example.com/v2", "kind": "Host", "metadata": {"name": "b"}, "host": "other", "port": "81"});
    let (code, made) = ask(&server, "POST", two, JSON, newer).await;
    assert_eq!((code, &made["host"], &made["apiVersion"]), (201, &json!("other"), &json!("example.com/v2")), "{made}");
    assert_eq!(ask(&server, "GET", &format!("{one}/b"), JSON, Value::Null).await.1["hostPort"], "other:81");
    assert_eq!(ask(&server, "GET", &format!("{two}/a"), JSON, Value::Null).await.1["host"], "localhost");

    let selected = format!("{two}?fieldSelector=host%3Dother");
    let (_, list) = ask(&server, "GET", &selected, JSON, Value::Null).await;
    let names: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["b"]);
    let asked = hook.seen.lock().len();
    assert_eq!(ask(&server, "GET", one, JSON, Value::Null).await.1["items"].as_array().unwrap().len(), 2);
    assert_eq!(hook.seen.lock().len(), asked, "what is stored in the version is not converted");

    let watched = send(&server, "GET", &format!("{selected}&watch=1&timeoutSeconds=2"), JSON, "").await;
    assert_eq!(ask(&server, "PATCH", &format!("{one}/a"), MERGE, json!({"hostPort": "other:90"})).await.0, 200);
    let text = support::bytes(watched).await;
    let events: Vec<Value> = text.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    let shown: Vec<_> =
        events.iter().map(|e| (e["type"].as_str().unwrap(), e["object"]["port"].as_str().unwrap())).collect();
    assert_eq!(shown, [("ADDED", "81"), ("ADDED", "90")]);

    assert_eq!(ask(&server, "POST", one, JSON, host("bad", "x:1")).await.0, 201);
    let (code, error) = ask(&server, "GET", &format!("{two}/bad"), JSON, Value::Null).await;
    let want = "conversion webhook for example.com/v1, Kind=Host failed: cannot convert this";
    assert_eq!((code, error["message"].as_str()), (500, Some(want)));
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_in_versions_that_a_webhook_converts_own_what_their_version_calls_it() {
    let (server, reader, _dir) = server().await;
    let hook = Hook::start(convert).await;
    define(&server, &reader, converted(&hook)).await;
    let (one, two) = ("/apis/example.com/v1/namespaces/default/hosts", "/apis/example.com/v2/namespaces/default/hosts");
    let apply = "application/apply-patch+yaml";
    let newer = |port: &str| json!({"apiVersion": "example.com/v2", "kind": "Host", "metadata": {"name": "a"}, "host": "x", "port": port});
    let (code, made) = ask(&server, "PATCH", &format!("{two}/a?fieldManager=new"), apply, newer("80")).await;
    assert_eq!(code, 201, "{made}");
    let owned = |object: &Value| -> Vec<(String, String)> {
        let one = |m: &Value| (m["manager"].as_str().unwrap().to_owned(), m["fieldsV1"].to_string());
        object["metadata"]["managedFields"].as_array().unwrap().iter().map(one).collect()
    };
    assert_eq!(owned(&made), [("new".to_owned(), r#"{"f:host":{},"f:port":{}}"#.to_owned())]);
    // A write in the other version takes what it changes there, by the names of the owner's version.
    let patch = json!({"hostPort": "x:81"});
    let (code, changed) = ask(&server, "PATCH", &format!("{one}/a?fieldManager=old"), MERGE, patch).await;
    assert_eq!(code, 200, "{changed}");
    let want =
        [("new", r#"{"f:host":{}}"#), ("old", r#"{"f:hostPort":{}}"#)].map(|(m, f)| (m.to_owned(), f.to_owned()));
    assert_eq!(owned(&changed), want);
    // A conflict is found across the versions.
    let (code, error) = ask(&server, "PATCH", &format!("{two}/a?fieldManager=new"), apply, newer("82")).await;
    let message = error["message"].as_str().unwrap();
    assert_eq!(
        (code, message),
        (409, "Apply failed with 1 conflict: conflict with \"old\" using example.com/v1: .hostPort")
    );
    // Where the webhook fails, an apply fails, and an ordinary write leaves everybody what he has.
    hook.seen.lock().clear();
    let (code, bad) = ask(&server, "PATCH", &format!("{two}/a?fieldManager=new&force=true"), apply, newer("82")).await;
    assert_eq!(code, 200, "{bad}");
    assert_eq!(owned(&bad), [("new".to_owned(), r#"{"f:host":{},"f:port":{}}"#.to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_that_comes_later_is_seen_in_older_objects_and_a_restart_loses_nothing() {
    let dir = tempfile::TempDir::new().unwrap();
    let token = tokio_util::sync::CancellationToken::new();
    {
        let (server, reader) = support::open(dir.path(), token.clone()).await;
        define(&server, &reader, definition()).await;
        assert_eq!(ask(&server, "POST", WIDGETS, JSON, widget("a", json!({"size": 1}))).await.0, 201);
        let one = format!("{DEFINITIONS}/widgets.example.com");
        let patch = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/later",
            "value": {"type": "string", "default": "now"}}, {"op": "add", "path": "/spec/versions/0/deprecated", "value": true}]);
        assert_eq!(ask(&server, "PATCH", &one, "application/json-patch+json", patch).await.0, 200);
        let settled = async {
            loop {
                let (_, found) = ask(&server, "GET", &format!("{WIDGETS}/a"), JSON, Value::Null).await;
                let (_, list) = ask(&server, "GET", WIDGETS, JSON, Value::Null).await;
                if found["spec"]["later"] == "now" && list["items"][0]["spec"]["later"] == "now" {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), settled).await.expect("the default comes");
        let answer = send(&server, "GET", &format!("{WIDGETS}/a"), JSON, "").await;
        assert_eq!(answer.headers()["warning"], "299 - \"example.com/v1 Widget is deprecated\"");
        token.cancel();
    }
    let opened = async {
        loop {
            let store = ironclad_store::LogStore::open(dir.path(), ironclad_store::Options::default());
            if store.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), opened).await.expect("the first server lets the store go");
    let (server, _) = support::open(dir.path(), tokio_util::sync::CancellationToken::new()).await;
    let (code, found) = ask(&server, "GET", &format!("{WIDGETS}/a"), JSON, Value::Null).await;
    assert_eq!((code, &found["spec"]["later"]), (200, &json!("now")));
}

/// The definition of the conformance tests about fields: known ports, and a template that is a whole object.
fn fields(preserve: bool) -> Value {
    let ports = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
        "items": {"type": "object", "required": ["containerPort", "protocol"], "properties": {
            "containerPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"}, "protocol": {"type": "string"}}}});
    let template = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}});
    let mut spec =
        json!({"type": "object", "properties": {"foo": {"type": "string"}, "ports": ports, "template": template}});
    if preserve {
        spec["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "noxus.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": "noxus", "kind": "Noxu"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_refuses_fields_that_the_schema_does_not_have_and_those_that_stand_twice() {
    let path = "/apis/example.com/v1/noxus/a?fieldManager=m&fieldValidation=Strict";
    let head = "apiVersion: example.com/v1\nkind: Noxu\nmetadata:\n  name: a\n  finalizers:\n  - test-finalizer\n";
    let table = [
        (false, "spec:\n  foo: foo1\n  ports:\n  - {name: x, containerPort: 80, protocol: TCP}\n", None),
        (false, "unknownField: unknown\nspec:\n  foo: foo1\n", Some(".unknownField: field not declared in schema")),
        (true, "spec:\n  unknown: kept\n", None),
        (
            true,
            "spec:\n  template: {apiVersion: foo/v1, kind: Sub, metadata: {unknownSubMeta: unknown, name: s}}\n",
            Some(".spec.template.metadata.unknownSubMeta: field not declared in schema"),
        ),
        (true, "spec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2\n", Some("line 10: key \"foo\" already set in map")),
    ];
    for (preserve, spec, wrong) in table {
        let (server, reader, _dir) = server().await;
        define(&server, &reader, fields(preserve)).await;
        let response = send(&server, "PATCH", path, "application/apply-patch+yaml", format!("{head}{spec}")).await;
        let code = response.status().as_u16();
        let answer: Value = serde_json::from_slice(&support::bytes(response).await).unwrap();
        match wrong {
            None => assert_eq!(code, 201, "{answer}"),
            Some(wrong) => assert!(code >= 400 && answer["message"].as_str().unwrap().contains(wrong), "{answer}"),
        }
    }
}
