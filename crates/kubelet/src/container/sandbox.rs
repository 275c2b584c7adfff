//! The configuration of a pod's sandbox.

use super::{dns, labels, resources};
use crate::Config;
use crate::pod::{Plan, Unit};
use ironclad_cri::{NamespaceOptions, PidMode, PortMapping, SandboxConfig};

/// The kernel's limit of a host name.
const MAX_NAME: usize = 64;

pub(crate) fn hostname(plan: &Plan) -> String {
    if let Some(name) = plan.spec.hostname_override.as_ref().filter(|n| !n.is_empty()) {
        return name.clone();
    }
    let mut name = plan.spec.hostname.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| plan.name.clone());
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// What the kernel's host name is inside.
fn kernel_name(config: &Config, plan: &Plan) -> Result<String, String> {
    if plan.host_network() && plan.spec.hostname_override.is_none() {
        return Ok(String::new());
    }
    let name = hostname(plan);
    let sub = plan.spec.subdomain.as_deref().filter(|s| !s.is_empty());
    match (plan.spec.set_hostname_as_fqdn, sub) {
        (Some(true), Some(sub)) => {
            let full = format!("{name}.{sub}.{}.svc.{}", plan.namespace, config.cluster_domain);
            if full.len() > MAX_NAME {
                return Err(format!(
                    "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {full} is too long ({MAX_NAME} \
                     characters is the max, {} characters requested)",
                    full.len()
                ));
            }
            Ok(full)
        }
        _ => Ok(name),
    }
}

pub(super) fn namespaces(plan: &Plan) -> NamespaceOptions {
    let spec = &plan.spec;
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => PidMode::Node,
        (_, Some(true)) => PidMode::Pod,
        _ => PidMode::Container,
    };
    NamespaceOptions { host_network: plan.host_network(), pid, host_ipc: spec.host_ipc == Some(true), users: None }
}

fn is_privileged(unit: &Unit) -> bool {
    unit.spec.security_context.as_ref().and_then(|s| s.privileged) == Some(true)
}

fn ports(plan: &Plan) -> Vec<PortMapping> {
    if plan.host_network() {
        return Vec::new();
    }
    let all = plan.units.iter().flat_map(|u| u.spec.ports.iter().flatten());
    let published = all.filter(|p| p.host_port.is_some_and(|h| h > 0));
    let mapping = |p: &k8s_openapi::api::core::v1::ContainerPort| PortMapping {
        protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
        container_port: p.container_port as u16,
        host_port: p.host_port.unwrap_or(0) as u16,
        host_ip: p.host_ip.clone().unwrap_or_default(),
    };
    published.map(mapping).collect()
}

/// The sandbox of a pod, and remarks on what had to be left out of its DNS settings.
pub(crate) fn sandbox(config: &Config, plan: &Plan, attempt: u32) -> Result<(SandboxConfig, Vec<String>), String> {
    let (dns, warnings) = dns::of(config, plan, dns::host());
    let sysctls = plan.spec.security_context.as_ref().and_then(|s| s.sysctls.clone()).unwrap_or_default();
    let sandbox = SandboxConfig {
        log_directory: config.log_dir(&plan.namespace, &plan.name, &plan.uid).display().to_string(),
        hostname: kernel_name(config, plan)?,
        dns: Some(dns),
        port_mappings: ports(plan),
        labels: labels(plan),
        annotations: plan.pod.metadata.annotations.clone().unwrap_or_default(),
        cgroup_parent: resources::cgroup(plan),
        sysctls: sysctls.into_iter().map(|s| (s.name, s.value)).collect(),
        namespaces: namespaces(plan),
        resources: resources::pod(
            plan,
            &|u: &Unit| u.spec.resources.clone().unwrap_or_default(),
            plan.spec.resources.as_ref(),
        ),
        privileged: plan.units.iter().any(is_privileged),
        runtime_handler: String::new(),
        name: plan.name.clone(),
        namespace: plan.namespace.clone(),
        uid: plan.uid.clone(),
        attempt,
    };
    Ok((sandbox, warnings))
}
