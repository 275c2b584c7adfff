//! Admission webhooks: real HTTPS servers that change and refuse what is written.

mod support;

use ironclad_json::{Value, json};
use std::time::Duration;
use support::hook::{Hook, allow, patch};
use support::{JSON, admitting, ask};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

type Server = ironclad_apiserver::ApiServer;

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "x"}}, "data": {"k": "1"}})
}

async fn configure(server: &Server, kind: &str, name: &str, webhooks: Value) -> (u16, Value) {
    let body = json!({"metadata": {"name": name}, "webhooks": webhooks});
    let done = ask(server, "POST", &format!("{GROUP}/{kind}"), JSON, body).await;
    // What was just configured is seen through a watch.
    tokio::time::sleep(Duration::from_millis(100)).await;
    done
}

async fn validating(server: &Server, webhooks: Value) {
    let (code, made) = configure(server, "validatingwebhookconfigurations", "validating", webhooks).await;
    assert_eq!(code, 201, "{made}");
}

async fn mutating(server: &Server, name: &str, webhooks: Value) {
    let (code, made) = configure(server, "mutatingwebhookconfigurations", name, webhooks).await;
    assert_eq!(code, 201, "{made}");
}

async fn create(server: &Server, name: &str) -> (u16, Value) {
    ask(server, "POST", MAPS, JSON, map(name)).await
}

