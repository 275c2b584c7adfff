//! The embedded runtime: sandboxes, containers and images of one cluster on this node, behind the CRI trait.
//!
//! Invariant: memory is only a cache of what is on disk and in the shims: a process that opens the same directories
//! knows the same.

mod container;
mod ctl;
mod life;
mod limits;
mod recover;
mod sandbox;
mod stats;
mod streams;

use crate::cgroup::Layout;
use crate::images::registry::RegistryConfig;
use crate::images::{Store, internal};
use crate::oci::Node;
use crate::state::{ContainerRecord, SandboxRecord, State};
use async_trait::async_trait;
use ironclad_cri::*;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// What the runtime needs to know.
#[derive(Clone)]
pub struct Config {
    /// The cluster's name; the cgroup root is `/ironclad-<name>`.
    pub cluster: String,
    /// Images and what must outlive a reboot.
    pub data_dir: PathBuf,
    /// Sockets, namespaces and what may go with a reboot.
    pub run_dir: PathBuf,
    /// The program that runs as `<program> shim <directory>` and calls [`crate::shim_main`].
    pub shim: PathBuf,
    /// Gives pods their addresses.
    pub network: Arc<dyn PodNetwork>,
    /// How registries are reached.
    pub registries: RegistryConfig,
}

/// The runtime. Clones share everything.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

pub(crate) struct Inner {
    config: Config,
    layout: Layout,
    node: Node,
    /// The shim's program, protected from what runs in containers.
    program: std::os::fd::OwnedFd,
    images: Arc<Store>,
    events: broadcast::Sender<ContainerEvent>,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    /// Directories of removed containers that are being deleted.
    trash: tokio_util::task::TaskTracker,
}

pub(crate) struct Sandbox {
    id: String,
    record: Mutex<SandboxRecord>,
    /// Its shim runs.
    alive: watch::Sender<bool>,
    /// One change at a time.
    change: tokio::sync::Mutex<()>,
}

pub(crate) struct Container {
    record: ContainerRecord,
    /// Its limits now; those of the record are from its start.
    limits: Mutex<LinuxResources>,
    state: Mutex<State>,
    phase: watch::Sender<ContainerState>,
    /// Held while the phase changes and that is told, so that events come in the order of what happened.
    telling: Mutex<()>,
    change: tokio::sync::Mutex<()>,
}

impl Embedded {
    /// Opens the runtime in its directories: finds the shims that run, and clears away what has none.
    pub async fn open(config: Config) -> Result<Self> {
        drop(std::fs::remove_dir_all(config.data_dir.join("trash"))); // missing at the first start
        for dir in ["sandboxes", "containers", "images", "trash"] {
            let path = config.data_dir.join(dir);
            private_dir(&path).map_err(internal(format!("create {}", path.display())))?;
        }
        private_dir(&config.run_dir).map_err(internal(format!("create {}", config.run_dir.display())))?;
        // Already set when another part of the process came first.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let images = Store::open(&config.data_dir, config.registries.clone())?;
        let inner = Arc::new(Inner {
            layout: Layout::detect(),
            node: Node::detect(),
            program: crate::shim::mounts::sealed(&config.shim)
                .map_err(internal(format!("open {}", config.shim.display())))?,
            images: Arc::new(images),
            events: broadcast::channel(4096).0,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            trash: tokio_util::task::TaskTracker::new(),
            config,
        });
        inner.layout.create(&inner.shim_cgroup()).map_err(internal("create the shims' cgroup"))?;
        inner.recover().await?;
        Ok(Self(inner))
    }

    /// Imports an OCI layout or a docker archive as one tar; returns the images' names.
    pub async fn import(&self, archive: impl std::io::Read + Send + 'static) -> Result<Vec<String>> {
        let images = self.0.images.clone();
        let done = tokio::task::spawn_blocking(move || images.import(archive)).await;
        done.map_err(|e| Error::Internal(format!("import: {e}")))?
    }

    /// Stops and removes all sandboxes and containers of the cluster, leaving images.
    pub async fn remove_all(&self) -> Result<()> {
        let ids: Vec<String> = self.0.sandboxes.lock().keys().cloned().collect();
        let removals = ids.iter().map(|id| self.0.remove_sandbox(id));
        futures::future::join_all(removals).await.into_iter().collect()
    }

    /// Leaves nothing behind: containers, shims, mounts, namespaces, cgroups, images, directories.
    pub async fn purge(self) -> Result<()> {
        self.remove_all().await?;
        let inner = &self.0;
        let top = inner.top_cgroup();
        inner.kill_group(&top).await;
        inner.layout.remove(&top).map_err(internal("remove the cluster's cgroup"))?;
        inner.trash.close();
        inner.trash.wait().await;
        for dir in ["sandboxes", "containers", "images", "trash"] {
            remove_dir(&inner.config.data_dir.join(dir))?;
        }
        remove_dir(&inner.config.run_dir)
    }
}

/// Makes a directory that only root can look into: bundles hold environments, and those hold secrets.
fn private_dir(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

fn remove_dir(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Internal(format!("remove {}: {e}", path.display())))
        }
        _ => Ok(()),
    }
}

impl Inner {
    fn top_cgroup(&self) -> String {
        format!("/ironclad-{}", self.config.cluster)
    }

    fn shim_cgroup(&self) -> String {
        format!("{}/shims", self.top_cgroup())
    }

