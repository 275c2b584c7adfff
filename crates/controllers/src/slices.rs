//! Which endpoints a Service has, and in which slices they stand. Pure.

use crate::replicaset::is_ready;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Endpoints in one slice.
const MAX: usize = 100;

/// A port: name, protocol, number, and the protocol that is spoken over it.
pub(crate) type Port = (String, String, i32, Option<String>);

/// The port as it stands in a slice.
pub(crate) fn port_in_slice((name, protocol, port, app): &Port) -> EndpointPort {
    EndpointPort {
        name: Some(name.clone()),
        protocol: Some(protocol.clone()),
        port: Some(*port),
        app_protocol: app.clone(),
    }
}

/// Ports, the same for all endpoints of a slice.
pub(crate) type Ports = Vec<Port>;

/// The port of a pod that a Service's port means; `None` where a name is not known to the pod.
fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(n)) if *n > 0 => Some(*n),
        Some(IntOrString::Int(_)) => Some(port.port),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let spec = pod.spec.as_ref()?;
            let sidecars =
                spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
            let mut named =
                ports.filter(|p| p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol);
            named.next().map(|p| p.container_port)
        }
    }
}

fn ports(service: &Service, pod: &Pod) -> Ports {
    let all = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let mut out: Ports = all
        .filter_map(|p| {
            Some((
                p.name.clone().unwrap_or_default(),
                p.protocol.clone().unwrap_or_else(|| "TCP".into()),
                target(p, pod)?,
                p.app_protocol.clone(),
            ))
        })
        .collect();
    out.sort();
    out
}

