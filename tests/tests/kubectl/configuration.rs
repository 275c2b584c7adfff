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
