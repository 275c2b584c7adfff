//! What `/etc/resolv.conf` says in a pod (KEP: custom DNS; the limits are those of glibc's resolver).

use crate::Config;
use crate::pod::Plan;
use ironclad_cri::DnsConfig;

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_LENGTH: usize = 2048;

/// The pod's settings, and what had to be left out of them.
pub(super) fn of(config: &Config, plan: &Plan, host: DnsConfig) -> (DnsConfig, Vec<String>) {
    let spec = &plan.spec;
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let mut out = match policy {
        "None" => DnsConfig::default(),
        "Default" => host,
        "ClusterFirst" if plan.host_network() => host,
        _ => {
            let (namespace, domain) = (&plan.namespace, &config.cluster_domain);
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(host.searches);
            DnsConfig { servers: vec![config.cluster_dns.to_string()], searches, options: vec!["ndots:5".to_owned()] }
        }
    };
    if let Some(given) = &spec.dns_config {
        out.servers.extend(given.nameservers.iter().flatten().cloned());
        out.searches.extend(given.searches.iter().flatten().cloned());
        for option in given.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            out.options.retain(|o| o.split(':').next() != Some(&name));
            out.options.push(option.value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}:{v}")));
        }
    }
    for list in [&mut out.servers, &mut out.searches] {
        let mut seen = std::collections::HashSet::new();
        list.retain(|entry| seen.insert(entry.clone()));
    }
    let warnings = limit(&mut out);
    (out, warnings)
}

fn limit(dns: &mut DnsConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if dns.servers.len() > MAX_SERVERS {
        dns.servers.truncate(MAX_SERVERS);
        warnings.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            dns.servers.join(" ")
        ));
    }
    let before = dns.searches.len();
    dns.searches.truncate(MAX_SEARCHES);
    while dns.searches.join(" ").len() > MAX_SEARCH_LENGTH {
        dns.searches.pop();
    }
    if dns.searches.len() < before {
        warnings.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            dns.searches.join(" ")
        ));
    }
    warnings
}

/// What the node itself asks.
pub(super) fn host() -> DnsConfig {
    parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn parse(text: &str) -> DnsConfig {
    let mut out = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
            Some("search") => out.searches = words.filter(|w| *w != ".").map(str::to_owned).collect(),
            Some("options") => out.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    out
}
