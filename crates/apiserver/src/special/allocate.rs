//! Addresses and node ports of Services: given out under one lock, rebuilt from the Services themselves at start.
//!
//! Invariant: an address or port is never in two Services; a reservation that is not kept is given back. Between servers
//! on one store the objects of addresses decide, which are committed together with the Service.

mod families;
pub(crate) mod objects;

use crate::cache::Caches;
use ipnet::Ipv4Net;
use ironclad_api::{ApiError, ErrorList, FieldError, Path, object};
use ironclad_kinds::Kind;
use ironclad_store::Op;
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
    caches: Option<Arc<Caches>>,
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
    /// What is to be stored together with the Service.
    ops: Vec<Op>,
    kept: bool,
}

impl Reservation {
    /// What is to be stored together with the Service.
    pub(crate) fn ops(&mut self) -> Vec<Op> {
        std::mem::take(&mut self.ops)
    }

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

fn kind_of(service: &Value) -> &str {
    object::text(service, &["spec", "type"])
}

fn ip_of(service: &Value) -> Option<Ipv4Addr> {
    object::text(service, &["spec", "clusterIP"]).parse().ok()
}

fn health_of(service: &Value) -> Option<u16> {
    service["spec"]["healthCheckNodePort"].as_u64().filter(|p| *p > 0).map(|p| p as u16)
}

fn ports_of(service: &Value) -> BTreeSet<u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut all: BTreeSet<u16> =
        ports.filter_map(|p| p["nodePort"].as_u64()).filter(|p| *p > 0).map(|p| p as u16).collect();
    all.extend(health_of(service));
    all
}

