//! Addresses and node ports of Services: which ones a write gets, and what it lets go of.
//!
//! Invariant: an address or port is never in two Services, whichever server gave it; a reservation that is not kept is
//! given back. The objects of addresses decide between servers, which are committed together with the Service; of ports
//! a map does (`ports.rs`).

mod families;
pub(crate) mod follow;
pub(crate) mod objects;
pub(crate) mod ports;
mod range;
mod told;

use crate::cache::Caches;
use ipnet::Ipv4Net;
use ironclad_api::{ApiError, ErrorList, FieldError, Path, object};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_store::{Op, Store};
use parking_lot::Mutex;
use ports::{Ports, Want};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct Addresses {
    /// Addresses of writes that are under way.
    taken: Arc<Mutex<BTreeSet<Ipv4Addr>>>,
    ports: Arc<Ports>,
    cidr: Ipv4Net,
    caches: Arc<Caches>,
    told: Arc<told::Told>,
}

/// What was taken for one write; given back unless it is kept.
#[must_use]
pub(crate) struct Reservation {
    addresses: Addresses,
    ip: Option<Ipv4Addr>,
    /// Whether nobody asked for just that address.
    any: bool,
    ports: Vec<u16>,
    /// What the write lets go of.
    freed_ips: Vec<Ipv4Addr>,
    freed_ports: Vec<u16>,
}

impl Reservation {
    fn new(addresses: &Addresses) -> Self {
        let addresses = addresses.clone();
        Self { addresses, ip: None, any: false, ports: Vec::new(), freed_ips: Vec::new(), freed_ports: Vec::new() }
    }

    /// What is to be stored together with the Service.
    pub(crate) fn ops(&self, service: &Value) -> Vec<Op> {
        let freed = self.freed_ips.iter().map(|ip| objects::free(&self.addresses.caches, *ip));
        self.ip.iter().map(|ip| objects::take(*ip, service)).chain(freed).collect()
    }

    /// Another address in the place of one that turned out to be somebody else's; false if just that one was asked for.
    pub(crate) fn other(&mut self, lost: Ipv4Addr, service: &mut Value) -> bool {
        if !self.any || self.ip != Some(lost) {
            return false;
        }
        // The lost one stays noted until the next one is found.
        let Some(next) = self.addresses.free_ip() else { return false };
        self.addresses.taken.lock().remove(&lost);
        self.ip = Some(next);
        set_ip(service, &next.to_string());
        true
    }

    /// The write was stored.
    pub(crate) async fn keep(mut self) {
        self.ports.clear();
        let freed = std::mem::take(&mut self.freed_ports);
        give_back(&self.addresses.ports, &freed).await;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // What is stored has its object from now on; what is not is free.
        if let Some(ip) = &self.ip {
            self.addresses.taken.lock().remove(ip);
        }
        if !self.ports.is_empty() {
            let (ports, lost) = (self.addresses.ports.clone(), std::mem::take(&mut self.ports));
            drop(tokio::spawn(async move { give_back(&ports, &lost).await }));
        }
    }
}

/// What cannot be given back now is, once it has been idle for long enough.
async fn give_back(ports: &Ports, freed: &[u16]) {
    if let Err(error) = ports.free(freed).await {
        tracing::warn!(%error, ?freed, "cannot give node ports back");
    }
}

fn set_ip(service: &mut Value, address: &str) {
    let spec = object::entry(service, "spec");
    spec.insert("clusterIP", json!(address));
    spec.insert("clusterIPs", json!([address]));
}

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && &*kind.plural == "services"
}

fn kind_of(service: &Value) -> &str {
    object::text(service, &["spec", "type"])
}

