//! The plugins of admission together, as requests meet them.

mod support;

use ironclad_json::{Value, json};
use support::{JSON, admitting, ask};

const MERGE: &str = "application/merge-patch+json";

type Server = ironclad_apiserver::ApiServer;

/// What was just made is seen through a watch.
async fn settled() {
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

/// The `Warning` headers of an answer.
async fn warned(server: &Server, method: &str, path: &str, kind: &str, body: Value) -> (u16, Vec<String>) {
    let response = support::send(server, method, path, kind, body.to_string()).await;
    let texts = response.headers().get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
    (response.status().as_u16(), texts)
}

fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "web", "image": "nginx"}], "automountServiceAccountToken": false});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn namespace(server: &Server, name: &str, labels: Value) -> (u16, Value) {
    let done =
        ask(server, "POST", "/api/v1/namespaces", JSON, json!({"metadata": {"name": name, "labels": labels}})).await;
    let account = json!({"metadata": {"name": "default"}});
    ask(server, "POST", &format!("/api/v1/namespaces/{name}/serviceaccounts"), JSON, account).await;
    settled().await;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_refuses_pods_and_warns_about_what_makes_them() {
    let (server, _reader, _dir) = admitting().await;
    let labels =
        json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    assert_eq!(namespace(&server, "safe", labels).await.0, 201);
    let path = "/api/v1/namespaces/safe/pods";
    let (code, error) = ask(&server, "POST", path, JSON, pod("a", json!({"hostNetwork": true}))).await;
    let want = "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    assert_eq!((code, error["message"].as_str().unwrap()), (403, want));
    let (code, warnings) = warned(&server, "POST", path, JSON, pod("b", json!({}))).await;
    assert_eq!(code, 201);
    assert!(
        warnings[0].contains("would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation != false"),
        "{warnings:?}"
    );
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x", json!({"hostPID": true}))["spec"]});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let (code, warnings) = warned(&server, "POST", "/apis/apps/v1/namespaces/safe/deployments", JSON, deployment).await;
    assert_eq!(code, 201);
    assert!(warnings[0].contains("host namespaces (hostPID=true)"), "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stricter_namespace_names_the_pods_that_violate_it() {
    let (server, _reader, _dir) = admitting().await;
    assert_eq!(namespace(&server, "open", json!({})).await.0, 201);
    for name in ["b", "a", "c"] {
        let (code, made) =
            ask(&server, "POST", "/api/v1/namespaces/open/pods", JSON, pod(name, json!({"hostIPC": true}))).await;
        assert_eq!(code, 201, "{made}");
    }
    settled().await;
    let labels = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let (code, warnings) = warned(&server, "PATCH", "/api/v1/namespaces/open", MERGE, labels("baseline")).await;
    assert_eq!(code, 200);
    assert_eq!(
        warnings,
        [
            "299 - \"existing pods in namespace \\\"open\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"a (and 2 other pods): host namespaces\"",
        ]
    );
    let (code, error) = ask(&server, "PATCH", "/api/v1/namespaces/open", MERGE, labels("nonsense")).await;
    let want = "Namespace \"open\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"nonsense\": must be one of privileged, baseline, restricted";
    assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_is_protected_and_gets_the_default_class() {
    let (server, _reader, _dir) = admitting().await;
    let class = json!({"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "x"});
    assert_eq!(ask(&server, "POST", "/apis/storage.k8s.io/v1/storageclasses", JSON, class).await.0, 201);
    settled().await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let (code, made) = ask(&server, "POST", "/api/v1/namespaces/default/persistentvolumeclaims", JSON, claim).await;
    assert_eq!((code, &made["spec"]["storageClassName"]), (201, &json!("fast")));
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_default_priority() {
    let (server, _reader, _dir) = admitting().await;
    let class = |name: &str| json!({"metadata": {"name": name}, "value": 5, "globalDefault": true});
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    assert_eq!(ask(&server, "POST", path, JSON, class("one")).await.0, 201);
    settled().await;
    let (code, error) = ask(&server, "POST", path, JSON, class("two")).await;
    let want = "priorityclasses.scheduling.k8s.io \"two\" is forbidden: PriorityClass one is already marked as default. Only one default can exist";
    assert_eq!((code, error["message"].as_str().unwrap()), (403, want));
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_charged_before_the_answer() {
    let (server, _reader, _dir) = admitting().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "2", "count/secrets": "1"}}});
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/default/resourcequotas", JSON, quota).await.0, 201);
    settled().await;
    let map = |name: String| json!({"metadata": {"name": name}});
    let maps = "/api/v1/namespaces/default/configmaps";
    let many = (0..12).map(|i| {
        let (server, body) = (server.clone(), map(format!("m{i}")));
        tokio::spawn(async move { ask(&server, "POST", maps, JSON, body).await.0 })
    });
    let mut made = 0;
    for task in many.collect::<Vec<_>>() {
        made += usize::from(task.await.unwrap() == 201);
    }
    assert_eq!(made, 2);
    let (_, quota) = ask(&server, "GET", "/api/v1/namespaces/default/resourcequotas/q", JSON, Value::Null).await;
    assert_eq!(quota["status"]["used"]["configmaps"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubelets_get_tokens_only_for_pods_of_theirs() {
    let (server, _reader, _dir) = admitting().await;
    let kubelet = ironclad_api::UserInfo::new("system:node:a", &["system:nodes"]);
    let body = json!({"spec": {"audiences": [], "boundObjectRef": {"kind": "Pod", "name": "x", "uid": "u"}}});
    let request = http::Request::post("/api/v1/namespaces/default/serviceaccounts/default/token")
        .header("content-type", JSON)
        .extension(kubelet)
        .body(http_body_util::Full::new(bytes::Bytes::from(body.to_string())))
        .unwrap();
    let response = tower::Service::call(&mut server.clone(), request).await.unwrap();
    assert_eq!(response.status(), 403);
    let text = support::bytes(response).await;
    // The reference does not say which API it is about.
    assert!(String::from_utf8_lossy(&text).contains("node requested token not bound to a pod"));
}
