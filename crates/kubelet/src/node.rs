//! The node's object: what the machine has, whether it is well, and its Lease.

use crate::Config;
use crate::worker::Shared;
use ironclad_client::events::{EventType, Recorder};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The Lease lasts four times as long as it takes to renew it.
const RENEW: Duration = Duration::from_secs(10);
const REPORT: Duration = Duration::from_mins(5);
const PODS: u32 = 110;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Memory of the machine, in KiB.
fn memory() -> u64 {
    let line = read("/proc/meminfo").lines().find_map(|l| l.strip_prefix("MemTotal:").map(str::to_owned));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn os_image() -> String {
    let name = read("/etc/os-release").lines().find_map(|l| l.strip_prefix("PRETTY_NAME=").map(str::to_owned));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

fn disk(config: &Config) -> u64 {
    rustix::fs::statvfs(&config.root_dir).map_or(0, |s| s.f_blocks * s.f_frsize)
}

fn resources(config: &Config) -> Value {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "cpu": cpus.to_string(), "memory": format!("{}Ki", memory()), "pods": PODS.to_string(),
        "ephemeral-storage": disk(config).to_string(), "hugepages-1Gi": "0", "hugepages-2Mi": "0",
    })
}

fn labels(config: &Config) -> Value {
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    json!({
        "kubernetes.io/hostname": config.node_name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": arch,
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, old: &Value) -> Value {
    let now = ironclad_api::time::now();
    let before = old["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind);
    let since =
        before.filter(|c| c["status"] == status).map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone());
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now, "lastTransitionTime": since})
}

async fn status(config: &Config, old: &Value) -> Value {
    let runtime = config.runtime.version().await;
    let health = config.runtime.status().await;
    let trouble = match health {
        Ok(status) => [status.runtime_ready.err(), status.network_ready.err()]
            .into_iter()
            .flatten()
            .map(|e| e.to_string())
            .collect(),
        Err(error) => vec![error.to_string()],
    };
    let well = trouble.is_empty();
    let ready = match well {
        true => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", old),
        false => condition("Ready", "False", "KubeletNotReady", &trouble.join(", "), old),
    };
    let shown = runtime.map_or_else(|_| "ironclad://unknown".to_owned(), |v| format!("{}://{}", v.name, v.version));
    let images: Vec<Value> = config
        .runtime
        .list_images()
        .await
        .unwrap_or_default()
        .iter()
        .take(50)
        .map(|i| {
            let names: Vec<&String> = i.repo_digests.iter().chain(&i.repo_tags).take(5).collect();
            json!({"names": names, "sizeBytes": i.size})
        })
        .collect();
    json!({
        "capacity": resources(config), "allocatable": resources(config),
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available", old),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure", old),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available", old),
            ready,
        ],
        "addresses": [
            {"type": "InternalIP", "address": config.node_ip.to_string()},
            {"type": "Hostname", "address": config.node_name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "images": images,
        "nodeInfo": {
            "machineID": read("/etc/machine-id"), "systemUUID": read("/sys/class/dmi/id/product_uuid"),
            "bootID": read("/proc/sys/kernel/random/boot_id"), "kernelVersion": read("/proc/sys/kernel/osrelease"),
            "osImage": os_image(), "containerRuntimeVersion": shown, "kubeletVersion": config.version,
            "kubeProxyVersion": config.version, "operatingSystem": "linux",
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        },
    })
}

/// Tells admission what the machine has.
pub(crate) fn measure(shared: &Shared) {
    let list: BTreeMap<String, Text> = serde_json::from_value(resources(&shared.config)).unwrap_or_default();
    shared.admitted.set_node(|node| {
        node.allocatable = ironclad_api::pod_resources::parse(Some(&list));
        node.memory = memory() as i64 * 1024;
    });
    let (admitted, name) = (shared.admitted.clone(), shared.config.node_name.clone());
    shared.config.informers.get::<Node>().on_change(move |change| {
        let meta = &change.object().metadata;
        if meta.name.as_ref() == Some(&name) {
            admitted.set_node(|node| node.labels = meta.labels.clone().unwrap_or_default());
        }
    });
}

