//! From the API's objects to names.

use crate::zone::{Endpoint, Port, Record, Zone};
use hickory_proto::rr::Name;
use ironclad_client::{Change, Informer, Informers, ObjectKey};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::IpAddr;
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "service";

/// Whether everything that existed at the start is known.
pub(crate) type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Keeps the zone as the objects are.
pub(crate) fn follow(informers: &Informers, zone: &Arc<Zone>) -> Ready {
    let services: Arc<Informer<Service>> = informers.get();
    let slices: Arc<Informer<EndpointSlice>> = informers.get();
    let namespaces: Arc<Informer<Namespace>> = informers.get();
    slices.add_index(BY_SERVICE, |slice| service_of(slice).map(|k| k.to_string()).into_iter().collect());
    let update = {
        let (services, slices, zone) = (Arc::downgrade(&services), slices.clone(), zone.clone());
        move |key: &ObjectKey| {
            let Some(services) = services.upgrade() else { return };
            let service = services.get_key(key);
            let found = service.and_then(|s| record(&s, &slices.by_index(BY_SERVICE, &key.to_string())));
            zone.set(key, found);
        }
    };
    let on_service = update.clone();
    services.on_change(move |change| on_service(&ObjectKey::of(change.object().as_ref())));
    slices.on_change(move |change| {
        let old = if let Change::Modified { old, .. } = change { service_of(old) } else { None };
        let new = service_of(change.object());
        if old.is_some() && old != new {
            old.iter().for_each(&update);
        }
        new.iter().for_each(&update);
    });
    let names = zone.clone();
    namespaces.on_change(move |change| {
        let exists = !matches!(change, Change::Deleted(_));
        names.set_namespace(change.object().metadata.name.as_deref().unwrap_or_default(), exists);
    });
    Arc::new(move || services.has_synced() && slices.has_synced() && namespaces.has_synced())
}

/// What a Service's name stands for; `None` for one that has no address yet.
pub fn record(service: &Service, slices: &[Arc<EndpointSlice>]) -> Option<Record> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let target = spec.external_name.as_deref()?.trim_end_matches('.');
        return Name::from_ascii(format!("{target}.")).ok().map(Record::External);
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(Record::Headless(slices.iter().flat_map(|s| endpoints(s)).collect()));
    }
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let ports = spec.ports.iter().flatten().filter_map(|p| {
        let protocol = p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        Some(Port { name: p.name.clone().unwrap_or_default(), protocol, number: u16::try_from(p.port).ok()? })
    });
    (!addresses.is_empty()).then(|| Record::Cluster { addresses, ports: ports.collect() })
}

fn endpoints(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports = slice.ports.iter().flatten().filter_map(|p| {
        let protocol = p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        Some(Port { name: p.name.clone().unwrap_or_default(), protocol, number: u16::try_from(p.port?).ok()? })
    });
    let ports: Vec<Port> = ports.collect();
    let ready =
        slice.endpoints.iter().flatten().filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    let each = ready.flat_map(|endpoint| {
        let host = endpoint.hostname.clone().filter(|h| !h.is_empty());
        let ports = ports.clone();
        endpoint.addresses.iter().filter_map(move |text| {
            let address: IpAddr = text.parse().ok()?;
            let host = host.clone().unwrap_or_else(|| text.replace(['.', ':'], "-"));
            Some(Endpoint { host, address, ports: ports.clone() })
        })
    });
    each.collect()
}
