//! What somebody tries who wants to be somebody else or to do more than they may: each class of known attacks on
//! authentication and authorization has its test, over TLS against a server with the authenticators, the authorizers and
//! the admission that clusters have.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::UserInfo;
use ironclad_auth::pki::{Pair, Subject};
use ironclad_json::{Value, json};
use support::secure::Secure;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/a/pods";

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo::new(name, groups)
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

/// What openssl makes of a command.
fn openssl(args: &[&str]) -> Vec<u8> {
    let out = std::process::Command::new("openssl").args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn request(subject: &str) -> String {
    let key = "ec_paramgen_curve:P-256";
    STANDARD.encode(openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        key,
        "-nodes",
        "-keyout",
        "/dev/null",
        "-subj",
        subject,
    ]))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_front_proxy_count_from_the_proxy_alone() {
    let world = Secure::new().await;
    let forged = [("x-remote-user", "admin"), ("x-remote-group", "system:masters"), ("x-remote-uid", "0")];
    let bob = world.pki.issue("bob", &Subject::client("bob", "devs")).unwrap();
    let named = world.pki.issue("fake", &Subject::client("front-proxy-client", "")).unwrap();
    for (who, pair) in [("nobody", None), ("bob", Some(&bob)), ("a stranger of the proxy's name", Some(&named))] {
        let (code, answer) = world.get(pair, "/api/v1/secrets", &forged).await;
        assert_eq!(code, 403, "{who}: {answer}");
        assert!(!answer["message"].as_str().unwrap().contains("\"admin\""), "{who}: {answer}");
    }
    let (_, proxy): (String, Pair) = world.pki.front_proxy().unwrap();
    assert_eq!(world.get(Some(&proxy), "/api/v1/secrets", &forged).await.0, 200);
    let (code, _) = world.get(Some(&proxy), "/api/v1/secrets", &[("x_remote_user", "admin")]).await;
    assert_eq!(code, 401, "the proxy itself is nobody, and an underscore is no hyphen");
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_a_name_gives_no_group_that_was_not_allowed() {
    let world = Secure::new().await;
    world.allow("bob", &[rule(&["impersonate"], "", &["users"])]).await;
    world.allow("jane", &[rule(&["list"], "", &["pods"])]).await;
    let bob = world.pki.issue("bob", &Subject::client("bob", "devs")).unwrap();
    let jane = ("impersonate-user", "jane");
    assert_eq!(world.get(Some(&bob), PODS, &[jane]).await.0, 200);
    assert_eq!(world.get(Some(&bob), "/api/v1/secrets", &[jane]).await.0, 403, "as jane and no more");
    for more in [
        ("impersonate-group", "system:masters"),
        ("impersonate-group", "system:nodes"),
        ("impersonate-uid", "0"),
        ("impersonate-extra-scopes", "all"),
    ] {
        assert_eq!(world.get(Some(&bob), PODS, &[jane, more]).await.0, 403, "{more:?}");
    }
    assert_eq!(world.get(Some(&bob), PODS, &[("impersonate-group", "system:masters")]).await.0, 400);
    let anybody = ("impersonate-user", "system:serviceaccount:kube-system:deployment-controller");
    assert_eq!(world.get(Some(&bob), PODS, &[anybody]).await.0, 403, "users are no service accounts");
    world.allow("eve", &[rule(&["impersonate:user-info"], "authentication.k8s.io", &["users"])]).await;
    let eve = world.pki.issue("eve", &Subject::client("eve", "")).unwrap();
    assert_eq!(world.get(Some(&eve), PODS, &[jane]).await.0, 403, "not for this request");
    world.allow("eve-on", &[rule(&["impersonate-on:user-info:list"], "", &["pods"])]).await;
    world.bind("eve-on", "eve").await;
    assert_eq!(world.get(Some(&eve), PODS, &[jane]).await.0, 200);
    let masters = ("impersonate-group", "system:masters");
    assert_eq!(world.get(Some(&eve), PODS, &[jane, masters]).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_what_they_do_not_hold() {
    let world = Secure::new().await;
    let manage = ["create", "update", "patch", "get"];
    let all = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
    let group = "rbac.authorization.k8s.io";
    world.allow("mallory", &[rule(&manage, group, &all), rule(&["get", "list"], "", &["pods"])]).await;
    let mallory = user("mallory", &[]);
    let role = |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
    let roles = format!("{RBAC}/namespaces/a/roles");
    let cluster = format!("{RBAC}/clusterroles");
    assert_eq!(world.post(&mallory, &roles, role("fine", json!([rule(&["get"], "", &["pods"])]))).await.0, 201);
    for (what, rules) in [
        ("another resource", json!([rule(&["get"], "", &["secrets"])])),
        ("another verb", json!([rule(&["delete"], "", &["pods"])])),
        ("everything", json!([rule(&["*"], "*", &["*"])])),
        ("a path", json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}])),
    ] {
        let (code, answer) = world.post(&mallory, &cluster, role("evil", rules)).await;
        assert_eq!(code, 403, "{what}: {answer}");
        let held = "is attempting to grant RBAC permissions not currently held";
        assert!(answer["message"].as_str().unwrap().contains(held), "{answer}");
    }
    let mut aggregated = role("evil", json!([rule(&["get"], "", &["secrets"])]));
    aggregated["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    assert_eq!(world.post(&mallory, &cluster, aggregated).await.0, 403, "not by way of aggregation");
    let sum = json!({"metadata": {"name": "sum"}, "rules": [], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]}});
    assert_eq!(world.post(&mallory, &cluster, sum).await.0, 403, "nobody knows what it will hold");
    let grown = json!({"rules": [rule(&["*"], "*", &["*"])]});
    assert_eq!(world.patch(&mallory, &format!("{roles}/fine"), grown).await.0, 403, "not later either");
    let binding = |role: &str| {
        json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "mallory"}]})
    };
    let bindings = format!("{RBAC}/clusterrolebindings");
    assert_eq!(world.post(&mallory, &bindings, binding("cluster-admin")).await.0, 403);
    world.allow("mallory-binds", &[json!({"verbs": ["bind"], "apiGroups": [group], "resources": ["clusterroles"], "resourceNames": ["view"]})]).await;
    world.bind("mallory-binds", "mallory").await;
    assert_eq!(world.post(&mallory, &bindings, binding("cluster-admin")).await.0, 403, "only what may be bound");
    assert_eq!(world.post(&mallory, &bindings, binding("view")).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_for_its_audience_and_as_long_as_its_pod() {
    let world = Secure::new().await;
    world.account("web").await;
    world.pod("p", "n1", "web").await;
    let admin = world.admin();
    let token = async |spec: Value| {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let (code, answer) = world.post(&admin, "/api/v1/namespaces/a/serviceaccounts/web/token", body).await;
        assert_eq!(code, 201, "{answer}");
        answer["status"]["token"].as_str().unwrap().to_owned()
    };
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let tell = async |token: &str| {
        world
            .call(
                None,
                "POST",
                who,
                &[("authorization", &format!("Bearer {token}"))],
                &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
            )
            .await
    };
    let own = token(json!({})).await;
    let (code, answer) = tell(&own).await;
    assert_eq!((code, &answer["status"]["userInfo"]["username"]), (201, &json!("system:serviceaccount:a:web")));
    let vault = token(json!({"audiences": ["vault"]})).await;
    assert_eq!(tell(&vault).await.0, 401, "a token for another server is no credential here");
    let review = async |audiences: Value| {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": vault, "audiences": audiences}});
        world.post(&admin, "/apis/authentication.k8s.io/v1/tokenreviews", body).await.1["status"].clone()
    };
    assert_eq!(review(json!(["vault"])).await["authenticated"], true);
    assert_ne!(review(json!(["other"])).await["authenticated"], true);
    assert_ne!(review(json!([])).await["authenticated"], true, "without a name the API itself is asked for");
    let mut forged: Vec<&str> = own.split('.').collect();
    let none = "eyJhbGciOiJub25lIn0";
    forged[0] = none;
    assert_eq!(tell(&forged.join(".")).await.0, 401, "no signature");
    assert_eq!(tell(&format!("{none}.{}.", forged[1])).await.0, 401, "no signature at all");
    let uid = world.get_as(&admin, &format!("{PODS}/p")).await.1["metadata"]["uid"].clone();
    let bound = token(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}})).await;
    assert_eq!(tell(&bound).await.0, 201);
    assert_eq!(world.send(&admin, "DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), &Value::Null).await.0, 200);
    world.pod("p", "n1", "web").await;
    assert_eq!(tell(&bound).await.0, 401, "another pod of that name");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_come_from_signers_and_not_from_whoever_asks() {
    let world = Secure::new().await;
    let group = "certificates.k8s.io";
    let rules = [
        rule(&["create", "get", "update"], group, &["certificatesigningrequests"]),
        rule(
            &["update", "patch"],
            group,
            &["certificatesigningrequests/approval", "certificatesigningrequests/status"],
        ),
        rule(&["create", "update"], group, &["clustertrustbundles"]),
    ];
    world.allow("mallory", &rules).await;
    let mallory = user("mallory", &["devs"]);
    let path = format!("/apis/{group}/v1/certificatesigningrequests");
    let csr = |name: &str, subject: &str, signer: &str| json!({"metadata": {"name": name}, "spec": {"request": request(subject), "signerName": signer, "usages": ["client auth"]}});
    let client = "kubernetes.io/kube-apiserver-client";
    let (code, answer) = world.post(&mallory, &path, csr("masters", "/O=system:masters/CN=mallory", client)).await;
    assert_eq!(code, 403, "{answer}");
    let mut lied = csr("mine", "/CN=mallory", client);
    lied["spec"]["username"] = json!("admin");
    lied["spec"]["groups"] = json!(["system:masters"]);
    lied["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": STANDARD.encode("x")});
    let (code, made) = world.post(&mallory, &path, lied).await;
    assert_eq!((code, &made["spec"]["username"]), (201, &json!("mallory")), "{made}");
    assert!(made["status"]["conditions"].is_null() && made["status"]["certificate"].is_null(), "{made}");
    let mut approved = made.clone();
    approved["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Me", "message": "me"}]});
    let (code, answer) = world.send(&mallory, "PUT", &format!("{path}/mine/approval"), &approved).await;
    let why = "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\"";
    assert!(code == 403 && answer["message"].as_str().unwrap().contains(why), "{answer}");
    let (_, kept) = world.send(&mallory, "PUT", &format!("{path}/mine"), &approved).await;
    assert!(kept["status"]["conditions"].is_null(), "the object itself decides nothing: {kept}");
    let mut signed = made.clone();
    signed["status"] = json!({"certificate": STANDARD.encode(world.pki.ca())});
    assert_eq!(
        world.send(&mallory, "PUT", &format!("{path}/mine/status"), &signed).await.0,
        403,
        "only a signer signs"
    );
    let bundle = json!({"metadata": {"name": "kubernetes.io:kube-apiserver-serving:evil"},
        "spec": {"signerName": "kubernetes.io/kube-apiserver-serving", "trustBundle": world.pki.ca()}});
    let bundles = format!("/apis/{group}/v1/clustertrustbundles");
    let (code, answer) = world.post(&mallory, &bundles, bundle).await;
    assert!(code == 403 && answer["message"].as_str().unwrap().contains("not permitted to attest"), "{answer}");
    let other = json!({"metadata": {"name": "plain"}, "spec": {"trustBundle": world.pki.ca()}});
    assert_eq!(world.post(&mallory, &bundles, other).await.0, 201, "trust without a signer says nothing of one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reaches_nothing_of_other_nodes() {
    let world = Secure::new().await;
    world.account("web").await;
    for node in ["n1", "n2"] {
        world.node(node).await;
    }
    let admin = world.admin();
    for name in ["mine", "theirs"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"k": "v"}});
        assert_eq!(world.post(&admin, "/api/v1/namespaces/a/secrets", secret).await.0, 201);
    }
    world.pod_with("p1", "n1", "web", "mine").await;
    world.pod_with("p2", "n2", "web", "theirs").await;
    let node = world.pki.issue("n1", &Subject::client("system:node:n1", "system:nodes")).unwrap();
    let read = async |path: &str| world.get(Some(&node), path, &[]).await.0;
    world.until_allowed(&node, "/api/v1/namespaces/a/secrets/mine").await;
    for path in [
        "/api/v1/namespaces/a/secrets/theirs",
        "/api/v1/namespaces/a/secrets",
        "/api/v1/secrets",
        "/api/v1/namespaces/kube-system/secrets/mine",
        "/api/v1/namespaces/a/pods/p2",
        "/api/v1/nodes/n2",
        "/api/v1/nodes",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2",
        "/apis/certificates.k8s.io/v1/podcertificaterequests?fieldSelector=spec.nodeName%3Dn2",
    ] {
        assert_eq!(read(path).await, 403, "{path}");
    }
    assert_eq!(read("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await, 200);
    let write = async |method: &str, path: &str, body: Value| world.call(Some(&node), method, path, &[], &body).await;
    let uid = |answer: &Value| answer["metadata"]["uid"].as_str().unwrap().to_owned();
    let own_node = uid(&world.get_as(&admin, "/api/v1/nodes/n1").await.1);
    let mirror = |more: Value| {
        let mut spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"metadata": {"name": "m-n1", "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": own_node, "controller": true}]}, "spec": spec})
    };
    let volume = json!({"volumes": [{"name": "v", "secret": {"secretName": "theirs"}}]});
    for (what, more) in [
        ("a secret", volume),
        ("an account", json!({"serviceAccountName": "web"})),
        ("another node", json!({"nodeName": "n2"})),
    ] {
        assert_eq!(write("POST", PODS, mirror(more)).await.0, 403, "a mirror with {what}");
    }
    let (code, answer) = write("POST", PODS, mirror(json!({}))).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(write("DELETE", &format!("{PODS}/p2"), Value::Null).await.0, 403);
    let taint = json!({"spec": {"taints": []}, "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    let (code, answer) = world.merge(Some(&node), "/api/v1/nodes/n1", &taint).await;
    assert_eq!(code, 403, "{answer}");
    assert_eq!(world.merge(Some(&node), "/api/v1/nodes/n2", &json!({"metadata": {"labels": {"a": "b"}}})).await.0, 403);
    let ask = async |pod: &str, audiences: Value| {
        let uid = uid(&world.get_as(&admin, &format!("{PODS}/{pod}")).await.1);
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": audiences,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}});
        world.call(Some(&node), "POST", "/api/v1/namespaces/a/serviceaccounts/web/token", &[], &body).await
    };
    assert_eq!(ask("p1", json!([])).await.0, 201);
    assert_eq!(ask("p2", json!([])).await.0, 403, "a pod of another node");
    let (code, answer) = ask("p1", json!(["vault"])).await;
    assert!(
        code == 403 && answer["message"].as_str().unwrap().contains("audience \"vault\" not found in pod spec volume"),
        "{answer}"
    );
    assert_eq!(ask("p1", json!(["a", "b"])).await.0, 403, "one audience at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_asks_for_certificates_in_its_own_name_only() {
    let world = Secure::new().await;
    world.node("n1").await;
    let node = world.pki.issue("n1", &Subject::client("system:node:n1", "system:nodes")).unwrap();
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let csr = |name: &str| json!({"metadata": {"name": name}, "spec": {"request": request(&format!("/O=system:nodes/CN=system:node:{name}")), "signerName": signer, "usages": ["client auth"]}});
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    for (name, code) in [("n2", 403), ("n1", 201)] {
        assert_eq!(world.call(Some(&node), "POST", path, &[], &csr(name)).await.0, code, "{name}");
    }
}
