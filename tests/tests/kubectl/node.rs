//! What a node does with a pod beyond running it: security, volumes that change, sidecars, ephemeral containers, resize,
//! limits, refusals, logs. Each behaviour is one of the upstream node tests' (`test/e2e/common/{node,storage}`).

use ironclad_testkit::{Credentials, Namespace, Registry};
use serde_json::{Value, json};

/// Applies a pod whose containers run shell scripts; each container's other fields are merged in.
fn apply(ns: &Namespace<'_>, name: &str, scripts: &[(&str, Value)], spec: Value) {
    let containers: Vec<Value> = scripts
        .iter()
        .enumerate()
        .map(|(n, (script, more))| {
            let mut c = json!({"name": format!("c{n}"), "image": "busybox:1.36", "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script]});
            merge(&mut c, more);
            c
        })
        .collect();
    let mut all = json!({"containers": containers, "terminationGracePeriodSeconds": 1});
    merge(&mut all, &spec);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"x": "y"}}, "spec": all});
    ns.apply(&pod.to_string());
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

fn phase(ns: &Namespace<'_>, name: &str, wanted: &str) {
    ns.until(&["get", "pod", name, "-o", "jsonpath={.status.phase}"], |t| t == wanted);
}

fn path(ns: &Namespace<'_>, name: &str, path: &str, good: impl Fn(&str) -> bool) -> String {
    ns.until(&["get", "pod", name, "-o", &format!("jsonpath={path}")], good)
}

