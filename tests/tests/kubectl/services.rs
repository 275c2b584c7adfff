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

pub(crate) fn s_003_16_node_port_by_yaml(ns: &Namespace<'_>) {
    nginx(ns, 1);
    let range = ns.cluster.node_ports();
    let service = |name: &str, port: u16| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {{app: nginx}}}}
spec: {{type: NodePort, selector: {{app: nginx}}, ports: [{{port: 8080, nodePort: {port}, targetPort: 80}}]}}
"
        )
    };
    let port = range.1;
    assert_eq!(ns.apply(&service("my-tomcat", port)), "service/my-tomcat created\n");
    let text = ns.ok(&["get", "svc", "my-tomcat"]);
    assert!(text.contains(&format!("8080:{port}/TCP")), "{text}");
    welcome(&format!("{}:8080", ns.field("svc/my-tomcat", ".spec.clusterIP")));
    welcome(&format!("{}:{port}", ns.field("pods", ".items[0].status.hostIP")));
    let taken = ns.with_input(&["create", "-f", "-"], &service("second", port)).err();
    let want = format!("spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated");
    assert!(taken.contains(&want), "{taken}");
    let low = ns.with_input(&["create", "-f", "-"], &service("low", 80)).err();
    let want = format!("provided port is not in the valid range. The range of valid ports is {}-{}", range.0, range.1);
    assert!(low.contains(&want), "{low}");
}

pub(crate) fn s_003_17_other_types(ns: &Namespace<'_>) {
    tool(ns);
    ns.ok(&["create", "service", "externalname", "out", "--external-name=example.com"]);
    let text = ns.ok(&["get", "svc", "out", "--no-headers"]);
    assert_eq!(text.split_whitespace().collect::<Vec<_>>()[1..4], ["ExternalName", "<none>", "example.com"]);
    let name = format!("out.{}.svc.cluster.local", ns.name);
    ns.until(&["exec", "tool", "--", "dig", "+short", "CNAME", &name], |t| t == "example.com.\n");
    ns.ok(&["create", "service", "loadbalancer", "lb", "--tcp=80"]);
    let text = ns.ok(&["get", "svc", "lb", "--no-headers"]);
    let row: Vec<&str> = text.split_whitespace().collect();
    assert!((row[1], row[3]) == ("LoadBalancer", "<pending>") && row[4].starts_with("80:3"), "{text}");
}

/// Requests go on answering while pods come and go behind a Service.
pub(crate) fn s_003_33_churn_is_hidden(ns: &Namespace<'_>) {
    let probe = "        readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 1}}}\n";
    let manifest = deployment(3, "nginx:1.27").replace("PeriodSeconds: 1", "PeriodSeconds: 3") + probe;
    ns.apply(&manifest);
    ns.apply(SERVICE);
    ns.ok(&["rollout", "status", "deployment/nginx", "--timeout=60s"]);
    let address = format!("{}:8080", ns.field("svc/nginx", ".spec.clusterIP"));
    welcome(&address);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut answered, mut failed) = (0, Vec::new());
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut curl = Command::new("curl");
                curl.args(["-sS", "--noproxy", "*", "-m", "3", &format!("http://{address}/")]);
                let out = run(curl);
                if out.code == 0 { answered += 1 } else { failed.push(out.stderr) }
            }
            (answered, failed)
        });
        let pod = ns.field("pods", ".items[0].metadata.name");
        ns.ok(&["delete", "pod", &pod]);
        ns.ok(&["set", "image", "deployment/nginx", "container-0=nginx:1.28"]);
        ns.ok(&["rollout", "status", "deployment/nginx", "--timeout=60s"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (answered, failed) = asking.join().expect("the asking thread ends");
        assert!(answered > 0 && failed.is_empty(), "{answered} answered, failed: {failed:?}");
    });
}

/// Pods have their address on an interface of their own; a Service's address is on no interface at all.
pub(crate) fn s_003_37_three_networks(ns: &Namespace<'_>) {
    nginx(ns, 1);
    ns.apply(SERVICE);
    tool(ns);
    let text = ns.ok(&["exec", "tool", "--", "ip", "-4", "-o", "addr"]);
    assert!(text.contains(&format!("{}/", ns.field("pod/tool", ".status.podIP"))), "{text}");
    let service = ns.field("svc/nginx", ".spec.clusterIP");
    let mut host = Command::new("ip");
    host.args(["-4", "-o", "addr"]);
    let text = run(host).ok();
    assert!(!text.contains(&service), "{text}");
    let url = format!("nginx.{}.svc.cluster.local:8080", ns.name);
    ns.until(&["exec", "tool", "--", "curl", "-sS", "-m", "2", &url], |t| t.contains("Welcome to nginx"));
}
