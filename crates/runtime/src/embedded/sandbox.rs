//! Sandboxes: directory, cgroup, shim, network; and the way back.

use super::{Inner, Sandbox, ctl, new_id, remove_dir};
use crate::images::internal;
use crate::shim::wire::Request;
use crate::state::{self, SandboxRecord, ShimConfig};
use crate::sys::now_nanos;
use ironclad_cri::*;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;

/// What a pod may do in a network of its own without being root, as containerd lets it: listen at every port, and ping.
const OPEN: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// The kernel's parameters of a pod: those of [`OPEN`] where its network is its own and its users are the node's, then
/// those it asks for.
fn sysctls(config: &SandboxConfig) -> Vec<(String, String)> {
    let open = !config.namespaces.host_network && config.namespaces.users.is_none();
    let open = OPEN.into_iter().filter(|(name, _)| open && !config.sysctls.contains_key(*name));
    let asked = config.sysctls.iter().map(|(name, value)| (name.clone(), value.clone()));
    open.map(|(name, value)| (name.to_owned(), value.to_owned())).chain(asked).collect()
}

impl Sandbox {
    pub(super) fn new(record: SandboxRecord, alive: bool) -> Arc<Self> {
        Arc::new(Self {
            id: record.id.clone(),
            record: record.into(),
            alive: watch::channel(alive).0,
            change: tokio::sync::Mutex::default(),
        })
    }

    /// Its shim runs, and nobody stopped it.
    pub(super) fn is_ready(&self) -> bool {
        *self.alive.borrow() && !self.record.lock().stopped
    }

    pub(super) fn status(&self) -> SandboxStatus {
        let ready = self.is_ready();
        let record = self.record.lock();
        SandboxStatus {
            id: record.id.clone(),
            config: record.config.clone(),
            state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
            created_at: record.created_at,
            ips: record.ips.clone(),
        }
    }
}

impl Inner {
    pub(super) async fn run_sandbox(self: &Arc<Self>, config: SandboxConfig) -> Result<String> {
        let id = new_id();
        let parent = config.cgroup_parent.trim_matches('/');
        let cgroup = format!("{}/{}", self.top_cgroup(), if parent.is_empty() { &id } else { parent });
        let record = SandboxRecord {
            id: id.clone(),
            config,
            created_at: now_nanos(),
            ips: vec![],
            cgroup,
            stopped: false,
            shim_pid: 0,
            pause_pid: 0,
        };
        let sandbox = Sandbox::new(record, false);
        let made = self.bring_up(&sandbox).await;
        if let Err(e) = made {
            if let Err(e) = self.take_down(&sandbox).await {
                tracing::warn!(sandbox = %id, "clean up after a failed start: {e}");
            }
            remove_dir(&self.sandbox_data(&id))?;
            return Err(match e {
                Error::Internal(text) => Error::Internal(format!("failed to create pod sandbox: {text}")),
                other => other,
            });
        }
        self.sandboxes.lock().insert(id.clone(), sandbox);
        self.tell(&id, &id, ContainerEventKind::Created);
        self.tell(&id, &id, ContainerEventKind::Started);
        Ok(id)
    }

    async fn bring_up(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<()> {
        let mut record = sandbox.record.lock().clone();
        let (id, config) = (record.id.clone(), record.config.clone());
        fs::create_dir_all(self.sandbox_data(&id)).map_err(internal("create the sandbox's directory"))?;
        self.save_sandbox(&record)?;
        let run = self.sandbox_run(&id);
        self.prepare_files(&run, &config)?;
        self.layout.create(&record.cgroup).map_err(internal("create the pod's cgroup"))?;
        self.layout.limit(&record.cgroup, &config.resources).map_err(internal("limit the pod"))?;
        let shared_pid = config.namespaces.pid == PidMode::Pod;
        let pause = format!("{}/{id}", record.cgroup);
        if shared_pid {
            self.layout.create(&pause).map_err(internal("create the sandbox's cgroup"))?;
        }
        let hostname = if config.namespaces.host_network { String::new() } else { hostname(&config) };
        let shim = ShimConfig {
            network: !config.namespaces.host_network,
            ipc: !config.namespaces.host_ipc,
            hostname,
            shared_pid,
            sysctls: sysctls(&config),
            users: config.namespaces.users.map(|u| (u.host_id, u.length)),
            cgroups: self.layout.join_dirs(&self.shim_cgroup()),
            pause_cgroups: if shared_pid { self.layout.join_dirs(&pause) } else { vec![] },
        };
        state::save(&run.join("shim.json"), &shim).map_err(internal("write the shim's configuration"))?;
        self.spawn_shim(&run).await?;
        let reply = ctl::call(&run, &Request::Hello, &[]).await?;
        (record.shim_pid, record.pause_pid) = (reply.pid, reply.pause);
        if !config.namespaces.host_network {
            let attachment = Attachment {
                sandbox_id: id.clone(),
                namespace: config.namespace.clone(),
                name: config.name.clone(),
                uid: config.uid.clone(),
                port_mappings: config.port_mappings.clone(),
            };
            record.ips = self
                .config
                .network
                .attach(&attachment, &run.join("netns"))
                .await
                .map_err(|e| Error::Internal(format!("failed to setup network for sandbox {id:?}: {e}")))?;
        }
        self.save_sandbox(&record)?;
        *sandbox.record.lock() = record;
        sandbox.alive.send_replace(true);
        self.watch(sandbox.clone()).await
    }

    /// `resolv.conf`, `hostname` and shared memory.
    fn prepare_files(&self, run: &Path, config: &SandboxConfig) -> Result<()> {
        fs::create_dir_all(run.join("shm")).map_err(internal("create the sandbox's directory"))?;
        let resolv = match &config.dns {
            Some(dns) => resolv_conf(dns),
            None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        fs::write(run.join("resolv.conf"), resolv).map_err(internal("write resolv.conf"))?;
        fs::write(run.join("hostname"), format!("{}\n", hostname(config))).map_err(internal("write hostname"))?;
        if !config.namespaces.host_ipc {
            use rustix::mount::MountFlags;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount("shm", run.join("shm"), "tmpfs", flags, Some(c"mode=1777,size=65536k"))
                .map_err(|e| Error::Internal(format!("mount the pod's shared memory: {e}")))?;
        }
        Ok(())
    }

    async fn spawn_shim(&self, run: &Path) -> Result<()> {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.program.as_raw_fd()));
        command.arg0("ironclad").arg("shim").arg(run).env_clear();
        // The allocator of the whole program keeps 4 MiB more of huge pages than a shim ever needs.
        command.env("MIMALLOC_ALLOW_THP", "0").stdin(std::process::Stdio::null()).current_dir("/");
        // The child ends at once: the shim is its child. What it has to say comes before it lets stdout go.
        let output = command.output().await.map_err(internal(format!("start {}", self.config.shim.display())))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim_end() == "ok" {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Error::Internal(format!("the shim did not start: {} {}", text.trim(), errors.trim()).trim_end().to_owned()))
    }

