//! ConfigMaps, Secrets, service accounts and RBAC as pods and users meet them.

use ironclad_testkit::Namespace;

const CONFIG_MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: configmap-test}
data: {property_1: Hello, property_2: World}
";

const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: mysecret}
data: {key1: aGVsbG8gd29ybGQ=, key2: MzMwNg==}
";

fn pod(ns: &Namespace<'_>, container: &str, spec: &str) {
    ns.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: nginx}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: container-0
    image: nginx:alpine
    {container}
  {spec}
"
    ));
    ns.wait("pod/nginx", "condition=Ready");
}

fn inside(ns: &Namespace<'_>, command: &str) -> String {
    ns.ok(&["exec", "nginx", "--", "sh", "-c", command])
}

pub(crate) fn s_000_56_config_map_env(ns: &Namespace<'_>) {
    assert_eq!(ns.apply(CONFIG_MAP), "configmap/configmap-test created\n");
    let env =
        "env: [{name: EXAMPLE_PROPERTY_1, valueFrom: {configMapKeyRef: {name: configmap-test, key: property_1}}}]";
    pod(ns, env, "");
    assert!(inside(ns, "env").lines().any(|l| l == "EXAMPLE_PROPERTY_1=Hello"));
}

pub(crate) fn s_000_57_config_map_volume(ns: &Namespace<'_>) {
    ns.apply(CONFIG_MAP);
    let mount = "volumeMounts: [{name: vol-configmap, mountPath: /tmp}]";
    pod(ns, mount, "volumes: [{name: vol-configmap, configMap: {name: configmap-test}}]");
    assert_eq!(inside(ns, "ls /tmp"), "property_1\nproperty_2\n");
    assert_eq!(inside(ns, "cat /tmp/property_1 /tmp/property_2"), "HelloWorld");
}

pub(crate) fn s_000_58_secret_env(ns: &Namespace<'_>) {
    assert_eq!(ns.apply(SECRET), "secret/mysecret created\n");
    pod(ns, "env: [{name: key, valueFrom: {secretKeyRef: {name: mysecret, key: key1}}}]", "");
    assert!(inside(ns, "env").lines().any(|l| l == "key=hello world"));
}

pub(crate) fn s_000_59_secret_volume(ns: &Namespace<'_>) {
    ns.apply(SECRET);
    let mount = "volumeMounts: [{name: vol-secret, mountPath: /tmp}]";
    pod(ns, mount, "volumes: [{name: vol-secret, secret: {secretName: mysecret}}]");
    assert_eq!(inside(ns, "cat /tmp/key1; echo; cat /tmp/key2"), "hello world\n3306");
}

