//! `ironclad status`: the cluster's parts, versions, addresses and health, as the API server sees them.

use crate::cli::Status;
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use crate::process;
use ironclad_json::{Value, json};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, ResourceExt};

pub(crate) fn run(args: Status) -> Result<()> {
    let cluster = Cluster::load(&args.which.data_dir)?.ok_or_else(|| not_running(&args))?;
    let (pid, _) = process::find(&cluster).ok_or_else(|| not_running(&args))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let seen = runtime.block_on(look(&cluster))?;
    let healthy = seen["ready"] == json!(true);
    let report = json!({
        "name": cluster.name, "pid": pid, "dataDir": cluster.dir, "api": cluster.api_url(),
        "version": ironclad_api::KUBERNETES_VERSION, "ironclad": env!("CARGO_PKG_VERSION"),
        "podCIDR": cluster.pod_cidr, "serviceCIDR": cluster.service_cidr, "memoryBytes": memory(pid), "flags": cluster.flags, "cluster": seen,
    });
    if args.json {
        println!("{report:#}");
    } else {
        print(&report);
    }
    if healthy {
        return Ok(());
    }
    let help = format!("The checks above say which part; {} says why.", cluster.log_file().display());
    Err(Failure::new(Id::NotReady, "the cluster is not ready", help))
}

fn not_running(args: &Status) -> Failure {
    let cause = format!("no cluster runs with {}", args.which.data_dir.display());
    Failure::new(Id::NotRunning, cause, "Start it with `ironclad up`.")
}

async fn look(cluster: &Cluster) -> Result<Value> {
    ironclad_auth::install_crypto();
    let client =
        ironclad_client::from_kubeconfig(&cluster.admin_kubeconfig()).await.context("cannot reach the cluster")?;
    let ready = client.request_text(http::Request::get("/readyz?verbose").body(Vec::new()).context("request")?).await;
    let (ready, checks) = match ready {
        Ok(text) => (true, text),
        Err(error) => (false, error.to_string()),
    };
    let nodes = Api::<Node>::all(client.clone()).list(&Default::default()).await.map(|l| l.items).unwrap_or_default();
    let pods = Api::<Pod>::all(client).list(&Default::default()).await.map(|l| l.items).unwrap_or_default();
    let phase = |p: &Pod| p.status.as_ref().and_then(|s| s.phase.clone()) == Some("Running".to_owned());
    Ok(json!({
        "ready": ready, "checks": checks.lines().collect::<Vec<_>>(),
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
        "pods": pods.len(), "podsRunning": pods.iter().filter(|p| phase(p)).count(),
    }))
}

fn node(node: &Node) -> Value {
    let status = node.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready");
    let ip = status.addresses.iter().flatten().find(|a| a.type_ == "InternalIP").map(|a| a.address.clone());
    json!({
        "name": node.name_any(), "ready": ready.is_some_and(|c| c.status == "True"), "address": ip,
        "version": status.node_info.as_ref().map(|i| i.kubelet_version.clone()),
        "runtime": status.node_info.as_ref().map(|i| i.container_runtime_version.clone()),
        "message": ready.and_then(|c| c.message.clone()),
    })
}

/// Proportional set size of the server, in bytes.
fn memory(pid: i32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|l| l.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn print(report: &Value) {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let line = |head: &str, value: String| println!("{head:<13} {value}");
    line("Cluster", format!("{} (pid {})", text(&report["name"]), report["pid"]));
    line("Version", format!("{} (ironclad {})", text(&report["version"]), text(&report["ironclad"])));
    line("API", text(&report["api"]));
    line("Data", text(&report["dataDir"]));
    line("Pod CIDR", text(&report["podCIDR"]));
    line("Service CIDR", text(&report["serviceCIDR"]));
    for (name, values) in report["flags"].as_object().into_iter().flatten() {
        let values: Vec<String> = values.as_array().into_iter().flatten().map(text).collect();
        line("Flag", crate::kept::shown(name, &values));
    }
    if let Some(bytes) = report["memoryBytes"].as_u64() {
        line("Memory", format!("{} MiB", bytes >> 20));
    }
    let seen = &report["cluster"];
    line("Pods", format!("{} running of {}", seen["podsRunning"], seen["pods"]));
    for node in seen["nodes"].as_array().into_iter().flatten() {
        let state = if node["ready"] == json!(true) {
            "Ready".to_owned()
        } else {
            format!("NotReady: {}", text(&node["message"]))
        };
        line(
            "Node",
            format!(
                "{} {} {} {} {state}",
                text(&node["name"]),
                text(&node["address"]),
                text(&node["version"]),
                text(&node["runtime"])
            ),
        );
    }
    let checks: Vec<String> = seen["checks"].as_array().into_iter().flatten().map(text).collect();
    let (passed, rest): (Vec<_>, Vec<_>) = checks.iter().partition(|c| c.starts_with("[+]"));
    if seen["ready"] == json!(true) {
        return line("Health", format!("ok ({} checks)", passed.len()));
    }
    line("Health", format!("not ready ({} checks passed)", passed.len()));
    for check in rest {
        line("Check", check.clone());
    }
}
