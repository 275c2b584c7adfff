//! `fieldValidation`: unknown fields and keys that stand twice, told in stock's words and order.

mod support;

use ironclad_json::{Value, json};
use support::{JSON, bytes, server, with};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

const BODY: &str = r#"{
  "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "NAME", "labels": {"app": "nginx"}},
  "spec": {
    "unknown1": "val1", "unknownDupe": "valDupe", "unknownDupe": "valDupe2", "paused": true, "paused": false,
    "selector": {"matchLabels": {"app": "nginx"}},
    "template": {"metadata": {"labels": {"app": "nginx"}}, "spec": {"containers": [{
      "name": "nginx", "image": "nginx:latest", "unknownNested": "val1",
      "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}
  }}"#;

const YAML: &str = r"apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
spec:
  unknownDupe: valDupe
  unknownDupe: valDupe2
  paused: true
  paused: false
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      containers:
      - name: nginx
        image: nginx:latest
        unknownNested: val1
";

async fn send(
    server: &ironclad_apiserver::ApiServer,
    method: &str,
    path: &str,
    kind: &str,
    body: &str,
) -> (u16, Vec<String>, Value) {
    let response = with(server, method, path, &[("content-type", kind)], body.to_owned()).await;
    let code = response.status().as_u16();
    let warnings = response.headers().get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
    (code, warnings, serde_json::from_slice(&bytes(response).await).unwrap())
}

fn told(notes: &[&str]) -> Vec<String> {
    notes.iter().map(|n| format!("299 - \"{}\"", n.replace('"', "\\\""))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_json_are_told_in_the_order_of_the_document() {
    let (server, ..) = server().await;
    let notes = [
        "unknown field \"spec.unknown1\"",
        "unknown field \"spec.unknownDupe\"",
        "duplicate field \"spec.paused\"",
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
        "duplicate field \"spec.template.spec.containers[0].imagePullPolicy\"",
    ];
    let (code, _, error) = send(&server, "POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), JSON, BODY).await;
    let head = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: ";
    assert_eq!((code, error["message"].as_str().unwrap()), (400, &*format!("{head}{}", notes.join(", "))));
    let (code, warnings, _) = send(&server, "POST", DEPLOYMENTS, JSON, &BODY.replace("NAME", "warn")).await;
    assert_eq!((code, warnings), (201, told(&notes)));
    let ignore = format!("{DEPLOYMENTS}?fieldValidation=Ignore");
    let (code, warnings, _) = send(&server, "POST", &ignore, JSON, &BODY.replace("NAME", "ignore")).await;
    assert_eq!((code, warnings), (201, Vec::new()));
    let (code, _, error) = send(&server, "POST", &format!("{DEPLOYMENTS}?fieldValidation=No"), JSON, BODY).await;
    let want = "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"No\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
    assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_yaml_are_told_by_their_lines() {
    let (server, ..) = server().await;
    let kind = "application/yaml";
    let (code, _, error) = send(&server, "POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), kind, YAML).await;
    let want = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: yaml: unmarshal errors:\n  \
        line 7: key \"unknownDupe\" already set in map\n  line 9: key \"paused\" already set in map, \
        unknown field \"spec.template.spec.containers[0].unknownNested\", unknown field \"spec.unknownDupe\"";
    assert_eq!((code, error["message"].as_str().unwrap()), (400, want));
    let (code, warnings, _) = send(&server, "POST", DEPLOYMENTS, kind, &YAML.replace("NAME", "warn")).await;
    let notes = [
        "line 7: key \"unknownDupe\" already set in map",
        "line 9: key \"paused\" already set in map",
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
        "unknown field \"spec.unknownDupe\"",
    ];
    assert_eq!((code, warnings), (201, told(&notes)));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_patches_are_told_after_those_of_the_patch_itself() {
    let (server, ..) = server().await;
    let (code, ..) =
        send(&server, "POST", &format!("{DEPLOYMENTS}?fieldValidation=Ignore"), JSON, &BODY.replace("NAME", "a")).await;
    assert_eq!(code, 201);
    let one = format!("{DEPLOYMENTS}/a?fieldValidation=Strict");
    let merge = r#"{"spec": {"unknown1": 1, "unknownDupe": 1, "unknownDupe": 2, "paused": true, "paused": false}}"#;
    let notes = "strict decoding error: duplicate field \"spec.unknownDupe\", duplicate field \"spec.paused\", \
        unknown field \"spec.unknown1\", unknown field \"spec.unknownDupe\"";
    for kind in ["application/strategic-merge-patch+json", "application/merge-patch+json"] {
        let (code, _, error) = send(&server, "PATCH", &one, kind, merge).await;
        let message = error["message"].as_str().unwrap();
        assert_eq!(code, 422);
        assert!(
            message.starts_with(" \"\" is invalid: patch: Invalid value: \"") && message.ends_with(notes),
            "{message}"
        );
        assert_eq!(error["details"]["causes"][0]["field"], "patch");
    }
    let operations = r#"[{"op": "add", "path": "/spec/unknown1", "value": 1, "foo": "bar"},
        {"op": "add", "path": "/spec/unknown2", "path": "/spec/unknown3", "value": 1}]"#;
    let (code, _, error) = send(&server, "PATCH", &one, "application/json-patch+json", operations).await;
    let notes = "strict decoding error: json patch unknown field \"[0].foo\", json patch duplicate field \"[1].path\", \
        unknown field \"spec.unknown1\", unknown field \"spec.unknown3\"";
    assert_eq!(code, 422);
    assert!(error["message"].as_str().unwrap().ends_with(notes), "{error}");
    let applied =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  paused: true\n  paused: false\n";
    let apply = "application/apply-patch+yaml";
    let (code, _, error) = send(&server, "PATCH", &format!("{one}&fieldManager=me"), apply, applied).await;
    let want = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 6: key \"paused\" already set in map";
    assert_eq!((code, error["message"].as_str().unwrap()), (400, want));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_types_in_patches_are_told_as_each_patch_tells_them() {
    let (server, ..) = server().await;
    send(&server, "POST", &format!("{DEPLOYMENTS}?fieldValidation=Ignore"), JSON, &BODY.replace("NAME", "a")).await;
    let one = format!("{DEPLOYMENTS}/a");
    let strategic = "application/strategic-merge-patch+json";
    let patch = |spec: Value| json!({"spec": spec}).to_string();
    let table = [
        (
            json!({"replicas": "x"}),
            " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32",
        ),
        (
            json!({"template": 3}),
            " \"\" is invalid: patch: Invalid value: \"map[spec:map[template:3]]\": cannot restore struct from: int64",
        ),
    ];
    for (spec, want) in table {
        let (code, _, error) = send(&server, "PATCH", &one, strategic, &patch(spec)).await;
        assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
    }
    let (code, _, error) =
        send(&server, "PATCH", &one, "application/merge-patch+json", &patch(json!({"replicas": "x"}))).await;
    let want = "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32";
    assert_eq!(code, 422);
    assert!(error["message"].as_str().unwrap().ends_with(want), "{error}");
}
