//! Deployments: creation, scaling, rolling updates, rollback.

use std::collections::{BTreeMap, BTreeSet};

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

/// `edit` with an editor that is a sed script.
fn edit(ns: &Namespace<'_>, script: &str) -> String {
    let mut command = ns.command(&["edit", "deployment", "nginx"]);
    command.env("KUBE_EDITOR", format!("sed -i {script}"));
    let out = ironclad_testkit::cluster::run(command);
    assert_eq!(out.code, 0, "{out:?}");
    out.stdout + &out.stderr
}

pub(crate) fn s_000_35_edit(ns: &Namespace<'_>) {
    running(ns, 2, "nginx:1.27");
    assert_eq!(edit(ns, "s/nginx:1.27/nginx:alpine/"), "deployment.apps/nginx edited\n");
    rolled_out(ns);
    let hash = ns.until(&["get", "rs", "-o", "jsonpath={.items[?(@.spec.replicas==2)].metadata.name}"], |t| {
        t.starts_with("nginx-") && !t.contains(' ')
    });
    ns.until(&["get", "pods", "-o", "name"], |t| {
        t.lines().count() == 2 && t.lines().all(|l| l.starts_with(&format!("pod/{hash}")))
    });
    let old = ns.field("rs", ".items[?(@.spec.replicas==0)].status.replicas");
    assert_eq!(old, "0");
}

pub(crate) fn s_003_06_deployment_logs_exec(ns: &Namespace<'_>) {
    let out = ns.ok(&["create", "deployment", "my-tomcat", "--image=nginx:1.27"]);
    assert_eq!(out, "deployment.apps/my-tomcat created\n");
    ns.wait("deployment/my-tomcat", "condition=Available");
    let text = ns.ok(&["get", "deployment", "--no-headers"]);
    assert_eq!(columns(&text)[0][..4], ["my-tomcat", "1/1", "1", "1"]);
    let pod = ns.field("pods", ".items[0].metadata.name");
    let hash = ns.field("rs", ".items[0].metadata.name");
    assert_eq!(pod.rsplit_once('-').map(|p| p.0), Some(hash.as_str()));
    ns.ok(&["logs", &pod]);
    let env = ns.ok(&["exec", &pod, "--", "env"]);
    for name in [&format!("HOSTNAME={pod}"), "PATH=", "KUBERNETES_SERVICE_HOST=", "KUBERNETES_SERVICE_PORT=443"] {
        assert!(env.lines().any(|l| l.starts_with(name)), "no {name} in {env}");
    }
    assert!(ns.ok(&["exec", &pod, "--", "ls", "/"]).lines().any(|l| l == "etc"));
    assert!(ns.ok(&["delete", "deployment", "my-tomcat"]).starts_with("deployment.apps \"my-tomcat\" deleted"));
    ns.until(&["get", "deployments,replicasets,pods", "-o", "name"], str::is_empty);
}

pub(crate) fn s_003_07_wrong_create(ns: &Namespace<'_>) {
    let out = ns.kubectl(&["create", "my-tomcat", "--image=nginx:1.27"]);
    assert_eq!(out.code, 1);
    assert!(out.err().contains("unknown flag: --image"));
    assert_eq!(ns.ok(&["get", "deployments,pods", "-o", "name"]), "");
}

/// A watch tells the whole story of a pod that is deleted and of the one in its place.
pub(crate) fn s_003_08_self_healing_watch(ns: &Namespace<'_>) {
    running(ns, 1, "nginx:1.27");
    let old = pods(ns).remove(0);
    let mut watch = ns.stream(&["get", "pod", "-w", "--no-headers"]);
    assert!(watch.next().is_some_and(|l| l.starts_with(&old)));
    ns.ok(&["delete", "pod", &old, "--wait=false"]);
    let mut seen = Vec::new();
    for line in watch {
        let words: Vec<&str> = line.split_whitespace().collect();
        seen.push((words[0] == old, words[2].to_owned()));
        if words[0] != old && words[1] == "1/1" {
            break;
        }
    }
    for step in [(true, "Terminating"), (false, "Pending"), (false, "ContainerCreating"), (false, "Running")] {
        assert!(seen.iter().any(|(o, s)| (*o, s.as_str()) == step), "no {step:?} in {seen:?}");
    }
    rolled_out(ns);
}

pub(crate) fn s_003_10_scale_and_edit(ns: &Namespace<'_>) {
    running(ns, 3, "nginx:1.27");
    ns.ok(&["scale", "--replicas=5", "deployment", "nginx"]);
    rolled_out(ns);
    assert_eq!(pods(ns).len(), 5);
    ns.ok(&["scale", "--replicas=3", "deployment", "nginx"]);
    ns.until(&["get", "pods", "-o", "name"], |t| t.lines().count() == 3);
    assert_eq!(edit(ns, "'s/replicas: 3/replicas: 2/'"), "deployment.apps/nginx edited\n");
    ns.until(&["get", "pods", "-o", "name"], |t| t.lines().count() == 2);
    assert_eq!(edit(ns, "s/a/a/"), "Edit cancelled, no changes made.\n");
}

