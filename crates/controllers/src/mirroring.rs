//! Mirrors hand-made Endpoints of Services without a selector into EndpointSlices, so that one form is enough to read.

use crate::slices::{Ports, plan, port_in_slice};
use crate::{Context, is_missing, own};
use ironclad_client::{Change, ObjectKey, WorkQueue};
use ironclad_json::json;
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that say something of the Endpoints only.
const OWN: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];
/// Addresses of a subset that are mirrored.
const LIMIT: usize = 1000;

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let (services, endpoints) = (context.informers.get::<Service>(), context.informers.get::<Endpoints>());
    let slices = context.informers.get::<EndpointSlice>();
    slices.add_index("mirror", |s: &EndpointSlice| mirrored(s).map(|k| k.to_string()).into_iter().collect());
    let add = queue.clone();
    services.on_change(move |change| {
        // Only whether there is a Service, and whether it has a selector, matters.
        let concerns = match change {
            Change::Modified { old, new } => by_hand(old) != by_hand(new),
            _ => true,
        };
        if concerns {
            add.add(ObjectKey::of(&**change.object()));
        }
    });
    let add = queue.clone();
    endpoints.on_change(move |c| add.add(ObjectKey::of(&**c.object())));
    let add = queue.clone();
    slices.on_change(move |c| mirrored(c.object()).into_iter().for_each(|key| add.add(key)));
    services.synced().await;
    endpoints.synced().await;
    slices.synced().await;
    let work = move |key: ObjectKey| {
        let (context, services) = (context.clone(), services.clone());
        let (endpoints, slices) = (endpoints.clone(), slices.clone());
        async move {
            let existing = slices.by_index("mirror", &key.to_string());
            let wanted = services.get_key(&key).is_some_and(|s| by_hand(&s));
            let source = endpoints.get_key(&key).filter(|e| wanted && is_mirrored(e));
            sync(&context, &key, source.as_deref(), &existing).await.map(|()| None)
        }
    };
    queue.run("endpointslice-mirroring", 5, token, work).await;
}

/// Of which Service a slice of this controller is.
fn mirrored(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    let name = labels.get(SERVICE).filter(|_| labels.get(MANAGED).is_some_and(|m| m == MANAGER))?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Whether somebody keeps the Service's Endpoints by hand.
fn by_hand(service: &Service) -> bool {
    service.spec.as_ref().is_none_or(|s| s.selector.as_ref().is_none_or(BTreeMap::is_empty))
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skip = meta.labels.as_ref().and_then(|l| l.get(SKIP)).is_some_and(|v| v == "true");
    let election = meta.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER));
    !skip && !election && meta.deletion_timestamp.is_none()
}

fn family(ip: &str) -> Option<&'static str> {
    ip.parse::<std::net::IpAddr>().ok().map(|ip| if ip.is_ipv6() { "IPv6" } else { "IPv4" })
}

/// The endpoints by address type and ports.
fn desired(endpoints: &Endpoints) -> BTreeMap<&'static str, BTreeMap<Ports, Vec<Endpoint>>> {
    let mut out: BTreeMap<&'static str, BTreeMap<Ports, Vec<Endpoint>>> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let port = |p: &k8s_openapi::api::core::v1::EndpointPort| {
            let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            (p.name.clone().unwrap_or_default(), protocol, p.port, p.app_protocol.clone())
        };
        let mut ports: Ports = subset.ports.iter().flatten().map(port).collect();
        ports.sort();
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let other = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        for (address, ready) in ready.chain(other).take(LIMIT) {
            let Some(family) = family(&address.ip) else { continue };
            out.entry(family).or_default().entry(ports.clone()).or_default().push(endpoint(address, ready));
        }
    }
    out
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

async fn sync(
    context: &Context,
    key: &ObjectKey,
    source: Option<&Endpoints>,
    existing: &[Arc<EndpointSlice>],
) -> Result<(), kube::Error> {
    let api: Api<EndpointSlice> = Api::namespaced(context.client.clone(), &key.namespace);
    let mut wanted = source.map(desired).unwrap_or_default();
    for family in ["IPv4", "IPv6"] {
        let of: Vec<_> = existing.iter().filter(|s| s.address_type == family).cloned().collect();
        let plan = plan(wanted.remove(family).unwrap_or_default(), &of);
        for (ports, list) in plan.create {
            if let Some(source) = source {
                api.create(&PostParams::default(), &new_slice(source, family, &ports, list)).await?;
            }
        }
        for (slice, list) in plan.update {
            let patch = json!({"metadata": {"resourceVersion": slice.metadata.resource_version}, "endpoints": list});
            let name = slice.metadata.name.clone().unwrap_or_default();
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        for slice in plan.delete {
            match api.delete(slice.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default()).await {
                Err(error) if !is_missing(&error) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn new_slice(source: &Endpoints, family: &str, ports: &Ports, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = source.metadata.name.clone().unwrap_or_default();
    let mut labels = source.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.to_owned(), name.clone());
    labels.insert(MANAGED.to_owned(), MANAGER.to_owned());
    let mut annotations = source.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|k, _| !OWN.contains(&k.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: source.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![own(source)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.iter().map(port_in_slice).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_and_other_addresses_are_told_apart_by_family_and_ports() {
        let source: Endpoints = ironclad_json::from_value(json!({"metadata": {"name": "db"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
             "ports": [{"port": 5432}]}]}))
        .unwrap();
        let wanted = desired(&source);
        let seen: Vec<_> = wanted["IPv4"].values().flatten().map(|e| e.conditions.as_ref().unwrap().ready).collect();
        assert_eq!(seen, [Some(true), Some(false)]);
        assert_eq!(wanted["IPv6"].keys().next().unwrap()[..], [(String::new(), "TCP".to_owned(), 5432, None)]);
    }

    #[test]
    fn what_must_not_be_mirrored_is_left_alone() {
        let marked = |meta| ironclad_json::from_value::<Endpoints>(json!({"metadata": meta})).unwrap();
        assert!(is_mirrored(&marked(json!({}))));
        assert!(!is_mirrored(&marked(json!({"labels": {SKIP: "true"}}))));
        assert!(!is_mirrored(&marked(json!({"annotations": {LEADER: "{}"}}))));
    }
}
