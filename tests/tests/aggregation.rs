//! An extension API server behind the cluster's own, as the stock kubectl sees it: registered, discovered, explained, and
//! asking the cluster who may do what with its service account.

use ironclad_auth::pki::{Pki, Subject};
use ironclad_testkit::cluster::{eventually, run};
use ironclad_testkit::extension::{Asked, Extension, Files};
use ironclad_testkit::{Cluster, Namespace};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Calls the cluster with a token alone.
#[derive(Clone)]
struct Delegate {
    server: String,
    authority: String,
    token: String,
}

impl Delegate {
    /// Posts a review; returns what became of it.
    async fn review(&self, review: Value) -> Value {
        let mut command = tokio::process::Command::new("kubectl");
        command.args([
            "--kubeconfig",
            "/dev/null",
            "--server",
            &self.server,
            "--certificate-authority",
            &self.authority,
        ]);
        command.args(["--token", &self.token, "create", "--validate=false", "-o", "json", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(review.to_string().as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Whether a request's user may make it, as the cluster says.
    async fn allows(&self, asked: Asked) -> bool {
        let verb = match asked.method.as_str() {
            "GET" if asked.path.ends_with("/flunders") || asked.path.contains("?limit=") => "list",
            "GET" => "get",
            "POST" => "create",
            _ => "delete",
        };
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
                "user": asked.all("x-remote-user")[0], "groups": asked.all("x-remote-group"),
                "resourceAttributes": {"group": "wardle.example.com", "version": "v1alpha1", "resource": "flunders",
                    "namespace": "sample-system", "verb": verb},
            },
        });
        self.review(review).await["status"]["allowed"] == true
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn delegate(cluster: &Cluster, ns: &Namespace<'_>) -> Delegate {
    let config: Value = serde_json::from_str(&ns.ok(&["config", "view", "--raw", "-o", "json"])).unwrap();
    let cluster_config = &config["clusters"][0]["cluster"];
    let authority = cluster.scratch().join("ca.crt");
    let mut decode = Command::new("base64");
    let encoded = cluster.scratch().join("ca.b64");
    std::fs::write(&encoded, text(&cluster_config["certificate-authority-data"])).unwrap();
    decode.arg("-d").arg(&encoded);
    std::fs::write(&authority, run(decode).ok()).unwrap();
    let token = ns.ok(&["create", "token", "sample-apiserver"]).trim().to_owned();
    Delegate { server: text(&cluster_config["server"]), authority: authority.display().to_string(), token }
}

/// Everything that upstream's test of the sample API server makes before it registers it.
fn prepare(ns: &Namespace<'_>, address: std::net::SocketAddr) {
    ns.ok(&["create", "serviceaccount", "sample-apiserver"]);
    let account = "--serviceaccount=sample-system:sample-apiserver";
    ns.ok(&["create", "clusterrolebinding", "sample-delegator", "--clusterrole=system:auth-delegator", account]);
    let reader = "--role=extension-apiserver-authentication-reader";
    ns.ok(&["-n", "kube-system", "create", "rolebinding", "sample-auth-reader", reader, account]);
    ns.apply(&format!(
        r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: flunder-reader}}
rules: [{{apiGroups: [wardle.example.com], resources: [flunders], verbs: [get, list]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: sample-api}}
spec:
  ports: [{{name: https, port: 443, targetPort: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: sample-api-1, labels: {{kubernetes.io/service-name: sample-api}}}}
addressType: IPv4
endpoints: [{{addresses: [{ip}], conditions: {{ready: true}}}}]
ports: [{{name: https, port: {port}, protocol: TCP}}]
",
        ip = address.ip(),
        port = address.port()
    ));
}

const FLUNDER: &str = r"
apiVersion: wardle.example.com/v1alpha1
kind: Flunder
metadata: {name: rest-flunder, labels: {sample-label: 'true'}}
spec: {reference: other}
";

#[test]
fn an_extension_api_server_serves_flunders() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    let cluster = Cluster::start().unwrap_or_else(|e| panic!("{e}"));
    let ns = cluster.namespace("sample-system");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    ironclad_auth::install_crypto();
    let authority = Pki::open_or_create(&cluster.scratch().join("sample-pki"), "sample").unwrap();
    let names = vec!["sample-api.sample-system.svc".to_owned()];
    let pair = authority.issue("serving", &Subject::server("sample", "", names)).unwrap();
    let published = ["-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "json"];
    let published: Value = serde_json::from_str(&ns.ok(&published)).unwrap();
    let front_proxies = text(&published["data"]["requestheader-client-ca-file"]);
    assert_eq!(published["data"]["requestheader-username-headers"], "[\"X-Remote-User\"]");
    let ip = ns.field("nodes", ".items[0].status.addresses[?(@.type==\"InternalIP\")].address");
    let files = Files { certificate: &pair.certificate, key: &pair.key, front_proxies: &front_proxies };
    let extension = runtime.block_on(Extension::start(files, ip.trim().parse().unwrap())).unwrap();
    prepare(&ns, extension.address());
    let delegate = delegate(&cluster, &ns);
    let asks = delegate.clone();
    extension.set_authorize(Arc::new(move |asked| {
        let asks = asks.clone();
        Box::pin(async move { asks.allows(asked).await })
    }));
    let file = cluster.scratch().join("bundle.pem");
    std::fs::write(&file, authority.ca()).unwrap();
    let mut encode = Command::new("base64");
    encode.arg("-w0").arg(&file);
    let encoded = run(encode).ok();
    ns.apply(&format!(
        r"
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1alpha1.wardle.example.com}}
spec:
  service: {{namespace: sample-system, name: sample-api}}
  group: wardle.example.com
  version: v1alpha1
  caBundle: {encoded}
  groupPriorityMinimum: 2000
  versionPriority: 200
"
    ));
    ns.wait("apiservice/v1alpha1.wardle.example.com", "condition=Available");
    used_with_kubectl(&ns);
    permitted_by_the_cluster(&ns);
    let reviewed = runtime.block_on(delegate.review(json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": delegate.token},
    })));
    assert_eq!(reviewed["status"]["authenticated"], true, "{reviewed}");
    assert_eq!(reviewed["status"]["user"]["username"], "system:serviceaccount:sample-system:sample-apiserver");
    unavailable(&ns, &extension);
}

