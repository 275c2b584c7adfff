//! The objects that stand for addresses and ranges: each address that a Service has is an IPAddress, which is stored in
//! one commit with the Service; the ranges come from the ServiceCIDRs that are ready.

use crate::cache::{Cached, Caches};
use crate::encode;
use ipnet::Ipv4Net;
use ironclad_api::{object, time};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_store::{Change, Expect, Op};
use std::net::Ipv4Addr;
use std::sync::Arc;

const IPS: &str = "/registry/ipaddresses/";
const RANGES: &str = "/registry/servicecidrs/";
const GROUP: &str = "networking.k8s.io";

fn kind(plural: &str) -> Option<&'static Arc<Kind>> {
    ironclad_kinds::all().iter().find(|k| k.group == GROUP && k.version == "v1" && k.plural == plural)
}

fn cached(caches: &Caches, plural: &str, prefix: &str) -> Vec<Arc<Cached>> {
    kind(plural).and_then(|k| caches.of(k)).map(|c| c.list(prefix, None)).unwrap_or_default()
}

/// The ranges from which new addresses come.
pub(super) fn ranges(caches: &Caches) -> Vec<Ipv4Net> {
    let usable = |cidr: &Value| {
        let conditions = cidr["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        ready && cidr["metadata"]["deletionTimestamp"].is_null()
    };
    let all = cached(caches, "servicecidrs", RANGES).into_iter().map(|c| c.value()).filter(usable);
    let texts = all.flat_map(|c| c["spec"]["cidrs"].as_array().cloned().unwrap_or_default());
    texts.filter_map(|c| c.as_str()?.parse().ok()).collect()
}

/// The addresses that have objects.
pub(super) fn addresses(caches: &Caches) -> Vec<Ipv4Addr> {
    cached(caches, "ipaddresses", IPS).iter().filter_map(|c| c.key.strip_prefix(IPS)?.parse().ok()).collect()
}

/// Whether an object stands for the address already.
pub(super) fn is_taken(caches: &Caches, ip: Ipv4Addr) -> bool {
    let key = format!("{IPS}{ip}");
    kind("ipaddresses").and_then(|k| caches.of(k)).is_some_and(|c| c.get(&key).is_some())
}

/// The object for an address of a Service.
pub(crate) fn ip_address(ip: Ipv4Addr, service: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": ip.to_string(), "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": time::now(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "resource": "services", "namespace": object::namespace(service), "name": object::name(service),
        }},
    })
}

/// What stores the object of an address that must have none.
pub(super) fn take(ip: Ipv4Addr, service: &Value) -> Op {
    let change = Change::Put { value: encode::template(&ip_address(ip, service)), ttl: None };
    Op { key: format!("{IPS}{ip}").into(), expect: Expect::Absent, change }
}

/// What removes the object of an address, if there is one.
pub(super) fn free(caches: &Caches, ip: Ipv4Addr) -> Op {
    let key = format!("{IPS}{ip}");
    // One that was made a moment ago may not be seen yet.
    let found = kind("ipaddresses").and_then(|k| caches.of(k)).and_then(|c| c.get(&key));
    let change = Change::Delete { last: found.map(|f| encode::template(&f.value())) };
    Op { key: key.into(), expect: Expect::Any, change }
}

/// What removes the object of an address that still says to be this Service's.
pub(super) fn orphan(caches: &Caches, ip: Ipv4Addr, service: &Value) -> Option<Op> {
    let key = format!("{IPS}{ip}");
    let found = kind("ipaddresses").and_then(|k| caches.of(k)).and_then(|c| c.get(&key))?;
    let value = found.value();
    let parent = &value["spec"]["parentRef"];
    let own = parent["namespace"] == object::namespace(service) && parent["name"] == object::name(service);
    let change = Change::Delete { last: Some(encode::template(&value)) };
    own.then(|| Op { key: key.into(), expect: Expect::Modified(found.revision), change })
}

/// The address whose object lies under a key.
pub(super) fn address_of(key: &str) -> Option<Ipv4Addr> {
    key.strip_prefix(IPS)?.parse().ok()
}

/// The range with which a cluster begins.
pub(crate) fn first_range(cidr: Ipv4Net) -> Value {
    json!({
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [cidr.to_string()]},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": time::now(),
            "message": "Kubernetes default Service CIDR is ready",
        }]},
    })
}
