//! The mounts of a container, in the order in which they are made.

use super::Input;
use crate::spec::{Device, Mount};
use ironclad_cri::Propagation;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Standard mounts, then those of the pod; what is deeper comes later.
pub(super) fn of(input: &Input<'_>) -> Result<Vec<Mount>, String> {
    let privileged = input.config.security.privileged;
    let own: Vec<&str> = input.config.mounts.iter().map(|m| m.container_path.trim_end_matches('/')).collect();
    let sys = if privileged { "rw" } else { "ro" };
    let root = input.sandbox.namespaces.users.map_or(0, |u| u.host_id);
    let owner = [format!("uid={root}"), format!("gid={root}"), format!("gid={}", root + 5)];
    let mut list = vec![
        fs_mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        fs_mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k", &owner[0], &owner[1]]),
        fs_mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", &owner[2]]),
        fs_mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        fs_mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        fs_mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys]),
    ];
    let shm =
        if input.sandbox.namespaces.host_ipc { "/dev/shm".to_owned() } else { format!("{}/shm", input.sandbox_dir) };
    list.push(bind("/dev/shm", &shm, &["rbind", "rprivate", "nosuid", "nodev", "noexec"]));
    let readonly = if input.config.security.readonly_rootfs { "ro" } else { "rw" };
    for (inside, file) in [("/etc/hostname", "hostname"), ("/etc/resolv.conf", "resolv.conf")] {
        list.push(bind(inside, &format!("{}/{file}", input.sandbox_dir), &["rbind", "rprivate", readonly]));
    }
    list.retain(|m| !own.contains(&m.destination.as_str()));
    let mut images = input.image_volumes.iter();
    let wanted = |m: &ironclad_cri::Mount| m.image.is_none() && m.propagation != Propagation::Private;
    let host = if input.config.mounts.iter().any(wanted) {
        fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("read the mounts: {e}"))?
    } else {
        String::new()
    };
    for mount in &input.config.mounts {
        if !mount.container_path.starts_with('/') {
            return Err(format!("mount path {:?} is not absolute", mount.container_path));
        }
        if mount.image.is_some() {
            let layers = images.next().map(Vec::as_slice).unwrap_or_default();
            list.push(match layers {
                [only] => bind(&mount.container_path, only, &["rbind", "rprivate", "rro"]),
                many => Mount {
                    destination: mount.container_path.clone(),
                    kind: "overlay".into(),
                    source: "overlay".into(),
                    options: vec![format!("lowerdir={}", many.join(":")), "ro".into()],
                },
            });
            continue;
        }
        propagates(&mount.host_path, mount.propagation, &host)?;
        let propagation = match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        let access = match (mount.readonly, mount.recursive_read_only) {
            (_, true) => "rro",
            (true, false) => "ro",
            (false, false) => "rw",
        };
        list.push(bind(&mount.container_path, &mount.host_path, &["rbind", propagation, access]));
    }
    if input.sandbox.namespaces.users.is_some() {
        // Owners on the disk are those of the container.
        list.iter_mut().filter(|m| m.kind == "bind").for_each(|m| m.options.push("idmap".to_owned()));
    }
    list.sort_by_key(|m| m.destination.split('/').filter(|p| !p.is_empty()).count());
    Ok(list)
}

/// Whether what is mounted below a path can be seen on its other side as is wanted; `mounts` is the host's mountinfo.
fn propagates(path: &str, wanted: Propagation, mounts: &str) -> Result<(), String> {
    if wanted == Propagation::Private {
        return Ok(());
    }
    let real = fs::canonicalize(path).map_err(|e| format!("{path}: {e}"))?;
    let mounted = mounts.lines().filter_map(|line| {
        let (head, _) = line.split_once(" - ")?;
        let mut fields = head.split(' ').skip(4);
        Some((Path::new(fields.next()?), fields.skip(1).collect::<Vec<_>>()))
    });
    // The last of those at the same place covers the others.
    let at = mounted.filter(|(at, _)| real.starts_with(at)).max_by_key(|(at, _)| at.components().count());
    let Some((at, tags)) = at else { return Err(format!("no mount holds {path:?}")) };
    let has = |tag: &str| tags.iter().any(|t| t.starts_with(tag));
    match wanted {
        Propagation::Bidirectional if !has("shared:") => {
            Err(format!("path {path:?} is mounted on {at:?} but it is not a shared mount"))
        }
        Propagation::HostToContainer if !has("shared:") && !has("master:") => {
            Err(format!("path {path:?} is mounted on {at:?} but it is not a shared or slave mount"))
        }
        _ => Ok(()),
    }
}

fn fs_mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
    let source = if kind == "tmpfs" { "tmpfs" } else { kind };
    Mount { destination: destination.into(), kind: kind.into(), source: source.into(), options: own(options) }
}

fn bind(destination: &str, source: &str, options: &[&str]) -> Mount {
    Mount { destination: destination.into(), kind: "bind".into(), source: source.into(), options: own(options) }
}

fn own(options: &[&str]) -> Vec<String> {
    options.iter().map(|o| (*o).to_owned()).collect()
}

/// The device nodes at a path of the node, with directories searched.
pub(super) fn host_devices(path: &Path, seen_at: &str, found: &mut Vec<Device>) {
    let Ok(meta) = fs::metadata(path) else { return };
    if meta.is_dir() {
        // What containers get of their own is left out.
        if matches!(path.to_str(), Some("/dev/pts" | "/dev/shm" | "/dev/fd" | "/dev/mqueue" | "/dev/hugepages")) {
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let link = entry.file_type().is_ok_and(|t| t.is_symlink());
            if !link {
                let name = entry.file_name().to_string_lossy().into_owned();
                host_devices(&entry.path(), &format!("{seen_at}/{name}"), found);
            }
        }
        return;
    }
    let kind = match meta.file_type() {
        t if t.is_char_device() => "c",
        t if t.is_block_device() => "b",
        _ => return,
    };
    if matches!(path.to_str(), Some("/dev/console" | "/dev/ptmx")) {
        return;
    }
    let number = meta.rdev();
    found.push(Device {
        path: seen_at.to_owned(),
        kind: kind.into(),
        major: i64::from(rustix::fs::major(number)),
        minor: i64::from(rustix::fs::minor(number)),
        file_mode: meta.permissions().mode() & 0o777,
        uid: meta.uid(),
        gid: meta.gid(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_mounts_carry_what_is_mounted_inside() {
        let mounts = "1 0 8:1 / / rw,relatime - ext4 /dev/a rw\n2 1 0:5 / /tmp rw shared:7 - tmpfs tmpfs rw\n\
                      3 1 0:6 / /proc rw,nosuid master:2 - proc proc rw\n";
        let said = |path, wanted| propagates(path, wanted, mounts).err().unwrap_or_default();
        assert_eq!(said("/usr", Propagation::Private), "");
        assert_eq!(
            said("/usr", Propagation::Bidirectional),
            "path \"/usr\" is mounted on \"/\" but it is not a shared mount"
        );
        assert_eq!(
            said("/usr", Propagation::HostToContainer),
            "path \"/usr\" is mounted on \"/\" but it is not a shared or slave mount"
        );
        assert_eq!(said("/tmp", Propagation::Bidirectional), "");
        assert_eq!(said("/proc", Propagation::HostToContainer), "");
        assert_ne!(said("/proc", Propagation::Bidirectional), "");
    }
}
