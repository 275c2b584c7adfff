//! Making containers: record, directories and bundle.

use super::{Container, Inner, Sandbox, new_id, remove_dir};
use crate::images::{Record, internal};
use crate::oci::{self, Input};
use crate::seccomp::Profile;
use crate::spec::{Overlay, User};
use crate::state::{self, ContainerRecord, State};
use crate::sys::now_nanos;
use ironclad_cri::*;
use parking_lot::Mutex;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

impl Container {
    pub(super) fn new(record: ContainerRecord, state: State, phase: ContainerState) -> Arc<Self> {
        Arc::new(Self {
            limits: Mutex::new(record.config.resources.clone()),
            record,
            state: state.into(),
            phase: watch::channel(phase).0,
            telling: Mutex::default(),
            change: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn status(&self) -> ContainerStatus {
        let (record, state) = (&self.record, self.state.lock());
        ContainerStatus {
            id: record.id.clone(),
            sandbox_id: record.sandbox_id.clone(),
            config: ContainerConfig { resources: self.limits.lock().clone(), ..record.config.clone() },
            state: *self.phase.borrow(),
            created_at: record.created_at,
            started_at: state.started_at,
            finished_at: state.finished_at,
            exit_code: state.exit_code,
            reason: state.reason.clone(),
            message: state.message.clone(),
            image_ref: record.image_ref.clone(),
            log_path: record.log_path.clone(),
            user: Some(record.user.clone()),
        }
    }
}

impl Inner {
    pub(super) async fn create_container(
        self: &Arc<Self>,
        sandbox_id: &str,
        config: ContainerConfig,
    ) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        if !sandbox.is_ready() {
            return Err(Error::FailedPrecondition(format!("sandbox {sandbox_id:?} is not running")));
        }
        let inner = self.clone();
        let made = tokio::task::spawn_blocking(move || inner.make_container(&sandbox, config)).await;
        let container = made.map_err(|e| Error::Internal(format!("create container: {e}")))??;
        let id = container.record.id.clone();
        self.containers.lock().insert(id.clone(), container);
        self.tell(&id, sandbox_id, ContainerEventKind::Created);
        Ok(id)
    }

    fn make_container(&self, sandbox: &Sandbox, config: ContainerConfig) -> Result<Arc<Container>> {
        let missing = |name: &str| Error::NotFound(format!("failed to resolve image {name:?}: not found"));
        let image = self.images.find(&config.image).ok_or_else(|| missing(&config.image))?;
        let id = new_id();
        let dir = self.container_data(&id);
        let made = self.fill_bundle(sandbox, config, &image, &id, &dir);
        if made.is_err() {
            remove_dir(&dir)?;
        }
        made
    }

    fn fill_bundle(
        &self,
        sandbox: &Sandbox,
        config: ContainerConfig,
        image: &Record,
        id: &str,
        dir: &Path,
    ) -> Result<Arc<Container>> {
        let pod = sandbox.record.lock().clone();
        for name in ["rootfs", "upper", "work"] {
            fs::create_dir_all(dir.join(name)).map_err(internal("create the container's directory"))?;
        }
        let root = pod.config.namespaces.users.map_or(0, |u| u.host_id);
        self.copy_root_mode(image, &dir.join("upper"), root)?;
        make_sources(&config.mounts)?;
        let text = |path: &str| dir.join(path).to_string_lossy().into_owned();
        let (passwd, group) = (self.images.file(image, "etc/passwd"), self.images.file(image, "etc/group"));
        let user = oci::users::resolve(&config.security, &image.config.user, &passwd, &group)
            .map_err(Error::InvalidArgument)?;
        let log_path = if config.log_path.is_empty() || pod.config.log_directory.is_empty() {
            String::new()
        } else {
            Path::new(&pod.config.log_directory).join(&config.log_path).to_string_lossy().into_owned()
        };
        let cgroup = format!("{}/{id}", pod.cgroup);
        let overlay = Overlay {
            base: self.images.layer_dir().to_string_lossy().into_owned(),
            lower: image.layers.iter().rev().cloned().collect(),
            upper: text("upper"),
            work: text("work"),
        };
        let input = Input {
            sandbox: &pod.config,
            config: &config,
            image: &image.config,
            user: user.clone(),
            overlay,
            rootfs: text("rootfs"),
            sandbox_dir: self.sandbox_run(&pod.id).to_string_lossy().into_owned(),
            cgroup: cgroup.clone(),
            cgroup_dirs: self.layout.join_dirs(&cgroup),
            unified: self.layout.is_unified(),
            log_path: log_path.clone(),
            target_pid: self.target_pid(&config.security.pid),
            shim_pid: pod.shim_pid,
            pause_pid: pod.pause_pid,
            local_profile: local_profile(&config.security.seccomp)?,
            image_volumes: self.image_volumes(&config.mounts)?,
            node: self.node,
        };
        let spec = oci::build(&input).map_err(Error::InvalidArgument)?;
        state::save(&dir.join("config.json"), &spec).map_err(internal("write config.json"))?;
        let stop = config.stop_signal.as_deref().filter(|s| !s.is_empty()).unwrap_or(&image.config.stop_signal);
        let record = ContainerRecord {
            id: id.to_owned(),
            sandbox_id: pod.id.clone(),
            created_at: now_nanos(),
            image_ref: image.digests.first().cloned().unwrap_or_else(|| image.id.clone()),
            image_id: image.id.clone(),
            log_path,
            cgroup,
            stop_signal: oci::signal(stop).unwrap_or(libc::SIGTERM),
            user: ids(&user),
            config,
        };
        state::save(&dir.join("container.json"), &record).map_err(internal("write the container's record"))?;
        Ok(Container::new(record, State::default(), ContainerState::Created))
    }

    /// The root directory of the uppermost layer gives owner and mode to the one that is written to.
    /// `root` is what user and group 0 of the container are.
    fn copy_root_mode(&self, image: &Record, upper: &Path, root: u32) -> Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        if let Some(top) = image.layers.last() {
            let meta = fs::metadata(self.images.layer_dir().join(top)).map_err(internal("look at the image's root"))?;
            let (uid, gid) = (root.saturating_add(meta.uid()), root.saturating_add(meta.gid()));
            std::os::unix::fs::chown(upper, Some(uid), Some(gid)).map_err(internal("chown upper"))?;
            let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
            fs::set_permissions(upper, mode).map_err(internal("chmod upper"))?;
        }
        Ok(())
    }

    fn target_pid(&self, mode: &PidMode) -> Option<i32> {
        let PidMode::Target(id) = mode else { return None };
        let target = self.containers.lock().get(id).cloned()?;
        let pid = target.state.lock().pid;
        (*target.phase.borrow() == ContainerState::Running && pid > 0).then_some(pid)
    }

    fn image_volumes(&self, mounts: &[Mount]) -> Result<Vec<Vec<String>>> {
        let mut all = Vec::new();
        for (image, path) in mounts.iter().filter_map(|m| m.image.as_ref()) {
            let found = self.images.find(image);
            let found =
                found.ok_or_else(|| Error::NotFound(format!("failed to resolve image {image:?}: not found")))?;
            let layers: Vec<_> = found.layers.iter().rev().map(|l| self.images.layer_dir().join(l)).collect();
            let parts = below(&layers, path.trim_matches('/')).map_err(internal("mount an image"))?;
            if parts.is_empty() {
                return Err(Error::InvalidArgument(format!(
                    "failed to mount image volume: {path:?} does not exist in it"
                )));
            }
            all.push(parts);
        }
        Ok(all)
    }
}

/// What the layers of an image, uppermost first, have at a path: directories that lie over each other, or one file.
/// Links in layers are not followed: they were written by whoever made the image.
fn below(layers: &[std::path::PathBuf], path: &str) -> std::io::Result<Vec<String>> {
    use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
    let text = |p: std::path::PathBuf| p.to_string_lossy().into_owned();
    if path.is_empty() {
        return Ok(layers.iter().cloned().map(text).collect());
    }
    let mut found = Vec::new();
    for layer in layers {
        let root = fs::File::open(layer)?;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = match openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => continue,
            other => other?,
        };
        let stat = fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => found.push(text(layer.join(path))),
            // A whiteout hides what is below.
            FileType::CharacterDevice if stat.st_rdev == 0 => break,
            _ if found.is_empty() => return Ok(vec![text(layer.join(path))]),
            _ => break,
        }
        let mut opaque = [0_u8; 1];
        let dir = layer.join(path);
        if rustix::fs::lgetxattr(&dir, "trusted.overlay.opaque", &mut opaque[..]).is_ok() && opaque == *b"y" {
            break;
        }
    }
    Ok(found)
}