pub(crate) fn s_000_89_permanent_token(ns: &Namespace<'_>) {
    ns.ok(&["create", "serviceaccount", "sa-example"]);
    ns.apply(
        "apiVersion: v1
kind: Secret
metadata:
  name: sa-example-token
  annotations: {kubernetes.io/service-account.name: sa-example}
type: kubernetes.io/service-account-token
",
    );
    ns.until(&["get", "secrets", "--no-headers"], |t| t.split_whitespace().nth(2) == Some("3"));
    let text = ns.ok(&["describe", "secret", "sa-example-token"]);
    for part in ["ca.crt:", "namespace:", "token:      eyJ", "kubernetes.io/service-account.uid:"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

pub(crate) fn s_000_92_rbac(ns: &Namespace<'_>) {
    ns.ok(&["create", "serviceaccount", "sa-example"]);
    ns.ok(&["create", "role", "role-example", "--verb=get,list", "--resource=pods"]);
    let account = format!("--serviceaccount={}:sa-example", ns.name);
    ns.ok(&["create", "rolebinding", "rolebinding-example", "--role=role-example", "--user=user-example", &account]);
    let subject = format!("--as=system:serviceaccount:{}:sa-example", ns.name);
    for who in ["--as=user-example", &subject] {
        ns.until(&["get", "pods", who], |_| true);
        let text = ns.kubectl(&["get", "deployments", who]).err();
        assert!(text.contains("cannot list resource \"deployments\" in API group \"apps\""), "{text}");
        let text = ns.cluster.kubectl(&["get", "pods", "-n", "kube-system", who]).err();
        assert!(text.contains("pods is forbidden"), "{text}");
        assert_eq!(ns.kubectl(&["auth", "can-i", "delete", "pods", who]).stdout, "no\n");
        assert_eq!(ns.ok(&["auth", "can-i", "list", "pods", who]), "yes\n");
    }
    ns.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: sa-pod}
spec: {serviceAccountName: sa-example, containers: [{name: a, image: 'tool:1'}]}
",
    );
    ns.wait("pod/sa-pod", "condition=Ready");
    let url = format!("https://$KUBERNETES_SERVICE_HOST/api/v1/namespaces/{}/pods", ns.name);
    let ask = format!(
        "cd /var/run/secrets/kubernetes.io/serviceaccount; \
         curl -sS -m 5 --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" {url}"
    );
    ns.until(&["exec", "sa-pod", "--", "sh", "-c", &ask], |t| t.contains("PodList"));
}

pub(crate) fn s_003_25_config_map_commands(ns: &Namespace<'_>) {
    let out = ns.ok(&["create", "configmap", "my-config", "--from-literal=key1=value1", "--from-literal=key2=value2"]);
    assert_eq!(out, "configmap/my-config created\n");
    ns.until(&["get", "cm", "--no-headers"], |t| {
        let rows: Vec<Vec<&str>> = t.lines().map(|l| l.split_whitespace().take(2).collect()).collect();
        rows == [["kube-root-ca.crt", "1"], ["my-config", "2"]]
    });
    let text = ns.ok(&["describe", "cm", "my-config"]);
    assert!(text.contains("key1:\n----\nvalue1\n") && text.contains("key2:\n----\nvalue2\n"), "{text}");
    assert!(ns.ok(&["delete", "cm", "my-config"]).starts_with("configmap \"my-config\" deleted"));
}

pub(crate) fn s_003_26_config_maps_by_yaml(ns: &Namespace<'_>) {
    let manifest = "apiVersion: v1
kind: ConfigMap
metadata: {name: my-config}
data: {key1: value1, key2: value2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: app-config}
data:
  application.yml: |
    spring:
      name: app
";
    assert_eq!(ns.apply(manifest), "configmap/my-config created\nconfigmap/app-config created\n");
    let text = ns.ok(&["get", "cm", "app-config", "-o", "yaml"]);
    assert!(text.contains("  application.yml: |\n    spring:\n      name: app\n"), "{text}");
}

/// Writes files into a directory of the test's own.
fn files(ns: &Namespace<'_>, files: &[(&str, &str)]) -> std::path::PathBuf {
    let dir = ns.cluster.scratch().join(ns.name);
    std::fs::create_dir_all(&dir).expect("make a directory");
    for (name, text) in files {
        std::fs::write(dir.join(name), text).expect("write a file");
    }
    dir
}