fn endpoint(service: &Service, pod: &Pod) -> Option<Endpoint> {
    let status = pod.status.as_ref()?;
    let ip = status.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let spec = service.spec.as_ref();
    let everybody = spec.and_then(|s| s.publish_not_ready_addresses).unwrap_or(false);
    let serving = is_ready(pod).is_some();
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let pod_spec = pod.spec.as_ref();
    let subdomain = pod_spec.and_then(|s| s.subdomain.as_deref());
    let hostname = pod_spec
        .and_then(|s| s.hostname.clone())
        .filter(|_| subdomain.is_some() && subdomain == service.metadata.name.as_deref());
    Some(Endpoint {
        addresses: vec![ip],
        conditions: Some(EndpointConditions {
            ready: Some(everybody || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname,
        node_name: pod_spec.and_then(|s| s.node_name.clone()),
        target_ref: Some(k8s_openapi::api::core::v1::ObjectReference {
            kind: Some("Pod".into()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        }),
        ..Endpoint::default()
    })
}

/// The endpoints of a Service by their ports, ordered by address.
pub(crate) fn desired(service: &Service, pods: &[Arc<Pod>]) -> BTreeMap<Ports, Vec<Endpoint>> {
    let mut out: BTreeMap<Ports, Vec<Endpoint>> = BTreeMap::new();
    for pod in pods {
        if let Some(endpoint) = endpoint(service, pod) {
            out.entry(ports(service, pod)).or_default().push(endpoint);
        }
    }
    out.values_mut().for_each(|list| list.sort_by(|a, b| a.addresses.cmp(&b.addresses)));
    out
}

/// What to do to the slices of a Service.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Ports and endpoints of new slices.
    pub(crate) create: Vec<(Ports, Vec<Endpoint>)>,
    /// Slices with their new endpoints.
    pub(crate) update: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

fn ports_of(slice: &EndpointSlice) -> Ports {
    let one = |p: &EndpointPort| {
        let (name, protocol) = (p.name.clone().unwrap_or_default(), p.protocol.clone().unwrap_or_default());
        (name, protocol, p.port.unwrap_or(0), p.app_protocol.clone())
    };
    let mut out: Ports = slice.ports.iter().flatten().map(one).collect();
    out.sort();
    out
}

fn key(endpoint: &Endpoint) -> (Vec<String>, Option<String>) {
    (endpoint.addresses.clone(), endpoint.target_ref.as_ref().and_then(|t| t.uid.clone()))
}

fn same(endpoints: &[Endpoint], slice: &EndpointSlice) -> bool {
    slice.endpoints.as_deref().unwrap_or_default() == endpoints
}

/// The fewest writes that bring the slices to what is desired: an endpoint stays in its slice, new ones fill up room.
pub(crate) fn plan(desired: BTreeMap<Ports, Vec<Endpoint>>, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    for slice in existing.iter().filter(|s| !desired.contains_key(&ports_of(s))) {
        plan.delete.push(slice.clone());
    }
    for (ports, endpoints) in desired {
        let mut left: BTreeMap<_, Endpoint> = endpoints.into_iter().map(|e| (key(&e), e)).collect();
        let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
        for slice in existing.iter().filter(|s| ports_of(s) == ports) {
            let stay = slice.endpoints.iter().flatten().filter_map(|e| left.remove(&key(e))).collect();
            kept.push((slice.clone(), stay));
        }
        let mut rest: Vec<Endpoint> = left.into_values().collect();
        // Room where something changes anyway comes first.
        kept.sort_by_key(|(slice, stay)| same(stay, slice));
        for (slice, stay) in &mut kept {
            let changes = !same(stay, slice);
            let room = MAX.saturating_sub(stay.len());
            if (changes || stay.len() + rest.len() <= MAX) && !rest.is_empty() {
                stay.extend(rest.drain(..room.min(rest.len())));
            }
        }
        for (slice, stay) in kept {
            if stay.is_empty() {
                plan.delete.push(slice);
            } else if !same(&stay, &slice) {
                plan.update.push((slice, stay));
            }
        }
        plan.create.extend(rest.chunks(MAX).map(|chunk| (ports.clone(), chunk.to_vec())));
    }
    plan
}

impl Plan {
    /// A Service that was looked at always has a slice, if only an empty one.
    pub(crate) fn keep_one(mut self, existing: usize) -> Self {
        if self.delete.len() < existing || !self.create.is_empty() {
            return self;
        }
        let empty = |s: &EndpointSlice| ports_of(s).is_empty() && s.endpoints.as_ref().is_none_or(Vec::is_empty);
        match self.delete.as_slice() {
            [one] if empty(one) => self.delete.clear(),
            _ => self.create.push((Ports::new(), Vec::new())),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn pod(ip: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let value = json!({"metadata": {"name": ip, "uid": ip, "namespace": "a"},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": status}]}});
        Arc::new(ironclad_json::from_value(value).unwrap())
    }

    fn service() -> Service {
        let spec = json!({"ports": [{"name": "web", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}]});
        ironclad_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn slice(ports: &Ports, endpoints: Vec<Endpoint>) -> Arc<EndpointSlice> {
        let port = |(n, p, i, app): &Port| EndpointPort {
            name: Some(n.clone()),
            protocol: Some(p.clone()),
            port: Some(*i),
            app_protocol: app.clone(),
        };
        Arc::new(EndpointSlice {
            ports: Some(ports.iter().map(port).collect()),
            endpoints: Some(endpoints),
            ..Default::default()
        })
    }

    #[test]
    fn named_ports_and_readiness_come_from_the_pods() {
        let found = desired(&service(), &[pod("10.0.0.2", true), pod("10.0.0.1", false)]);
        let (ports, endpoints) = found.into_iter().next().unwrap();
        assert_eq!(ports, [("web".to_owned(), "TCP".to_owned(), 8080, Some("http".to_owned()))]);
        let ready: Vec<_> =
            endpoints.iter().map(|e| (e.addresses[0].as_str(), e.conditions.as_ref().unwrap().ready)).collect();
        assert_eq!(ready, [("10.0.0.1", Some(false)), ("10.0.0.2", Some(true))]);
    }

    #[test]
    fn one_changed_endpoint_is_one_write() {
        let pods: Vec<_> = (0..150).map(|i| pod(&format!("10.0.0.{i}"), true)).collect();
        let first = plan(desired(&service(), &pods), &[]);
        assert_eq!(first.create.iter().map(|c| c.1.len()).collect::<Vec<_>>(), [100, 50]);
        let existing: Vec<_> = first.create.into_iter().map(|(p, e)| slice(&p, e)).collect();
        let same = plan(desired(&service(), &pods), &existing);
        assert!(same.create.is_empty() && same.update.is_empty() && same.delete.is_empty());
        let one_less = plan(desired(&service(), &pods[1..]), &existing);
        assert_eq!((one_less.update.len(), one_less.create.len(), one_less.delete.len()), (1, 0, 0));
        let none = plan(desired(&service(), &[]), &existing).keep_one(2);
        assert_eq!((none.delete.len(), none.create), (2, vec![(Ports::new(), Vec::new())]));
    }

    #[test]
    fn a_service_without_pods_has_an_empty_slice() {
        let first = plan(desired(&service(), &[]), &[]).keep_one(0);
        assert_eq!(first.create, [(Ports::new(), Vec::new())]);
        let existing = [slice(&Ports::new(), Vec::new())];
        let again = plan(desired(&service(), &[]), &existing).keep_one(1);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        let filled = plan(desired(&service(), &[pod("10.0.0.1", true)]), &existing).keep_one(1);
        assert_eq!((filled.create.len(), filled.delete.len()), (1, 1));
    }
}
