//! Deployments: creation, scaling, rolling updates, rollback.

use ironclad_testkit::Namespace;

/// A Deployment `nginx` with pods labelled `app=nginx`.
pub(crate) fn deployment(replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx
  labels: {{app: nginx}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: nginx}}}}
  template:
    metadata: {{labels: {{app: nginx}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: container-0
        image: {image}
"
    )
}

fn running(ns: &Namespace<'_>, replicas: u32, image: &str) {
    ns.apply(&deployment(replicas, image));
    rolled_out(ns);
}

fn rolled_out(ns: &Namespace<'_>) {
    let text = ns.ok(&["rollout", "status", "deployment/nginx", "--timeout=60s"]);
    assert!(text.contains("deployment \"nginx\" successfully rolled out"), "{text}");
}

fn pods(ns: &Namespace<'_>) -> Vec<String> {
    let text = ns.ok(&["get", "pods", "-l", "app=nginx", "-o", "jsonpath={.items[*].metadata.name}"]);
    text.split_whitespace().map(str::to_owned).collect()
}

fn columns(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|l| l.split_whitespace().collect()).collect()
}

pub(crate) fn s_000_04_first_deployment(ns: &Namespace<'_>) {
    let out = ns.with_input(&["create", "-f", "-"], &deployment(3, "nginx:alpine")).ok();
    assert_eq!(out, "deployment.apps/nginx created\n");
    rolled_out(ns);
    let text = ns.ok(&["get", "deploy"]);
    let rows = columns(&text);
    assert_eq!(rows[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(rows[1][..4], ["nginx", "3/3", "3", "3"]);
    let text = ns.ok(&["get", "pods", "--no-headers"]);
    assert_eq!(text.lines().count(), 3, "{text}");
    for row in columns(&text) {
        assert_eq!(row[1..4], ["1/1", "Running", "0"]);
        assert_eq!(row[0].rsplit('-').next().map(str::len), Some(5), "{row:?}");
    }
}

pub(crate) fn s_000_10_set_image(ns: &Namespace<'_>) {
    running(ns, 2, "nginx:1.27");
    let out = ns.ok(&["set", "image", "deployment/nginx", "container-0=nginx:1.28"]);
    assert_eq!(out, "deployment.apps/nginx image updated\n");
    rolled_out(ns);
    let text = ns.until(&["get", "rs", "--no-headers"], |t| {
        let mut sizes: Vec<Vec<&str>> = columns(t).iter().map(|r| r[1..4].to_vec()).collect();
        sizes.sort();
        sizes == [["0", "0", "0"], ["2", "2", "2"]]
    });
    assert_eq!(text.lines().count(), 2);
    let images = ns.until(&["get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"], |t| {
        t == "nginx:1.28 nginx:1.28"
    });
    assert_eq!(images, "nginx:1.28 nginx:1.28");
}

pub(crate) fn s_000_14_rollout_commands(ns: &Namespace<'_>) {
    running(ns, 1, "nginx:1.27");
    ns.ok(&["set", "image", "deployment/nginx", "container-0=nginx:1.28"]);
    rolled_out(ns);
    let text = ns.ok(&["rollout", "history", "deployment/nginx"]);
    let revisions: Vec<&str> = text.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert!(revisions.ends_with(&["REVISION", "1", "2"]), "{text}");
    let text = ns.ok(&["rollout", "history", "deployment/nginx", "--revision=1"]);
    assert!(text.contains("nginx:1.27"), "{text}");
    let before = pods(ns);
    ns.ok(&["rollout", "restart", "deployment/nginx"]);
    rolled_out(ns);
    ns.until(&["get", "pods", "-o", "name"], |t| !before.iter().any(|p| t.contains(p)));
}

pub(crate) fn s_000_15_scale(ns: &Namespace<'_>) {
    running(ns, 1, "nginx:1.27");
    for replicas in ["4", "0", "2"] {
        let out = ns.ok(&["scale", "deployment", "nginx", &format!("--replicas={replicas}")]);
        assert_eq!(out, "deployment.apps/nginx scaled\n");
        rolled_out(ns);
        let want: usize = replicas.parse().expect("a number");
        ns.until(&["get", "pods", "-o", "name"], |t| t.lines().count() == want);
    }
}

pub(crate) fn s_000_33_create_and_self_heal(ns: &Namespace<'_>) {
    running(ns, 2, "nginx:latest");
    let before = pods(ns);
    ns.ok(&["delete", "pod", &before[0], "--wait=false"]);
    ns.until(&["get", "pods", "--no-headers"], |t| {
        let rows = columns(t);
        rows.len() == 2 && rows.iter().all(|r| r[1] == "1/1" && r[0] != before[0])
    });
    let after = pods(ns);
    assert!(after.contains(&before[1]), "{before:?} became {after:?}");
    let text = ns.ok(&["get", "rs", "--no-headers"]);
    assert_eq!(columns(&text)[0][1..4], ["2", "2", "2"]);
    assert!(after.iter().all(|p| p.starts_with(columns(&text)[0][0])), "{after:?} {text}");
}

pub(crate) fn s_000_34_describe(ns: &Namespace<'_>) {
    running(ns, 2, "nginx:1.27");
    let text = ns.until(&["describe", "deploy", "nginx"], |t| t.contains("(2/2 replicas created)"));
    for part in [
        "Name:",
        "Namespace:",
        "CreationTimestamp:",
        "NewReplicaSet:",
        "ScalingReplicaSet",
        "deployment-controller",
        "Scaled up replica set nginx-",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

pub(crate) fn s_000_36_recreate(ns: &Namespace<'_>) {
    running(ns, 2, "nginx:1.27");
    let patch = r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}"#;
    ns.ok(&["patch", "deployment", "nginx", "-p", patch]);
    let before = pods(ns);
    ns.ok(&["set", "image", "deployment/nginx", "container-0=nginx:1.28"]);
    rolled_out(ns);
    assert!(pods(ns).iter().all(|p| !before.contains(p)));
}

pub(crate) fn s_000_37_rollback(ns: &Namespace<'_>) {
    running(ns, 2, "nginx:1.27");
    ns.ok(&["set", "image", "deployment/nginx", "container-0=nginx:1.28"]);
    rolled_out(ns);
    let out = ns.ok(&["rollout", "undo", "deployment", "nginx"]);
    assert_eq!(out, "deployment.apps/nginx rolled back\n");
    rolled_out(ns);
    assert_eq!(ns.field("deploy/nginx", ".spec.template.spec.containers[0].image"), "nginx:1.27");
    ns.until(&["rollout", "history", "deployment/nginx"], |t| t.contains("\n3 ") && !t.contains("\n1 "));
}

pub(crate) fn s_000_105_apply_keeps_what_others_set(ns: &Namespace<'_>) {
    let manifest = deployment(1, "nginx:1.27").replace("  replicas: 1\n", "");
    ns.apply(&manifest);
    ns.ok(&["scale", "deployment", "nginx", "--replicas=2"]);
    let out = ns.apply(&manifest.replace("nginx:1.27", "nginx:1.28"));
    assert_eq!(out, "deployment.apps/nginx configured\n");
    assert_eq!(ns.field("deploy/nginx", ".spec.replicas"), "2");
    assert_eq!(ns.apply(&manifest.replace("nginx:1.27", "nginx:1.28")), "deployment.apps/nginx unchanged\n");
}
