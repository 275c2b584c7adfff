//! EndpointSlices and Endpoints of Services with a selector.

use crate::slices::{Port, Ports, desired, plan, port_in_slice};
use crate::{Context, is_conflict, is_missing, own};
use ironclad_api::selector::LabelSelector;
use ironclad_client::{Change, Informer, ObjectKey, WorkQueue};
use ironclad_json::json;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, Node, Pod, Service,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Addresses that the old form holds.
const CAPACITY: usize = 1000;
/// Says on the old form that it does not show everything.
const OVER: &str = "endpoints.kubernetes.io/over-capacity";
const OLD_MANAGED: &str = "endpoints.kubernetes.io/managed-by";
const OLD_MANAGER: &str = "endpoint-controller";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const ZONE: &str = "topology.kubernetes.io/zone";

fn service_of(slice: &EndpointSlice) -> Option<&String> {
    slice.metadata.labels.as_ref()?.get(SERVICE)
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let (services, pods) = (context.informers.get::<Service>(), context.informers.get::<Pod>());
    let (slices, old) = (context.informers.get::<EndpointSlice>(), context.informers.get::<Endpoints>());
    slices.add_index("service", |s: &EndpointSlice| {
        let of = service_of(s).map(|n| format!("{}/{n}", s.metadata.namespace.as_deref().unwrap_or_default()));
        of.into_iter().collect()
    });
    let add = queue.clone();
    services.on_change(move |c| add.add(ObjectKey::of(&**c.object())));
    let (add, known) = (queue.clone(), services.clone());
    pods.on_change(move |change| {
        // What a Service sees of a pod: an update that touches nothing of it concerns nobody.
        let touched = match change {
            Change::Modified { old, new } => face(old) != face(new),
            _ => true,
        };
        if !touched {
            return;
        }
        let namespace = change.object().metadata.namespace.clone().unwrap_or_default();
        let mut labels = vec![change.object().metadata.labels.clone()];
        if let Change::Modified { old, .. } = change {
            labels.push(old.metadata.labels.clone());
        }
        for service in known.list_namespace(&namespace) {
            if labels.iter().any(|l| selector(&service).is_some_and(|s| s.matches(l))) {
                add.add(ObjectKey::of(&*service));
            }
        }
    });
    let add = queue.clone();
    slices.on_change(move |c| {
        let slice = c.object();
        let mine = slice.metadata.labels.as_ref().and_then(|l| l.get(MANAGED)).is_some_and(|m| m == MANAGER);
        if let Some(name) = service_of(slice).filter(|_| mine) {
            add.add(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name));
        }
    });
    let nodes = context.informers.get::<Node>();
    services.synced().await;
    pods.synced().await;
    slices.synced().await;
    old.synced().await;
    nodes.synced().await;
    let caches = Arc::new(Caches { services, pods, slices, old, nodes });
    let as_who =
        Arc::new(Identities { slices: context.of("endpointslice-controller"), old: context.of("endpoint-controller") });
    let work = move |key: ObjectKey| {
        let (as_who, caches) = (as_who.clone(), caches.clone());
        async move { sync(&as_who, &caches, &key).await.map(|()| None) }
    };
    queue.run("endpoints", 5, token, work).await;
}

/// As whom slices and their old form are written.
struct Identities {
    slices: Context,
    old: Context,
}

/// What is known of the cluster.
struct Caches {
    services: Arc<Informer<Service>>,
    pods: Arc<Informer<Pod>>,
    slices: Arc<Informer<EndpointSlice>>,
    old: Arc<Informer<Endpoints>>,
    nodes: Arc<Informer<Node>>,
}

fn is_mine(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref().and_then(|l| l.get(MANAGED)).is_some_and(|m| m == MANAGER)
}

