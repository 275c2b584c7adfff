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
}

impl Told {
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