/// Watches show that a rolling update never has too few ready pods nor asks for too many. (A pod may be seen before the
/// one that it replaces is marked as deleted: two ReplicaSets act on their own, so surge is judged by what they are told.)
pub(crate) fn s_003_11_rolling_upgrade(ns: &Namespace<'_>) {
    running(ns, 3, "nginx:1.27");
    let mut watch =
        ns.stream(&["get", "pods", "-w", "-o", "jsonpath={.metadata.name} {.metadata.deletionTimestamp} {.status.conditions[?(@.type=='Ready')].status} {.metadata.annotations.seen}{'\\n'}"]);
    let mut sizes = ns.stream(&[
        "get",
        "rs",
        "-w",
        "-o",
        "jsonpath={.metadata.name} {.spec.replicas} {.metadata.annotations.seen}{'\\n'}",
    ]);
    // What is there already is shown first, whole before anything changes.
    let first: Vec<String> = watch.by_ref().take(3).collect();
    assert!(first.iter().all(|l| l.trim_end().ends_with(" True")), "{first:?}");
    assert!(sizes.next().is_some_and(|l| l.trim_end().ends_with(" 3")));
    let out = ns.kubectl(&["set", "image", "deployment", "nginx", "container-0=nginx:1.28", "--record"]);
    assert_eq!(out.stdout, "deployment.apps/nginx image updated\n");
    assert!(out.stderr.contains("Flag --record has been deprecated"), "{out:?}");
    rolled_out(ns);
    ns.until(&["get", "pods", "--no-headers"], |t| t.lines().count() == 3);
    // A last event of each, by which the watches are known to have shown all before it.
    ns.ok(&["annotate", "pods,rs", "--all", "seen=yes"]);
    assert!(least_ready(first, &mut watch, pods(ns)) >= 3);
    assert!(most_wanted(&mut sizes) <= 4);
    let image = ns.until(&["describe", "pods"], |t| !t.contains("nginx:1.27"));
    assert_eq!(image.matches("Image:          nginx:1.28").count(), 3);
}

/// The fewest ready pods that `watch` shows until each of `last` carries the mark of the end.
fn least_ready(first: Vec<String>, watch: &mut impl Iterator<Item = String>, last: Vec<String>) -> usize {
    let mut left: BTreeSet<String> = last.into_iter().collect();
    let mut ready = BTreeSet::new();
    let mut least = usize::MAX;
    for (i, line) in first.into_iter().chain(watch).enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[1].is_empty() && words[2] == "True" {
            ready.insert(words[0].to_owned());
        } else {
            ready.remove(words[0]);
        }
        if words.get(3) == Some(&"yes") {
            left.remove(words[0]);
        }
        if i >= 2 {
            least = least.min(ready.len());
        }
        if left.is_empty() {
            break;
        }
    }
    least
}

/// The most pods that the ReplicaSets were told to have together, until both carry the mark of the end.
fn most_wanted(sizes: &mut impl Iterator<Item = String>) -> usize {
    let (mut state, mut most) = (BTreeMap::<String, (usize, bool)>::new(), 0);
    while state.len() < 2 || state.values().any(|s| !s.1) {
        let line = sizes.next().expect("the watch goes on");
        let words: Vec<&str> = line.split(' ').collect();
        state.insert(words[0].to_owned(), (words[1].parse().unwrap(), words.get(2) == Some(&"yes")));
        most = most.max(state.values().map(|s| s.0).sum());
    }
    most
}

pub(crate) fn s_003_12_history_and_rollback(ns: &Namespace<'_>) {
    running(ns, 1, "nginx:1.27");
    ns.ok(&["set", "image", "deployment", "nginx", "container-0=nginx:1.28", "--record"]);
    rolled_out(ns);
    let text = ns.ok(&["rollout", "history", "deploy", "nginx"]);
    assert!(
        text.starts_with("deployment.apps/nginx \nREVISION  CHANGE-CAUSE\n1         <none>\n2         kubectl"),
        "{text}"
    );
    assert!(text.contains("set image deployment nginx container-0=nginx:1.28 "), "{text}");
    assert_eq!(ns.ok(&["rollout", "undo", "deployment", "nginx"]), "deployment.apps/nginx rolled back\n");
    rolled_out(ns);
    ns.until(&["rollout", "history", "deploy", "nginx"], |t| {
        t.lines().filter_map(|l| l.split_whitespace().next()).collect::<Vec<_>>()[2..] == ["2", "3"]
    });
    assert_eq!(ns.ok(&["rollout", "undo", "deploy/nginx", "--to-revision=2"]), "deployment.apps/nginx rolled back\n");
    rolled_out(ns);
    assert_eq!(ns.field("deploy/nginx", ".spec.template.spec.containers[0].image"), "nginx:1.28");
    let text = ns.kubectl(&["rollout", "undo", "deploy/nginx", "--to-revision=9"]).err();
    assert!(text.contains("unable to find specified revision 9 in history"), "{text}");
    let text = ns.ok(&["rollout", "undo", "deploy/nginx", "--to-revision=4"]);
    assert!(text.contains("skipped rollback (current template already matches revision 4)"), "{text}");
}