/// Paths of the node that do not exist are made as directories.
fn make_sources(mounts: &[Mount]) -> Result<()> {
    for mount in mounts.iter().filter(|m| m.image.is_none()) {
        if !Path::new(&mount.host_path).is_absolute() {
            return Err(Error::InvalidArgument(format!("host path {:?} is not absolute", mount.host_path)));
        }
        if fs::metadata(&mount.host_path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            fs::create_dir_all(&mount.host_path).map_err(internal(format!("failed to mkdir {:?}", mount.host_path)))?;
        }
    }
    Ok(())
}

fn local_profile(wanted: &Seccomp) -> Result<Option<Profile>> {
    let Seccomp::Localhost(path) = wanted else { return Ok(None) };
    let text = fs::read(path).map_err(internal(format!("cannot load seccomp profile {path:?}")))?;
    let parsed = serde_json::from_slice::<Profile>(&text).map_err(|e| e.to_string());
    let checked = parsed.and_then(|p| crate::seccomp::compile(&p).map(|_| p));
    checked.map(Some).map_err(|e| Error::InvalidArgument(format!("cannot load seccomp profile {path:?}: {e}")))
}

fn ids(user: &User) -> (i64, i64, Vec<i64>) {
    (i64::from(user.uid), i64::from(user.gid), user.additional_gids.iter().map(|g| i64::from(*g)).collect())
}