/// Whether a Service of its type has ports on nodes.
fn has_ports(service: &Value) -> bool {
    matches!(kind_of(service), "NodePort" | "LoadBalancer")
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
    pub(crate) fn new(cidr: Ipv4Net, ports: (u16, u16), store: Arc<dyn Store>, caches: Arc<Caches>) -> Self {
        Self { taken: Arc::default(), ports: Arc::new(Ports::new(ports, store)), cidr, caches, told: Arc::default() }
    }

    /// Notes the ports that existing Services have.
    pub(crate) async fn load(&self, services: &[impl std::ops::Deref<Target = Value>]) -> Result<(), ApiError> {
        self.ports.note(&services.iter().flat_map(|s| ports_of(s)).collect()).await
    }

    /// Frees the ports of a Service that is gone.
    pub(crate) async fn release(&self, kind: &Kind, service: &Value) {
        if is_service(kind) {
            give_back(&self.ports, &ports_of(service).into_iter().collect::<Vec<_>>()).await;
        }
    }

    /// What is to be removed together with an object.
    pub(crate) fn leaving(&self, kind: &Kind, object: &Value) -> Vec<Op> {
        let ip = ip_of(object).filter(|_| is_service(kind));
        ip.map(|ip| objects::free(&self.caches, ip)).into_iter().collect()
    }

    /// The address whose object lies under a key.
    pub(crate) fn lost(key: &str) -> Option<Ipv4Addr> {
        objects::address_of(key)
    }

    /// Gives a Service the addresses and ports that it lacks.
    pub(crate) async fn reserve(
        &self,
        kind: &Kind,
        service: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Reservation, ApiError> {
        let mut reservation = Reservation::new(self);
        if !is_service(kind) {
            return Ok(reservation);
        }
        let invalid =
            |errors: ErrorList, service: &Value| Err(ApiError::invalid("", "Service", object::name(service), &errors));
        if kind_of(service) != "ExternalName" {
            let errors = ironclad_kinds::service_addresses(service, old);
            if !errors.is_empty() {
                return invalid(errors, service);
            }
            let errors = families::settle(service, old.filter(|o| kind_of(o) != "ExternalName"));
            if !errors.is_empty() {
                return invalid(errors, service);
            }
        }
        let began = std::time::Instant::now();
        if let Err(error) = self.ip(service, old, &mut reservation) {
            let any = matches!(object::text(service, &["spec", "clusterIP"]), "");
            self.told.refused(self.cidr, any);
            return invalid(vec![error], service);
        }
        if let Some(ip) = reservation.ip {
            let range = self.ranges().into_iter().find(|r| r.contains(&ip)).unwrap_or(self.cidr);
            self.told.given(range, reservation.any, began.elapsed());
        }
        let mut wants = wanted_ports(service, old);
        if dry_run {
            // Which ports there are is not looked at then.
            wants.retain(|(_, want)| want.number.is_none());
        }
        match self.ports.give(&wants.iter().map(|(_, w)| w.clone()).collect::<Vec<_>>(), dry_run).await? {
            Ok(given) => {
                for ((place, _), port) in wants.iter().zip(&given) {
                    place.set(service, *port);
                }
                if !dry_run {
                    self.told.ports(wants.iter().map(|(_, want)| want.number), true);
                    reservation.ports = given;
                }
            }
            Err(error) => {
                self.told.ports(wants.iter().map(|(_, want)| want.number), false);
                return invalid(vec![error], service);
            }
        }
        let has = match has_ports(service) {
            true => ports_of(service),
            false => health_of(service).into_iter().collect(),
        };
        reservation.freed_ports = old.map(ports_of).unwrap_or_default().difference(&has).copied().collect();
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
            // Who has an address cannot have another, which validation tells.
            if had.is_none() {
                self.take(wanted, &path)?;
                reservation.ip = Some(wanted);
            }
            given
        } else if let Some(had) = had {
            had.to_string()
        } else {
            let full = "failed to allocate a serviceIP: range is full";
            let found = self.free_ip().ok_or_else(|| FieldError::internal(&path.index(0), full))?;
            (reservation.ip, reservation.any) = (Some(found), true);
            found.to_string()
        };
        set_ip(service, &address);
        Ok(())
    }

    fn ranges(&self) -> Vec<Ipv4Net> {
        let mut all = vec![self.cidr];
        for range in objects::ranges(&self.caches) {
            if !all.contains(&range) {
                all.push(range);
            }
        }
        all
    }

    fn take(&self, ip: Ipv4Addr, path: &Path) -> Result<(), FieldError> {
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
        if objects::is_taken(&self.caches, ip) || !self.taken.lock().insert(ip) {
            return fail("provided IP is already allocated".to_owned());
        }
        Ok(())
    }

    /// A free address, not from the low ones of a range, which are kept for those who ask for one by number (KEP-3070).
    fn free_ip(&self) -> Option<Ipv4Addr> {
        self.ranges().into_iter().find_map(|range| self.free_in(range))
    }

    fn free_in(&self, range: Ipv4Net) -> Option<Ipv4Addr> {
        let first = u32::from(range.network()) + 1;
        let last = u32::from(range.broadcast()).checked_sub(1)?;
        let count = last.checked_sub(first)? + 1;
        let low = (count / 16).clamp(16, 256).min(count / 2);
        let upper = count - low;
        let start = fastrand::u32(..upper);
        let high_part = (0..upper).map(|i| first + low + (start + i) % upper);
        let is_free =
            |taken: &BTreeSet<Ipv4Addr>, ip: &Ipv4Addr| !taken.contains(ip) && !objects::is_taken(&self.caches, *ip);
        let mut taken = self.taken.lock();
        let found = high_part.chain(first..first + low).map(Ipv4Addr::from).find(|ip| is_free(&taken, ip))?;
        taken.insert(found);
        Some(found)
    }
}

