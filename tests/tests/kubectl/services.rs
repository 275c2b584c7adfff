//! Services: ClusterIP, NodePort, names, endpoints that follow readiness.

use crate::workloads::deployment;
use ironclad_testkit::Namespace;
use ironclad_testkit::cluster::{eventually, run};
use std::process::Command;
use std::time::Duration;

fn nginx(ns: &Namespace<'_>, replicas: u32) {
    ns.apply(&deployment(replicas, "nginx:latest"));
    ns.ok(&["rollout", "status", "deployment/nginx", "--timeout=60s"]);
}

/// Asks from the machine itself until the page comes.
fn welcome(address: &str) {
    eventually(Duration::from_secs(20), || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-m", "2", &format!("http://{address}/")]);
        let out = run(curl);
        if out.stdout.contains("Welcome to nginx") { Ok(()) } else { Err(format!("{address}: {out:?}")) }
    });
}

fn tool(ns: &Namespace<'_>) {
    ns.ok(&["run", "tool", "--image=tool:1"]);
    ns.wait("pod/tool", "condition=Ready");
}

pub(crate) fn s_000_08_expose(ns: &Namespace<'_>) {
    nginx(ns, 1);
    let args = ["expose", "deployment", "nginx", "--port=81", "--type=NodePort", "--target-port=80", "--name=web"];
    assert_eq!(ns.ok(&args), "service/web exposed\n");
    let port = ns.field("svc/web", ".spec.ports[0].nodePort");
    assert!((30000..=32767).contains(&port.parse().expect("a port")), "{port}");
    assert_eq!(ns.field("svc/web", ".spec.selector"), r#"{"app":"nginx"}"#);
    let text = ns.ok(&["get", "svc", "web"]);
    assert!(text.contains(&format!("81:{port}/TCP")), "{text}");
    welcome(&format!("{}:81", ns.field("svc/web", ".spec.clusterIP")));
    let node = ns.ok(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"]);
    welcome(&format!("{node}:{port}"));
}

pub(crate) fn s_000_32_namespace_is_not_isolation(ns: &Namespace<'_>) {
    nginx(ns, 1);
    let other = ns.cluster.namespace("not-isolated");
    tool(&other);
    let ip = ns.ok(&["get", "pods", "-o", "jsonpath={.items[0].status.podIP}"]);
    assert!(other.ok(&["exec", "tool", "--", "curl", "-sS", "-m", "5", &ip]).contains("Welcome to nginx"));
    other.ok(&["delete", "namespace", "not-isolated", "--wait=false"]);
}

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: nginx}
spec:
  selector: {app: nginx}
  ports: [{name: service0, port: 8080, targetPort: 80, protocol: TCP}]
";

pub(crate) fn s_000_62_service(ns: &Namespace<'_>) {
    nginx(ns, 3);
    assert_eq!(ns.apply(SERVICE), "service/nginx created\n");
    let text = ns.ok(&["get", "svc", "nginx", "--no-headers"]);
    let row: Vec<&str> = text.split_whitespace().collect();
    assert_eq!((row[1], row[3], row[4]), ("ClusterIP", "<none>", "8080/TCP"), "{text}");
    tool(ns);
    let url = format!("{}:8080/hostname", row[2]);
    let mut seen = std::collections::BTreeSet::new();
    eventually(Duration::from_secs(30), || {
        let out = ns.kubectl(&["exec", "tool", "--", "curl", "-sS", "-m", "2", &url]);
        if out.code == 0 {
            seen.insert(out.stdout);
        }
        if seen.len() == 3 { Ok(()) } else { Err(format!("only {seen:?} answered")) }
    });
}

pub(crate) fn s_000_64_endpoints_follow_pods(ns: &Namespace<'_>) {
    nginx(ns, 3);
    ns.apply(SERVICE);
    let agree = || {
        eventually(Duration::from_secs(30), || {
            let pods = ns.ok(&["get", "pods", "-o", "jsonpath={.items[*].status.podIP}"]);
            let ends = ns.ok(&["get", "endpoints", "nginx", "-o", "jsonpath={.subsets[*].addresses[*].ip}"]);
            let sorted = |t: &str| {
                let mut list: Vec<String> = t.split_whitespace().map(str::to_owned).collect();
                list.sort();
                list
            };
            let (pods, ends) = (sorted(&pods), sorted(&ends));
            if pods.len() == 3 && pods == ends { Ok(ends) } else { Err(format!("pods {pods:?} endpoints {ends:?}")) }
        })
    };
    let before = agree();
    let text = ns.ok(&["describe", "svc", "nginx"]);
    assert!(before.iter().all(|ip| text.contains(&format!("{ip}:80"))), "{text}");
    let pod = ns.ok(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    ns.ok(&["delete", "pod", &pod]);
    let after = agree();
    assert_ne!(before, after);
    welcome(&format!("{}:8080", ns.field("svc/nginx", ".spec.clusterIP")));
}

pub(crate) fn s_000_71_readiness(ns: &Namespace<'_>) {
    let probe = "        readinessProbe: {exec: {command: [ls, /ready]}, periodSeconds: 1}\n";
    ns.apply(&(deployment(2, "nginx:latest") + probe));
    ns.apply(SERVICE);
    let columns = |t: &str| t.lines().filter(|l| l.contains("0/1") && l.contains("Running")).count();
    ns.until(&["get", "pods", "--no-headers"], |t| columns(t) == 2);
    assert_eq!(ns.field("endpoints/nginx", ".subsets[*].addresses[*].ip"), "");
    let pod = ns.ok(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    ns.ok(&["exec", &pod, "--", "touch", "/ready"]);
    ns.wait(&format!("pod/{pod}"), "condition=Ready");
    let ip = ns.field(&format!("pod/{pod}"), ".status.podIP");
    ns.until(&["get", "endpoints", "nginx", "--no-headers"], |t| {
        t.split_whitespace().nth(1) == Some(&format!("{ip}:80"))
    });
    ns.until(&["get", "pods", "--no-headers"], |t| columns(t) == 1);
}
