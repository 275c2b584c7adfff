//! Who asks and what they may do, with flags and configurations as a cluster is started with: they last over restarts,
//! and what changes in their files counts at once.

use ironclad_testkit::Cluster;
use ironclad_testkit::cluster::{Output, eventually, run};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn write(dir: &Path, file: &str, text: &str) -> String {
    let path = dir.join(file);
    // As a whole: whoever reads it meanwhile sees the old or the new text.
    std::fs::write(dir.join("new"), text).expect("write a file");
    std::fs::rename(dir.join("new"), &path).expect("rename a file");
    path.to_str().expect("a path").to_owned()
}

/// What a token gets; with the code of curl.
fn asked(cluster: &Cluster, token: &str, path: &str) -> (u16, Value) {
    let config = cluster.kubectl(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"]).ok();
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sk", "-m", "10", "--noproxy", "*", "-w", "\n%{http_code}", &format!("{config}{path}")]);
    if !token.is_empty() {
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let answer = run(curl).ok();
    let (body, code) = answer.rsplit_once('\n').unwrap_or_default();
    (code.trim().parse().unwrap_or(0), serde_json::from_str(body).unwrap_or_default())
}

fn authentication(anonymous: &str) -> String {
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {anonymous}\n")
}

const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], verbs: [get, list], omitManagedFields: true}
- {level: Metadata, resources: [{group: '', resources: [serviceaccounts/token]}]}
- {level: None}
";