/// Registers the node, and keeps its object current.
pub(crate) async fn run(shared: Shared, ready: Arc<Notify>, token: CancellationToken) {
    if register(&shared.config, &shared.recorder, &token).await {
        keep(shared.config.clone(), shared.recorder.clone(), ready, token).await;
    }
}

/// Makes the node's object, or takes over the one that is there. False when the kubelet ends before it could.
async fn register(config: &Config, recorder: &Recorder, token: &CancellationToken) -> bool {
    let api: Api<Node> = Api::all(config.client.clone());
    let annotations = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": config.node_name, "labels": labels(config), "annotations": annotations}});
    let Ok(node) = serde_json::from_value::<Node>(node) else { return false };
    loop {
        let made = match api.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let patch = json!({"metadata": {"labels": labels(config)}});
                api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await
            }
            other => other,
        };
        match made {
            Ok(_) => break,
            Err(error) => tracing::warn!(%error, "cannot register the node, will try again"),
        }
        tokio::select! {
            () = token.cancelled() => return false,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    recorder.event_on(reference(config), EventType::Normal, "Starting", "Starting kubelet.");
    true
}

fn reference(config: &Config) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        name: Some(config.node_name.clone()),
        uid: Some(config.node_name.clone()),
        ..Default::default()
    }
}

/// Keeps the node's Lease and status current.
async fn keep(config: Config, recorder: Recorder, ready: Arc<Notify>, token: CancellationToken) {
    let api: Api<Node> = Api::all(config.client.clone());
    let mut renew = tokio::time::interval(RENEW);
    let mut report = tokio::time::interval(REPORT);
    let mut was_ready = None;
    let (mut addressed, nodes) = (false, config.informers.get::<Node>());
    let changed = Arc::new(Notify::new());
    let (wake, mine) = (changed.clone(), config.node_name.clone());
    nodes.on_change(move |c| {
        if c.object().metadata.name.as_deref() == Some(&mine) {
            wake.notify_one();
        }
    });
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = renew.tick() => {
                if let Err(error) = lease(&config).await {
                    tracing::warn!(%error, "cannot renew the node's Lease");
                }
                // A node that is not well looks again as soon as its Lease.
                if was_ready == Some(true) { continue }
            }
            _ = report.tick() => {}
            () = changed.notified() => {
                let cidrs = nodes.get("", &config.node_name).and_then(|n| n.spec.as_ref()?.pod_cidrs.clone()).unwrap_or_default();
                if addressed || cidrs.is_empty() { continue }
                match config.runtime.update_pod_cidr(&cidrs).await {
                    Ok(()) => addressed = true,
                    Err(error) => tracing::warn!(%error, "cannot set the pods' addresses"),
                }
            }
        }
        let old = nodes.get("", &config.node_name).map_or(Value::Null, |n| json!(*n));
        let status = status(&config, &old).await;
        let now_ready = status["conditions"][3]["status"] == "True";
        let patch = json!({"status": status});
        match api.patch_status(&config.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                if was_ready != Some(now_ready) {
                    let (reason, text) =
                        if now_ready { ("NodeReady", "NodeReady") } else { ("NodeNotReady", "NodeNotReady") };
                    recorder.event_on(
                        reference(&config),
                        EventType::Normal,
                        reason,
                        format!("Node {} status is now: {text}", config.node_name),
                    );
                }
                was_ready = Some(now_ready);
                if now_ready {
                    ready.notify_one();
                }
            }
            Err(error) => tracing::warn!(%error, "cannot report the node's status"),
        }
    }
}

async fn lease(config: &Config) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(config.client.clone(), LEASE_NAMESPACE);
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": config.node_name, "leaseDurationSeconds": 40}});
    match api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        other => return other.map(drop),
    }
    let spec = LeaseSpec {
        holder_identity: Some(config.node_name.clone()),
        lease_duration_seconds: Some(40),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    let metadata = ObjectMeta { name: Some(config.node_name.clone()), ..ObjectMeta::default() };
    api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await.map(drop)
}