async fn sync(as_who: &Identities, caches: &Caches, key: &ObjectKey) -> Result<(), kube::Error> {
    let mut existing = caches.slices.by_index("service", &key.to_string());
    existing.retain(|s| is_mine(s));
    let old = caches.old.get_key(key);
    let Some(service) = caches.services.get_key(key) else {
        return remove_all(as_who, &existing, old.as_deref()).await;
    };
    let Some(selector) = selector(&service) else { return Ok(()) };
    let mut chosen = caches.pods.list_namespace(&key.namespace);
    chosen.retain(|p| selector.matches(&p.metadata.labels));
    let mut wanted = desired(&service, &chosen);
    let zone = |node: &str| caches.nodes.get("", node)?.metadata.labels.as_ref()?.get(ZONE).cloned();
    for endpoint in wanted.values_mut().flatten() {
        endpoint.zone = endpoint.node_name.as_deref().and_then(zone);
    }
    endpoints(&as_who.old, &service, &wanted, old.as_deref()).await?;
    let plan = plan(wanted, &existing).keep_one(existing.len());
    let context = &as_who.slices;
    let api: Api<EndpointSlice> = Api::namespaced(context.client.clone(), &key.namespace);
    existing.retain(|s| !plan.delete.iter().any(|d| d.metadata.uid == s.metadata.uid));
    relabel(&api, &service, &existing).await?;
    for (ports, list) in plan.create {
        api.create(&PostParams::default(), &new_slice(&service, &ports, list)).await?;
    }
    for (slice, list) in plan.update {
        let patch = json!({"metadata": {"uid": slice.metadata.uid}, "endpoints": list});
        let name = slice.metadata.name.clone().unwrap_or_default();
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    for slice in plan.delete {
        remove(context, &slice).await?;
    }
    Ok(())
}

/// Removes what a Service that is gone has left.
async fn remove_all(
    as_who: &Identities,
    slices: &[Arc<EndpointSlice>],
    old: Option<&Endpoints>,
) -> Result<(), kube::Error> {
    for slice in slices {
        remove(&as_who.slices, slice).await?;
    }
    // Those that were made by hand were the Service's as well; a lock of a leader election is nobody's.
    let lock = |o: &&Endpoints| o.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER));
    let Some(old) = old.filter(|o| !lock(o)) else { return Ok(()) };
    let meta = &old.metadata;
    let api: Api<Endpoints> = Api::namespaced(as_who.old.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match api.delete(meta.name.as_deref().unwrap_or_default(), &params).await {
        Err(error) if !is_missing(&error) && !is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Gives slices the labels that their Service has now.
async fn relabel(
    api: &Api<EndpointSlice>,
    service: &Service,
    slices: &[Arc<EndpointSlice>],
) -> Result<(), kube::Error> {
    let labels = slice_labels(service);
    for slice in slices.iter().filter(|s| s.metadata.labels.as_ref() != Some(&labels)) {
        let mut patch = json!(labels);
        // A label that the Service lost is taken off as well.
        let lost = slice.metadata.labels.iter().flatten().filter(|(k, _)| !labels.contains_key(*k));
        lost.for_each(|(k, _)| patch[k] = ironclad_json::Value::Null);
        let patch = json!({"metadata": {"uid": slice.metadata.uid, "labels": patch}});
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    Ok(())
}

/// What a Service sees of a pod.
fn face(pod: &Pod) -> impl PartialEq + use<> {
    let status = pod.status.clone().unwrap_or_default();
    let ready = crate::replicaset::is_ready(pod).is_some();
    (pod.metadata.labels.clone(), status.pod_ip, ready, pod.metadata.deletion_timestamp.is_some(), status.phase)
}

fn selector(service: &Service) -> Option<LabelSelector> {
    let spec = service.spec.as_ref()?;
    let map = spec.selector.as_ref().filter(|s| !s.is_empty())?;
    (spec.type_.as_deref() != Some("ExternalName")).then(|| LabelSelector::from_map(map))
}

async fn remove(context: &Context, slice: &EndpointSlice) -> Result<(), kube::Error> {
    let api: Api<EndpointSlice> =
        Api::namespaced(context.client.clone(), slice.metadata.namespace.as_deref().unwrap_or_default());
    match api.delete(slice.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default()).await {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The labels of a Service's slices.
fn slice_labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

fn new_slice(service: &Service, ports: &Ports, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let labels = slice_labels(service);
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![own(service)]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.iter().map(port_in_slice).collect()),
    }
}

/// The same in the old form, where ready and other addresses stand apart.
async fn endpoints(
    context: &Context,
    service: &Service,
    wanted: &BTreeMap<Ports, Vec<Endpoint>>,
    current: Option<&Endpoints>,
) -> Result<(), kube::Error> {
    let mut subsets: Vec<EndpointSubset> = Vec::new();
    let mut count = 0;
    for (ports, list) in wanted {
        let address = |e: &Endpoint| EndpointAddress {
            ip: e.addresses[0].clone(),
            hostname: e.hostname.clone(),
            node_name: e.node_name.clone(),
            target_ref: e.target_ref.clone(),
        };
        let terminating = |e: &&Endpoint| e.conditions.as_ref().and_then(|c| c.terminating) != Some(true);
        let is_ready = |e: &&Endpoint| e.conditions.as_ref().and_then(|c| c.ready) == Some(true);
        let room = CAPACITY.saturating_sub(count);
        let (good, other): (Vec<&Endpoint>, Vec<&Endpoint>) =
            list.iter().filter(|e| terminating(e) || is_ready(e)).take(room).partition(|e| is_ready(e));
        count += good.len() + other.len();
        let list = |v: Vec<&Endpoint>| (!v.is_empty()).then(|| v.into_iter().map(address).collect());
        let port = |(name, protocol, port, app): &Port| OldPort {
            name: (!name.is_empty()).then(|| name.clone()),
            protocol: Some(protocol.clone()),
            port: *port,
            app_protocol: app.clone(),
        };
        if good.is_empty() && other.is_empty() {
            continue;
        }
        subsets.push(EndpointSubset {
            addresses: list(good),
            not_ready_addresses: list(other),
            ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
        });
    }
    let (namespace, name) =
        (service.metadata.namespace.clone().unwrap_or_default(), service.metadata.name.clone().unwrap_or_default());
    let api: Api<Endpoints> = Api::namespaced(context.client.clone(), &namespace);
    let subsets = (!subsets.is_empty()).then_some(subsets);
    let over = wanted.values().flatten().count() > CAPACITY;
    let Some(current) = current else {
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.insert(OLD_MANAGED.to_owned(), OLD_MANAGER.to_owned());
        if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
            labels.insert(HEADLESS.to_owned(), String::new());
        }
        let annotations = over.then(|| [(OVER.to_owned(), "truncated".to_owned())].into());
        let (name, namespace) = (Some(name), Some(namespace));
        let metadata = ObjectMeta { name, namespace, labels: Some(labels), annotations, ..ObjectMeta::default() };
        return match api.create(&PostParams::default(), &Endpoints { metadata, subsets }).await {
            Err(error) if !is_conflict(&error) => Err(error),
            _ => Ok(()),
        };
    };
    let marked = current.metadata.annotations.as_ref().and_then(|a| a.get(OVER)).is_some_and(|v| v == "truncated");
    if current.subsets == subsets && marked == over {
        return Ok(());
    }
    let metadata = json!({
        "resourceVersion": current.metadata.resource_version,
        "annotations": {OVER: over.then_some("truncated")},
        "labels": {OLD_MANAGED: OLD_MANAGER},
    });
    let patch = json!({"metadata": metadata, "subsets": subsets});
    api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}
