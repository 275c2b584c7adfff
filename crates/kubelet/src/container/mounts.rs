//! The mounts of a container: volumes, `/etc/hosts`, the file for its last words.

use super::{Given, Volume, subpath, termination_file};
use crate::Config;
use crate::env::expand;
use crate::pod::{Plan, Unit};
use ironclad_cri::{Mount, Propagation};
use k8s_openapi::api::core::v1::VolumeMount;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The path below a volume that is meant, if it is not the volume itself.
fn sub_path(mount: &VolumeMount, envs: &[(String, String)]) -> Result<Option<String>, String> {
    if let Some(path) = mount.sub_path.as_ref().filter(|p| !p.is_empty()) {
        return Ok(Some(path.clone()));
    }
    let Some(expression) = mount.sub_path_expr.as_ref().filter(|p| !p.is_empty()) else { return Ok(None) };
    if let Some(missing) = crate::env::unknown(expression, envs) {
        return Err(format!("missing value for {missing:?}"));
    }
    let path = expand(expression, envs);
    if path.starts_with('/') {
        return Err(format!("subPath {path:?} must not be an absolute path"));
    }
    if path.split('/').any(|p| p == "..") {
        return Err(format!("subPath {path:?} must not contain '..'"));
    }
    Ok(Some(path).filter(|p| !p.is_empty()))
}

fn one(
    config: &Config,
    plan: &Plan,
    unit: &Unit,
    given: &Given<'_>,
    index: usize,
    mount: &VolumeMount,
) -> Result<Mount, String> {
    let volume = given
        .volumes
        .get(&mount.name)
        .ok_or_else(|| format!("cannot find volume {:?} to mount into container {:?}", mount.name, unit.name()))?;
    let sub = sub_path(mount, &given.envs)?;
    let mut out = Mount {
        container_path: mount.mount_path.clone(),
        host_path: String::new(),
        readonly: mount.read_only == Some(true),
        recursive_read_only: matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        },
        image: None,
    };
    if !out.container_path.starts_with('/') {
        out.container_path = format!("/{}", out.container_path);
    }
    match (volume, sub) {
        (Volume::Image(id), sub) => out.image = Some((id.clone(), sub.unwrap_or_default())),
        (Volume::Path(path), None) => out.host_path = path.display().to_string(),
        (Volume::Path(path), Some(sub)) => {
            let dir = config.pod_dir(&plan.uid).join("volume-subpaths").join(&mount.name).join(unit.name());
            let bound = subpath::bind(path, &sub, &dir.join(index.to_string())).map_err(|why| {
                tracing::warn!(pod = plan.name, container = unit.name(), why, "a subPath cannot be used");
                format!("failed to prepare subPath for volumeMount {:?} of container {:?}", mount.name, unit.name())
            })?;
            out.host_path = bound.display().to_string();
        }
    }
    Ok(out)
}

pub(super) fn of(config: &Config, plan: &Plan, unit: &Unit, given: &Given<'_>) -> Result<Vec<Mount>, String> {
    let c = &unit.spec;
    let mounts = c.volume_mounts.iter().flatten().enumerate();
    let mut out = mounts.map(|(i, m)| one(config, plan, unit, given, i, m)).collect::<Result<Vec<Mount>, String>>()?;
    let file = |inside: &str, path: &Path| Mount {
        container_path: inside.to_owned(),
        host_path: path.display().to_string(),
        ..Mount::default()
    };
    if !out.iter().any(|m| m.container_path == "/etc/hosts") {
        out.push(file("/etc/hosts", given.hosts));
    }
    let inside = c.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    if !inside.is_empty() {
        let message = termination_file(config, &plan.uid, &c.name, given.attempt);
        let make = || -> std::io::Result<()> {
            std::fs::create_dir_all(message.parent().unwrap_or(Path::new("/")))?;
            std::fs::write(&message, "")?;
            std::fs::set_permissions(&message, std::fs::Permissions::from_mode(0o666))
        };
        make().map_err(|e| format!("cannot make the termination message: {e}"))?;
        out.push(file(inside, &message));
    }
    Ok(out)
}
