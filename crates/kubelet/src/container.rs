//! A pod's specification as the runtime's configuration.

use crate::Config;
use crate::env::expand;
use ironclad_api::pod_resources;
use ironclad_cri::{
    ContainerConfig, DnsConfig, LinuxResources, Mount, NamespaceOptions, PidMode, PortMapping, Propagation,
    SandboxConfig, Seccomp, SecurityContext, StringMap,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, PodSpec, SecurityContext as Wanted};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER: &str = "io.kubernetes.container.name";

fn spec(pod: &Pod) -> PodSpec {
    pod.spec.clone().unwrap_or_default()
}

fn labels(pod: &Pod) -> StringMap {
    let meta = &pod.metadata;
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    [(POD_NAME, text(&meta.name)), (POD_NAMESPACE, text(&meta.namespace)), (POD_UID, text(&meta.uid))]
        .map(|(k, v)| (k.to_owned(), v))
        .into()
}

/// The pod's cgroup below the root, by its quality of service.
pub(crate) fn cgroup(pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => format!("/kubepods/pod{uid}"),
        Some("Burstable") => format!("/kubepods/burstable/pod{uid}"),
        _ => format!("/kubepods/besteffort/pod{uid}"),
    }
}

fn namespaces(spec: &PodSpec) -> NamespaceOptions {
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => PidMode::Node,
        (_, Some(true)) => PidMode::Pod,
        _ => PidMode::Container,
    };
    NamespaceOptions { host_network: spec.host_network == Some(true), pid, host_ipc: spec.host_ipc == Some(true) }
}

/// What `/etc/resolv.conf` says in a pod.
fn dns(config: &Config, pod: &Pod, spec: &PodSpec) -> Option<DnsConfig> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let host = spec.host_network == Some(true) && policy == "ClusterFirst";
    let mut out = match policy {
        "None" => DnsConfig::default(),
        "Default" => host_dns(),
        _ if host => host_dns(),
        _ => {
            let (namespace, domain) = (pod.metadata.namespace.clone().unwrap_or_default(), &config.cluster_domain);
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(host_dns().searches);
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
    Some(out)
}

fn host_dns() -> DnsConfig {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut out = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
            Some("search") => out.searches = words.map(str::to_owned).collect(),
            Some("options") => out.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    out
}

pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = spec(pod);
    if let Some(name) = spec.hostname_override.filter(|n| !n.is_empty()) {
        return name;
    }
    let mut name =
        spec.hostname.filter(|h| !h.is_empty()).unwrap_or_else(|| pod.metadata.name.clone().unwrap_or_default());
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The sandbox of a pod.
pub(crate) fn sandbox(config: &Config, pod: &Pod, attempt: u32) -> SandboxConfig {
    let (meta, spec) = (&pod.metadata, spec(pod));
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let (name, namespace, uid) = (text(&meta.name), text(&meta.namespace), text(&meta.uid));
    let host_network = spec.host_network == Some(true);
    let ports = spec
        .containers
        .iter()
        .flat_map(|c| c.ports.iter().flatten())
        .filter(|p| !host_network && p.host_port.is_some_and(|h| h > 0));
    let port_mappings = ports.map(|p| PortMapping {
        protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
        container_port: p.container_port as u16,
        host_port: p.host_port.unwrap_or(0) as u16,
        host_ip: p.host_ip.clone().unwrap_or_default(),
    });
    let sysctls = spec.security_context.as_ref().and_then(|s| s.sysctls.clone()).unwrap_or_default();
    SandboxConfig {
        log_directory: config.log_dir(&namespace, &name, &uid).display().to_string(),
        hostname: if host_network { String::new() } else { hostname(pod) },
        dns: dns(config, pod, &spec),
        port_mappings: port_mappings.collect(),
        labels: labels(pod),
        annotations: meta.annotations.clone().unwrap_or_default(),
        cgroup_parent: cgroup(pod),
        sysctls: sysctls.into_iter().map(|s| (s.name, s.value)).collect(),
        namespaces: namespaces(&spec),
        resources: resources(&pod_resources::requests(&spec), &pod_resources::limits(&spec), None),
        privileged: spec
            .containers
            .iter()
            .any(|c| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true)),
        runtime_handler: String::new(),
        name,
        namespace,
        uid,
        attempt,
    }
}