/// The field of a Service that a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Port(usize),
    Health,
}

impl Place {
    fn set(self, service: &mut Value, port: u16) {
        match self {
            Self::Port(index) => service["spec"]["ports"][index]["nodePort"] = json!(port),
            Self::Health => service["spec"]["healthCheckNodePort"] = json!(port),
        }
    }
}

/// The ports that a Service needs and does not have.
fn wanted_ports(service: &Value, old: Option<&Value>) -> Vec<(Place, Want)> {
    let own_ports = |o: &Value| {
        let mut all = ports_of(o);
        health_of(o).map(|p| all.remove(&p));
        all
    };
    let mut known = old.map(own_ports).unwrap_or_default();
    let kind = kind_of(service);
    let wants = kind == "NodePort" || service["spec"]["allocateLoadBalancerNodePorts"] != false;
    let ports = service["spec"]["ports"].as_array().filter(|_| has_ports(service));
    let mut all = Vec::new();
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let path = Path::new("spec").child("ports").index(index).child("nodePort");
        let number = port["nodePort"].as_u64().filter(|p| *p > 0).map(|p| p as u16);
        // Ports of several protocols may share a number.
        if number.map_or(wants, |n| known.insert(n)) {
            all.push((Place::Port(index), Want { number, path, what: "nodePort" }));
        }
    }
    // The port at which a load balancer asks a node whether it has pods of the Service.
    let (health, had) = (health_of(service), old.and_then(health_of));
    if kind == "LoadBalancer"
        && service["spec"]["externalTrafficPolicy"] == "Local"
        && health.is_none_or(|h| Some(h) != had)
    {
        let path = Path::new("spec").child("healthCheckNodePort");
        all.push((Place::Health, Want { number: health, path, what: "HealthCheck NodePort" }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_wants_the_ports_that_it_lacks() {
        let one = json!({"port": 80});
        let fixed = json!({"port": 80, "nodePort": 30001});
        let udp = json!({"port": 80, "nodePort": 30001, "protocol": "UDP"});
        let table = [
            (json!({"type": "ClusterIP", "ports": [one]}), json!({}), vec![]),
            (json!({"type": "NodePort", "ports": [one, one]}), json!({}), vec![None, None]),
            (json!({"type": "NodePort", "ports": [fixed, udp]}), json!({}), vec![Some(30001)]),
            (json!({"type": "NodePort", "ports": [fixed]}), json!({"ports": [fixed]}), vec![]),
            (json!({"type": "NodePort", "ports": [fixed]}), json!({"healthCheckNodePort": 30001}), vec![Some(30001)]),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [one]}),
                json!({}),
                vec![],
            ),
            (
                json!({"type": "LoadBalancer", "ports": [one], "externalTrafficPolicy": "Local"}),
                json!({}),
                vec![None, None],
            ),
            (
                json!({"type": "LoadBalancer", "ports": [], "externalTrafficPolicy": "Local", "healthCheckNodePort": 30002}),
                json!({"healthCheckNodePort": 30002}),
                vec![],
            ),
        ];
        for (spec, old, want) in table {
            let (service, old) = (json!({"spec": spec}), json!({"spec": old}));
            let wants = wanted_ports(&service, Some(&old));
            assert_eq!(wants.iter().map(|(_, w)| w.number).collect::<Vec<_>>(), want, "{service}");
        }
    }
}
