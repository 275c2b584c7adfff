//! The variables by which containers find Services (the ways of Docker links).

use ironclad_client::Informer;
use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The variables by which the Services of a namespace are found, and the API server's in every namespace.
pub(crate) fn variables(all: &Informer<Service>, namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut add = |service: &Service| {
        let Some(spec) = service.spec.as_ref() else { return };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
        let name = service.metadata.name.as_deref().unwrap_or_default().to_uppercase().replace('-', "_");
        let Some(first) = spec.ports.as_ref().and_then(|p| p.first()) else { return };
        out.push((format!("{name}_SERVICE_HOST"), ip.to_owned()));
        out.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
        for port in spec.ports.iter().flatten() {
            if let Some(named) = port.name.as_deref().filter(|n| !n.is_empty()) {
                out.push((
                    format!("{name}_SERVICE_PORT_{}", named.to_uppercase().replace('-', "_")),
                    port.port.to_string(),
                ));
            }
        }
        let url = |p: &ServicePort| {
            let protocol = p.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            (format!("{protocol}://{ip}:{}", p.port), protocol)
        };
        out.push((format!("{name}_PORT"), url(first).0));
        for port in spec.ports.iter().flatten() {
            let (address, protocol) = url(port);
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            out.push((prefix.clone(), address));
            out.push((format!("{prefix}_PROTO"), protocol));
            out.push((format!("{prefix}_PORT"), port.port.to_string()));
            out.push((format!("{prefix}_ADDR"), ip.to_owned()));
        }
    };
    if let Some(kubernetes) = all.get("default", "kubernetes") {
        add(&kubernetes);
    }
    if links {
        let here = all.list_namespace(namespace);
        here.iter()
            .filter(|s| !(namespace == "default" && s.metadata.name.as_deref() == Some("kubernetes")))
            .for_each(|s| add(s));
    }
    out
}
