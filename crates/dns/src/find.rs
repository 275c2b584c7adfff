//! What a name of the zone stands for, whatever is asked about it.

use crate::zone::{Record, Zone};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Found<'a> {
    /// The zone itself.
    Apex,
    /// The version of the specification.
    Version,
    /// A name that exists and has no records.
    Empty,
    /// No such name.
    Nothing,
    /// A pod's address: it is in the name.
    Pod(IpAddr),
    /// A Service, or with a name and protocol one of its ports.
    Service {
        /// What the Service's name stands for.
        record: Arc<Record>,
        /// The namespace.
        namespace: &'a str,
        /// The Service.
        service: &'a str,
        /// The two labels before the Service.
        port: Option<(&'a str, &'a str)>,
    },
    /// An endpoint of a Service.
    Endpoint {
        /// What the Service's name stands for.
        record: Arc<Record>,
        /// The endpoint's label.
        host: &'a str,
    },
}

impl Zone {
    /// What the labels before the zone's own name stand for; they are in lower case.
    pub(crate) fn find<'a>(&self, labels: &[&'a str]) -> Found<'a> {
        match *labels {
            [] => Found::Apex,
            ["dns-version"] => Found::Version,
            ["ns", "dns"] | ["dns" | "svc" | "pod"] => Found::Empty,
            [namespace, "svc" | "pod"] if self.has_namespace(namespace) => Found::Empty,
            [pod, namespace, "pod"] if self.has_namespace(namespace) => {
                pod_address(pod).map_or(Found::Nothing, Found::Pod)
            }
            [ref before @ .., service, namespace, "svc"] if before.len() <= 2 => {
                let Some(record) = self.service(namespace, service) else { return Found::Nothing };
                match *before {
                    [name, protocol] => Found::Service { record, namespace, service, port: Some((name, protocol)) },
                    [host] => Found::Endpoint { record, host },
                    _ => Found::Service { record, namespace, service, port: None },
                }
            }
            _ => Found::Nothing,
        }
    }
}

/// `10-244-0-2.default.pod`: the address is in the name.
fn pod_address(label: &str) -> Option<IpAddr> {
    let four = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    four.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}