fn used_with_kubectl(ns: &Namespace<'_>) {
    let shown = ns.ok(&["get", "apiservice", "v1alpha1.wardle.example.com"]);
    assert!(shown.contains("sample-system/sample-api") && shown.contains("True"), "{shown}");
    let resources = ns.ok(&["api-resources", "--api-group=wardle.example.com"]);
    assert!(resources.contains("flunders") && resources.contains("fl") && resources.contains("Flunder"), "{resources}");
    assert!(ns.ok(&["api-versions"]).contains("wardle.example.com/v1alpha1"));
    let explained = ns.ok(&["explain", "flunders.spec.reference"]);
    assert!(explained.contains("Another flunder."), "{explained}");
    assert!(
        ns.with_input(&["create", "-f", "-"], FLUNDER).ok().contains("flunder.wardle.example.com/rest-flunder created")
    );
    assert!(ns.ok(&["get", "fl"]).contains("rest-flunder"));
    assert_eq!(ns.field("flunder/rest-flunder", ".spec.reference"), "other");
    let why =
        ns.with_input(&["create", "--validate=strict", "-f", "-"], &FLUNDER.replace("reference", "referense")).err();
    assert!(why.contains("referense"), "{why}");
    ns.ok(&["patch", "fl", "rest-flunder", "--type=merge", "-p", r#"{"spec":{"reference":"new"}}"#]);
    assert_eq!(ns.field("flunder/rest-flunder", ".spec.reference"), "new");
}

/// The extension server asks the cluster, which learns of a permission while both run.
fn permitted_by_the_cluster(ns: &Namespace<'_>) {
    assert!(ns.kubectl(&["get", "fl", "--as=alice"]).err().contains("Forbidden"));
    ns.ok(&["create", "rolebinding", "alice", "--role=flunder-reader", "--user=alice"]);
    eventually(Duration::from_secs(10), || {
        let got = ns.kubectl(&["get", "fl", "--as=alice"]);
        if got.code == 0 { Ok(()) } else { Err(got.stderr) }
    });
    assert!(ns.kubectl(&["delete", "fl", "rest-flunder", "--as=alice"]).err().contains("Forbidden"));
    ns.ok(&["delete", "fl", "rest-flunder"]);
    assert!(ns.kubectl(&["get", "fl", "rest-flunder"]).err().contains("NotFound"));
}

fn unavailable(ns: &Namespace<'_>, extension: &Extension) {
    extension.set_healthy(false);
    ns.ok(&["annotate", "service", "sample-api", "touched=1"]);
    ns.wait("apiservice/v1alpha1.wardle.example.com", "condition=Available=False");
    let shown = ns.ok(&["get", "apiservice", "v1alpha1.wardle.example.com"]);
    assert!(shown.contains("False (FailedDiscoveryCheck)"), "{shown}");
    // The rest of the API does not suffer.
    assert!(ns.ok(&["get", "services"]).contains("sample-api"));
    extension.set_healthy(true);
    ns.ok(&["annotate", "service", "sample-api", "touched=2", "--overwrite"]);
    ns.wait("apiservice/v1alpha1.wardle.example.com", "condition=Available");
    ns.ok(&["delete", "apiservice", "v1alpha1.wardle.example.com"]);
    eventually(Duration::from_secs(10), || {
        let versions = ns.ok(&["api-versions"]);
        if versions.contains("wardle") { Err(versions) } else { Ok(()) }
    });
}
