//! What is told of addresses and ports under `/metrics`: how many are given out, how many are left, how long it takes.

use super::{Addresses, objects};
use crate::metrics::{Counter, Family, Histogram, head, pairs, sample};
use ipnet::Ipv4Net;
use std::time::Duration;

const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const ADDRESSES: &str = "kube_apiserver_clusterip_allocator";
const PORTS: &str = "kube_apiserver_nodeport_allocator";

#[derive(Default)]
pub(super) struct Told {
    given: Family<(Ipv4Net, &'static str), Counter>,
    took: Family<(Ipv4Net,), Histogram>,
    refused: Family<(Ipv4Net, &'static str), Counter>,
    ports: [Counter; 2],
    ports_refused: [Counter; 2],
}

const SCOPES: [&str; 2] = ["dynamic", "static"];

impl Told {
    /// A Service got no address.
    pub(super) fn refused(&self, range: Ipv4Net, any: bool) {
        let key = (range, SCOPES[usize::from(!any)]);
        self.refused.of(&key, || key).add(1);
    }

    /// A Service got ports or did not: any, or those that were asked for.
    pub(super) fn ports(&self, numbers: impl Iterator<Item = Option<u16>>, given: bool) {
        let counters = if given { &self.ports } else { &self.ports_refused };
        numbers.for_each(|number| counters[usize::from(number.is_some())].add(1));
    }

    /// A Service got an address: any, or the one that was asked for.
    pub(super) fn given(&self, range: Ipv4Net, any: bool, took: Duration) {
        let key = (range, if any { "dynamic" } else { "static" });
        self.given.of(&key, || key).add(1);
        self.took.of(&(range,), || (range,)).record(&BOUNDS, took);
    }
}

impl Addresses {
    pub(crate) fn render(&self, out: &mut String) {
        let taken = objects::addresses(&self.caches);
        let ranges = self.ranges();
        let of = |range: &Ipv4Net| taken.iter().filter(|ip| range.contains(*ip)).count();
        let name = format!("{ADDRESSES}_allocated_ips");
        head(out, &name, "gauge", "ALPHA", "Gauge measuring the number of allocated IPs for Services");
        ranges.iter().for_each(|range| sample(out, &name, &[("cidr", &range.to_string())], of(range)));
        let name = format!("{ADDRESSES}_available_ips");
        head(out, &name, "gauge", "ALPHA", "Gauge measuring the number of available IPs for Services");
        for range in &ranges {
            sample(out, &name, &[("cidr", &range.to_string())], usable(range).saturating_sub(of(range)));
        }
        let name = format!("{ADDRESSES}_allocation_total");
        head(out, &name, "counter", "ALPHA", "Number of Cluster IPs allocations");
        for ((range, scope), counter) in self.told.given.all() {
            sample(out, &name, &[("cidr", &range.to_string()), ("scope", scope)], counter.get());
        }
        let name = format!("{ADDRESSES}_allocation_duration_seconds");
        head(out, &name, "histogram", "ALPHA", "Duration in seconds to allocate a Cluster IP by ServiceCIDR");
        for ((range,), histogram) in self.told.took.all() {
            histogram.write(out, &name, &pairs(&[("cidr", &range.to_string())]), &BOUNDS);
        }
        let counters = [
            ("allocation_total", "Number of NodePort allocations", &self.told.ports),
            ("allocation_errors_total", "Number of errors trying to allocate NodePort", &self.told.ports_refused),
        ];
        for (name, help, counters) in counters.into_iter().filter(|c| c.2.iter().any(|n| n.get() > 0)) {
            let name = format!("{PORTS}_{name}");
            head(out, &name, "counter", "ALPHA", help);
            for (scope, counter) in SCOPES.iter().zip(counters).filter(|(_, n)| n.get() > 0) {
                sample(out, &name, &[("scope", scope)], counter.get());
            }
        }
        let refused = self.told.refused.all();
        if !refused.is_empty() {
            let name = format!("{ADDRESSES}_allocation_errors_total");
            head(out, &name, "counter", "ALPHA", "Number of errors trying to allocate Cluster IPs");
            for ((range, scope), counter) in refused {
                sample(out, &name, &[("cidr", &range.to_string()), ("scope", scope)], counter.get());
            }
        }
        let (given, left) = self.ports.counts();
        let name = format!("{PORTS}_allocated_ports");
        head(out, &name, "gauge", "ALPHA", "Gauge measuring the number of allocated NodePorts for Services");
        sample(out, &name, &[], given);
        let name = format!("{PORTS}_available_ports");
        head(out, &name, "gauge", "ALPHA", "Gauge measuring the number of available NodePorts for Services");
        sample(out, &name, &[], left);
    }
}

/// How many addresses of a range Services can have: neither its first nor its last one.
fn usable(range: &Ipv4Net) -> usize {
    let all = 1_u64 << (32 - range.prefix_len());
    usize::try_from(if range.prefix_len() > 30 { all } else { all - 2 }).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lack_their_ends() {
        let of = |text: &str| usable(&text.parse().unwrap());
        assert_eq!((of("10.96.0.0/24"), of("10.96.0.0/32"), of("10.96.0.0/12")), (254, 1, (1 << 20) - 2));
    }
}