fn resources(
    requests: &pod_resources::ResourceList,
    limits: &pod_resources::ResourceList,
    oom: Option<i32>,
) -> LinuxResources {
    let milli = |list: &pod_resources::ResourceList| list.get("cpu").map(|q| q.milli_value());
    let shares = (milli(requests).or(milli(limits)).unwrap_or(0) * 1024 / 1000).max(2) as u64;
    LinuxResources {
        cpu_period: Some(100_000),
        cpu_quota: milli(limits).map(|m| (m * 100).max(1000)),
        cpu_shares: Some(shares.min(262_144)),
        memory_limit: limits.get("memory").map(|q| q.value()),
        oom_score_adj: oom,
        ..LinuxResources::default()
    }
}

/// Who is killed first when memory is short.
fn oom_score(pod: &Pod, container: &Container, memory: i64) -> i32 {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => -997,
        Some("Burstable") => {
            let wanted = pod_resources::parse(container.resources.as_ref().and_then(|r| r.requests.as_ref()));
            let request = wanted.get("memory").map_or(0, |q| q.value());
            (1000 - 1000 * request / memory.max(1)).clamp(3, 999) as i32
        }
        _ => 1000,
    }
}

/// What a container is made from besides the pod's specification.
pub(crate) struct Given<'a> {
    /// The image's id.
    pub(crate) image: &'a str,
    /// The user that the image sets: number or name.
    pub(crate) image_user: (Option<i64>, &'a str),
    pub(crate) attempt: u32,
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) volumes: &'a HashMap<String, PathBuf>,
    /// The file that `/etc/hosts` is.
    pub(crate) hosts: &'a Path,
    /// Memory of the node, in bytes.
    pub(crate) memory: i64,
}

/// The configuration of one container; the error is a `CreateContainerConfigError`.
pub(crate) fn configure(
    config: &Config,
    pod: &Pod,
    c: &Container,
    given: Given<'_>,
) -> Result<ContainerConfig, String> {
    let pod_spec = spec(pod);
    let requests = pod_resources::parse(c.resources.as_ref().and_then(|r| r.requests.as_ref()));
    let limits = pod_resources::parse(c.resources.as_ref().and_then(|r| r.limits.as_ref()));
    let security = security(&pod_spec, c, given.image_user)?;
    let expanded = |list: &Option<Vec<String>>| list.iter().flatten().map(|t| expand(t, &given.envs)).collect();
    let mut labels = labels(pod);
    labels.insert(CONTAINER.to_owned(), c.name.clone());
    Ok(ContainerConfig {
        name: c.name.clone(),
        attempt: given.attempt,
        image: given.image.to_owned(),
        user_specified_image: c.image.clone().unwrap_or_default(),
        command: expanded(&c.command),
        args: expanded(&c.args),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        mounts: mounts(config, pod, c, &given)?,
        devices: Vec::new(),
        labels,
        annotations: StringMap::new(),
        log_path: format!("{}/{}.log", c.name, given.attempt),
        stdin: c.stdin == Some(true),
        stdin_once: c.stdin_once == Some(true),
        tty: c.tty == Some(true),
        resources: resources(&requests, &limits, Some(oom_score(pod, c, given.memory))),
        security,
        stop_signal: c.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()),
        envs: given.envs,
    })
}

