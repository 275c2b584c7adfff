//! Networking and discovery.

use super::{Row, cl, ns};
use crate::{address, core, network};
use std::sync::Arc;

pub(super) const NET: &str = "networking.k8s.io";

pub(super) const NETWORKING: &[Row] = &[
    ns(NET, "v1", "Ingress", "ingresses")
        .short(&["ing"])
        .status()
        .at("ingress")
        .counted()
        .with(|| Arc::new(network::ingress::INGRESS)),
    cl(NET, "v1", "IngressClass", "ingressclasses").counted().with(|| Arc::new(network::class::CLASS)),
    cl(NET, "v1", "IPAddress", "ipaddresses").with(|| Arc::new(address::IP)).short(&["ip"]),
    ns(NET, "v1", "NetworkPolicy", "networkpolicies")
        .short(&["netpol"])
        .counted()
        .with(|| Arc::new(network::policy::STRATEGY)),
    cl(NET, "v1", "ServiceCIDR", "servicecidrs").with(|| Arc::new(address::CIDR)).status(),
];

pub(super) const DISCOVERY: &[Row] =
    &[ns("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").counted().with(|| Arc::new(core::SLICE))];
