//! Which addresses answer for a Service, and what keeps a Service from answering. Pure: objects in, decisions out.
//!
//! Invariant: an address of this machine or of its link is never dialled, whoever wrote it into a slice: what listens
//! there trusts who comes from there.

use ironclad_api::object::{self, text};
use ironclad_json::Value;
use std::net::{IpAddr, SocketAddr};

/// Where a request for a Service goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// One of these.
    Endpoints(Vec<SocketAddr>),
    /// A name outside of the cluster.
    External(String, u16),
}

/// Why a Service does not answer: a condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The backend of a port of a Service; `None` for a Service that is not there.
pub(super) fn find(
    service: Option<&Value>,
    slices: &[Value],
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Backend, Missing> {
    let missing = |reason, message| Err(Missing { reason, message });
    let Some(service) = service else {
        return missing("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
    };
    if text(service, &["spec", "type"]) == "ExternalName" {
        return Ok(Backend::External(text(service, &["spec", "externalName"]).to_owned(), port));
    }
    let ports = items(service, &["spec", "ports"]);
    let Some(wanted) = ports.iter().find(|p| p["port"].as_u64() == Some(u64::from(port))) else {
        // Of a Service of another type nobody looks before it is asked.
        return match text(service, &["spec", "type"]) {
            "" | "ClusterIP" => {
                missing("ServicePortError", format!("service/{name} in {namespace:?} is not listening on port {port}"))
            }
            _ => missing("FailedDiscoveryCheck", format!("no service port {port} found for service {name:?}")),
        };
    };
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return missing("EndpointsNotFound", message);
    }
    let port_name = wanted["name"].as_str().unwrap_or_default();
    let found: Vec<SocketAddr> = slices.iter().flat_map(|slice| ready(slice, port_name)).collect();
    if found.is_empty() {
        let message = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return missing("MissingEndpoints", message);
    }
    Ok(Backend::Endpoints(found))
}

fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    object::at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The ready addresses of a slice with the port of this name.
fn ready(slice: &Value, port_name: &str) -> Vec<SocketAddr> {
    let named = |p: &&Value| p["name"].as_str().unwrap_or_default() == port_name;
    let port = items(slice, &["ports"]).iter().find(named).and_then(|p| p["port"].as_u64());
    let Some(port) = port.and_then(|p| u16::try_from(p).ok()) else { return Vec::new() };
    let ready = items(slice, &["endpoints"]).iter().filter(|e| e["conditions"]["ready"] != false);
    let addresses = ready.filter_map(|e| e["addresses"][0].as_str()?.parse::<IpAddr>().ok());
    addresses.filter(|ip| may_dial(*ip)).map(|ip| SocketAddr::new(ip, port)).collect()
}

/// Whether an address is one that a Service's backend can have.
pub(super) fn may_dial(ip: IpAddr) -> bool {
    let local = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    };
    let ip = ip.to_canonical();
    !(local || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn service() -> Value {
        json!({"spec": {"type": "ClusterIP", "ports": [{"port": 443, "name": "https"}, {"port": 80}]}})
    }

    fn slice(address: &str, ready: Option<bool>) -> Value {
        let endpoint = json!({"addresses": [address], "conditions": {"ready": ready}});
        json!({"ports": [{"name": "https", "port": 8443}], "endpoints": [endpoint]})
    }

    fn reason(service: Option<&Value>, slices: &[Value], port: u16) -> (&'static str, String) {
        let missing = find(service, slices, "a", "b", port).unwrap_err();
        (missing.reason, missing.message)
    }

    #[test]
    fn what_keeps_a_service_from_answering_is_worded_as_stock() {
        let service = service();
        let some = Some(&service);
        let not_ready = [slice("10.0.0.1", Some(false))];
        let table: [(Option<&Value>, &[Value], u16, &str, &str); 4] = [
            (None, &[], 443, "ServiceNotFound", "service/b in \"a\" is not present"),
            (some, &[], 444, "ServicePortError", "service/b in \"a\" is not listening on port 444"),
            (some, &[], 443, "EndpointsNotFound", "cannot find endpointslices for service/b in \"a\""),
            (
                some,
                &not_ready,
                443,
                "MissingEndpoints",
                "endpointslices for service/b in \"a\" have no addresses with port name \"https\"",
            ),
        ];
        for (service, slices, port, want, message) in table {
            assert_eq!(reason(service, slices, port), (want, message.to_owned()));
        }
        assert_eq!(reason(some, &[slice("10.0.0.1", None)], 80).0, "MissingEndpoints");
    }

    #[test]
    fn ready_endpoints_answer_with_the_port_of_the_same_name() {
        let slices = [slice("10.0.0.1", None), slice("10.0.0.2", Some(true)), slice("10.0.0.3", Some(false))];
        let want = vec!["10.0.0.1:8443".parse().unwrap(), "10.0.0.2:8443".parse().unwrap()];
        assert_eq!(find(Some(&service()), &slices, "a", "b", 443), Ok(Backend::Endpoints(want)));
        let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
        assert_eq!(find(Some(&external), &[], "a", "b", 443), Ok(Backend::External("example.com".into(), 443)));
    }

    #[test]
    fn ssrf_addresses_of_this_machine_are_not_dialled_whoever_wrote_them() {
        let local =
            ["127.0.0.1", "127.8.9.1", "0.0.0.0", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1"];
        for address in local {
            assert_eq!(reason(Some(&service()), &[slice(address, None)], 443).0, "MissingEndpoints", "{address}");
        }
    }
}
