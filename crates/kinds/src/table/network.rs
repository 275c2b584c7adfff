//! The network: networking.k8s.io and discovery.k8s.io.

use super::build::{Row, row};
use crate::Kind;

fn networking(kind: &'static str, plural: &'static str) -> Kind {
    row("networking.k8s.io", "v1", kind, plural)
}

pub(super) fn rows() -> Vec<Kind> {
    vec![
        networking("IngressClass", "ingressclasses").cluster().counted(),
        networking("Ingress", "ingresses").short(&["ing"]).prefix("/registry/ingress/").status().counted(),
        networking("IPAddress", "ipaddresses").cluster().short(&["ip"]),
        networking("NetworkPolicy", "networkpolicies").short(&["netpol"]).counted(),
        networking("ServiceCIDR", "servicecidrs").cluster().status(),
        row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").counted(),
    ]
}
