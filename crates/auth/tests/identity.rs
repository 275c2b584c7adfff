//! Tokens live as long as what they are bound to; kubelets read only what the pods on their node need.

use futures::FutureExt;
use http::{HeaderMap, Uri};
use ironclad_api::source::{Change, Changes, Source};
use ironclad_api::{GroupResource, UserInfo, object};
use ironclad_auth::tokens::Tokens;
use ironclad_auth::{Attributes, Authenticator, Authorizer, Bearer, Credentials, Decision, NodeAuthorizer};
use ironclad_json::{Value, json};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
struct Objects(Mutex<BTreeMap<(String, String, String), Arc<Value>>>);

impl Objects {
    fn put(&self, plural: &str, object: Value) {
        let key = (plural.to_owned(), object::namespace(&object).to_owned(), object::name(&object).to_owned());
        self.0.lock().insert(key, Arc::new(object));
    }
}

impl Source for Objects {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.lock().get(&(resource.resource.clone(), namespace.to_owned(), name.to_owned())).cloned()
    }

    fn list(&self, resource: &GroupResource, _: &str) -> Vec<Arc<Value>> {
        self.0.lock().iter().filter(|(k, _)| k.0 == resource.resource).map(|(_, v)| v.clone()).collect()
    }

    fn subscribe(&self, resource: &GroupResource) -> Changes {
        let now: Vec<Change> = self.list(resource, "").into_iter().map(Change::Put).chain([Change::Synced]).collect();
        Box::pin(futures::stream::iter(now))
    }
}

fn world() -> Arc<Objects> {
    let objects = Arc::new(Objects::default());
    objects.put("serviceaccounts", json!({"metadata": {"name": "web", "namespace": "a", "uid": "sa-1"}}));
    objects.put(
        "pods",
        json!({"metadata": {"name": "p", "namespace": "a", "uid": "pod-1"}, "spec": {
            "serviceAccountName": "web", "nodeName": "n1", "volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}),
    );
    objects
}

async fn owner(tokens: &Arc<Tokens>, token: &str) -> Option<UserInfo> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let credentials = Credentials { certificates: &[], headers: &headers, uri: &Uri::from_static("/") };
    Bearer(vec![tokens.clone()]).authenticate(credentials).await.ok().flatten().map(|a| a.user)
}

fn issue(tokens: &Tokens, spec: Value) -> String {
    tokens.issue("a", "web", &json!({"spec": spec})).unwrap()["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_ends_with_its_pod_and_counts_for_its_audience_only() {
    let dir = tempfile::tempdir().unwrap();
    let key = ironclad_auth::pki::Pki::open_or_create(dir.path(), "test").unwrap().token_key().unwrap();
    let objects = world();
    let tokens = Arc::new(Tokens::new(&key, "https://issuer", objects.clone()).unwrap());
    let plain = issue(&tokens, json!({}));
    let bound = issue(&tokens, json!({"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "pod-1"}}));
    let vault = issue(&tokens, json!({"audiences": ["vault"]}));

    let user = owner(&tokens, &bound).await.unwrap();
    assert_eq!(user.name, "system:serviceaccount:a:web");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(owner(&tokens, &vault).await, None);
    let reviewed = tokens.review(&vault, &["vault".to_owned(), "x".to_owned()]).await.unwrap().unwrap();
    assert_eq!(reviewed.audiences, ["vault"]);
    assert!(tokens.review(&vault, &[]).await.is_err());
    assert_eq!(owner(&tokens, &format!("{bound}x")).await, None);

    objects.put("pods", json!({"metadata": {"name": "p", "namespace": "a", "uid": "pod-2"}}));
    assert_eq!(owner(&tokens, &bound).await, None);
    assert!(owner(&tokens, &plain).await.is_some());
    objects.put("serviceaccounts", json!({"metadata": {"name": "web", "namespace": "a", "uid": "sa-2"}}));
    assert_eq!(owner(&tokens, &plain).await, None);
}

#[tokio::test]
async fn a_kubelet_reads_the_secrets_of_its_own_pods_only() {
    let objects = world();
    let authorizer = NodeAuthorizer::start(&*objects, &tokio_util::sync::CancellationToken::new());
    let may = |node: &str, verb: &str, resource: &str, name: &str| {
        let attributes = Attributes {
            user: UserInfo::new(&format!("system:node:{node}"), &["system:nodes"]),
            verb: verb.into(),
            namespace: "a".into(),
            resource: resource.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        };
        let decided = authorizer.authorize(&attributes).now_or_never().unwrap();
        matches!(decided, Decision::Allow(_))
    };
    // The graph is filled by a task of this same thread.
    while !may("n1", "get", "secrets", "s") {
        tokio::task::yield_now().await;
    }
    assert!(!may("n2", "get", "secrets", "s"));
    assert!(!may("n1", "get", "secrets", "other"));
    assert!(!may("n1", "list", "secrets", ""));
    assert!(!may("n1", "update", "secrets", "s"));
    assert!(!may("n1", "delete", "configmaps", "s"));
}
