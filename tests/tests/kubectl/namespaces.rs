//! Namespaces: the first ones, creation, and deletion that empties them.

use ironclad_testkit::Namespace;

pub(crate) fn s_003_01_initial_namespaces(ns: &Namespace<'_>) {
    let text = ns.ok(&["get", "namespace"]);
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "AGE"]);
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        assert!(rows.iter().any(|r| r[0] == name && r[1] == "Active"), "no {name} in {text}");
    }
    let text = ns.cluster.kubectl(&["get", "lease", "-n", "kube-node-lease", "--no-headers"]).ok();
    let lease: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(lease[0], lease[1], "{text}");
}

pub(crate) fn s_003_02_create_and_delete(ns: &Namespace<'_>) {
    let kubectl = |args: &[&str]| ns.cluster.kubectl(args);
    assert_eq!(kubectl(&["create", "namespace", "test"]).ok(), "namespace/test created\n");
    kubectl(&["delete", "namespace", "test"]).ok();
    let manifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: test}\n";
    assert_eq!(ns.apply(manifest), "namespace/test created\n");
    assert_eq!(ns.apply(manifest), "namespace/test unchanged\n");
    assert_eq!(ns.with_input(&["delete", "-f", "-"], manifest).ok(), "namespace \"test\" deleted\n");
    let tuling = ns.cluster.namespace("tuling");
    tuling.ok(&["create", "configmap", "a", "--from-literal=k=v"]);
    tuling.ok(&["create", "deployment", "web", "--image=nginx:alpine"]);
    tuling.wait("deployment/web", "condition=Available");
    let watch = ns.stream(&["get", "namespace", "tuling", "-w", "--no-headers"]);
    assert_eq!(kubectl(&["delete", "namespace", "tuling"]).ok(), "namespace \"tuling\" deleted\n");
    assert!(watch.take(2).any(|l| l.contains("Terminating")));
    let text = kubectl(&["get", "pods,deployments,configmaps", "-A", "-o", "name"]).ok();
    assert!(!text.contains("deployment.apps/web"), "{text}");
    let gone = kubectl(&["delete", "namespace", "tuling"]);
    assert_eq!((gone.code, &*gone.stderr), (1, "Error from server (NotFound): namespaces \"tuling\" not found\n"));
}

pub(crate) fn pods_leave_a_namespace_before_what_they_were_given(ns: &Namespace<'_>) {
    let held = ns.cluster.namespace("held");
    held.ok(&["create", "configmap", "kept", "--from-literal=k=v"]);
    held.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: last, finalizers: [example.com/hold]}\nspec: {containers: [{name: c, image: nginx:alpine}]}\n",
    );
    held.wait("pod/last", "condition=Ready");
    ns.cluster.kubectl(&["delete", "namespace", "held", "--wait=false"]).ok();
    held.wait("namespace/held", "condition=NamespaceFinalizersRemaining");
    let text = held.ok(&["get", "configmaps", "kept", "-o", "name"]);
    assert_eq!(text, "configmap/kept\n");
    held.ok(&["patch", "pod", "last", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    ns.cluster.kubectl(&["wait", "--for=delete", "namespace/held", "--timeout=60s"]).ok();
}
