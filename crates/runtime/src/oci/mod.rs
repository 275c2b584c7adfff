//! From a container's configuration and its image to an OCI bundle. Pure but for a look at the node's devices.

pub(crate) mod capabilities;
mod mounts;
pub(crate) mod users;

use crate::seccomp::{self, Profile};
use crate::spec::{self, Device, DeviceRule, Linux, Namespace, Overlay, Process, Resources, Rlimit, Root, Spec, User};
use ironclad_cri::{ContainerConfig, PidMode, SandboxConfig, Seccomp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The part of an image's configuration that containers take.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageConfig {
    pub(crate) user: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) cmd: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) stop_signal: String,
}

fn nullable<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(from)?.unwrap_or_default())
}

/// All that a bundle is made from.
pub(crate) struct Input<'a> {
    pub(crate) sandbox: &'a SandboxConfig,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) image: &'a ImageConfig,
    pub(crate) user: User,
    pub(crate) overlay: Overlay,
    /// Where the root file system is mounted.
    pub(crate) rootfs: String,
    /// The sandbox's directory with `resolv.conf`, `hostname`, `shm` and `netns`.
    pub(crate) sandbox_dir: String,
    pub(crate) cgroup: String,
    pub(crate) cgroup_dirs: Vec<String>,
    pub(crate) unified: bool,
    pub(crate) log_path: String,
    /// Process namespace of the container that `PidMode::Target` names.
    pub(crate) target_pid: Option<i32>,
    pub(crate) shim_pid: i32,
    pub(crate) pause_pid: i32,
    /// A Localhost profile, read already.
    pub(crate) local_profile: Option<Profile>,
    /// Layers of images that are mounted as volumes, in the order of those mounts.
    pub(crate) image_volumes: Vec<Vec<String>>,
    pub(crate) node: Node,
}

/// What this node allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) bounding: u64,
    pub(crate) max_files: u64,
    pub(crate) oom_floor: i32,
}

impl Node {
    /// Looks at this process.
    pub(crate) fn detect() -> Self {
        let bounding = capabilities::own_bounding();
        let own =
            std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
        let may_lower = bounding & (1 << 24) != 0;
        Self { bounding, max_files: crate::sys::hard_limit(7), oom_floor: if may_lower { -1000 } else { own } }
    }
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the bundle's `config.json`.
pub(crate) fn build(input: &Input<'_>) -> Result<Spec, String> {
    let (config, security) = (input.config, &input.config.security);
    let process = process(input)?;
    let seccomp = match (&security.seccomp, security.privileged) {
        (Seccomp::Unconfined, _) | (_, true) => None,
        (Seccomp::RuntimeDefault, _) => Some(seccomp::runtime_default(&process.capabilities.bounding)),
        (Seccomp::Localhost(_), _) => input.local_profile.clone(),
    };
    let (mut devices, rules) = devices(config)?;
    let users = input.sandbox.namespaces.users;
    let mappings: Vec<spec::IdMapping> =
        users.iter().map(|u| spec::IdMapping { container: 0, host: u.host_id, size: u.length }).collect();
    for device in devices.iter_mut().filter(|_| users.is_some()) {
        // The container's root.
        (device.uid, device.gid) = users.map_or((0, 0), |u| (u.host_id, u.host_id));
    }
    let annotations = BTreeMap::from([
        (spec::OVERLAY.to_owned(), serde_json::to_string(&input.overlay).map_err(|e| e.to_string())?),
        (spec::CGROUPS.to_owned(), input.cgroup_dirs.join("\n")),
        (spec::STDIN.to_owned(), config.stdin.to_string()),
        (spec::STDIN_ONCE.to_owned(), config.stdin_once.to_string()),
        (spec::LOG.to_owned(), input.log_path.clone()),
    ]);
    let (masked_paths, readonly_paths) = if security.privileged {
        (vec![], vec![])
    } else {
        (security.masked_paths.clone(), security.readonly_paths.clone())
    };
    Ok(Spec {
        oci_version: "1.0.2".into(),
        process,
        root: Root { path: input.rootfs.clone(), readonly: security.readonly_rootfs },
        hostname: String::new(),
        mounts: mounts::of(input)?,
        annotations,
        linux: Linux {
            namespaces: namespaces(input)?,
            uid_mappings: mappings.clone(),
            gid_mappings: mappings,
            devices,
            cgroups_path: input.cgroup.clone(),
            resources: Resources { devices: rules },
            rootfs_propagation: String::new(),
            masked_paths,
            readonly_paths,
            seccomp,
        },
    })
}

fn process(input: &Input<'_>) -> Result<Process, String> {
    let (config, image) = (input.config, input.image);
    let args = arguments(&config.command, &config.args, image);
    if args.is_empty() {
        return Err("no command specified".into());
    }
    let cwd = [&config.working_dir, &image.working_dir].into_iter().find(|d| !d.is_empty());
    let files = input.node.max_files.min(1_048_576);
    Ok(Process {
        terminal: config.tty,
        user: input.user.clone(),
        args,
        env: environment(input),
        cwd: cwd.map_or("/", String::as_str).to_owned(),
        capabilities: capabilities::of(&config.security, input.node.bounding)?,
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: files, hard: files }],
        no_new_privileges: config.security.no_new_privs,
        oom_score_adj: config.resources.oom_score_adj.map(|s| s.clamp(-1000, 1000).max(input.node.oom_floor)),
    })
}

/// A command of the pod replaces entry point and arguments of the image; arguments alone replace its arguments.
fn arguments(command: &[String], args: &[String], image: &ImageConfig) -> Vec<String> {
    match (command.is_empty(), args.is_empty()) {
        (false, _) => [command, args].concat(),
        (true, false) => [image.entrypoint.as_slice(), args].concat(),
        (true, true) => [image.entrypoint.as_slice(), image.cmd.as_slice()].concat(),
    }
}