#[test]
fn flags_last_and_configurations_are_followed() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let authn = write(dir.path(), "authn.yaml", &authentication("{enabled: true, conditions: [{path: /livez}]}"));
    let abac = write(
        dir.path(),
        "abac.jsonl",
        "{\"apiVersion\":\"abac.authorization.kubernetes.io/v1beta1\",\"kind\":\"Policy\",\"spec\":{\"user\":\"alice\",\"namespace\":\"*\",\"resource\":\"pods\",\"apiGroup\":\"*\",\"readonly\":true}}\n",
    );
    let modes = |more: &str| {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{{type: Node, name: node}}, {{type: RBAC, name: rbac}}{more}]\n"
        )
    };
    let authz = write(dir.path(), "authz.yaml", &modes(", {type: ABAC, name: abac}"));
    let tokens = write(dir.path(), "tokens.csv", "secret-of-alice,alice,1\n");
    let policy = write(dir.path(), "policy.yaml", POLICY);
    let log = dir.path().join("audit.log");
    let log_path = log.to_str().expect("a path");
    let options = [
        "--authentication-config",
        &authn,
        "--authorization-config",
        &authz,
        "--authorization-policy-file",
        &abac,
        "--token-auth-file",
        &tokens,
        "--audit-policy-file",
        &policy,
        "--audit-log-path",
        log_path,
        "--cluster-signing-duration",
        "1h",
    ];
    let cluster = Cluster::start_with(&options).unwrap_or_else(|e| panic!("{e}"));
    who_may_what(&cluster);
    let status = || run(cluster.ironclad(&["status", "--json"])).ok();
    let flags = |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["flags"].clone();
    assert_eq!(flags(&status())["cluster-signing-duration"], json!(["1h"]));
    // Without any of the flags.
    run(cluster.ironclad(&["down"])).ok();
    let mut again = cluster.ironclad(&["up"]);
    again.arg("--kubeconfig").arg(cluster.kubeconfig());
    run(again).ok();
    assert_eq!(flags(&status())["audit-policy-file"], json!([policy]));
    who_may_what(&cluster);
    // What the files say now.
    write(dir.path(), "authn.yaml", &authentication("{enabled: true, conditions: [{path: /readyz}]}"));
    write(dir.path(), "authz.yaml", &modes(""));
    eventually(PATIENCE, || {
        match (asked(&cluster, "", "/readyz").0, asked(&cluster, "secret-of-alice", "/api/v1/pods").0) {
            (200, 403) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(asked(&cluster, "", "/livez").0, 401);
    // What cannot be used changes nothing.
    write(dir.path(), "authn.yaml", "kind: Nonsense\n");
    cluster.kubectl(&["get", "--raw", "/readyz"]).ok();
    assert_eq!(asked(&cluster, "", "/readyz").0, 200);
    audited(&cluster, &log);
    let refused = ironclad_tests::refused(&cluster);
    assert!(refused.is_empty(), "{refused:#?}");
}

fn who_may_what(cluster: &Cluster) {
    assert_eq!(asked(cluster, "", "/livez").0, 200, "open to everybody");
    assert_eq!(asked(cluster, "", "/readyz").0, 401, "open to nobody");
    assert_eq!(asked(cluster, "secret-of-alice", "/api/v1/pods").0, 200, "by a policy of the file");
    assert_eq!(asked(cluster, "secret-of-alice", "/api/v1/secrets").0, 403);
    assert_eq!(asked(cluster, "secret-of-bob", "/api/v1/pods").0, 401);
}

/// Lists and protobuf answers are kept as JSON, without managed fields.
fn audited(cluster: &Cluster, log: &Path) {
    let of = |output: Output| output.ok();
    of(cluster.kubectl(&["get", "configmaps", "-n", "kube-system", "-o", "name"]));
    of(cluster.kubectl(&["create", "token", "default"]));
    let path = "/api/v1/namespaces/kube-system/configmaps";
    let server = of(cluster.kubectl(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"]));
    let token = of(cluster.kubectl(&["create", "token", "default", "-n", "kube-system"]));
    of(cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "reads",
        "--clusterrole=view",
        "--serviceaccount=kube-system:default",
    ]));
    eventually(PATIENCE, || {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-skf", "-m", "10", "--noproxy", "*", "-o", "/dev/null", &format!("{server}{path}")]);
        curl.args([
            "-H",
            "Accept: application/vnd.kubernetes.protobuf",
            "-H",
            &format!("Authorization: Bearer {}", token.trim()),
        ]);
        if run(curl).code == 0 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let lines = || std::fs::read_to_string(log).unwrap_or_default();
    let events = || lines().lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).collect::<Vec<_>>();
    eventually(PATIENCE, || {
        let all = events();
        let issued =
            all.iter().any(|e| e["annotations"]["authentication.kubernetes.io/issued-credential-id"].is_string());
        let account = "system:serviceaccount:kube-system:default";
        let list = all
            .iter()
            .rfind(|e| e["verb"] == "list" && e["user"]["username"] == account && e["responseStatus"]["code"] == 200);
        let good = list.is_some_and(|e| {
            let items = e["responseObject"]["items"].as_array().map_or(&[][..], Vec::as_slice);
            e["responseObject"]["kind"] == "ConfigMapList"
                && !items.is_empty()
                && items.iter().all(|i| i["metadata"].get("managedFields").is_none())
        });
        if good && issued { Ok(()) } else { Err(format!("{issued} {list:?}")) }
    });
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: shown}
spec:
  containers:
  - name: c
    image: busybox
    command: [sh, -c, 'cat /trust/ca.pem /own/bundle.pem; trap exit TERM; while :; do sleep 1; done']
    volumeMounts: [{name: trust, mountPath: /trust}, {name: own, mountPath: /own}]
  volumes:
  - name: trust
    projected: {sources: [{clusterTrustBundle: {signerName: kubernetes.io/kube-apiserver-serving, labelSelector: {}, path: ca.pem}}]}
  - name: own
    projected: {sources: [{podCertificate: {signerName: example.com/signer, keyType: ECDSAP256, credentialBundlePath: bundle.pem}}]}
";

/// A pod that is given a certificate by a signer, for a key that its kubelet has made, and the bundle of those who sign
/// the API server's.
#[test]
fn a_pod_is_given_a_certificate_and_whom_to_trust() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    let cluster = Cluster::start().unwrap_or_else(|e| panic!("{e}"));
    let (ns, dir) = (cluster.namespace("signed"), tempfile::tempdir().expect("a directory"));
    let tool = |program: &str, args: &str| {
        let mut command = std::process::Command::new(program);
        command.args(args.split(' ')).current_dir(dir.path());
        run(command).ok()
    };
    ns.apply(POD);
    let asked = eventually(PATIENCE, || match ns.ok(&["get", "podcertificaterequests", "-o", "name"]).trim() {
        "" => Err("the kubelet asks for no certificate".to_owned()),
        name => Ok(name.to_owned()),
    });
    std::fs::write(dir.path().join("asked"), ns.field(&asked, ".spec.stubPKCS10Request")).expect("write a file");
    std::fs::write(dir.path().join("asked.der"), decoded(dir.path())).expect("write a file");
    tool(
        "openssl",
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 1",
    );
    tool(
        "openssl",
        "x509 -req -inform DER -in asked.der -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -out leaf.crt",
    );
    let times = tool("openssl", "x509 -in leaf.crt -noout -startdate -enddate -dateopt iso_8601");
    let time = |name: &str| {
        let line = times.lines().find_map(|l| l.strip_prefix(name)).expect("a time");
        line.trim().replace(' ', "T")
    };
    let chain = std::fs::read_to_string(dir.path().join("leaf.crt")).expect("a certificate");
    let refresh = tool("date", "-u -d +20hours +%FT%TZ");
    let status = json!({"certificateChain": chain, "notBefore": time("notBefore="), "notAfter": time("notAfter="),
        "beginRefreshAt": refresh.trim(), "conditions": [{"type": "Issued", "status": "True", "reason": "Asked",
            "message": "by a test", "lastTransitionTime": time("notBefore=")}]});
    let patch = json!({"status": status}).to_string();
    ns.ok(&["patch", &asked, "--subresource=status", "--type=merge", "-p", &patch]);
    ns.wait("pod/shown", "condition=Ready");
    let shown = ns.until(&["logs", "shown"], |text| text.matches("END CERTIFICATE").count() >= 2);
    let authority = ns.ok(&["get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"]);
    assert!(shown.starts_with(authority.trim()), "{shown}");
    assert!(shown.contains(chain.trim()) && shown.contains("PRIVATE KEY"), "{shown}");
    let refused = ironclad_tests::refused(&cluster);
    assert!(refused.is_empty(), "{refused:#?}");
}

/// The bytes of the request that stands in a file as text.
fn decoded(dir: &Path) -> Vec<u8> {
    let output = std::process::Command::new("base64").args(["-d", "asked"]).current_dir(dir).output();
    output.expect("base64 runs").stdout
}
