//! From a Service and its EndpointSlices to what each of its ports needs on this node. Pure.

use crate::nft::Family;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Where the proxy runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// The node's zone; empty when unknown.
    pub zone: String,
    /// All pods of the cluster.
    pub pod_cidrs: Vec<IpNet>,
}

/// Address and port of an endpoint.
pub type Backend = (IpAddr, u16);

/// What one port of a Service needs in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Namespace, name, port and protocol.
    pub id: String,
    /// The family.
    pub family: Family,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// The Service's port.
    pub port: u16,
    /// The cluster addresses.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses for the outside: external IPs.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of the load balancer.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; empty for everybody.
    pub source_ranges: Vec<IpNet>,
    /// The port on every node; 0 for none.
    pub node_port: u16,
    /// Endpoints of the whole cluster.
    pub cluster: BTreeSet<Backend>,
    /// Endpoints on this node.
    pub local: BTreeSet<Backend>,
    /// Traffic to the cluster address stays on the node.
    pub internal_local: bool,
    /// Traffic from outside stays on the node, and keeps its source.
    pub external_local: bool,
    /// Seconds for which a client stays with its endpoint.
    pub affinity: Option<u32>,
}

/// What a Service needs; nothing for headless Services and ExternalName.
pub fn service_ports(service: &Service, slices: &[Arc<EndpointSlice>], place: &Place) -> Vec<ServicePort> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let labels = service.metadata.labels.as_ref();
    let elsewhere = labels.is_some_and(|l| l.contains_key("service.kubernetes.io/service-proxy-name"));
    if elsewhere || spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let mut ips: Vec<IpAddr> = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
    if ips.is_empty() {
        ips.extend(spec.cluster_ip.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
    }
    let mut ports = Vec::new();
    for family in [Family::V4, Family::V6] {
        let own: Vec<IpAddr> = ips.iter().copied().filter(|ip| Family::of(*ip) == family).collect();
        if !own.is_empty() {
            let each = spec.ports.iter().flatten();
            ports.extend(each.filter_map(|port| one(service, spec, port, family, &own, slices, place)));
        }
    }
    ports
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>, family: Family) -> Vec<IpAddr> {
    texts.filter_map(|t| t.parse().ok()).filter(|ip| Family::of(*ip) == family).collect()
}

fn one(
    service: &Service,
    spec: &ServiceSpec,
    port: &ApiPort,
    family: Family,
    cluster_ips: &[IpAddr],
    slices: &[Arc<EndpointSlice>],
    place: &Place,
) -> Option<ServicePort> {
    let protocol_name = port.protocol.as_deref().unwrap_or("TCP");
    let protocol = crate::pod::protocol_number(protocol_name).ok()?;
    let meta = &service.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let found = endpoints(slices, port, protocol_name, family);
    let timeout = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
    let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.iter().flat_map(|s| s.ingress.iter().flatten());
    let proxied = ingress.filter(|i| i.ip_mode.as_deref() != Some("Proxy")).filter_map(|i| i.ip.as_ref());
    let local_here = |e: &&(&Endpoint, u16)| e.0.node_name.as_deref() == Some(&place.node);
    let near = nearest(&found, place);
    Some(ServicePort {
        id: format!("{namespace}/{name}:{}/{protocol_name}/{}", port.port, family.length()),
        family,
        protocol,
        port: u16::try_from(port.port).ok()?,
        cluster_ips: cluster_ips.to_vec(),
        external_ips: addresses(spec.external_ips.iter().flatten(), family),
        load_balancer_ips: addresses(proxied, family),
        source_ranges: source_ranges(spec, family),
        node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
        cluster: usable(near.iter().copied(), family),
        local: usable(found.iter().filter(local_here).copied(), family),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        affinity: sticky.then(|| timeout.and_then(|t| u32::try_from(t).ok()).unwrap_or(10_800)),
    })
}

fn source_ranges(spec: &ServiceSpec, family: Family) -> Vec<IpNet> {
    let all = spec.load_balancer_source_ranges.iter().flatten();
    all.filter_map(|r| r.trim().parse::<IpNet>().ok()).filter(|r| Family::of(r.addr()) == family).collect()
}

/// The endpoints of a port with their port numbers, whatever their state.
fn endpoints<'a>(
    slices: &'a [Arc<EndpointSlice>],
    port: &ApiPort,
    protocol: &str,
    family: Family,
) -> Vec<(&'a Endpoint, u16)> {
    let kind = if family == Family::V4 { "IPv4" } else { "IPv6" };
    let mut found = Vec::new();
    for slice in slices.iter().filter(|s| s.address_type == kind && s.metadata.deletion_timestamp.is_none()) {
        let same = |p: &&k8s_openapi::api::discovery::v1::EndpointPort| {
            p.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                && p.protocol.as_deref().unwrap_or("TCP") == protocol
        };
        let number = slice.ports.iter().flatten().find(same).and_then(|p| p.port);
        if let Some(number) = number.and_then(|n| u16::try_from(n).ok()) {
            found.extend(slice.endpoints.iter().flatten().map(|e| (e, number)));
        }
    }
    found
}

fn ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

/// Serving although it terminates: used when nothing is ready.
fn leaving(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    terminating && conditions.and_then(|c| c.serving).unwrap_or(false)
}

fn usable<'a>(found: impl Iterator<Item = (&'a Endpoint, u16)> + Clone, family: Family) -> BTreeSet<Backend> {
    let backends = |wanted: fn(&Endpoint) -> bool| {
        let chosen = found.clone().filter(move |(e, _)| wanted(e));
        let each = chosen.filter_map(|(e, port)| Some((e.addresses.first()?.parse::<IpAddr>().ok()?, port)));
        each.filter(|(ip, _)| Family::of(*ip) == family).collect::<BTreeSet<_>>()
    };
    let all = backends(ready);
    if all.is_empty() { backends(leaving) } else { all }
}

/// The endpoints that hints give to this node or zone, when every ready endpoint has hints and some are for us.
fn nearest<'a>(found: &[(&'a Endpoint, u16)], place: &Place) -> Vec<(&'a Endpoint, u16)> {
    let ready: Vec<_> = found.iter().copied().filter(|(e, _)| ready(e)).collect();
    let by = |hinted: &dyn Fn(&Endpoint) -> Option<bool>| {
        let all = ready.iter().all(|(e, _)| hinted(e).is_some());
        let near: Vec<_> = ready.iter().copied().filter(|(e, _)| hinted(e) == Some(true)).collect();
        (all && !near.is_empty()).then_some(near)
    };
    let node = by(&|e| {
        let hints = e.hints.as_ref()?.for_nodes.as_ref().filter(|n| !n.is_empty())?;
        Some(hints.iter().any(|n| n.name == place.node))
    });
    let zone = || {
        by(&|e| {
            let hints = e.hints.as_ref()?.for_zones.as_ref().filter(|z| !z.is_empty())?;
            Some(!place.zone.is_empty() && hints.iter().any(|z| z.name == place.zone))
        })
    };
    node.or_else(zone).unwrap_or_else(|| found.to_vec())
}
