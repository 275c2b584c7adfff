//! The status of the node.

use super::PODS;
use crate::Config;
use crate::evict::{Limit, Signal};
use crate::stats;
use crate::worker::Shared;
use ironclad_api::pod_resources::{self, ResourceList};
use ironclad_api::quantity::Quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Images that a status lists, and names of each.
const IMAGES: usize = 50;
const NAMES: usize = 5;

/// What this node can do that not every node can (KEP-5328), in the order of the alphabet.
const DECLARED: [&str; 4] = [
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

pub(super) fn boot_id() -> String {
    read("/proc/sys/kernel/random/boot_id")
}

pub(super) fn arch() -> &'static str {
    if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
}

/// Memory of the machine, in bytes.
pub(super) fn memory() -> u64 {
    stats::meminfo().get("MemTotal").copied().unwrap_or(0)
}

fn os_image() -> String {
    let name = read("/etc/os-release").lines().find_map(|l| l.strip_prefix("PRETTY_NAME=").map(str::to_owned));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

/// Pages of a size that the machine has set aside, in bytes.
fn hugepages(kib: u64) -> u64 {
    let path = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages");
    read(&path).parse::<u64>().unwrap_or(0) * kib * 1024
}

fn capacity(config: &Config) -> BTreeMap<String, Text> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let disk = rustix::fs::statvfs(&config.root_dir).map_or(0, |s| s.f_blocks * s.f_frsize);
    let bytes = |n: u64| Quantity::bytes(n as i64).to_string();
    [
        ("cpu", cpus.to_string()),
        ("memory", format!("{}Ki", memory() / 1024)),
        ("pods", PODS.to_string()),
        ("ephemeral-storage", format!("{}Ki", disk / 1024)),
        ("hugepages-1Gi", bytes(hugepages(1 << 20))),
        ("hugepages-2Mi", bytes(hugepages(2 << 10))),
    ]
    .map(|(k, v)| (k.to_owned(), Text(v)))
    .into()
}

/// What is left for pods: all but what eviction keeps free and what is set aside as huge pages.
fn left(config: &Config) -> BTreeMap<String, Text> {
    let mut list = capacity(config);
    let keep = |signal: Signal, all: u64| {
        let threshold = config.eviction.iter().find(|t| t.signal == signal);
        threshold.map_or(0, |t| match t.limit {
            Limit::Amount(amount) => amount,
            Limit::Percent(percent) => all / 100 * percent,
        })
    };
    let huge = hugepages(1 << 20) + hugepages(2 << 10);
    let memory = memory();
    let free = memory.saturating_sub(keep(Signal::Memory, memory) + huge);
    list.insert("memory".to_owned(), Text(format!("{}Ki", free / 1024)));
    let disk = rustix::fs::statvfs(&config.root_dir).map_or(0, |s| s.f_blocks * s.f_frsize);
    list.insert("ephemeral-storage".to_owned(), Text(disk.saturating_sub(keep(Signal::Disk, disk)).to_string()));
    list
}

pub(super) fn allocatable(config: &Config) -> ResourceList {
    pod_resources::parse(Some(&left(config)))
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, old: &Value) -> Value {
    let now = ironclad_api::time::now();
    let before = old["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind);
    let since =
        before.filter(|c| c["status"] == status).map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone());
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now, "lastTransitionTime": since})
}

fn pressure(shared: &Shared, old: &Value) -> Vec<Value> {
    let short = shared.admitted.pressure();
    let texts = [
        (
            "MemoryPressure",
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        (
            "DiskPressure",
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        (
            "PIDPressure",
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
    ];
    let one = |(kind, bad, good): (&'static str, (&str, &str), (&str, &str))| match short.contains(&kind) {
        true => condition(kind, "True", bad.0, bad.1, old),
        false => condition(kind, "False", good.0, good.1, old),
    };
    texts.into_iter().map(one).collect()
}

async fn trouble(shared: &Shared) -> Vec<String> {
    match shared.config.runtime.status().await {
        Ok(status) => {
            let network = |e: ironclad_cri::Error| {
                format!(
                    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{e}"
                )
            };
            let runtime =
                |e: ironclad_cri::Error| format!("container runtime not ready: RuntimeReady=false message:{e}");
            status.runtime_ready.err().map(runtime).into_iter().chain(status.network_ready.err().map(network)).collect()
        }
        Err(error) => vec![format!("container runtime is down: {error}")],
    }
}

async fn images(shared: &Shared) -> Vec<Value> {
    let mut all = shared.config.runtime.list_images().await.unwrap_or_default();
    all.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let one = |i: &ironclad_cri::Image| {
        let names: Vec<&String> = i.repo_digests.iter().chain(&i.repo_tags).take(NAMES).collect();
        json!({"names": names, "sizeBytes": i.size})
    };
    all.iter().take(IMAGES).map(one).collect()
}

pub(super) async fn status(shared: &Shared, old: &Value) -> Value {
    let config = &shared.config;
    let trouble = trouble(shared).await;
    let mut conditions = pressure(shared, old);
    conditions.push(match trouble.is_empty() {
        true => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", old),
        false => condition("Ready", "False", "KubeletNotReady", &trouble.join(", "), old),
    });
    let runtime = config.runtime.version().await;
    let shown = runtime.map_or_else(|_| "ironclad://unknown".to_owned(), |v| format!("{}://{}", v.name, v.version));
    let product = read("/sys/class/dmi/id/product_uuid");
    let machine = read("/etc/machine-id");
    json!({
        "capacity": capacity(config), "allocatable": left(config), "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": config.node_ip.to_string()},
            {"type": "Hostname", "address": config.node_name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "images": images(shared).await,
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": true}}],
        "features": {"supplementalGroupsPolicy": true},
        "declaredFeatures": DECLARED,
        "nodeInfo": {
            "machineID": machine, "systemUUID": if product.is_empty() { &machine } else { &product },
            "bootID": boot_id(), "kernelVersion": read("/proc/sys/kernel/osrelease"),
            "osImage": os_image(), "containerRuntimeVersion": shown, "kubeletVersion": config.version,
            "kubeProxyVersion": config.version, "operatingSystem": "linux", "architecture": arch(),
        },
    })
}
