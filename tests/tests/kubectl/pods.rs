//! Pods: life cycle, streams, hooks, probes, labels, init containers, volumes.

use ironclad_testkit::Namespace;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// A pod whose one container has these fields, in YAML's flow style.
fn pod(name: &str, container: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec: {{containers: [{{name: container-0, {container}}}], {spec}}}
"
    )
}

fn start(ns: &Namespace<'_>, name: &str, container: &str, spec: &str) {
    ns.apply(&pod(name, container, spec));
    ns.wait(&format!("pod/{name}"), "condition=Ready");
}

pub(crate) fn s_000_09_run(ns: &Namespace<'_>) {
    assert_eq!(ns.ok(&["run", "web", "--image=nginx:latest"]), "pod/web created\n");
    ns.ok(&["run", "ping", "--image=busybox", "--command", "--", "ping", "example.com"]);
    assert_eq!(ns.field("pod/ping", ".spec.containers[0].command"), r#"["ping","example.com"]"#);
    ns.wait("pod/web", "condition=Ready");
    let args =
        ["run", "once", "--image=busybox", "--restart=Never", "--rm", "-i", "--", "sh", "-c", "read x; echo got $x"];
    let text = ns.with_input(&args, "hello\n").ok();
    assert!(text.contains("got hello"), "{text}");
    assert!(ns.kubectl(&["get", "pod", "once"]).err().contains("NotFound"));
}

pub(crate) fn s_000_13_delete_forms(ns: &Namespace<'_>) {
    let manifest =
        pod("stubborn", "image: busybox, command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done']", "");
    ns.apply(&manifest);
    ns.wait("pod/stubborn", "condition=Ready");
    let begin = Instant::now();
    ns.ok(&["delete", "pod", "stubborn", "--now"]);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    ns.apply(&pod("a", "image: 'nginx:alpine'", ""));
    ns.with_input(&["delete", "-f", "-"], &pod("a", "image: 'nginx:alpine'", "")).ok();
    assert!(ns.kubectl(&["get", "pod", "a"]).err().contains("NotFound"));
}

pub(crate) fn s_000_18_exec_logs_cp(ns: &Namespace<'_>) {
    let command = "command: [sh, -c, 'i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2; done']";
    start(ns, "talker", &format!("image: busybox, {command}"), "terminationGracePeriodSeconds: 0");
    let failed = ns.kubectl(&["exec", "talker", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (7, "out\n"), "{failed:?}");
    assert!(failed.stderr.starts_with("err\n"), "{failed:?}");
    let echoed = ns.with_input(&["exec", "-i", "talker", "-c", "container-0", "--", "cat"], "over and back").ok();
    assert_eq!(echoed, "over and back");
    assert!(ns.ok(&["logs", "talker"]).starts_with("line 0\nline 1\n"));
    assert_eq!(ns.ok(&["logs", "talker", "--tail=1"]).lines().count(), 1);
    let seen: Vec<String> = ns.stream(&["logs", "-f", "talker"]).take(12).collect();
    assert_eq!(seen.last().map(String::as_str), Some("line 11"));
    let file = ns.cluster.scratch().join("foo");
    std::fs::write(&file, "copied\n").expect("write a file");
    ns.ok(&["cp", "foo", "talker:/tmp/bar", "-c", "container-0"]);
    assert_eq!(ns.ok(&["exec", "talker", "--", "cat", "/tmp/bar"]), "copied\n");
    ns.ok(&["cp", "talker:/tmp/bar", "back"]);
    assert_eq!(std::fs::read_to_string(ns.cluster.scratch().join("back")).expect("read a file"), "copied\n");
    let text = ns.ok(&["describe", "pod", "talker"]);
    for part in ["Scheduled", "Pulled", "Created", "Started", "kubelet", "default-scheduler", "QoS Class:"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(ns.ok(&["get", "events"]).contains("pod/talker"));
    assert!(ns.ok(&["events"]).contains("Started"));
}

pub(crate) fn s_000_19_patch(ns: &Namespace<'_>) {
    start(ns, "nginx", "image: 'nginx:alpine'", "");
    let uid = ns.field("pod/nginx", ".metadata.uid");
    ns.ok(&["patch", "pod", "nginx", "-p", r#"{"metadata":{"labels":{"app":"nginx2"}}}"#]);
    assert_eq!(ns.field("pod/nginx", ".metadata.labels.app"), "nginx2");
    assert_eq!(ns.field("pod/nginx", ".metadata.uid"), uid);
    assert_eq!(ns.field("pod/nginx", ".status.containerStatuses[0].restartCount"), "0");
}

pub(crate) fn s_000_21_pod_life_cycle(ns: &Namespace<'_>) {
    let resources = "resources: {requests: {cpu: 10m, memory: 20Mi}, limits: {cpu: 250m, memory: 512Mi}}";
    let manifest = |name| pod(name, &format!("image: 'nginx:alpine', {resources}"), "");
    assert_eq!(ns.with_input(&["create", "-f", "-"], &manifest("nginx")).ok(), "pod/nginx created\n");
    ns.wait("pod/nginx", "condition=Ready");
    let text = ns.ok(&["get", "pods", "--no-headers"]);
    assert_eq!(text.split_whitespace().collect::<Vec<_>>()[..4], ["nginx", "1/1", "Running", "0"]);
    assert!(ns.ok(&["delete", "po", "nginx"]).starts_with("pod \"nginx\" deleted"));
    for name in ["pod1", "pod2", "pod3", "pod4"] {
        ns.apply(&manifest(name));
    }
    assert_eq!(ns.ok(&["delete", "po", "pod1", "pod2"]).lines().count(), 2);
    assert!(ns.ok(&["delete", "po", "-l", "app=pod3"]).contains("pod3"));
    assert!(ns.ok(&["delete", "po", "--all"]).contains("pod4"));
    assert_eq!(ns.ok(&["get", "pods"]), "");
}

pub(crate) fn s_000_22_termination(ns: &Namespace<'_>) {
    let deaf = "image: busybox, command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done']";
    start(ns, "deaf", deaf, "terminationGracePeriodSeconds: 4");
    start(ns, "polite", "image: 'nginx:alpine'", "");
    let timed = |name| {
        let begin = Instant::now();
        ns.ok(&["delete", "pod", name]);
        begin.elapsed()
    };
    let (polite, deaf) = (timed("polite"), timed("deaf"));
    assert!(polite < Duration::from_secs(4), "{polite:?}");
    assert!((3500..9000).contains(&deaf.as_millis()), "{deaf:?}");
}

pub(crate) fn s_000_23_env(ns: &Namespace<'_>) {
    start(ns, "nginx", "image: 'nginx:alpine', env: [{name: env_key, value: env_value}]", "");
    let text = ns.ok(&["exec", "nginx", "--", "env"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for line in [path, "HOSTNAME=nginx", "env_key=env_value"] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in {text}");
    }
}

pub(crate) fn s_000_24_command(ns: &Namespace<'_>) {
    start(ns, "top", "image: busybox, command: [top, -b]", "terminationGracePeriodSeconds: 0");
    assert_eq!(ns.ok(&["exec", "top", "--", "cat", "/proc/1/cmdline"]), "top\0-b\0");
    ns.until(&["logs", "top"], |t| t.contains("Load average:"));
}

pub(crate) fn s_000_25_hooks(ns: &Namespace<'_>) {
    let hook = |name: &str| format!("{{exec: {{command: [sh, -c, 'echo {name} >> /shared/hooks']}}}}");
    let container = format!(
        "image: 'nginx:alpine', volumeMounts: [{{name: shared, mountPath: /shared}}], \
         lifecycle: {{postStart: {}, preStop: {}}}",
        hook("started"),
        hook("stopping")
    );
    let dir = ns.cluster.scratch().join("hooks");
    std::fs::create_dir_all(&dir).expect("make a directory");
    start(ns, "nginx", &container, &format!("volumes: [{{name: shared, hostPath: {{path: {}}}}}]", dir.display()));
    assert_eq!(ns.ok(&["exec", "nginx", "--", "cat", "/shared/hooks"]), "started\n");
    ns.ok(&["delete", "pod", "nginx"]);
    assert_eq!(std::fs::read_to_string(dir.join("hooks")).expect("read a file"), "started\nstopping\n");
}

pub(crate) fn s_000_26_http_probe(ns: &Namespace<'_>) {
    start(ns, "liveness-http", "image: 'nginx:alpine', livenessProbe: {httpGet: {path: /, port: 80}}", "");
    let text = ns.ok(&["describe", "po", "liveness-http"]);
    for part in [
        "Liveness:       http-get http://:80/ delay=0s timeout=1s period=10s",
        "Restart Count:  0",
        "/var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

pub(crate) fn s_000_27_tcp_probe(ns: &Namespace<'_>) {
    let container = |port| {
        format!(
            "image: 'nginx:alpine', livenessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1, failureThreshold: 2}}"
        )
    };
    start(ns, "good", &container(80), "");
    ns.apply(&pod("bad", &container(81), "terminationGracePeriodSeconds: 1"));
    ns.until(&["get", "pod", "bad", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"], |t| {
        t != "0" && !t.is_empty()
    });
    assert_eq!(ns.field("pod/good", ".status.containerStatuses[0].restartCount"), "0");
}

pub(crate) fn s_000_28_exec_probe(ns: &Namespace<'_>) {
    let container = "image: busybox, args: [/bin/sh, -c, 'touch /tmp/healthy; sleep 3; rm -rf /tmp/healthy; sleep 600'], \
                     livenessProbe: {exec: {command: [cat, /tmp/healthy]}, periodSeconds: 1}";
    ns.apply(&pod("liveness-exec", container, "terminationGracePeriodSeconds: 1"));
    let path = "jsonpath={.status.containerStatuses[0].restartCount}";
    ns.until(&["get", "pod", "liveness-exec", "-o", path], |t| t == "1");
    let text = ns.ok(&["describe", "pod", "liveness-exec"]);
    assert!(text.contains("Unhealthy") && text.contains("Liveness probe failed"), "{text}");
    assert!(text.contains("failed liveness probe, will be restarted"), "{text}");
}

pub(crate) fn s_000_30_labels(ns: &Namespace<'_>) {
    ns.ok(&["run", "nginx", "--image=nginx:alpine", "--labels=app=nginx,env=prod"]);
    let labels = || {
        ns.ok(&["get", "pod", "--show-labels", "--no-headers"]).split_whitespace().last().unwrap_or_default().to_owned()
    };
    assert_eq!(labels(), "app=nginx,env=prod");
    let text = ns.ok(&["get", "pod", "-L", "app,env"]);
    assert!(text.lines().next().is_some_and(|l| l.ends_with("APP     ENV")), "{text}");
    assert_eq!(ns.ok(&["label", "pod", "nginx", "creation_method=manual"]), "pod/nginx labeled\n");
    assert_eq!(labels(), "app=nginx,creation_method=manual,env=prod");
    let text = ns.kubectl(&["label", "pod", "nginx", "env=debug"]).err();
    assert!(text.contains("'env' already has a value (prod), and --overwrite is false"), "{text}");
    ns.ok(&["label", "pod", "nginx", "env=debug", "--overwrite"]);
    assert_eq!(labels(), "app=nginx,creation_method=manual,env=debug");
    assert_eq!(ns.ok(&["annotate", "pods", "nginx", "icon-url=http://x"]), "pod/nginx annotated\n");
    assert_eq!(ns.field("pod/nginx", ".metadata.annotations.icon-url"), "http://x");
}

pub(crate) fn init_containers_run_in_order(ns: &Namespace<'_>) {
    let mounts = "volumeMounts: [{name: v, mountPath: /v}]";
    let init =
        |n: u8| format!("{{name: init-{n}, image: busybox, command: [sh, -c, 'echo {n} >> /v/order'], {mounts}}}");
    let spec = format!("initContainers: [{}, {}], volumes: [{{name: v, emptyDir: {{}}}}]", init(1), init(2));
    start(ns, "nginx", &format!("image: 'nginx:alpine', {mounts}"), &spec);
    assert_eq!(ns.ok(&["exec", "nginx", "--", "cat", "/v/order"]), "1\n2\n");
    assert_eq!(
        ns.field("pod/nginx", ".status.initContainerStatuses[*].state.terminated.reason"),
        "Completed Completed"
    );
}

pub(crate) fn s_000_80_empty_dir(ns: &Namespace<'_>) {
    let mounts = "volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]";
    let spec = "volumes: [{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}]";
    start(ns, "nginx", &format!("image: 'nginx:alpine', {mounts}"), spec);
    let command = "ls /disk /memory | wc -w; echo a > /disk/a; grep -c ' /memory tmpfs' /proc/mounts";
    let text = ns.ok(&["exec", "nginx", "--", "sh", "-c", command]);
    assert!(text.ends_with("\n1\n"), "{text}");
}
pub(crate) fn s_000_18_port_forward(ns: &Namespace<'_>) {
    start(ns, "web", "image: 'nginx:alpine'", "");
    let mut forward = ns.stream(&["port-forward", "pod/web", ":80"]);
    let line = forward.next().expect("a line");
    let port: u16 = line.split([':', ' ']).find_map(|w| w.parse().ok()).expect("a port");
    for _ in 0..3 {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("writes");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("reads");
        assert!(text.contains("Welcome to nginx"), "{text}");
    }
}

/// The pod's own address, also seen by the other end.
pub(crate) fn s_000_61_pod_network(ns: &Namespace<'_>) {
    start(ns, "web", "image: 'nginx:alpine'", "");
    start(ns, "tool", "image: 'tool:1'", "terminationGracePeriodSeconds: 0");
    let ip = |name: &str| ns.field(&format!("pod/{name}"), ".status.podIP");
    let text = ns.ok(&["exec", "tool", "--", "curl", "-sS", "-m", "5", &ip("web")]);
    assert!(text.contains("Welcome to nginx"), "{text}");
    let client = format!("{} -", ip("tool"));
    ns.until(&["logs", "web"], |t| t.lines().any(|l| l.starts_with(&client)));
}

pub(crate) fn s_000_82_host_path(ns: &Namespace<'_>) {
    let dir = ns.cluster.scratch().join("data");
    std::fs::create_dir_all(&dir).expect("make a directory");
    std::fs::write(dir.join("a"), "of the node\n").expect("write a file");
    let spec = format!("volumes: [{{name: v, hostPath: {{path: {}, type: Directory}}}}]", dir.display());
    start(ns, "test-hostpath", "image: 'nginx:alpine', volumeMounts: [{name: v, mountPath: /test-pd}]", &spec);
    let text = ns.ok(&["exec", "test-hostpath", "--", "sh", "-c", "cat /test-pd/a; echo of the pod > /test-pd/b"]);
    assert_eq!(text, "of the node\n");
    ns.ok(&["delete", "pod", "test-hostpath"]);
    assert_eq!(std::fs::read_to_string(dir.join("b")).expect("read a file"), "of the pod\n");
}

/// Two containers share the network and a volume.
pub(crate) fn s_000_102_sidecar(ns: &Namespace<'_>) {
    ns.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - {name: web, image: 'nginx:alpine', volumeMounts: [{name: v, mountPath: /usr/share/nginx/html/v}]}
  - name: fetch
    image: tool:1
    command: [sh, -c, 'echo fetched > /v/page; sleep 600']
    volumeMounts: [{name: v, mountPath: /v}]
",
    );
    ns.wait("pod/pair", "condition=Ready");
    assert!(ns.ok(&["get", "pod", "pair", "--no-headers"]).contains("2/2"));
    ns.until(&["exec", "pair", "-c", "fetch", "--", "curl", "-sS", "localhost/v/page"], |t| t == "fetched\n");
}

/// An image that is nowhere: the pod waits and says why.
pub(crate) fn a_missing_image_is_told(ns: &Namespace<'_>) {
    ns.ok(&["run", "lost", "--image=nowhere:1"]);
    ns.until(&["get", "pod", "lost", "--no-headers"], |t| t.contains("ErrImagePull") || t.contains("ImagePullBackOff"));
    ns.until(&["describe", "pod", "lost"], |t| t.contains("Failed to pull image \"nowhere:1\""));
}

/// A container that ends is started again, later each time; its last log stays readable.
pub(crate) fn a_crash_is_restarted(ns: &Namespace<'_>) {
    ns.ok(&["run", "crash", "--image=busybox", "--", "sh", "-c", "echo dying; exit 3"]);
    // The first restart is at once, the second waits.
    ns.until(&["get", "pod", "crash", "--no-headers"], |t| t.contains("CrashLoopBackOff") && t.contains(" 1 "));
    assert_eq!(ns.field("pod/crash", ".status.containerStatuses[0].lastState.terminated.exitCode"), "3");
    assert_eq!(ns.ok(&["logs", "crash", "--previous"]), "dying\n");
    // Programs that cannot start and may not be started again have failed.
    let command = ["run", "noexec", "--image=busybox", "--restart=Never", "--command", "--", "/nope"];
    ns.ok(&command);
    ns.until(&["get", "pod", "noexec", "-o", "jsonpath={.status.phase}"], |t| t == "Failed");
    ns.until(&["get", "events"], |t| t.contains("BackOff") && t.contains("Back-off restarting failed container"));
}

pub(crate) fn s_000_29_custom_timing(ns: &Namespace<'_>) {
    let probe = "livenessProbe: {httpGet: {port: 80}, initialDelaySeconds: 10, timeoutSeconds: 2, periodSeconds: 30, \
                 successThreshold: 1, failureThreshold: 3}";
    ns.apply(&pod("liveness-http", &format!("image: 'nginx:alpine', {probe}"), ""));
    let text = ns.ok(&["describe", "pod", "liveness-http"]);
    assert!(text.contains("delay=10s timeout=2s period=30s #success=1 #failure=3"), "{text}");
}

pub(crate) fn s_003_03_imperative_pod(ns: &Namespace<'_>) {
    assert_eq!(ns.ok(&["run", "mynginx", "--image=nginx:1.27"]), "pod/mynginx created\n");
    ns.wait("pod/mynginx", "condition=Ready");
    let text = ns.ok(&["get", "pod", "-owide", "--no-headers"]);
    let row: Vec<&str> = text.split_whitespace().collect();
    assert_eq!((&row[..4], &row[7..]), (&["mynginx", "1/1", "Running", "0"][..], &["<none>", "<none>"][..]));
    assert_eq!(row[5], ns.field("pod/mynginx", ".status.podIP"));
    let empty = ns.cluster.kubectl(&["get", "pod", "-owide", "-n", "kube-public"]);
    assert_eq!(empty.stderr, "No resources found in kube-public namespace.\n");
    let text = ns.ok(&["describe", "pod", "mynginx"]);
    for part in ["run=mynginx", "nginx:1.27", "Scheduled", "Pulled", "Created", "Started"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    ns.ok(&["logs", "mynginx"]);
    assert!(ns.ok(&["delete", "pod", "mynginx"]).starts_with("pod \"mynginx\" deleted"));
    assert_eq!(ns.ok(&["get", "pods", "-o", "name"]), "");
}

pub(crate) fn s_003_05_two_containers(ns: &Namespace<'_>) {
    ns.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: myapp, labels: {run: myapp}}
spec:
  containers:
  - {name: nginx, image: 'nginx:1.27'}
  - {name: tomcat, image: 'tool:1'}
",
    );
    ns.until(&["get", "pod", "myapp", "--no-headers"], |t| t.contains("2/2"));
    let text = ns.ok(&["describe", "pod", "myapp"]);
    assert!(text.contains("\n  nginx:\n") && text.contains("\n  tomcat:\n"), "{text}");
    assert_eq!(text.matches("Container ID:").count(), 2);
    let page = ns.ok(&["exec", "myapp", "-c", "tomcat", "--", "curl", "-sS", "localhost:80"]);
    assert!(page.contains("Welcome to nginx"), "{page}");
}

pub(crate) fn s_003_35_node_selector(ns: &Namespace<'_>) {
    let node = ns.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    ns.apply(&pod("waits", "image: 'nginx:alpine'", "nodeSelector: {disktype: tape}"));
    ns.until(&["get", "events"], |t| t.contains("FailedScheduling") && t.contains("node affinity/selector"));
    assert_eq!(ns.field("pod/waits", ".status.phase"), "Pending");
    ns.ok(&["label", "node", &node, "disktype=tape"]);
    ns.wait("pod/waits", "condition=Ready");
    assert_eq!(ns.field("pod/waits", ".spec.nodeName"), node);
    ns.ok(&["label", "node", &node, "disktype-"]);
}
