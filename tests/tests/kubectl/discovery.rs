//! What kubectl learns about the cluster and its kinds; apply, diff and replace.

use ironclad_testkit::Namespace;

pub(crate) fn s_000_05_cluster_info(ns: &Namespace<'_>) {
    let text = ns.ok(&["cluster-info"]);
    assert!(text.contains("Kubernetes control plane") && text.contains("is running at"), "{text}");
}

pub(crate) fn s_000_06_get_nodes(ns: &Namespace<'_>) {
    let text = ns.ok(&["get", "nodes"]);
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
    assert_eq!((rows[1][1], rows[1][2]), ("Ready", "<none>"), "{text}");
    assert!(rows[1][4].starts_with("v1.37"), "{text}");
    let text = ns.ok(&["describe", "node", rows[1][0]]);
    for part in ["kubernetes.io/hostname=", "Capacity:", "Allocatable:", "KubeletReady", "Allocated resources:"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

pub(crate) fn s_000_07_get_variants(ns: &Namespace<'_>) {
    ns.ok(&["run", "web", "--image=nginx:alpine", "--labels=app=web"]);
    ns.wait("pod/web", "condition=Ready");
    let head =
        |args: &[&str]| ns.ok(args).lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let wide = head(&["get", "pod", "-o", "wide"]);
    assert_eq!(wide, "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    assert!(head(&["get", "pod", "--all-namespaces"]).starts_with("NAMESPACE NAME"));
    assert!(head(&["get", "pod", "--show-labels"]).ends_with("LABELS"));
    assert_eq!(ns.ok(&["get", "pod", "-o=custom-columns=LABELS:.metadata.labels.app"]), "LABELS\nweb\n");
    assert!(ns.ok(&["get", "pod", "web", "-o", "yaml"]).contains("phase: Running"));
    assert!(ns.ok(&["get", "pod", "web", "-o", "json"]).contains("\"phase\": \"Running\""));
    assert_eq!(ns.kubectl(&["get", "svc"]).stderr, format!("No resources found in {} namespace.\n", ns.name));
    let text = ns.kubectl(&["get", "pod", "absent"]).err();
    assert_eq!(text, "Error from server (NotFound): pods \"absent\" not found\n");
}

pub(crate) fn s_000_12_explain(ns: &Namespace<'_>) {
    let text = ns.ok(&["explain", "pod"]);
    for part in ["KIND:       Pod", "VERSION:    v1", "DESCRIPTION:", "FIELDS:", "spec\t<PodSpec>"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(ns.ok(&["explain", "deployment.spec.strategy"]).contains("rollingUpdate"));
}

pub(crate) fn s_000_16_autoscale(ns: &Namespace<'_>) {
    ns.ok(&["create", "deployment", "d", "--image=nginx:alpine"]);
    ns.ok(&["autoscale", "deployment", "d", "--min=1", "--max=3", "--cpu-percent=50"]);
    assert_eq!(ns.field("hpa/d", ".spec.maxReplicas"), "3");
    let text = ns.ok(&["get", "hpa", "d"]);
    assert!(text.contains("Deployment/d") && text.contains("MINPODS"), "{text}");
}

pub(crate) fn s_000_20_discovery(ns: &Namespace<'_>) {
    let text = ns.ok(&["api-versions"]);
    assert!(["v1", "apps/v1", "batch/v1"].iter().all(|v| text.lines().any(|l| l == *v)), "{text}");
    let text = ns.ok(&["api-resources"]);
    let row = |name: &str| text.lines().find(|l| l.starts_with(name)).map(|l| l.split_whitespace().collect::<Vec<_>>());
    assert_eq!(row("deployments "), Some(vec!["deployments", "deploy", "apps/v1", "true", "Deployment"]));
    assert_eq!(row("namespaces "), Some(vec!["namespaces", "ns", "v1", "false", "Namespace"]));
    let text = ns.kubectl(&["version"]);
    assert!(text.stdout.contains("Server Version: v1.37"), "{text:?}");
}

pub(crate) fn s_000_31_namespaces(ns: &Namespace<'_>) {
    let text = ns.ok(&["get", "ns"]);
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let row = text.lines().find(|l| l.split_whitespace().next() == Some(name));
        assert!(row.is_some_and(|l| l.contains("Active")), "{text}");
    }
    assert_eq!(ns.ok(&["create", "namespace", "custom-namespace"]), "namespace/custom-namespace created\n");
    let other = Namespace { cluster: ns.cluster, name: "custom-namespace" };
    other.until(&["get", "sa", "default", "-o", "name"], |t| t == "serviceaccount/default\n");
    other.ok(&["run", "nginx", "--image=nginx:alpine"]);
    other.ok(&["create", "configmap", "a"]);
    other.wait("pod/nginx", "condition=Ready");
    assert_eq!(ns.ok(&["get", "pods"]), "");
    ns.ok(&["delete", "namespace", "custom-namespace", "--timeout=60s"]);
    let gone = ns.kubectl(&["get", "namespace", "custom-namespace"]).err();
    assert!(gone.contains("NotFound"), "{gone}");
}

pub(crate) fn apply_and_diff(ns: &Namespace<'_>) {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: one, l: two}\n";
    assert_eq!(ns.apply(manifest), "configmap/a created\n");
    assert_eq!(ns.apply(manifest), "configmap/a unchanged\n");
    assert_eq!(ns.with_input(&["diff", "-f", "-"], manifest).ok(), "");
    let changed = manifest.replace(", l: two", "").replace("one", "three");
    let diff = ns.with_input(&["diff", "-f", "-"], &changed);
    assert_eq!(diff.code, 1, "{diff:?}");
    assert!(diff.stdout.contains("-  k: one") && diff.stdout.contains("+  k: three"), "{diff:?}");
    assert_eq!(ns.apply(&changed), "configmap/a configured\n");
    assert_eq!(ns.field("configmap/a", ".data"), r#"{"k":"three"}"#);
    let out = ns.with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifest).ok();
    assert_eq!(out, "configmap/a serverside-applied\n");
}
pub(crate) fn s_000_11_replace(ns: &Namespace<'_>) {
    ns.ok(&["create", "configmap", "a", "--from-literal=k=1"]);
    let yaml = ns.ok(&["get", "configmap", "a", "-o", "yaml"]);
    let out = ns.with_input(&["replace", "-f", "-"], &yaml.replace("k: \"1\"", "k: \"2\"")).ok();
    assert_eq!(out, "configmap/a replaced\n");
    assert_eq!(ns.field("configmap/a", ".data.k"), "2");
    let stale = ns.with_input(&["replace", "-f", "-"], &yaml).err();
    assert!(stale.contains("the object has been modified"), "{stale}");
    let renamed = ns.with_input(&["replace", "-f", "-"], &yaml.replace("name: a", "name: b")).err();
    assert!(renamed.contains("NotFound"), "{renamed}");
}

pub(crate) fn s_000_99_quota(ns: &Namespace<'_>) {
    ns.ok(&["create", "quota", "q", "--hard=pods=1"]);
    ns.until(&["get", "quota", "q", "-o", "jsonpath={.status.hard.pods}"], |t| t == "1");
    ns.ok(&["run", "one", "--image=nginx:alpine"]);
    let text = ns.kubectl(&["run", "two", "--image=nginx:alpine"]).err();
    assert!(text.contains("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"), "{text}");
}

pub(crate) fn s_000_100_limit_range(ns: &Namespace<'_>) {
    ns.apply(
        "apiVersion: v1
kind: LimitRange
metadata: {name: l}
spec: {limits: [{type: Container, default: {cpu: 200m}, defaultRequest: {cpu: 20m}, max: {cpu: 500m}}]}
",
    );
    ns.until(&["run", "a", "--image=nginx:alpine"], |_| true);
    assert_eq!(
        ns.field("pod/a", ".spec.containers[0].resources"),
        r#"{"limits":{"cpu":"200m"},"requests":{"cpu":"20m"}}"#
    );
    let greedy = r#"{"spec":{"containers":[{"name":"b","image":"nginx:alpine","resources":{"limits":{"cpu":"1"}}}]}}"#;
    let text = ns.kubectl(&["run", "b", "--image=nginx:alpine", &format!("--overrides={greedy}")]).err();
    assert!(text.contains("maximum cpu usage per Container is 500m, but limit is 1"), "{text}");
}

/// What is wrong with an object is told as kubectl users know it.
pub(crate) fn invalid_objects_are_refused(ns: &Namespace<'_>) {
    let text = ns.kubectl(&["create", "configmap", "Bad_Name"]).err();
    assert!(text.contains("a lowercase RFC 1123 subdomain must consist of"), "{text}");
    ns.ok(&["create", "configmap", "a"]);
    let text = ns.kubectl(&["create", "configmap", "a"]).err();
    assert_eq!(text, "error: failed to create configmap: configmaps \"a\" already exists\n");
    let manifest =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: b, imagen: c}]}\n";
    let text = ns.with_input(&["create", "-f", "-"], manifest).err();
    assert!(text.contains("unknown field \"spec.containers[0].imagen\""), "{text}");
}