    pub(super) fn save_sandbox(&self, record: &SandboxRecord) -> Result<()> {
        state::save(&self.sandbox_data(&record.id).join("sandbox.json"), record)
            .map_err(internal("write the sandbox's record"))
    }

    pub(super) async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _one = sandbox.change.lock().await;
        // Marked as stopped first, taken down after that: a process that was killed in between left the directory.
        if sandbox.record.lock().stopped && !self.sandbox_run(id).exists() {
            return Ok(());
        }
        let containers = self.containers_of(id);
        let stops = containers.iter().map(|c| self.stop_container(&c.record.id, Duration::ZERO));
        futures::future::join_all(stops).await.into_iter().collect::<Result<Vec<()>>>()?;
        let record = {
            let mut record = sandbox.record.lock();
            record.stopped = true;
            record.clone()
        };
        self.save_sandbox(&record)?;
        self.take_down(&sandbox).await?;
        sandbox.alive.send_replace(false);
        self.tell(id, id, ContainerEventKind::Stopped);
        Ok(())
    }

    /// Network, shim and mounts away.
    pub(super) async fn take_down(&self, sandbox: &Sandbox) -> Result<()> {
        let id = sandbox.id.as_str();
        let (cgroup, host_network) = {
            let record = sandbox.record.lock();
            (record.cgroup.clone(), record.config.namespaces.host_network)
        };
        if !host_network {
            self.config.network.detach(id).await?;
        }
        let run = self.sandbox_run(id);
        self.end_shim(&run).await;
        let own = format!("{cgroup}/{id}");
        self.kill_group(&own).await;
        self.layout.remove(&own).map_err(internal("remove the sandbox's cgroup"))?;
        release_mounts(&run)?;
        remove_dir(&run)
    }

    /// Tells a shim to end, and waits until it has. Fine for one that is gone.
    pub(super) async fn end_shim(&self, run: &Path) {
        let Ok(connection) = ctl::Connection::open(run) else { return };
        if connection.send(&Request::Shutdown, &[]).await.is_ok() {
            while matches!(connection.receive().await, Ok(Some(_))) {}
        }
    }

    pub(super) async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            self.remove_container(&container.record.id).await?;
        }
        let cgroup = sandbox.record.lock().cgroup.clone();
        let shared = self.sandboxes.lock().values().any(|s| s.id != id && s.record.lock().cgroup == cgroup);
        if !shared && cgroup != self.top_cgroup() {
            self.kill_group(&cgroup).await;
            self.layout.remove(&cgroup).map_err(internal("remove the pod's cgroup"))?;
            self.layout.remove_parents(&cgroup, &self.top_cgroup());
        }
        remove_dir(&self.sandbox_data(id))?;
        self.tell(id, id, ContainerEventKind::Deleted);
        self.sandboxes.lock().remove(id);
        Ok(())
    }
}

/// Unmounts what a sandbox's directory holds. Fine for what is not mounted.
pub(super) fn release_mounts(run: &Path) -> Result<()> {
    for name in ["netns", "userns", "shm"] {
        match rustix::mount::unmount(run.join(name), rustix::mount::UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(Error::Internal(format!("unmount {}/{name}: {e}", run.display()))),
        }
    }
    Ok(())
}

fn hostname(config: &SandboxConfig) -> String {
    if config.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        config.hostname.clone()
    }
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}
