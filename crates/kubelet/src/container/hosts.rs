//! The pod's `/etc/hosts`.

use super::hostname;
use crate::Config;
use crate::pod::Plan;
use std::path::PathBuf;

const HEAD: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost \
                    ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\n\
                    fe00::2\tip6-allrouters\n";

/// Writes the file; all containers of the pod share it.
pub(crate) fn write(config: &Config, plan: &Plan, ips: &[String]) -> std::io::Result<PathBuf> {
    let path = config.pod_dir(&plan.uid).join("etc-hosts");
    let text = text(config, plan, ips, &std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    std::fs::create_dir_all(config.pod_dir(&plan.uid))?;
    // Written in place: running containers have the file itself.
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        std::fs::write(&path, text)?;
    }
    Ok(path)
}

fn text(config: &Config, plan: &Plan, ips: &[String], host: &str) -> String {
    let mut text = String::new();
    if plan.host_network() {
        text.push_str("# Kubernetes-managed hosts file (host network).\n");
        text.push_str(host);
    } else {
        text.push_str(HEAD);
        let name = hostname(plan);
        for ip in ips {
            match plan.spec.subdomain.as_deref().filter(|s| !s.is_empty()) {
                Some(sub) => {
                    let (namespace, domain) = (&plan.namespace, &config.cluster_domain);
                    text.push_str(&format!("{ip}\t{name}.{sub}.{namespace}.svc.{domain}\t{name}\n"));
                }
                None => text.push_str(&format!("{ip}\t{name}\n")),
            }
        }
    }
    let aliases: Vec<_> = plan.spec.host_aliases.iter().flatten().collect();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
    }
    text
}
