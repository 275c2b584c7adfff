//! Addresses and node ports of Services: given out under one lock, rebuilt from the Services themselves at start.
//!
//! Invariant: an address or port is never in two Services; a reservation that is not kept is given back.

use ipnet::Ipv4Net;
use ironclad_api::{ApiError, FieldError, Path, object};
use ironclad_kinds::Kind;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct Addresses {
    taken: Arc<Mutex<Taken>>,
    cidr: Ipv4Net,
    ports: (u16, u16),
}

#[derive(Default)]
struct Taken {
    ips: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
}

/// What was taken for one write; given back unless it is kept.
#[must_use]
pub(crate) struct Reservation {
    taken: Arc<Mutex<Taken>>,
    ips: Vec<Ipv4Addr>,
    ports: Vec<u16>,
    /// What the write lets go of.
    freed_ips: Vec<Ipv4Addr>,
    freed_ports: Vec<u16>,
    kept: bool,
}

impl Reservation {
    /// The write was stored.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        let mut taken = self.taken.lock();
        for ip in &self.freed_ips {
            taken.ips.remove(ip);
        }
        for port in &self.freed_ports {
            taken.ports.remove(port);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            let mut taken = self.taken.lock();
            for ip in &self.ips {
                taken.ips.remove(ip);
            }
            for port in &self.ports {
                taken.ports.remove(port);
            }
        }
    }
}

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && &*kind.plural == "services"
}

fn ip_of(service: &Value) -> Option<Ipv4Addr> {
    object::text(service, &["spec", "clusterIP"]).parse().ok()
}

fn ports_of(service: &Value) -> BTreeSet<u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut all: BTreeSet<u16> =
        ports.filter_map(|p| p["nodePort"].as_u64()).filter(|p| *p > 0).map(|p| p as u16).collect();
    all.extend(service["spec"]["healthCheckNodePort"].as_u64().filter(|p| *p > 0).map(|p| p as u16));
    all
}

impl Addresses {
    pub(crate) fn new(cidr: Ipv4Net, ports: (u16, u16)) -> Self {
        Self { taken: Arc::default(), cidr, ports }
    }

    /// Takes what an existing Service has.
    pub(crate) fn load(&self, service: &Value) {
        let mut taken = self.taken.lock();
        taken.ips.extend(ip_of(service));
        taken.ports.extend(ports_of(service));
    }

    /// Frees what a Service had that is gone.
    pub(crate) fn release(&self, kind: &Kind, service: &Value) {
        if is_service(kind) {
            let mut taken = self.taken.lock();
            if let Some(ip) = &ip_of(service) {
                taken.ips.remove(ip);
            }
            for port in &ports_of(service) {
                taken.ports.remove(port);
            }
        }
    }

    /// Gives a Service the addresses and ports that it lacks.
    pub(crate) fn reserve(
        &self,
        kind: &Kind,
        service: &mut Value,
        old: Option<&Value>,
        _dry_run: bool,
    ) -> Result<Reservation, ApiError> {
        let mut reservation = Reservation {
            taken: self.taken.clone(),
            ips: Vec::new(),
            ports: Vec::new(),
            freed_ips: Vec::new(),
            freed_ports: Vec::new(),
            kept: false,
        };
        if !is_service(kind) {
            reservation.kept = true;
            return Ok(reservation);
        }
        let invalid =
            |error: FieldError, service: &Value| ApiError::invalid("", "Service", object::name(service), &[error]);
        self.ip(service, old, &mut reservation).map_err(|e| invalid(e, service))?;
        self.node_ports(service, old, &mut reservation).map_err(|e| invalid(e, service))?;
        Ok(reservation)
    }