impl Addresses {
    pub(crate) fn new(cidr: Ipv4Net, ports: (u16, u16), caches: Option<Arc<Caches>>) -> Self {
        Self { taken: Arc::default(), cidr, ports, caches }
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

    /// What is to be removed together with an object.
    pub(crate) fn leaving(&self, kind: &Kind, object: &Value) -> Vec<Op> {
        let (Some(caches), Some(ip)) = (&self.caches, ip_of(object).filter(|_| is_service(kind))) else {
            return Vec::new();
        };
        objects::free(caches, ip).into_iter().collect()
    }

    /// Notes that somebody else holds the address whose object lies under a key; gives that address.
    pub(crate) fn lost(&self, key: &str) -> Option<Ipv4Addr> {
        objects::address_of(key)
    }

    /// Gives a Service the addresses and ports that it lacks.
    pub(crate) fn reserve(
        &self,
        kind: &Kind,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation, ApiError> {
        let mut reservation = Reservation {
            taken: self.taken.clone(),
            ips: Vec::new(),
            ports: Vec::new(),
            freed_ips: Vec::new(),
            freed_ports: Vec::new(),
            ops: Vec::new(),
            kept: false,
        };
        if !is_service(kind) {
            reservation.kept = true;
            return Ok(reservation);
        }
        let invalid =
            |errors: ErrorList, service: &Value| Err(ApiError::invalid("", "Service", object::name(service), &errors));
        if kind_of(service) != "ExternalName" {
            let errors = families::settle(service, old.filter(|o| kind_of(o) != "ExternalName"));
            if !errors.is_empty() {
                return invalid(errors, service);
            }
        }
        let given = self
            .ip(service, old, &mut reservation)
            .and_then(|()| self.node_ports(service, old, &mut reservation))
            .and_then(|()| self.health_port(service, old, &mut reservation));
        if let Err(error) = given {
            return invalid(vec![error], service);
        }
        if let Some(caches) = &self.caches {
            reservation.ops = reservation.ips.iter().map(|ip| objects::take(*ip, service)).collect();
            reservation.ops.extend(reservation.freed_ips.iter().filter_map(|ip| objects::free(caches, *ip)));
        }
        Ok(reservation)
    }

    fn ip(&self, service: &mut Value, old: Option<&Value>, reservation: &mut Reservation) -> Result<(), FieldError> {
        let path = Path::new("spec").child("clusterIPs");
        let had = old.and_then(ip_of);
        if kind_of(service) == "ExternalName" {
            reservation.freed_ips.extend(had);
            return Ok(());
        }
        let given = object::text(service, &["spec", "clusterIP"]).to_owned();
        let address = if families::is_headless(&service["spec"]) {
            reservation.freed_ips.extend(had);
            "None".to_owned()
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
                .ok_or_else(|| FieldError::internal(&path.index(0), "failed to allocate a serviceIP: range is full"))?
                .to_string()
        };
        let spec = object::entry(service, "spec");
        spec.insert("clusterIP".into(), json!(address));
        spec.insert("clusterIPs".into(), json!([address]));
        Ok(())
    }

    fn ranges(&self) -> Vec<Ipv4Net> {
        let mut all = vec![self.cidr];
        for range in self.caches.iter().flat_map(|c| objects::ranges(c)) {
            if !all.contains(&range) {
                all.push(range);
            }
        }
        all
    }

    fn take(&self, ip: Ipv4Addr, path: &Path, reservation: &mut Reservation) -> Result<(), FieldError> {
        let fail = |why: String| {
            Err(FieldError::invalid(path, &json!([ip.to_string()]), format!("failed to allocate IP {ip}: {why}")))
        };
        let ranges = self.ranges();
        let usable =
            |r: &Ipv4Net| r.contains(&ip) && (r.prefix_len() > 30 || (ip != r.network() && ip != r.broadcast()));
        if !ranges.iter().any(usable) {
            let known: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            return fail(format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                known.join(",")
            ));
        }
        let known = self.caches.as_ref().is_some_and(|c| objects::is_taken(c, ip));
        if known || !self.taken.lock().ips.insert(ip) {
            return fail("provided IP is already allocated".to_owned());
        }
        reservation.ips.push(ip);
        Ok(())
    }

    /// A free address, not from the low ones of a range, which are kept for those who ask for one by number (KEP-3070).
    fn free_ip(&self, reservation: &mut Reservation) -> Option<Ipv4Addr> {
        self.ranges().into_iter().find_map(|range| self.free_in(range, reservation))
    }

    fn free_in(&self, range: Ipv4Net, reservation: &mut Reservation) -> Option<Ipv4Addr> {
        let first = u32::from(range.network()) + 1;
        let last = u32::from(range.broadcast()).checked_sub(1)?;
        let count = last.checked_sub(first)? + 1;
        let low = (count / 16).clamp(16, 256).min(count / 2);
        let upper = count - low;
        let start = fastrand::u32(..upper);
        let high_part = (0..upper).map(|i| first + low + (start + i) % upper);
        let is_free = |taken: &Taken, ip: &Ipv4Addr| {
            !taken.ips.contains(ip) && !self.caches.as_ref().is_some_and(|c| objects::is_taken(c, *ip))
        };
        let mut taken = self.taken.lock();
        let found = high_part.chain(first..first + low).map(Ipv4Addr::from).find(|ip| is_free(&taken, ip))?;
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
        let own_ports = |o: &Value| {
            let mut all = ports_of(o);
            health_of(o).map(|p| all.remove(&p));
            all
        };
        let had = old.map(own_ports).unwrap_or_default();
        let kind = kind_of(service).to_owned();
        let has_ports = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
        let wants = kind == "NodePort" || (has_ports && service["spec"]["allocateLoadBalancerNodePorts"] != false);
        let count = if has_ports { service["spec"]["ports"].as_array().map_or(0, Vec::len) } else { 0 };
        let mut keep = BTreeSet::new();
        for index in 0..count {
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            let port = &mut service["spec"]["ports"][index];
            match port["nodePort"].as_u64().filter(|p| *p > 0).map(|p| p as u16) {
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

    /// The port at which a load balancer asks a node whether it has pods of the Service.
    fn health_port(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        reservation: &mut Reservation,
    ) -> Result<(), FieldError> {
        let needs = kind_of(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local";
        let path = Path::new("spec").child("healthCheckNodePort");
        let had = old.and_then(health_of);
        match health_of(service) {
            Some(number) if needs && Some(number) != had => self.take_port(number, &path, reservation)?,
            None if needs => {
                let number = self.free_port(reservation).ok_or_else(|| {
                    FieldError::internal(&path, "failed to allocate a HealthCheck NodePort: range is full")
                })?;
                service["spec"]["healthCheckNodePort"] = json!(number);
            }
            _ => {}
        }
        reservation.freed_ports.extend(had.filter(|p| health_of(service) != Some(*p)));
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
        let (kind, addresses) = (services(), Addresses::new("10.0.0.0/28".parse().unwrap(), (30000, 30001), None));
        let mut first = service(json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}));
        addresses.reserve(&kind, &mut first, None).unwrap().keep();
        let mut second =
            service(json!({"type": "ClusterIP", "clusterIP": first["spec"]["clusterIP"], "ports": [{"port": 80}]}));
        let error = addresses.reserve(&kind, &mut second, None).err().unwrap();
        assert!(error.message.contains("provided IP is already allocated"), "{error}");
        let mut third = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
        assert!(addresses.reserve(&kind, &mut third, None).is_err(), "all ports are taken");
        addresses.release(&kind, &first);
        let mut fourth = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}));
        addresses.reserve(&kind, &mut fourth, None).unwrap().keep();
    }

    #[test]
    fn a_write_that_fails_gives_back_what_it_took() {
        let (kind, addresses) = (services(), Addresses::new("10.0.0.0/28".parse().unwrap(), (30000, 30000), None));
        let mut wanted = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
        drop(addresses.reserve(&kind, &mut wanted.clone(), None).unwrap());
        assert!(addresses.reserve(&kind, &mut wanted, None).is_ok());
    }
}