pub(crate) fn what_a_container_may_do(ns: &Namespace<'_>) {
    let script = "id; ls -ld /e; touch /e/f && ls -ln /e/f; touch /no 2>&1; cat /proc/self/status; \
                  dd if=/dev/zero of=/m/x bs=1M count=2 2>&1; cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let mounts = json!([{"name": "e", "mountPath": "/e"}, {"name": "m", "mountPath": "/m"}]);
    let security = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    let pod = json!({"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000],
        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"}]});
    let volumes =
        json!([{"name": "e", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    let more = json!({"volumeMounts": mounts, "securityContext": security});
    apply(ns, "a", &[(script, more)], json!({"restartPolicy": "Never", "securityContext": pod, "volumes": volumes}));
    phase(ns, "a", "Succeeded");
    let text = ns.ok(&["logs", "a"]);
    for wanted in [
        "uid=1000(app) gid=3000 groups=2000(extra),3000,4000",
        "drwxrwsrwx",
        "Read-only file system",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
        "No space left",
        "\n81\n",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    apply(ns, "root", &[("id", json!({"securityContext": {"runAsNonRoot": true}}))], json!({}));
    let why =
        path(ns, "root", "{.status.containerStatuses[0].state.waiting}", |t| t.contains("CreateContainerConfigError"));
    assert!(why.contains("container has runAsNonRoot and image will run as root"), "{why}");
}

pub(crate) fn volumes_follow_their_sources(ns: &Namespace<'_>) {
    ns.ok(&["create", "configmap", "cm", "--from-literal=a=1"]);
    let volumes = json!([{"name": "cm", "configMap": {"name": "cm"}},
        {"name": "late", "secret": {"secretName": "late", "optional": true}},
        {"name": "d", "downwardAPI": {"items": [{"path": "ann", "fieldRef": {"fieldPath": "metadata.annotations"}}]}}]);
    let mounts = json!([{"name": "cm", "mountPath": "/cm"}, {"name": "late", "mountPath": "/late"},
        {"name": "d", "mountPath": "/d"}]);
    apply(ns, "a", &[("sleep 1000", json!({"volumeMounts": mounts}))], json!({"volumes": volumes}));
    ns.wait("pod/a", "condition=Ready");
    ns.ok(&["patch", "configmap", "cm", "-p", r#"{"data":{"a":"2","new":"n"}}"#]);
    ns.ok(&["annotate", "pod", "a", "hello=world"]);
    ns.ok(&["create", "secret", "generic", "late", "--from-literal=s=t"]);
    let read = ["exec", "a", "--", "sh", "-c", "cat /cm/a /cm/new /late/s /d/ann 2>&1"];
    ns.until(&read, |t| t.starts_with("2nt") && t.contains("hello=\"world\""));
}

pub(crate) fn a_pod_waits_for_its_config_map(ns: &Namespace<'_>) {
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}}]);
    apply(ns, "a", &[("echo got $A", json!({"env": env}))], json!({"restartPolicy": "Never"}));
    let why = path(ns, "a", "{.status.containerStatuses[0].state.waiting.message}", |t| !t.is_empty());
    assert_eq!(why, "configmap \"cm\" not found");
    ns.ok(&["create", "configmap", "cm", "--from-literal=a=1"]);
    phase(ns, "a", "Succeeded");
    assert_eq!(ns.ok(&["logs", "a"]), "got 1\n");
}

pub(crate) fn paths_in_volumes_do_not_lead_out(ns: &Namespace<'_>) {
    let volume = json!([{"name": "e", "emptyDir": {}}]);
    let mount = |path: &str| json!([{"name": "e", "mountPath": "/d", "subPath": path}]);
    let init = json!([{"name": "i", "image": "busybox:1.36", "volumeMounts": [{"name": "e", "mountPath": "/e"}],
        "command": ["sh", "-c", "mkdir /e/d; echo x > /e/d/f; ln -s /etc /e/evil"]}]);
    let spec = json!({"restartPolicy": "Never", "volumes": volume, "initContainers": init});
    apply(ns, "good", &[("cat /d/f", json!({"volumeMounts": mount("d")}))], spec.clone());
    phase(ns, "good", "Succeeded");
    assert_eq!(ns.ok(&["logs", "good", "-c", "c0"]), "x\n");
    apply(ns, "evil", &[("cat /d/passwd", json!({"volumeMounts": mount("evil")}))], spec);
    let why = path(ns, "evil", "{.status.containerStatuses[0].state.waiting.message}", |t| !t.is_empty());
    assert_eq!(why, "failed to prepare subPath for volumeMount \"e\" of container \"c0\"");
}

pub(crate) fn sidecars_begin_first_and_end_last(ns: &Namespace<'_>) {
    let script = "echo begins; trap 'echo ends; exit 0' TERM; while :; do sleep 0.1; done";
    let inits = json!([
        {"name": "side", "image": "busybox:1.36", "restartPolicy": "Always", "command": ["sh", "-c", script],
         "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}},
        {"name": "init", "image": "busybox:1.36", "command": ["true"]}]);
    apply(ns, "a", &[("sleep 1", json!({}))], json!({"restartPolicy": "Never", "initContainers": inits}));
    phase(ns, "a", "Succeeded");
    assert_eq!(ns.ok(&["logs", "a", "-c", "side"]), "begins\nends\n");
    let order = ns.field("pod/a", "..startedAt");
    assert_eq!(order.split(' ').count(), 3, "{order}");
    assert_eq!(ns.field("pod/a", ".status.initContainerStatuses[0].state.terminated.exitCode"), "0");
}

pub(crate) fn debugging_adds_a_container(ns: &Namespace<'_>) {
    apply(ns, "a", &[("sleep 1234", json!({}))], json!({}));
    ns.wait("pod/a", "condition=Ready");
    ns.ok(&["debug", "a", "--image=busybox:1.36", "--target=c0", "-c", "dbg", "--", "ps"]);
    path(ns, "a", "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}", |t| t == "0");
    let text = ns.ok(&["logs", "a", "-c", "dbg"]);
    assert!(text.contains("sleep 1234"), "{text}");
}

pub(crate) fn probes_end_what_is_not_well(ns: &Namespace<'_>) {
    let startup = json!({"exec": {"command": ["cat", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 20});
    let live = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1});
    let script = "sleep 1; touch /tmp/up; sleep 1000";
    apply(
        ns,
        "a",
        &[(script, json!({"startupProbe": startup, "livenessProbe": live}))],
        json!({"terminationGracePeriodSeconds": 60}),
    );
    path(ns, "a", "{.status.containerStatuses[0].restartCount}", |t| t == "1");
    let events = ns.ok(&["get", "events"]);
    assert!(events.contains("Startup probe failed: cat: can't open '/tmp/up'"), "{events}");
    assert!(events.contains("Container c0 failed liveness probe, will be restarted"), "{events}");
}

pub(crate) fn a_pod_ends_with_its_deadline(ns: &Namespace<'_>) {
    apply(ns, "a", &[("sleep 1000", json!({}))], json!({"activeDeadlineSeconds": 1}));
    phase(ns, "a", "Failed");
    assert_eq!(ns.field("pod/a", ".status.reason"), "DeadlineExceeded");
}

pub(crate) fn rules_restart_a_container(ns: &Namespace<'_>) {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let more = json!({"restartPolicy": "Never", "restartPolicyRules": rules,
        "volumeMounts": [{"name": "e", "mountPath": "/e"}]});
    let spec = json!({"restartPolicy": "Never", "volumes": [{"name": "e", "emptyDir": {}}]});
    apply(ns, "a", &[("[ -e /e/x ] && exit 0; touch /e/x; exit 42", more)], spec);
    phase(ns, "a", "Succeeded");
    assert_eq!(ns.field("pod/a", ".status.containerStatuses[0].restartCount"), "1");
}

pub(crate) fn last_words_are_kept(ns: &Namespace<'_>) {
    let fall_back = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let scripts = [("echo -n DONE > /dev/termination-log", json!({})), ("echo oops; exit 3", fall_back)];
    apply(ns, "a", &scripts, json!({"restartPolicy": "Never"}));
    phase(ns, "a", "Failed");
    assert_eq!(ns.field("pod/a", ".status.containerStatuses[*].state.terminated.message"), "DONE oops\n");
}

pub(crate) fn memory_has_a_limit(ns: &Namespace<'_>) {
    let more = json!({"resources": {"limits": {"memory": "20Mi"}}});
    apply(ns, "a", &[("tail /dev/zero", more)], json!({"restartPolicy": "Never"}));
    phase(ns, "a", "Failed");
    assert_eq!(ns.field("pod/a", ".status.containerStatuses[0].state.terminated.reason"), "OOMKilled");
}

pub(crate) fn a_volume_that_grows_too_large_ends_its_pod(ns: &Namespace<'_>) {
    let volumes = json!([{"name": "e", "emptyDir": {"sizeLimit": "1Mi"}}]);
    let more = json!({"volumeMounts": [{"name": "e", "mountPath": "/e"}]});
    apply(ns, "a", &[("dd if=/dev/zero of=/e/x bs=1M count=3; sleep 1000", more)], json!({"volumes": volumes}));
    phase(ns, "a", "Failed");
    let got = ns.field("pod/a", ".status['reason','message']");
    assert_eq!(got.trim(), "Evicted Usage of EmptyDir volume \"e\" exceeds the limit \"1Mi\".");
}

pub(crate) fn a_running_pod_is_resized(ns: &Namespace<'_>) {
    let resources = json!({"requests": {"cpu": "10m", "memory": "20Mi"}, "limits": {"cpu": "200m", "memory": "40Mi"}});
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    apply(ns, "a", &[("sleep 1000", json!({"resources": resources, "resizePolicy": policy}))], json!({}));
    ns.wait("pod/a", "condition=Ready");
    let patch = |resources: Value| {
        let patch = json!({"spec": {"containers": [{"name": "c0", "resources": resources}]}}).to_string();
        ns.ok(&["patch", "pod", "a", "--subresource", "resize", "-p", &patch]);
    };
    let limits = "{.status.containerStatuses[0].resources.limits}{.status.containerStatuses[0].restartCount}";
    patch(json!({"limits": {"cpu": "500m"}}));
    path(ns, "a", limits, |t| t == r#"{"cpu":"500m","memory":"40Mi"}0"#);
    patch(json!({"limits": {"memory": "60Mi"}}));
    path(ns, "a", limits, |t| t == r#"{"cpu":"500m","memory":"60Mi"}1"#);
    let large = json!({"limits": {"cpu": "9k"}, "requests": {"cpu": "9k"}});
    let patch = json!({"spec": {"containers": [{"name": "c0", "resources": large}]}}).to_string();
    let why = ns.kubectl(&["patch", "pod", "a", "--subresource", "resize", "-p", &patch]).err();
    assert!(why.contains("Node didn't have enough allocatable resources: cpu, requested: 9000000"), "{why}");
}

pub(crate) fn the_node_refuses_what_it_cannot_have(ns: &Namespace<'_>) {
    let node = ns.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let more = json!({"resources": {"requests": {"cpu": "9k"}}});
    apply(ns, "large", &[("true", more)], json!({"nodeName": node}));
    phase(ns, "large", "Failed");
    assert_eq!(ns.field("pod/large", ".status.reason"), "OutOfcpu");
    let sysctls = json!({"sysctls": [{"name": "kernel.msgmax", "value": "1"}]});
    apply(ns, "unsafe", &[("true", json!({}))], json!({"securityContext": sysctls}));
    phase(ns, "unsafe", "Failed");
    let message = ns.field("pod/unsafe", ".status.message");
    assert_eq!(message, "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted");
}

pub(crate) fn images_are_refused_by_name(ns: &Namespace<'_>) {
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    for (name, image, policy, wanted) in [
        ("a", "Bad//Name", "IfNotPresent", "InvalidImageName"),
        ("b", "never:1", "Never", "ErrImageNeverPull"),
        ("c", "missing:1", "IfNotPresent", "ImagePullBackOff"),
    ] {
        apply(ns, name, &[("true", json!({"image": image, "imagePullPolicy": policy}))], json!({}));
        path(ns, name, reason, |t| t == wanted);
    }
}

pub(crate) fn an_image_is_for_those_who_could_pull_it(ns: &Namespace<'_>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let images = ironclad_testkit::Images::build_blocking().expect("images");
    let credentials = Credentials { username: "me".to_owned(), password: "secret".to_owned() };
    let registry = runtime.block_on(Registry::serve_private(&images, &credentials)).expect("a registry");
    let image = registry.image("busybox:1.36");
    for (name, password) in [("good", "secret"), ("copy", "secret"), ("bad", "wrong")] {
        let server = format!("--docker-server={}", registry.host());
        let password = format!("--docker-password={password}");
        ns.ok(&["create", "secret", "docker-registry", name, &server, "--docker-username=me", &password]);
    }
    let pod = |name: &str, policy: &str, secret: &[&str]| {
        let secrets: Vec<Value> = secret.iter().map(|name| json!({"name": name})).collect();
        let more = json!({"image": image, "imagePullPolicy": policy});
        apply(ns, name, &[("sleep 1000", more)], json!({"imagePullSecrets": secrets}));
    };
    let waits = |name: &str, wanted: &str| {
        path(ns, name, "{.status.containerStatuses[0].state.waiting.reason}", |t| t == wanted);
    };
    pod("first", "IfNotPresent", &["good"]);
    ns.wait("pod/first", "condition=Ready");
    // It is on the node now. Who has nothing, or something wrong, is not told so.
    pod("none", "Never", &[]);
    waits("none", "ErrImageNeverPull");
    pod("wrong", "IfNotPresent", &["bad"]);
    waits("wrong", "ImagePullBackOff");
    pod("open", "IfNotPresent", &[]);
    waits("open", "ImagePullBackOff");
    for (name, secrets) in [("same", vec!["good"]), ("equal", vec!["bad", "copy"])] {
        pod(name, "Never", &secrets);
        ns.wait(&format!("pod/{name}"), "condition=Ready");
    }
    let events = ns.ok(&["get", "events"]);
    assert!(events.contains("already present on machine and can be accessed by the pod"), "{events}");
    assert!(events.contains("is not present with pull policy of Never"), "{events}");
}

pub(crate) fn mounts_propagate_as_they_are_told(ns: &Namespace<'_>) {
    let dir = tempfile::tempdir().expect("a directory");
    let host = dir.path().display().to_string();
    let run = |command: &str, args: &[&str]| {
        let output = std::process::Command::new(command).args(args).output().expect("a command");
        assert!(output.status.success(), "{command} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let pod = |name: &str, propagation: &str| {
        let mount = json!({"name": "h", "mountPath": "/h", "mountPropagation": propagation});
        let security = json!({"privileged": propagation == "Bidirectional"});
        let more = json!({"volumeMounts": [mount], "securityContext": security});
        apply(ns, name, &[("sleep 1000", more)], json!({"volumes": [{"name": "h", "hostPath": {"path": host}}]}));
    };
    // The machine's own mounts may be private: then nothing can be propagated.
    run("mount", &["--bind", &host, &host]);
    run("mount", &["--make-private", &host]);
    pod("early", "Bidirectional");
    let why = path(ns, "early", "{.status.containerStatuses[0].state.waiting.message}", |t| !t.is_empty());
    assert!(why.ends_with(&format!("path {host:?} is mounted on {host:?} but it is not a shared mount")), "{why}");
    ns.ok(&["delete", "pod", "early", "--now"]);
    run("mount", &["--make-shared", &host]);
    let pods = [("master", "Bidirectional"), ("slave", "HostToContainer"), ("private", "None")];
    pods.iter().for_each(|(name, propagation)| pod(name, propagation));
    pods.iter().for_each(|(name, _)| ns.wait(&format!("pod/{name}"), "condition=Ready"));
    ns.ok(&["exec", "master", "--", "sh", "-c", "mkdir /h/master; mount -t tmpfs t /h/master; touch /h/master/file"]);
    run("mkdir", &["-p", &format!("{host}/host")]);
    run("mount", &["-t", "tmpfs", "t", &format!("{host}/host")]);
    run("touch", &[&format!("{host}/host/file")]);
    let mut all = String::new();
    for (name, seen) in [("master", "master host"), ("slave", "master host"), ("private", "")] {
        let script = "for d in master host; do [ -e /h/$d/file ] && echo -n \"$d \"; done; true";
        let text = ns.ok(&["exec", name, "--", "sh", "-c", script]);
        all += &format!("{name} {} {}\n", text.trim() == seen, text.trim());
    }
    let at_host = dir.path().join("master/file").exists();
    ns.ok(&["delete", "pod", "master", "slave", "private", "--now"]);
    run("umount", &["-R", "-l", &host]);
    assert!(!all.contains("false") && at_host, "{at_host} {all}");
}

pub(crate) fn a_pod_has_users_of_its_own(ns: &Namespace<'_>) {
    ns.ok(&["create", "configmap", "cm", "--from-literal=a=1"]);
    let volumes = json!([{"name": "e", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}},
        {"name": "cm", "configMap": {"name": "cm"}},
        {"name": "i", "image": {"reference": "nginx:1.27", "pullPolicy": "IfNotPresent"}}]);
    let mounts = json!([{"name": "e", "mountPath": "/e"}, {"name": "m", "mountPath": "/m"},
        {"name": "cm", "mountPath": "/cm"}, {"name": "i", "mountPath": "/i"}]);
    let script = "cat /proc/self/uid_map; id -u; touch /e/f /m/f; for f in /e/f /m/f /cm/a /etc/hosts /i/etc/nginx; do \
        stat -c '%u:%g' $f; done; cat /cm/a; test -r /var/run/secrets/kubernetes.io/serviceaccount/token && echo token";
    let inner = json!({"volumeMounts": mounts});
    let pod = |uid: Value| {
        json!({"hostUsers": false, "restartPolicy": "Never", "volumes": volumes,
            "securityContext": {"runAsUser": uid, "fsGroup": 2000}})
    };
    let mut ranges = Vec::new();
    for (name, uid) in [("root", 0), ("user", 1000)] {
        apply(ns, name, &[(script, inner.clone())], pod(json!(uid)));
        phase(ns, name, "Succeeded");
        let text = ns.ok(&["logs", name]);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!((words[0], words[2]), ("0", "65536"), "{text}");
        ranges.push(words[1].parse::<u32>().expect("a number"));
        let owner = uid.to_string();
        assert_eq!(words[3], owner, "{text}");
        let file = format!("{owner}:2000");
        assert_eq!((words[4], words[5]), (file.as_str(), file.as_str()), "{text}");
        assert_eq!(words[6..].join(" "), "0:0 0:0 0:0 1token", "{text}");
    }
    assert!(ranges[0] >= 65_536 && ranges[0].abs_diff(ranges[1]) >= 65_536, "{ranges:?}");
    // A server that opens its own standard output; exec and a terminal.
    let web = json!({"containers": [{"name": "web", "image": "nginx:1.27"}], "hostUsers": false,
        "terminationGracePeriodSeconds": 0});
    ns.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": web}).to_string());
    ns.wait("pod/web", "condition=Ready");
    let get = "wget -qO- http://127.0.0.1/ && touch /root/f && stat -c %u /root/f";
    let text = ns.ok(&["exec", "web", "--", "sh", "-c", get]);
    assert!(text.contains("Welcome to nginx") && text.ends_with("\n0\n"), "{text}");
    ns.until(&["logs", "web"], |t| t.contains("GET / HTTP/1.1"));
}

pub(crate) fn https_probes_trust_any_certificate(ns: &Namespace<'_>) {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = ironclad_auth::pki::Pki::open_or_create(dir.path(), "test").expect("certificates");
    let subject = ironclad_auth::pki::Subject::server("nobody", "", vec!["nobody.test".into()]);
    let pair = pki.issue("server", &subject).expect("a certificate");
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate, &pair.certificate).expect("a file");
    std::fs::write(&key, &pair.key).expect("a file");
    let of = |option: &str, path: &std::path::Path| format!("--{option}={}", path.display());
    ns.ok(&["create", "secret", "tls", "tls", &of("cert", &certificate), &of("key", &key)]);
    let site = "events {} http { server { listen 8443 ssl; ssl_certificate /tls/tls.crt; \
                ssl_certificate_key /tls/tls.key; location / { return 200 fine; } location /bad { return 500; } } }";
    ns.ok(&["create", "configmap", "site", &format!("--from-literal=nginx.conf={site}")]);
    let volumes = json!([{"name": "tls", "secret": {"secretName": "tls"}},
        {"name": "site", "configMap": {"name": "site"}}]);
    for (name, asked) in [("good", "/"), ("bad", "/bad")] {
        let probe = json!({"httpGet": {"path": asked, "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1});
        let container = json!({"name": "web", "image": "nginx:1.27", "readinessProbe": probe,
            "command": ["nginx", "-c", "/site/nginx.conf", "-g", "daemon off;"],
            "volumeMounts": [{"name": "tls", "mountPath": "/tls"}, {"name": "site", "mountPath": "/site"}]});
        let spec = json!({"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        ns.apply(&pod.to_string());
    }
    ns.wait("pod/good", "condition=Ready");
    let told = |t: &str| t.contains("Readiness probe failed: HTTP probe failed with statuscode: 500");
    ns.until(&["get", "events", "--field-selector", "involvedObject.name=bad"], told);
}

pub(crate) fn logs_show_what_is_asked_for(ns: &Namespace<'_>) {
    apply(
        ns,
        "a",
        &[(
            "for i in 1 2 3; do echo line$i; done; [ -e /e/x ] && sleep 1000; touch /e/x",
            json!({"volumeMounts": [{"name": "e", "mountPath": "/e"}]}),
        )],
        json!({"volumes": [{"name": "e", "emptyDir": {}}]}),
    );
    path(ns, "a", "{.status.containerStatuses[0].restartCount}", |t| t == "1");
    ns.wait("pod/a", "condition=Ready");
    assert_eq!(ns.ok(&["logs", "a", "--previous"]), "line1\nline2\nline3\n");
    assert_eq!(ns.ok(&["logs", "a", "--tail=2"]), "line2\nline3\n");
    assert_eq!(ns.ok(&["logs", "a", "--limit-bytes=7"]), "line1\nl");
    assert!(ns.ok(&["logs", "a", "--timestamps", "--tail=1"]).ends_with("Z line3\n"));
    assert_eq!(ns.ok(&["logs", "a", "--since=1ns"]), "");
}

pub(crate) fn what_ends_at_once_is_seen_by_who_attaches(ns: &Namespace<'_>) {
    for n in 0..5 {
        let (name, word) = (format!("p{n}"), format!("word{n}"));
        let text = ns.ok(&[
            "run",
            &name,
            "-i",
            "--rm",
            "--quiet",
            "--restart=Never",
            "--image=busybox:1.36",
            "--",
            "echo",
            &word,
        ]);
        assert!(text.contains(&word), "{text}");
    }
}

pub(crate) fn the_kubelet_tells_what_runs(ns: &Namespace<'_>) {
    apply(ns, "a", &[("sleep 1000", json!({}))], json!({}));
    ns.wait("pod/a", "condition=Ready");
    let node = ns.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let get = |path: &str| ns.ok(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/{path}")]);
    assert!(get("pods").contains("\"name\":\"a\""));
    assert!(get("metrics/resource").contains("container_memory_working_set_bytes{container=\"c0\""));
    assert!(get("metrics/cadvisor").contains("container_cpu_usage_seconds_total{container=\"c0\""));
    assert!(get("configz").contains("\"kubeletconfig\""));
    let summary: Value = serde_json::from_str(&get("stats/summary")).expect("the summary is JSON");
    let pods = summary["pods"].as_array().expect("a list of pods");
    // Other scenarios have pods of this name as well.
    let mine = |p: &&Value| p["podRef"]["name"] == "a" && p["podRef"]["namespace"] == ns.name;
    let own = pods.iter().find(mine).expect("the pod is there");
    assert!(own["memory"]["workingSetBytes"].as_u64().is_some_and(|n| n > 0), "{own}");
}
