//! The node's object: what the machine has, whether it is well, and its Lease.

mod status;

use crate::Config;
use crate::container::resources::{class_cgroup, shares};
use crate::worker::Shared;
use ironclad_client::events::EventType;
use ironclad_cri::LinuxResources;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, ObjectReference};
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
/// Pods on a node.
pub(crate) const PODS: u32 = 110;

fn labels(config: &Config) -> Value {
    let arch = status::arch();
    json!({
        "kubernetes.io/hostname": config.node_name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": arch,
    })
}

/// Tells admission what the machine has.
pub(crate) fn measure(shared: &Shared) {
    let list = status::allocatable(&shared.config);
    shared.admitted.set_node(|node| {
        node.allocatable = list;
        node.memory = status::memory() as i64;
    });
    let (admitted, name) = (shared.admitted.clone(), shared.config.node_name.clone());
    shared.config.own_node().on_change(move |change| {
        let meta = &change.object().metadata;
        if meta.name.as_ref() == Some(&name) {
            admitted.set_node(|node| node.labels = meta.labels.clone().unwrap_or_default());
        }
    });
}

/// Registers the node, and keeps its object and its Lease current.
pub(crate) async fn run(shared: Shared, ready: Arc<Notify>, token: CancellationToken) {
    if !register(&shared, &token).await {
        return;
    }
    let leases = tokio::spawn(renew(shared.config.clone(), token.clone()));
    let groups = tokio::spawn(classes(shared.clone(), token.clone()));
    keep(&shared, &ready, &token).await;
    leases.abort();
    groups.abort();
}

/// Makes the node's object, or takes over the one that is there. False when the kubelet ends before it could.
async fn register(shared: &Shared, token: &CancellationToken) -> bool {
    let config = &shared.config;
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
            Ok(node) => {
                rebooted(shared, &node);
                break;
            }
            Err(error) => tracing::warn!(%error, "cannot register the node, will try again"),
        }
        tokio::select! {
            () = token.cancelled() => return false,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    shared.recorder.event_on(reference(config), EventType::Normal, "Starting", "Starting kubelet.");
    true
}

/// Tells that the machine was started again since the node was seen last.
fn rebooted(shared: &Shared, node: &Node) {
    let before =
        node.status.as_ref().and_then(|s| s.node_info.as_ref()).map(|i| i.boot_id.as_str()).unwrap_or_default();
    let now = status::boot_id();
    if !before.is_empty() && before != now {
        let text = format!("Node {} has been rebooted, boot id: {now}", shared.config.node_name);
        shared.recorder.event_on(reference(&shared.config), EventType::Warning, "Rebooted", text);
    }
}

/// The node as the object of events.
pub(crate) fn reference(config: &Config) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        name: Some(config.node_name.clone()),
        uid: Some(config.node_name.clone()),
        ..Default::default()
    }
}

async fn renew(config: Config, token: CancellationToken) {
    let mut ticks = tokio::time::interval(RENEW);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = lease(&config).await {
            tracing::warn!(%error, "cannot renew the node's Lease");
        }
    }
}

/// Shares of the CPU for classes of pods: best effort gets what others leave, burstable what its pods asked for.
async fn classes(shared: Shared, token: CancellationToken) {
    let runtime = &shared.config.runtime;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let set = |class: &'static str, cpu_shares: u64| async move {
        let wanted = LinuxResources { cpu_shares: Some(cpu_shares), ..LinuxResources::default() };
        if let Err(error) = runtime.update_group_resources(&class_cgroup(class), &wanted).await {
            tracing::warn!(%error, class, "cannot set the shares of a class of pods");
        }
    };
    set("Guaranteed", cpus * 1024).await;
    set("BestEffort", 2).await;
    let mut last = None;
    loop {
        let wanted = shares(shared.admitted.burstable_cpu());
        if last != Some(wanted) {
            set("Burstable", wanted).await;
            last = Some(wanted);
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = shared.admitted.changed.notified() => {}
        }
    }
}

/// Reasons of conditions that were told, by their type.
type Told = BTreeMap<String, String>;

/// Keeps the node's status current.
async fn keep(shared: &Shared, ready: &Notify, token: &CancellationToken) {
    let config = &shared.config;
    let api: Api<Node> = Api::all(config.client.clone());
    let mut report = tokio::time::interval(REPORT);
    let mut told = Told::new();
    let (mut addressed, nodes) = (false, config.own_node());
    let changed = Arc::new(Notify::new());
    let (wake, mine) = (changed.clone(), config.node_name.clone());
    nodes.on_change(move |c| {
        if c.object().metadata.name.as_deref() == Some(&mine) {
            wake.notify_one();
        }
    });
    let mut soon = None;
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = report.tick() => {}
            () = shared.node_changed.notified() => {}
            () = tokio::time::sleep(soon.unwrap_or(Duration::MAX)) => {}
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
        let status = status::status(shared, &old).await;
        let patch = json!({"status": status});
        match api.patch_status(&config.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                tell(shared, &status, &mut told);
                let well = told.get("Ready").is_some_and(|r| r == "KubeletReady");
                // A node that is not well looks again soon.
                soon = (!well).then_some(RENEW);
                if well {
                    ready.notify_one();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot report the node's status");
                soon = Some(RENEW);
            }
        }
    }
}

/// Tells what changed of the node's conditions.
fn tell(shared: &Shared, status: &Value, told: &mut Told) {
    for condition in status["conditions"].as_array().into_iter().flatten() {
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        let (kind, reason) = (text("type"), text("reason"));
        if told.insert(kind.clone(), reason.clone()).as_ref() == Some(&reason) {
            continue;
        }
        let shown = match (kind.as_str(), text("status").as_str()) {
            ("Ready", "True") => "NodeReady",
            ("Ready", _) => "NodeNotReady",
            ("MemoryPressure", "True") => "NodeHasInsufficientMemory",
            ("MemoryPressure", _) => "NodeHasSufficientMemory",
            ("DiskPressure", "True") => "NodeHasDiskPressure",
            ("DiskPressure", _) => "NodeHasNoDiskPressure",
            ("PIDPressure", "True") => "NodeHasInsufficientPID",
            _ => "NodeHasSufficientPID",
        };
        let text = format!("Node {} status is now: {shown}", shared.config.node_name);
        shared.recorder.event_on(reference(&shared.config), EventType::Normal, shown, text);
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
    let node = Api::<Node>::all(config.client.clone()).get_opt(&config.node_name).await?;
    let owner = node.and_then(|n| n.metadata.uid).map(|uid| {
        let (kind, api_version) = ("Node".to_owned(), "v1".to_owned());
        k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
            api_version,
            kind,
            name: config.node_name.clone(),
            uid,
            ..Default::default()
        }
    });
    let metadata = ObjectMeta {
        name: Some(config.node_name.clone()),
        owner_references: owner.map(|o| vec![o]),
        ..ObjectMeta::default()
    };
    api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await.map(drop)
}