    fn ip(&self, service: &mut Value, old: Option<&Value>, reservation: &mut Reservation) -> Result<(), FieldError> {
        let path = Path::new("spec").child("clusterIPs").index(0);
        let had = old.and_then(ip_of);
        let kind = object::text(service, &["spec", "type"]).to_owned();
        if kind == "ExternalName" {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
                service["spec"].as_object_mut().map(|s| s.remove(field));
            }
            reservation.freed_ips.extend(had);
            return Ok(());
        }
        let given = object::text(service, &["spec", "clusterIP"]).to_owned();
        let given = match (given.as_str(), service["spec"]["clusterIPs"][0].as_str()) {
            ("", Some(first)) => first.to_owned(),
            _ => given,
        };
        let address = if given == "None" {
            given
        } else if let Ok(wanted) = given.parse::<Ipv4Addr>() {
            if had != Some(wanted) {
                self.take(wanted, &path, reservation)?;
                reservation.freed_ips.extend(had);
            }
            given
        } else if let Some(had) = had {
            had.to_string()
        } else {
            self.free_ip(reservation)
                .ok_or_else(|| FieldError::internal(&path, "failed to allocate a serviceIP: range is full"))?
                .to_string()
        };
        let spec = object::entry(service, "spec");
        spec.insert("clusterIP".into(), json!(address));
        spec.insert("clusterIPs".into(), json!([address]));
        object::default_to(spec, "ipFamilies", || json!(["IPv4"]));
        object::default_to(spec, "ipFamilyPolicy", || json!("SingleStack"));
        Ok(())
    }

    fn take(&self, ip: Ipv4Addr, path: &Path, reservation: &mut Reservation) -> Result<(), FieldError> {
        let fail = |why: String| {
            Err(FieldError::invalid(path, &json!([ip.to_string()]), format!("failed to allocate IP {ip}: {why}")))
        };
        let usable = self.cidr.contains(&ip) && ip != self.cidr.network() && ip != self.cidr.broadcast();
        if !usable {
            return fail(format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                self.cidr
            ));
        }
        if !self.taken.lock().ips.insert(ip) {
            return fail("provided IP is already allocated".to_owned());
        }
        reservation.ips.push(ip);
        Ok(())
    }

    /// A free address, not from the low ones, which are kept for those who ask for one by number (KEP-3070).
    fn free_ip(&self, reservation: &mut Reservation) -> Option<Ipv4Addr> {
        let first = u32::from(self.cidr.network()) + 1;
        let last = u32::from(self.cidr.broadcast()).checked_sub(1)?;
        let count = last.checked_sub(first)? + 1;
        let low = (count / 16).clamp(16, 256).min(count / 2);
        let mut taken = self.taken.lock();
        let upper = count - low;
        let start = fastrand::u32(..upper);
        let high_part = (0..upper).map(|i| first + low + (start + i) % upper);
        let found = high_part.chain(first..first + low).map(Ipv4Addr::from).find(|ip| !taken.ips.contains(ip))?;
        taken.ips.insert(found);
        reservation.ips.push(found);
        Some(found)
    }

    fn node_ports(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        reservation: &mut Reservation,
    ) -> Result<(), FieldError> {
        let had = old.map(ports_of).unwrap_or_default();
        let kind = object::text(service, &["spec", "type"]).to_owned();
        let wants = match kind.as_str() {
            "NodePort" => true,
            "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
            _ => false,
        };
        let count = service["spec"]["ports"].as_array().map_or(0, Vec::len);
        let mut keep = BTreeSet::new();
        for index in 0..count {
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            let port = &mut service["spec"]["ports"][index];
            let given = port["nodePort"].as_u64().filter(|p| *p > 0).map(|p| p as u16);
            if !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
                if old.is_some() {
                    port.as_object_mut().map(|p| p.remove("nodePort"));
                }
                continue;
            }
            match given {
                Some(number) if had.contains(&number) || keep.contains(&number) => {
                    keep.insert(number);
                }
                Some(number) => {
                    self.take_port(number, &path, reservation)?;
                    keep.insert(number);
                }
                None if wants => {
                    let number = self
                        .free_port(reservation)
                        .ok_or_else(|| FieldError::internal(&path, "failed to allocate a nodePort: range is full"))?;
                    port["nodePort"] = json!(number);
                    keep.insert(number);
                }
                None => {}
            }
        }
        reservation.freed_ports.extend(had.difference(&keep));
        Ok(())
    }

    fn take_port(&self, port: u16, path: &Path, reservation: &mut Reservation) -> Result<(), FieldError> {
        let (first, last) = self.ports;
        if !(first..=last).contains(&port) {
            let why = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
            return Err(FieldError::invalid(path, &json!(port), why));
        }
        if !self.taken.lock().ports.insert(port) {
            return Err(FieldError::invalid(path, &json!(port), "provided port is already allocated"));
        }
        reservation.ports.push(port);
        Ok(())
    }

    fn free_port(&self, reservation: &mut Reservation) -> Option<u16> {
        let (first, last) = (u32::from(self.ports.0), u32::from(self.ports.1));
        let count = last - first + 1;
        let start = fastrand::u32(..count);
        let mut taken = self.taken.lock();
        let found = (0..count).map(|i| (first + (start + i) % count) as u16).find(|p| !taken.ports.contains(p))?;
        taken.ports.insert(found);
        reservation.ports.push(found);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Arc<Kind> {
        ironclad_kinds::all().iter().find(|k| is_service(k)).unwrap().clone()
    }

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn addresses_and_ports_are_given_once_and_given_back() {
        let (kind, addresses) = (services(), Addresses::new("10.0.0.0/28".parse().unwrap(), (30000, 30001)));
        let mut first = service(json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}));
        addresses.reserve(&kind, &mut first, None, false).unwrap().keep();
        let mut second =
            service(json!({"type": "ClusterIP", "clusterIP": first["spec"]["clusterIP"], "ports": [{"port": 80}]}));
        let error = addresses.reserve(&kind, &mut second, None, false).err().unwrap();
        assert!(error.message.contains("provided IP is already allocated"), "{error}");
        let mut third = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
        assert!(addresses.reserve(&kind, &mut third, None, false).is_err(), "all ports are taken");
        addresses.release(&kind, &first);
        let mut fourth = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}));
        addresses.reserve(&kind, &mut fourth, None, false).unwrap().keep();
    }

    #[test]
    fn a_write_that_fails_gives_back_what_it_took() {
        let (kind, addresses) = (services(), Addresses::new("10.0.0.0/28".parse().unwrap(), (30000, 30000)));
        let mut wanted = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
        drop(addresses.reserve(&kind, &mut wanted.clone(), None, false).unwrap());
        assert!(addresses.reserve(&kind, &mut wanted, None, false).is_ok());
    }
}
