//! Nodes: each gets its part of the pods' addresses; one that no longer renews its Lease is marked as unknown.

use crate::Context;
use ipnet::Ipv4Net;
use ironclad_client::WorkQueue;
use ironclad_client::events::EventType;
use ironclad_json::json;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a node may be silent.
const SILENCE: Duration = Duration::from_secs(50);
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<String>> = WorkQueue::new();
    let (nodes, leases) = (context.informers.get::<Node>(), context.informers.get::<Lease>());
    let add = queue.clone();
    nodes.on_change(move |c| add.add(c.object().metadata.name.clone().unwrap_or_default()));
    nodes.synced().await;
    leases.synced().await;
    let given: Arc<Mutex<HashMap<String, Ipv4Net>>> = Arc::default();
    let recorder = context.recorder("node-controller");
    let work = move |name: String| {
        let (context, nodes, leases) = (context.clone(), nodes.clone(), leases.clone());
        let (recorder, given) = (recorder.clone(), given.clone());
        async move {
            let api: Api<Node> = Api::all(context.client.clone());
            let Some(node) = nodes.get("", &name) else {
                // Its part of the addresses is free again.
                given.lock().remove(&name);
                return Ok(None);
            };
            if context.allocate_node_cidrs && node.spec.as_ref().and_then(|s| s.pod_cidr.as_ref()).is_none() {
                let cidr = take_part(&context, &nodes.list(), &mut given.lock(), &name);
                let Some(cidr) = cidr else {
                    let message = format!("Node {name} status is now: CIDRNotAvailable");
                    recorder.event(&*node, EventType::Normal, "CIDRNotAvailable", message);
                    return Ok(Some(SILENCE));
                };
                let patch = json!({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}});
                api.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
                return Ok(None);
            }
            let renewed = leases.get("kube-node-lease", &name).and_then(|l| l.spec.as_ref()?.renew_time.clone());
            let now = k8s_openapi::jiff::Timestamp::now();
            // A node that never had a Lease is silent since it came.
            let heard = renewed.map(|t| t.0).or(node.metadata.creation_timestamp.as_ref().map(|t| t.0));
            let silent = Duration::try_from(now.duration_since(heard.unwrap_or(now))).unwrap_or_default();
            let ready = condition(&node).unwrap_or("Unknown");
            if silent >= SILENCE && ready != "Unknown" {
                let stamp = ironclad_api::time::now();
                let unknown = |kind: &str| {
                    json!({"type": kind, "status": "Unknown", "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status.", "lastTransitionTime": stamp})
                };
                let kinds = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
                let status = json!({"status": {"conditions": kinds.map(unknown)}});
                api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await?;
                recorder.event(
                    &*node,
                    EventType::Normal,
                    "NodeNotReady",
                    format!("Node {name} status is now: NodeNotReady"),
                );
                return Ok(Some(Duration::from_secs(1)));
            }
            let wanted = taints(&node, ready);
            let current = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
            if wanted != current {
                let patch = json!({"spec": {"taints": wanted}, "metadata": {"resourceVersion": node.metadata.resource_version}});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
            let next = SILENCE.checked_sub(silent).unwrap_or(SILENCE);
            Ok::<_, kube::Error>(Some(next.max(Duration::from_secs(1))))
        }
    };
    queue.run("node", 4, token, work).await;
}

/// The part of the pods' addresses for a node: what it was given before its object shows it, else the first free one.
/// `given` holds what was handed out, so that two nodes that come at once get different parts.
fn take_part(
    context: &Context,
    nodes: &[Arc<Node>],
    given: &mut HashMap<String, Ipv4Net>,
    name: &str,
) -> Option<Ipv4Net> {
    if let Some(part) = given.get(name) {
        return Some(*part);
    }
    let shown = nodes.iter().filter_map(|n| n.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok());
    let taken = shown.chain(given.values().copied()).collect();
    let part = free_part(context.pod_cidr, context.node_prefix, &taken)?;
    given.insert(name.to_owned(), part);
    Some(part)
}

fn condition(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.status.as_str())
}

/// The taints of a node that is in this state; those of others stay.
fn taints(node: &Node, ready: &str) -> Vec<Taint> {
    let mut taints = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    let mine = |t: &Taint| t.key == UNREACHABLE || t.key == NOT_READY;
    let wanted = match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    taints.retain(|t| !mine(t) || Some(t.key.as_str()) == wanted);
    for effect in ["NoSchedule", "NoExecute"] {
        if let Some(key) = wanted.filter(|k| !taints.iter().any(|t| t.key == *k && t.effect == effect)) {
            let time_added = (effect == "NoExecute")
                .then(|| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::now()));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    taints
}

/// The first part of `all` that nobody has.
fn free_part(all: Ipv4Net, prefix: u8, taken: &BTreeSet<Ipv4Net>) -> Option<Ipv4Net> {
    all.subnets(prefix.max(all.prefix_len())).ok()?.find(|part| !taken.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_gets_a_part_of_its_own() {
        let all: Ipv4Net = "10.244.0.0/16".parse().unwrap();
        let mut taken = BTreeSet::new();
        for want in ["10.244.0.0/24", "10.244.1.0/24"] {
            let part = free_part(all, 24, &taken).unwrap();
            assert_eq!(part.to_string(), want);
            taken.insert(part);
        }
        assert!(
            free_part("10.0.0.0/24".parse().unwrap(), 24, &BTreeSet::from(["10.0.0.0/24".parse().unwrap()])).is_none()
        );
    }

    #[test]
    fn taints_follow_readiness_and_leave_others_alone() {
        let mut node = Node::default();
        let other = Taint { key: "k".into(), effect: "NoSchedule".into(), ..Taint::default() };
        node.spec.get_or_insert_default().taints = Some(vec![other.clone()]);
        let down = taints(&node, "Unknown");
        assert_eq!(down.iter().filter(|t| t.key == UNREACHABLE).count(), 2);
        node.spec.as_mut().unwrap().taints = Some(down);
        assert_eq!(taints(&node, "True"), vec![other]);
    }
}