pub(crate) fn s_003_27_config_map_from_files(ns: &Namespace<'_>) {
    let dir = files(ns, &[("username", "admin"), ("password", "123456")]);
    let path = dir.display();
    let from = |name: &str| format!("--from-file={path}/{name}");
    ns.ok(&["create", "configmap", "myconfigmap", &from("username"), &from("password")]);
    assert_eq!(ns.field("cm/myconfigmap", ".data"), r#"{"password":"123456","username":"admin"}"#);
    ns.ok(&["create", "configmap", "dir", &format!("--from-file={path}")]);
    assert_eq!(ns.field("cm/dir", ".data"), r#"{"password":"123456","username":"admin"}"#);
    std::fs::write(dir.join("env"), "# a comment\n\nA=1\nB=two\n").expect("write a file");
    ns.ok(&["create", "configmap", "env", &format!("--from-env-file={path}/env")]);
    assert_eq!(ns.field("cm/env", ".data"), r#"{"A":"1","B":"two"}"#);
}

pub(crate) fn s_003_28_redis(ns: &Namespace<'_>) {
    ns.apply(
        "apiVersion: v1
kind: ConfigMap
metadata: {name: redis-conf}
data:
  redis.conf: |
    maxmemory-policy allkeys-lru
    requirepass root
---
apiVersion: v1
kind: Pod
metadata: {name: redis}
spec:
  containers:
  - name: redis
    image: redis:7
    command: [redis-server, /redis-master/redis.conf]
    ports: [{containerPort: 6379}]
    volumeMounts: [{name: data, mountPath: /data}, {name: config, mountPath: /redis-master}]
  volumes:
  - {name: data, emptyDir: {}}
  - {name: config, configMap: {name: redis-conf, items: [{key: redis.conf, path: redis.conf}]}}
",
    );
    ns.wait("pod/redis", "condition=Ready");
    let ask = |words: &[&str]| ns.until(&[&["exec", "redis", "--", "redis-cli"], words].concat(), |t| !t.is_empty());
    assert!(ask(&["config", "get", "maxmemory-policy"]).contains("NOAUTH Authentication required."));
    let policy = ask(&["--no-auth-warning", "-a", "root", "config", "get", "maxmemory-policy"]);
    assert_eq!(policy, "maxmemory-policy\nallkeys-lru\n");
    // The file follows the object; the program has read it once.
    let patch = r#"{"data":{"redis.conf":"maxmemory-policy noeviction\n"}}"#;
    ns.ok(&["patch", "cm", "redis-conf", "-p", patch]);
    ns.until(&["exec", "redis", "--", "cat", "/redis-master/redis.conf"], |t| t == "maxmemory-policy noeviction\n");
    assert_eq!(ask(&["--no-auth-warning", "-a", "root", "config", "get", "maxmemory-policy"]), policy);
}

pub(crate) fn s_003_29_secrets(ns: &Namespace<'_>) {
    let literals = ["--from-literal=username=admin", "--from-literal=password=admin123"];
    let out = ns.ok(&["create", "secret", "generic", "my-secret", literals[0], literals[1]]);
    assert_eq!(out, "secret/my-secret created\n");
    assert_eq!(ns.field("secret/my-secret", ".data"), r#"{"password":"YWRtaW4xMjM=","username":"YWRtaW4="}"#);
    let text = ns.ok(&["describe", "secret", "my-secret"]);
    assert!(text.contains("username:  5 bytes") && !text.contains("admin"), "{text}");
    ns.apply(
        "apiVersion: v1
kind: Secret
metadata: {name: yaml}
type: Opaque
data: {username: YWRtaW4=, password: MWYyZDFlMmU2N2Rm}
",
    );
    let container = "volumeMounts: [{name: s, mountPath: /s}]
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: yaml, key: password}}}]";
    pod(ns, container, "volumes: [{name: s, secret: {secretName: yaml}}]");
    assert_eq!(
        inside(ns, "cat /s/username; echo; cat /s/password; echo; echo $PASSWORD"),
        "admin\n1f2d1e2e67df\n1f2d1e2e67df\n"
    );
    let dir = files(ns, &[("token", "t"), ("env", "A=1\n")]);
    ns.ok(&["create", "secret", "generic", "file", &format!("--from-file={}/token", dir.display())]);
    assert_eq!(ns.field("secret/file", ".data"), r#"{"token":"dA=="}"#);
    ns.ok(&["create", "secret", "generic", "env", &format!("--from-env-file={}/env", dir.display())]);
    assert_eq!(ns.field("secret/env", ".data"), r#"{"A":"MQ=="}"#);
}
