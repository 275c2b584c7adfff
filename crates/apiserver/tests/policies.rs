//! Admission policies: rules in expressions that refuse, warn about and change what is written.

mod support;

use ironclad_json::{Value, json};
use std::time::Duration;
use support::{JSON, admitting, ask};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

type Server = ironclad_apiserver::ApiServer;

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

async fn make(server: &Server, plural: &str, name: &str, spec: Value) -> (u16, Value) {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    let done = ask(server, "POST", &format!("{GROUP}/{plural}"), JSON, body).await;
    // What was just configured is seen through a watch.
    tokio::time::sleep(Duration::from_millis(100)).await;
    done
}

fn rules() -> Value {
    json!({"resourceRules": [
        {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]})
}

fn with(mut spec: Value, more: Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

/// A validating policy with a binding.
async fn policy(server: &Server, name: &str, spec: Value, binding: Value) {
    let spec = with(json!({"matchConstraints": rules()}), spec);
    let (code, made) = make(server, "validatingadmissionpolicies", name, spec).await;
    assert_eq!(code, 201, "{made}");
    let binding = with(json!({"policyName": name, "validationActions": ["Deny"]}), binding);
    let (code, made) = make(server, "validatingadmissionpolicybindings", &format!("{name}-binding"), binding).await;
    assert_eq!(code, 201, "{made}");
}

async fn create(server: &Server, name: &str, data: Value) -> (u16, String) {
    let (code, answer) = ask(server, "POST", MAPS, JSON, map(name, data)).await;
    (code, answer["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_does_not_hold_refuses_in_the_stock_wording() {
    let (server, _reader, _dir) = admitting().await;
    let spec = json!({
        "variables": [{"name": "size", "expression": "size(object.data)"},
                      {"name": "twice", "expression": "variables.size * 2"}],
        "validations": [
            {"expression": "variables.twice <= 4"},
            {"expression": "!('secret' in object.data)", "message": "no secrets here", "reason": "Forbidden"},
            {"expression": "!('bad' in object.data)", "messageExpression": "'bad is ' + object.data.bad"}],
    });
    policy(&server, "small", spec, json!({})).await;
    assert_eq!(create(&server, "ok", json!({"a": "1"})).await.0, 201);
    let begin = "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'small' with binding 'small-binding' denied request: ";
    let table = [
        (json!({"a": "1", "b": "2", "c": "3"}), 422, "failed expression: variables.twice <= 4"),
        (json!({"secret": "1"}), 403, "no secrets here"),
        (json!({"bad": "very"}), 422, "bad is very"),
    ];
    for (data, code, why) in table {
        assert_eq!(create(&server, "x", data).await, (code, format!("{begin}{why}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_fails_refuses_unless_the_policy_ignores_it() {
    let (server, _reader, _dir) = admitting().await;
    let rule = json!([{"expression": "object.data.missing == 'x'"}]);
    policy(&server, "strict", json!({"validations": rule}), json!({})).await;
    let (code, message) = create(&server, "x", json!({"a": "1"})).await;
    let want = "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'strict' with binding 'strict-binding' denied request: \
                expression 'object.data.missing == 'x'' resulted in error: no such key: missing";
    assert_eq!((code, message.as_str()), (422, want));
    let one = format!("{GROUP}/validatingadmissionpolicies/strict");
    let ignore = json!({"spec": {"failurePolicy": "Ignore"}});
    assert_eq!(ask(&server, "PATCH", &one, "application/merge-patch+json", ignore).await.0, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(create(&server, "x", json!({"a": "1"})).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_can_warn_instead() {
    let (server, _reader, _dir) = admitting().await;
    let spec = json!({"validations": [{"expression": "false", "message": "never"}]});
    policy(&server, "warning", spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let response = support::send(&server, "POST", MAPS, JSON, map("x", json!({})).to_string()).await;
    assert_eq!(response.status(), 201);
    let want =
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'warning' with binding 'warning-binding': never\"";
    assert_eq!(response.headers()["warning"], want);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_by_name_or_by_selector() {
    let (server, _reader, _dir) = admitting().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "matchConstraints": rules(),
        "validations": [{"expression": "object.data.size() <= int(params.metadata.annotations.max)",
                         "messageExpression": "'at most ' + params.metadata.annotations.max"}],
    });
    let limit = |name: &str, max: &str| json!({"metadata": {"name": name, "annotations": {"max": max}, "labels": {"limit": "yes"}}});
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    assert_eq!(ask(&server, "POST", SECRETS, JSON, limit("one", "2")).await.0, 201);
    let by_name = json!({"paramRef": {"name": "one", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    policy(&server, "limit", spec, by_name).await;
    let message = create(&server, "x", json!({"a": "1", "b": "2", "c": "3"})).await.1;
    assert!(message.ends_with("denied request: at most 2"), "{message}");
    assert_eq!(create(&server, "x", json!({"a": "1"})).await.0, 201);
    let one = format!("{GROUP}/validatingadmissionpolicybindings/limit-binding");
    let selector =
        json!({"spec": {"paramRef": {"name": null, "namespace": null, "selector": {"matchLabels": {"limit": "yes"}}}}});
    assert_eq!(ask(&server, "PATCH", &one, "application/merge-patch+json", selector).await.0, 200);
    assert_eq!(ask(&server, "POST", SECRETS, JSON, limit("two", "1")).await.0, 201);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let message = create(&server, "y", json!({"a": "1", "b": "2"})).await.1;
    assert!(message.ends_with("denied request: at most 1"), "{message}");
    assert_eq!(ask(&server, "DELETE", &format!("{SECRETS}/one"), JSON, Value::Null).await.0, 200);
    assert_eq!(ask(&server, "DELETE", &format!("{SECRETS}/two"), JSON, Value::Null).await.0, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let message = create(&server, "z", json!({})).await.1;
    let want = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(message.ends_with(want), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_see_the_request_the_namespace_and_the_authorizer() {
    let (server, _reader, _dir) = admitting().await;
    let expressions = [
        "request.operation == 'CREATE' && request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap'",
        "request.userInfo.username == 'tester' && 'system:masters' in request.userInfo.groups && !request.dryRun",
        "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
        "oldObject == null && object.kind == 'ConfigMap'",
        "authorizer.group('apps').resource('deployments').namespace('x').check('create').allowed()",
        "authorizer.requestResource.check('delete').allowed() && authorizer.path('/healthz').check('get').allowed()",
        "authorizer.serviceAccount('default', 'x').group('').resource('pods').check('get').allowed()",
    ];
    let validations: Vec<Value> = expressions.iter().map(|e| json!({"expression": e})).collect();
    policy(&server, "all", json!({"validations": validations}), json!({})).await;
    assert_eq!(create(&server, "x", json!({})).await, (201, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_make_no_sense_are_refused() {
    let (server, _reader, _dir) = admitting().await;
    let table = [
        (json!({}), "validations or auditAnnotations must contain at least one item"),
        (
            json!({"validations": [{"expression": "object.x +"}]}),
            "spec.validations[0].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting",
        ),
        (json!({"validations": [{"expression": "1"}]}), "must evaluate to bool"),
        (json!({"validations": [{"expression": "params.x"}]}), "undeclared reference to 'params' (in container '')"),
        (
            json!({"validations": [{"expression": "variables.x"}]}),
            "undeclared reference to 'variables' (in container '')",
        ),
        (
            json!({"validations": [{"expression": "true", "message": "a\nb"}]}),
            "message: Invalid value: \"a\\nb\": must not contain line breaks",
        ),
        (json!({"validations": [{"expression": "request.nothing == 1"}]}), "undefined field 'nothing'"),
        (
            json!({"auditAnnotations": [{"key": "a", "valueExpression": "1"}]}),
            "must evaluate to one of [string null_type] but got int",
        ),
    ];
    for (spec, why) in table {
        let spec = with(json!({"matchConstraints": rules()}), spec);
        let (code, error) = make(&server, "validatingadmissionpolicies", "wrong", spec.clone()).await;
        assert_eq!(code, 422, "{spec}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
}

async fn mutation(server: &Server, name: &str, mutations: Value) {
    let spec = json!({"matchConstraints": rules(), "reinvocationPolicy": "IfNeeded", "mutations": mutations});
    let (code, made) = make(server, "mutatingadmissionpolicies", name, spec).await;
    assert_eq!(code, 201, "{made}");
    let binding = json!({"policyName": name});
    let (code, made) = make(server, "mutatingadmissionpolicybindings", &format!("{name}-binding"), binding).await;
    assert_eq!(code, 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutating_policies_apply_and_patch() {
    let (server, _reader, _dir) = admitting().await;
    let mutations = json!([
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'made-by': request.userInfo.username}}, data: {'added': 'yes'}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'test', path: '/data/added', value: 'yes'}, \
              JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('x.y'), value: 'patched'}]"}},
    ]);
    mutation(&server, "grow", mutations).await;
    let (code, made) = ask(&server, "POST", MAPS, JSON, map("x", json!({"own": "1"}))).await;
    assert_eq!((code, &made["data"]), (201, &json!({"own": "1", "added": "yes", "x.y": "patched"})));
    assert_eq!(made["metadata"]["labels"], json!({"made-by": "tester"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_fails_refuses() {
    let (server, _reader, _dir) = admitting().await;
    let wrong = "Object{metadata: Object.spec{labels: {'a': 'b'}}}";
    let mutations = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": wrong}}]);
    mutation(&server, "wrong", mutations).await;
    let (code, message) = create(&server, "x", json!({})).await;
    let want = "policy 'wrong' with binding 'wrong-binding' denied request: type mismatch: \
                unexpected type name \"Object.spec\", expected \"Object.metadata\", which matches field name path from root Object type";
    assert_eq!((code, message.as_str()), (403, want));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_about_older_versions_sees_newer_requests() {
    let (server, _reader, _dir) = admitting().await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"operations": ["*"], "apiGroups": ["autoscaling"],
            "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}]},
        "validations": [{"expression": "object.apiVersion == 'autoscaling/v1' && request.requestKind.version == 'v2' && object.spec.maxReplicas < 3"}],
    });
    policy(&server, "older", spec, json!({})).await;
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = |max: u32| {
        json!({"metadata": {"name": "x"}, "spec": {"maxReplicas": max,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}})
    };
    assert_eq!(ask(&server, "POST", path, JSON, scaler(3)).await.0, 422);
    let (code, made) = ask(&server, "POST", path, JSON, scaler(2)).await;
    assert_eq!(code, 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_parameters_may_not_make_policies_with_them() {
    let (server, _reader, _dir) = support::admitting_but("secrets").await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}, "matchConstraints": rules(),
        "validations": [{"expression": "params != null"}]});
    let (code, error) = make(&server, "validatingadmissionpolicies", "peek", spec).await;
    let want = "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"peek\" is invalid: spec.paramKind: Forbidden: user tester \
                must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)";
    assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
}

/// A mutating policy of ConfigMaps with a binding.
async fn mutating(server: &Server, name: &str, spec: Value, binding: Value) {
    let spec = with(json!({"matchConstraints": rules(), "reinvocationPolicy": "Never"}), spec);
    let (code, made) = make(server, "mutatingadmissionpolicies", name, spec).await;
    assert_eq!(code, 201, "{made}");
    let binding = with(json!({"policyName": name}), binding);
    let (code, made) = make(server, "mutatingadmissionpolicybindings", &format!("{name}-binding"), binding).await;
    assert_eq!(code, 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_is_not_set_up_well_denies_whatever_it_asks_for() {
    let (server, _reader, _dir) = admitting().await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "true"}]});
    let binding = json!({"validationActions": ["Warn"], "paramRef": {"name": "none", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    policy(&server, "warned", spec, binding).await;
    let (code, message) = create(&server, "x", json!({})).await;
    let want = "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'warned' with binding 'warned-binding' denied request: \
                failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!((code, message.as_str()), (422, want));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_annotation_that_cannot_be_made_refuses() {
    let (server, _reader, _dir) = admitting().await;
    let spec = json!({"validations": [{"expression": "true"}],
        "auditAnnotations": [{"key": "size", "valueExpression": "string(object.data.missing)"}, {"key": "none", "valueExpression": "null"}]});
    policy(&server, "noting", spec, json!({"validationActions": ["Audit"]})).await;
    let (code, message) = create(&server, "x", json!({"a": "1"})).await;
    assert_eq!(code, 422);
    assert!(
        message.ends_with(
            "denied request: expression 'string(object.data.missing)' resulted in error: no such key: missing"
        ),
        "{message}"
    );
    assert_eq!(create(&server, "y", json!({"missing": "1"})).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_lose_nothing_and_say_why_they_fail() {
    let (server, _reader, _dir) = admitting().await;
    let selected = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"]}]});
    let whole = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {
        "expression": "Object{spec: Object.spec{sessionAffinityConfig: Object.spec.sessionAffinityConfig{}, externalIPs: ['192.0.2.1']}}"}}]);
    mutating(&server, "atomic", json!({"matchConstraints": selected, "mutations": whole}), json!({})).await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let (code, error) = ask(&server, "POST", "/api/v1/namespaces/default/services", JSON, service).await;
    let want = "policy 'atomic' with binding 'atomic-binding' denied request: error applying patch: \
                invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.externalIPs";
    assert_eq!((code, &error["reason"], error["message"].as_str().unwrap()), (403, &json!("Invalid"), want));
    assert_eq!(error["details"]["causes"][0]["message"], want);
    let patches = json!([
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'test', path: '/data/a', value: '2'}, JSONPatch{op: 'add', path: '/data/never', value: 'x'}]"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('b~c'), value: object.data.a}]"}}]);
    mutating(&server, "tested", json!({"mutations": patches}), json!({})).await;
    let (code, made) = ask(&server, "POST", MAPS, JSON, map("m", json!({"a": "1"}))).await;
    // Such a key is none for a map, but the patch names it.
    assert_eq!(code, 422, "{made}");
    assert!(made["message"].as_str().unwrap().contains("data[b~c]"), "{made}");
    let one = format!("{GROUP}/mutatingadmissionpolicies/tested");
    assert_eq!(ask(&server, "DELETE", &one, JSON, Value::Null).await.0, 200);
    let missing = json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/data/no'}]"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data/yes', value: 'x'}]"}}]);
    mutating(&server, "missing", json!({"mutations": missing.clone()}), json!({})).await;
    let (code, error) = ask(&server, "POST", MAPS, JSON, map("n", json!({"a": "1"}))).await;
    let want = "policy 'missing' with binding 'missing-binding' denied request: JSON Patch: error in remove for path: '/data/no': Unable to remove nonexistent key: no: missing value";
    assert_eq!((code, error["message"].as_str().unwrap()), (403, want));
    // Who ignores failures still gets what could be done.
    assert_eq!(
        ask(&server, "DELETE", &format!("{GROUP}/mutatingadmissionpolicies/missing"), JSON, Value::Null).await.0,
        200
    );
    mutating(&server, "patient", json!({"mutations": missing, "failurePolicy": "Ignore"}), json!({})).await;
    let (code, made) = ask(&server, "POST", MAPS, JSON, map("o", json!({"a": "1"}))).await;
    assert_eq!((code, &made["data"]), (201, &json!({"a": "1", "yes": "x"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_judge_what_is_sent_below_objects() {
    let (server, _reader, _dir) = admitting().await;
    let rules = json!({"resourceRules": [{"operations": ["*"], "apiGroups": ["", "apps"], "apiVersions": ["*"], "resources": ["*/*"]}]});
    let spec = json!({"matchConstraints": rules, "validations": [
        {"expression": "!has(request.subResource) || request.subResource != 'scale' || object.spec.replicas <= 5 && oldObject.spec.replicas == 1 && request.kind.group == 'autoscaling'",
         "message": "too many"},
        {"expression": "request.operation != 'CONNECT' || object.kind == 'PodExecOptions' && !('rm' in object.command)", "message": "not that"}]});
    policy(&server, "below", spec, json!({})).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(ask(&server, "POST", DEPLOYMENTS, JSON, deployment).await.0, 201);
    let scale = |n: u32| {
        ask(
            &server,
            "PATCH",
            "/apis/apps/v1/namespaces/default/deployments/d/scale",
            "application/merge-patch+json",
            json!({"spec": {"replicas": n}}),
        )
    };
    let (code, error) = scale(6).await;
    let want = "deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'below' with binding 'below-binding' denied request: too many";
    assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
    assert_eq!(scale(5).await.0, 200);
    let (code, error) =
        ask(&server, "POST", "/api/v1/namespaces/default/pods/p/exec?command=rm&command=x", JSON, Value::Null).await;
    assert_eq!(code, 422, "{error}");
    assert!(error["message"].as_str().unwrap().ends_with("denied request: not that"), "{error}");
}