fn denies(review: &Value, status: Value) -> Value {
    let mut answer = allow(review, json!({"status": status}));
    answer["response"]["allowed"] = json!(false);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validating_webhook_refuses_in_its_own_words() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| match r["request"]["name"].as_str() {
        Some("bad") => denies(r, json!({"message": "no bad things", "code": 403, "reason": "Forbidden"})),
        Some("mute") => denies(r, json!({})),
        _ => allow(r, json!({"warnings": ["look out"]})),
    })
    .await;
    validating(&server, json!([hook.webhook("deny.example.com", json!({}))])).await;
    let (code, error) = create(&server, "bad").await;
    let want = "admission webhook \"deny.example.com\" denied the request: no bad things";
    assert_eq!((code, &error["message"], &error["reason"]), (403, &json!(want), &json!("Forbidden")));
    let (code, error) = create(&server, "mute").await;
    let want = "admission webhook \"deny.example.com\" denied the request without explanation";
    assert_eq!((code, &error["message"]), (400, &json!(want)));
    let response = support::send(&server, "POST", MAPS, JSON, map("good").to_string()).await;
    assert_eq!(response.headers()["warning"], "299 - \"look out\"");
    let review = hook.seen.lock().last().unwrap()["request"].clone();
    assert_eq!(review["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(review["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&review["operation"], &review["namespace"]), (&json!("CREATE"), &json!("default")));
    assert_eq!((&review["userInfo"]["username"], &review["dryRun"]), (&json!("tester"), &json!(false)));
    assert_eq!((&review["object"]["data"]["k"], &review["oldObject"]), (&json!("1"), &Value::Null));
    assert_eq!(review["options"]["kind"], "CreateOptions");
    // A delete is judged by what is there.
    let (code, _) = ask(&server, "DELETE", &format!("{MAPS}/good"), JSON, Value::Null).await;
    assert_eq!(code, 200);
    let review = hook.seen.lock().last().unwrap()["request"].clone();
    assert_eq!((&review["operation"], &review["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(review["oldObject"]["metadata"]["name"], "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutating_webhooks_change_objects_one_after_the_other_and_are_asked_again() {
    let (server, _reader, _dir) = admitting().await;
    let add = |key: &'static str| {
        move |r: &Value| {
            let value = r["request"]["object"]["data"].as_object().map_or(0, ironclad_json::Map::len).to_string();
            if r["request"]["object"]["data"].get(key).is_some() {
                return allow(r, json!({}));
            }
            allow(r, patch(json!([{"op": "add", "path": format!("/data/{key}"), "value": value}])))
        }
    };
    let (first, second) = (Hook::start(add("a")).await, Hook::start(add("b")).await);
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    mutating(&server, "one", json!([first.webhook("a.example.com", again)])).await;
    mutating(&server, "two", json!([second.webhook("b.example.com", json!({}))])).await;
    let (code, made) = create(&server, "x").await;
    assert_eq!((code, &made["data"]), (201, &json!({"k": "1", "a": "1", "b": "2"})));
    assert_eq!((first.seen.lock().len(), second.seen.lock().len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patch_makes_of_an_object_is_checked_and_defaulted() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| {
        let wrong = r["request"]["name"] == "wrong";
        let value = if wrong { json!({"k": 5}) } else { json!({"k": "2", "more": "3"}) };
        allow(r, patch(json!([{"op": "replace", "path": "/data", "value": value}])))
    })
    .await;
    mutating(&server, "one", json!([hook.webhook("a.example.com", json!({}))])).await;
    let (code, error) = create(&server, "wrong").await;
    assert_eq!(code, 500, "{error}");
    let (code, made) = create(&server, "right").await;
    assert_eq!((code, &made["data"]["more"]), (201, &json!("3")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_is_fatal_unless_the_policy_ignores_it() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|_| json!({"nonsense": true})).await;
    validating(&server, json!([hook.webhook("fail.example.com", json!({}))])).await;
    let (code, error) = create(&server, "x").await;
    let message = error["message"].as_str().unwrap();
    let want = "Internal error occurred: failed calling webhook \"fail.example.com\": received invalid webhook response: \
                webhook response was absent";
    assert_eq!((code, message), (500, want));
    let one = format!("{GROUP}/validatingwebhookconfigurations/validating");
    let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    assert_eq!(ask(&server, "PATCH", &one, "application/json-patch+json", ignore).await.0, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(create(&server, "x").await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_takes_too_long_is_given_up() {
    let (server, _reader, _dir) = admitting().await;
    // It answers when the test is over.
    let (over, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let hook = Hook::start(move |r| {
        let _ = wait.lock().unwrap().recv();
        allow(r, json!({}))
    })
    .await;
    validating(&server, json!([hook.webhook("slow.example.com", json!({"timeoutSeconds": 1}))])).await;
    let (code, error) = create(&server, "x").await;
    let want = format!(
        "Internal error occurred: failed calling webhook \"slow.example.com\": failed to call webhook: Post \"{}?timeout=1s\": context deadline exceeded",
        hook.url()
    );
    assert_eq!((code, error["message"].as_str().unwrap()), (500, want.as_str()));
    drop(over);
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_conditions_and_operations_decide_who_is_asked() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| denies(r, json!({"message": "seen"}))).await;
    let more = json!({
        "objectSelector": {"matchLabels": {"app": "x"}},
        "namespaceSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
        "matchConditions": [
            {"name": "not-kube", "expression": "!request.userInfo.username.startsWith('system:')"},
            {"name": "named", "expression": "object.metadata.name.startsWith('web')"}],
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"],
                   "scope": "Namespaced"}],
    });
    validating(&server, json!([hook.webhook("a.example.com", more)])).await;
    assert_eq!(create(&server, "web-1").await.0, 400);
    assert_eq!(create(&server, "other").await.0, 201);
    let mut unlabelled = map("web-2");
    unlabelled["metadata"]["labels"] = json!({});
    assert_eq!(ask(&server, "POST", MAPS, JSON, unlabelled).await.0, 201);
    let namespace = json!({"metadata": {"name": "free", "labels": {"free": "yes"}}});
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces", JSON, namespace).await.0, 201);
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/free/configmaps", JSON, map("web-3")).await.0, 201);
    assert_eq!(hook.seen.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_fails_refuses_the_request() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| allow(r, json!({}))).await;
    let conditions = json!({"matchConditions": [{"name": "c", "expression": "object.spec.missing == 1"}]});
    validating(&server, json!([hook.webhook("a.example.com", conditions)])).await;
    let (code, error) = create(&server, "x").await;
    let want =
        "configmaps \"x\" is forbidden: expression 'object.spec.missing == 1' resulted in error: no such key: spec";
    assert_eq!((code, &error["message"]), (403, &json!(want)));
}

#[tokio::test(flavor = "multi_thread")]
async fn equivalent_versions_are_converted_for_the_webhook() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| denies(r, json!({"message": r["request"]["object"]["apiVersion"]}))).await;
    let rules = json!([{"operations": ["*"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"],
        "resources": ["horizontalpodautoscalers"]}]);
    validating(&server, json!([hook.webhook("a.example.com", json!({"rules": rules}))])).await;
    let scaler = json!({"metadata": {"name": "x"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let (code, error) = ask(&server, "POST", path, JSON, scaler).await;
    assert_eq!(
        (code, error["message"].as_str().unwrap()),
        (400, "admission webhook \"a.example.com\" denied the request: autoscaling/v1")
    );
    let review = hook.seen.lock().last().unwrap()["request"].clone();
    assert_eq!(review["kind"]["version"], "v1");
    assert_eq!(review["requestKind"]["version"], "v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_of_admission_is_never_sent_to_a_webhook() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| denies(r, json!({}))).await;
    let rules = json!([{"operations": ["*"], "apiGroups": ["", "admissionregistration.k8s.io"],
        "apiVersions": ["*"], "resources": ["*/*"]}]);
    validating(&server, json!([hook.webhook("a.example.com", json!({"rules": rules}))])).await;
    assert_eq!(create(&server, "x").await.0, 400);
    let one = format!("{GROUP}/validatingwebhookconfigurations/validating");
    assert_eq!(ask(&server, "DELETE", &one, JSON, Value::Null).await.0, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(create(&server, "x").await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_calls_only_webhooks_without_side_effects() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| allow(r, json!({}))).await;
    mutating(&server, "m", json!([hook.webhook("a.example.com", json!({}))])).await;
    assert_eq!(ask(&server, "POST", &format!("{MAPS}?dryRun=All"), JSON, map("x")).await.0, 201);
    let request = hook.seen.lock().last().unwrap()["request"].clone();
    assert_eq!((&request["dryRun"], &request["options"]["dryRun"]), (&json!(true), &json!(["All"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_reached_through_its_service() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| denies(r, json!({"message": "by service"}))).await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/default/services", JSON, service).await.0, 201);
    let config = json!({"clientConfig": {"caBundle": hook.bundle,
        "service": {"namespace": "default", "name": "hook", "port": hook.port, "path": "/x"}}});
    validating(&server, json!([hook.webhook("a.example.com", config)])).await;
    let (code, error) = create(&server, "x").await;
    assert_eq!(
        (code, error["message"].as_str().unwrap()),
        (400, "admission webhook \"a.example.com\" denied the request: by service")
    );
}

mod ssrf {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn cve_2020_8561_redirects_are_not_followed() {
        let (server, _reader, _dir) = admitting().await;
        let inside = Hook::start(|r| allow(r, json!({}))).await;
        let target = inside.url();
        let hook = Hook::raw(move |_| (302, vec![("location", target.clone())], Vec::new())).await;
        validating(&server, json!([hook.webhook("a.example.com", json!({}))])).await;
        let (code, error) = create(&server, "x").await;
        assert_eq!(code, 500, "{error}");
        assert!(inside.seen.lock().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn plain_http_and_urls_with_credentials_are_refused() {
        let (server, _reader, _dir) = admitting().await;
        let hook = Hook::start(|r| allow(r, json!({}))).await;
        let table = [
            ("http://127.0.0.1/x", "'https' is the only allowed URL scheme; desired format: https://host[/path]"),
            ("https://user:secret@127.0.0.1/x", "user information is not permitted in the URL"),
            ("https://127.0.0.1/x#fragment", "fragments are not permitted in the URL"),
            ("https://127.0.0.1/x?to=inside", "query parameters are not permitted in the URL"),
        ];
        for (url, why) in table {
            let webhook = hook.webhook("a.example.com", json!({"clientConfig": {"url": url}}));
            let (code, error) = configure(&server, "validatingwebhookconfigurations", "v", json!([webhook])).await;
            assert_eq!(code, 422, "{url}");
            assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_path_cannot_climb_out() {
        let (server, _reader, _dir) = admitting().await;
        let hook = Hook::start(|r| allow(r, json!({}))).await;
        let config = json!({"clientConfig": {"service": {"namespace": "default", "name": "hook", "path": "/a/../b"}}});
        let webhook = hook.webhook("a.example.com", config);
        let (code, error) = configure(&server, "validatingwebhookconfigurations", "v", json!([webhook])).await;
        assert_eq!(code, 422, "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_with_another_certificate_is_not_trusted() {
        let (server, _reader, _dir) = admitting().await;
        let (hook, other) = (Hook::start(|r| allow(r, json!({}))).await, Hook::start(|r| allow(r, json!({}))).await);
        let config = json!({"clientConfig": {"url": hook.url(), "caBundle": other.bundle}});
        validating(&server, json!([hook.webhook("a.example.com", config)])).await;
        let (code, error) = create(&server, "x").await;
        assert_eq!(code, 500, "{error}");
        assert!(hook.seen.lock().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_endless_answer_is_cut_off() {
        let (server, _reader, _dir) = admitting().await;
        let hook = Hook::raw(|_| (200, Vec::new(), vec![b' '; 20 << 20])).await;
        validating(&server, json!([hook.webhook("a.example.com", json!({}))])).await;
        let (code, error) = create(&server, "x").await;
        assert_eq!(code, 500);
        assert!(error["message"].as_str().unwrap().contains("cannot read the response"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_server_answers_instead_of_a_review_is_shown_only_in_part() {
        let (server, _reader, _dir) = admitting().await;
        let hook = Hook::raw(|_| (403, Vec::new(), vec![b'x'; 100_000])).await;
        validating(&server, json!([hook.webhook("a.example.com", json!({}))])).await;
        let (_, error) = create(&server, "x").await;
        assert!(error["message"].as_str().unwrap().len() < 2_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_adds_to_a_custom_resource_is_pruned() {
    let (server, _reader, _dir) = admitting().await;
    let schema = json!({"type": "object", "properties": {"data": {"type": "object", "properties": {
        "mutation-start": {"type": "string"}, "mutation-stage-1": {"type": "string"}}}}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, made) = ask(&server, "POST", path, JSON, definition).await;
    assert_eq!(code, 201, "{made}");
    let hook = Hook::start(|r| {
        let add = |field: &str| json!({"op": "add", "path": format!("/data/{field}"), "value": "yes"});
        allow(r, patch(json!([add("mutation-stage-1"), add("mutation-stage-2")])))
    })
    .await;
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["*"], "resources": ["widgets"]}]);
    mutating(&server, "m", json!([hook.webhook("a.example.com", json!({"rules": rules}))])).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "x"},
        "data": {"mutation-start": "yes"}});
    let (code, made) = ask(&server, "POST", "/apis/example.com/v1/namespaces/default/widgets", JSON, widget).await;
    assert_eq!((code, &made["data"]), (201, &json!({"mutation-start": "yes", "mutation-stage-1": "yes"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_says_when_is_asked_again_and_may_answer_in_gzip() {
    use std::io::Write;
    use std::sync::atomic::{AtomicU32, Ordering};
    let (server, _reader, _dir) = admitting().await;
    let asked = AtomicU32::new(0);
    let hook = Hook::raw(move |review| {
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return (503, vec![("retry-after", "0".to_owned())], b"later".to_vec());
        }
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(allow(review, json!({})).to_string().as_bytes()).unwrap();
        (200, vec![("content-encoding", "gzip".to_owned())], zipped.finish().unwrap())
    })
    .await;
    validating(&server, json!([hook.webhook("a.example.com", json!({}))])).await;
    let (code, made) = create(&server, "x").await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(hook.seen.lock().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_see_what_a_change_and_a_deletion_come_to() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| allow(r, json!({}))).await;
    assert_eq!(create(&server, "x").await.0, 201);
    let rules = json!([{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps", "namespaces"]}]);
    validating(&server, json!([hook.webhook("a.example.com", json!({"rules": rules}))])).await;
    assert_eq!(ask(&server, "PUT", &format!("{MAPS}/x"), JSON, map("x")).await.0, 200);
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces", JSON, json!({"metadata": {"name": "n"}})).await.0, 201);
    assert_eq!(ask(&server, "DELETE", "/api/v1/namespaces/n", JSON, Value::Null).await.0, 200);
    let seen = hook.seen.lock();
    let [put, made, gone] = seen.as_slice() else { panic!("{seen:?}") };
    // Whoever names no version means the present one.
    assert_eq!(
        put["request"]["object"]["metadata"]["resourceVersion"],
        put["request"]["oldObject"]["metadata"]["resourceVersion"]
    );
    assert_eq!(made["request"]["namespace"], "n");
    assert!(gone["request"]["options"]["preconditions"]["uid"].is_string(), "{gone}");
}