fn mounts(config: &Config, pod: &Pod, c: &Container, given: &Given<'_>) -> Result<Vec<Mount>, String> {
    let mut out = Vec::new();
    for mount in c.volume_mounts.iter().flatten() {
        let volume = given.volumes.get(&mount.name).ok_or_else(|| format!("volume {:?} is not mounted", mount.name))?;
        let sub = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => path.clone(),
            (_, Some(expression)) => expand(expression, &given.envs),
            _ => String::new(),
        };
        let host = if sub.is_empty() { volume.clone() } else { sub_path(volume, &sub)? };
        out.push(Mount {
            container_path: mount.mount_path.clone(),
            host_path: host.display().to_string(),
            readonly: mount.read_only == Some(true),
            recursive_read_only: mount.recursive_read_only.as_deref() == Some("Enabled"),
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => Propagation::HostToContainer,
                Some("Bidirectional") => Propagation::Bidirectional,
                _ => Propagation::Private,
            },
            image: None,
        });
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if !out.iter().any(|m| m.container_path == "/etc/hosts") {
        let host_path = given.hosts.display().to_string();
        out.push(Mount { container_path: "/etc/hosts".into(), host_path, ..Mount::default() });
    }
    let message = termination_file(config, uid, &c.name, given.attempt);
    if let Some(parent) = message.parent() {
        let made = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&message, ""));
        made.map_err(|e| format!("cannot make the termination message: {e}"))?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&message, std::fs::Permissions::from_mode(0o666)).map_err(|e| e.to_string())?;
    }
    let path = c.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into());
    out.push(Mount { container_path: path, host_path: message.display().to_string(), ..Mount::default() });
    Ok(out)
}

/// The file that a container leaves its last words in.
pub(crate) fn termination_file(config: &Config, uid: &str, container: &str, attempt: u32) -> PathBuf {
    config.pod_dir(uid).join("containers").join(container).join(format!("termination-{attempt}"))
}

/// A path inside a volume that no symbolic link can lead out of; made as a directory where it is missing.
fn sub_path(volume: &Path, sub: &str) -> Result<PathBuf, String> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let dir = std::fs::File::open(volume).map_err(|e| e.to_string())?;
    let target = volume.join(sub);
    if !target.exists() {
        std::fs::create_dir_all(&target).map_err(|e| e.to_string())?;
    }
    openat2(&dir, sub, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
        .map_err(|e| format!("failed to prepare subPath for volumeMount: {e}"))?;
    let real = target.canonicalize().map_err(|e| e.to_string())?;
    let root = volume.canonicalize().map_err(|e| e.to_string())?;
    if real.starts_with(&root) { Ok(real) } else { Err("subPath leads out of its volume".to_owned()) }
}

fn security(spec: &PodSpec, c: &Container, image: (Option<i64>, &str)) -> Result<SecurityContext, String> {
    let pod: PodSecurityContext = spec.security_context.clone().unwrap_or_default();
    let own: Wanted = c.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) {
        match (user, image) {
            (Some(0), _) => return Err("container's runAsUser breaks non-root policy".to_owned()),
            (None, (Some(0), _)) | (None, (None, "")) => {
                return Err("container has runAsNonRoot and image will run as root".to_owned());
            }
            (None, (None, name)) => {
                return Err(format!(
                    "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
                ));
            }
            _ => {}
        }
    }
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let profile = own.seccomp_profile.or(pod.seccomp_profile);
    let seccomp = match profile.as_ref().map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") if !privileged => Seccomp::RuntimeDefault,
        Some("Localhost") if !privileged => {
            Seccomp::Localhost(profile.and_then(|p| p.localhost_profile).unwrap_or_default())
        }
        _ => Seccomp::Unconfined,
    };
    let hidden = !privileged && own.proc_mount.as_deref() != Some("Unmasked");
    let mut groups = pod.supplemental_groups.clone().unwrap_or_default();
    groups.extend(pod.fs_group);
    Ok(SecurityContext {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        privileged,
        pid: namespaces(spec).pid,
        run_as_user: user,
        run_as_group: own.run_as_group.or(pod.run_as_group),
        run_as_username: String::new(),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups,
        supplemental_groups_strict: pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: if hidden { MASKED.map(str::to_owned).to_vec() } else { Vec::new() },
        readonly_paths: if hidden { READONLY.map(str::to_owned).to_vec() } else { Vec::new() },
        seccomp,
    })
}

const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