fn environment(input: &Input<'_>) -> Vec<String> {
    let hostname = if input.sandbox.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        input.sandbox.hostname.clone()
    };
    let mut env: Vec<String> = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if input.config.tty {
        env.push("TERM=xterm".into());
    }
    let given = input.config.envs.iter().map(|(name, value)| format!("{name}={value}"));
    for entry in input.image.env.iter().cloned().chain(given) {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        match env.iter_mut().find(|e| e.split('=').next() == Some(&name)) {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
    }
    env
}

fn namespaces(input: &Input<'_>) -> Result<Vec<Namespace>, String> {
    let options = &input.sandbox.namespaces;
    let new = |kind: &str| Namespace { kind: kind.into(), path: String::new() };
    let join = |kind: &str, path: String| Namespace { kind: kind.into(), path };
    let mut list = vec![new("mount")];
    if options.users.is_some() {
        list.push(join("user", format!("{}/userns", input.sandbox_dir)));
    }
    match &input.config.security.pid {
        PidMode::Container => list.push(new("pid")),
        PidMode::Pod => list.push(join("pid", format!("/proc/{}/ns/pid", input.pause_pid))),
        PidMode::Node => {}
        PidMode::Target(id) => {
            let pid = input.target_pid.ok_or_else(|| format!("container {id:?} is not running"))?;
            list.push(join("pid", format!("/proc/{pid}/ns/pid")));
        }
    }
    if !options.host_network {
        list.push(join("network", format!("{}/netns", input.sandbox_dir)));
        list.push(join("uts", format!("/proc/{}/ns/uts", input.shim_pid)));
    }
    if !options.host_ipc {
        list.push(join("ipc", format!("/proc/{}/ns/ipc", input.shim_pid)));
    }
    if input.unified && !input.config.security.privileged {
        list.push(new("cgroup"));
    }
    Ok(list)
}

const NODES: [(&str, i64, i64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Device nodes, and the rules of their use.
fn devices(config: &ContainerConfig) -> Result<(Vec<Device>, Vec<DeviceRule>), String> {
    let rule = |allow, kind: Option<&str>, major, minor, access: &str| DeviceRule {
        allow,
        kind: kind.map(str::to_owned),
        major,
        minor,
        access: access.into(),
    };
    let mut nodes: Vec<Device> = NODES
        .iter()
        .map(|(name, major, minor)| Device {
            path: format!("/dev/{name}"),
            kind: "c".into(),
            major: *major,
            minor: *minor,
            file_mode: 0o666,
            ..Device::default()
        })
        .collect();
    if config.security.privileged {
        let mut found = Vec::new();
        mounts::host_devices(std::path::Path::new("/dev"), "/dev", &mut found);
        nodes.extend(found.into_iter().filter(|d| !NODES.iter().any(|(n, ..)| d.path == format!("/dev/{n}"))));
        return Ok((nodes, vec![rule(true, None, None, None, "rwm")]));
    }
    let mut rules = vec![
        rule(false, None, None, None, "rwm"),
        rule(true, Some("c"), None, None, "m"),
        rule(true, Some("b"), None, None, "m"),
        rule(true, Some("c"), Some(136), None, "rwm"),
        rule(true, Some("c"), Some(5), Some(2), "rwm"),
    ];
    rules.extend(NODES.iter().map(|(_, major, minor)| rule(true, Some("c"), Some(*major), Some(*minor), "rwm")));
    for want in &config.devices {
        let mut found = Vec::new();
        mounts::host_devices(std::path::Path::new(&want.host_path), &want.container_path, &mut found);
        if found.is_empty() {
            return Err(format!(
                "error gathering device information while adding custom device {:?}: not a device node",
                want.host_path
            ));
        }
        for device in found {
            rules.push(rule(
                true,
                Some(device.kind.as_str()),
                Some(device.major),
                Some(device.minor),
                &want.permissions,
            ));
            nodes.push(device);
        }
    }
    Ok((nodes, rules))
}

/// A signal by name (`SIGTERM`, `TERM`) or number.
pub(crate) fn signal(name: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let upper = name.trim().to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = short.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let realtime = |base: i32, rest: &str, sign: i32| {
        if rest.is_empty() { Some(base) } else { rest.get(1..)?.parse::<i32>().ok().map(|n| base + sign * n) }
    };
    if let Some(rest) = short.strip_prefix("RTMIN") {
        return realtime(34, rest, 1);
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        return realtime(64, rest, -1);
    }
    NAMES.iter().position(|n| *n == short).map(|i| i as i32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_and_arguments_replace_those_of_the_image() {
        let list = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let image = ImageConfig { entrypoint: list("e"), cmd: list("c d"), ..ImageConfig::default() };
        let table = [("", "", "e c d"), ("x", "", "x"), ("", "y", "e y"), ("x", "y z", "x y z")];
        for (command, args, want) in table {
            assert_eq!(arguments(&list(command), &list(args), &image), list(want), "{command:?} {args:?}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let table =
            [("SIGTERM", Some(15)), ("quit", Some(3)), ("9", Some(9)), ("SIGRTMIN+3", Some(37)), ("NOPE", None)];
        for (name, want) in table {
            assert_eq!(signal(name), want, "{name}");
        }
    }

    #[test]
    fn null_lists_of_an_image_are_empty() {
        let config: ImageConfig = serde_json::from_str(r#"{"Cmd":["sh"],"Entrypoint":null,"Env":null}"#).unwrap();
        assert_eq!((config.cmd.len(), config.entrypoint.len()), (1, 0));
    }
}