    fn sandbox_data(&self, id: &str) -> PathBuf {
        self.config.data_dir.join("sandboxes").join(id)
    }

    fn sandbox_run(&self, id: &str) -> PathBuf {
        self.config.run_dir.join(id)
    }

    fn container_data(&self, id: &str) -> PathBuf {
        self.config.data_dir.join("containers").join(id)
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let missing = || Error::NotFound(format!("an error occurred when try to find sandbox {id:?}: not found"));
        self.sandboxes.lock().get(id).cloned().ok_or_else(missing)
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        let missing = || Error::NotFound(format!("an error occurred when try to find container {id:?}: not found"));
        self.containers.lock().get(id).cloned().ok_or_else(missing)
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.containers.lock().values().filter(|c| c.record.sandbox_id == sandbox).cloned().collect()
    }

    fn tell(&self, id: &str, sandbox: &str, kind: ContainerEventKind) {
        let pod_uid =
            self.sandboxes.lock().get(sandbox).map(|s| s.record.lock().config.uid.clone()).unwrap_or_default();
        // Nobody may be listening.
        drop(self.events.send(ContainerEvent { id: id.into(), sandbox_id: sandbox.into(), pod_uid, kind }));
    }

    /// Takes a directory out of its name at once, and deletes it in the background: a file takes a millisecond on
    /// some file systems. What a crash leaves of it goes at the next start.
    fn discard_dir(&self, path: &std::path::Path) -> Result<()> {
        let trash = self.config.data_dir.join("trash").join(new_id());
        match std::fs::rename(path, &trash) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(internal(format!("remove {}", path.display())))?,
        }
        self.trash.spawn_blocking(move || {
            if let Err(e) = remove_dir(&trash) {
                tracing::warn!("{e}");
            }
        });
        Ok(())
    }
}

/// 64 hexadecimal digits.
fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

#[async_trait]
impl Runtime for Embedded {
    async fn version(&self) -> Result<Version> {
        Ok(Version { name: "ironclad".into(), version: env!("CARGO_PKG_VERSION").into() })
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        Ok(RuntimeStatus { runtime_ready: Ok(()), network_ready: self.0.config.network.ready().await })
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.0.events.subscribe()
    }

    async fn update_pod_cidr(&self, cidrs: &[String]) -> Result<()> {
        self.0.config.network.set_pod_cidrs(cidrs).await
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<String> {
        self.0.run_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        self.0.stop_sandbox(id).await
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.0.remove_sandbox(id).await
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<SandboxStatus> {
        Ok(self.0.sandbox(id)?.status())
    }

    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<SandboxStatus>> {
        let mine = |s: &Sandbox| pod_uid.is_none_or(|uid| s.record.lock().config.uid == uid);
        Ok(self.0.sandboxes.lock().values().filter(|s| mine(s)).map(|s| s.status()).collect())
    }

    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        self.0.create_container(sandbox_id, config).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.0.start_container(id).await
    }

    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<()> {
        self.0.stop_container(id, timeout).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.0.remove_container(id).await
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        Ok(self.0.container(id)?.status())
    }

    async fn list_containers(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStatus>> {
        let all: Vec<Arc<Container>> = self.0.containers.lock().values().cloned().collect();
        Ok(all.iter().filter(|c| sandbox_id.is_none_or(|s| c.record.sandbox_id == s)).map(|c| c.status()).collect())
    }

    async fn update_container_resources(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        self.0.update_container(id, resources).await
    }

    async fn update_pod_sandbox_resources(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        self.0.update_sandbox(id, resources).await
    }

    async fn update_group_resources(&self, cgroup: &str, resources: &LinuxResources) -> Result<()> {
        let path = format!("{}{cgroup}", self.0.top_cgroup());
        self.0.layout.create(&path).map_err(internal("create a cgroup"))?;
        self.0.layout.limit(&path, resources).map_err(internal("limit a group of pods"))
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        self.0.reopen_log(id).await
    }

    async fn container_stats(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStats>> {
        self.0.container_stats(sandbox_id).await
    }

    async fn pod_sandbox_stats(&self, id: Option<&str>) -> Result<Vec<SandboxStats>> {
        Ok(self.0.sandbox_stats(id))
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Option<Duration>) -> Result<ExecOutput> {
        self.0.exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Session> {
        self.0.exec(id, request).await
    }

    async fn attach(&self, id: &str, streams: StreamOptions) -> Result<Session> {
        self.0.attach(id, streams).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<BoxStream> {
        self.0.port_forward(sandbox_id, port).await
    }

    async fn pull_image(&self, request: PullRequest, progress: PullProgress) -> Result<String> {
        self.0.images.pull(request, progress).await
    }

    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        self.0.images.status(image)
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        self.0.images.list()
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let (inner, image) = (self.0.clone(), image.to_owned());
        let done = tokio::task::spawn_blocking(move || inner.images.remove(&image)).await;
        done.map_err(|e| Error::Internal(format!("remove image: {e}")))?
    }

    async fn image_fs_info(&self) -> Result<FilesystemUsage> {
        let used = self.0.images.usage()?;
        let mountpoint = self.0.config.data_dir.join("images").to_string_lossy().into_owned();
        Ok(FilesystemUsage { mountpoint, used_bytes: used.bytes, inodes_used: used.inodes })
    }
}
