//! Who owns what is in a volume: the pod's `fsGroup`.

use crate::pod::Plan;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

pub(super) fn group(plan: &Plan) -> Option<u32> {
    plan.spec.security_context.as_ref()?.fs_group.map(|g| g as u32)
}

/// The user that all containers run as, if it is one.
pub(super) fn user(plan: &Plan) -> Option<u32> {
    let pod = plan.spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let of = |u: &crate::pod::Unit| u.spec.security_context.as_ref().and_then(|s| s.run_as_user).or(pod);
    let first = plan.units.first().and_then(of)?;
    plan.units.iter().all(|u| of(u) == Some(first)).then_some(first as u32)
}

/// Whether nothing is changed where the root of the volume is right already.
pub(super) fn policy(plan: &Plan) -> bool {
    let policy = plan.spec.security_context.as_ref().and_then(|s| s.fs_group_change_policy.as_deref());
    policy == Some("OnRootMismatch")
}

const FILE: u32 = 0o660;
const DIRECTORY: u32 = 0o2770;

/// Gives everything below a directory to a group that may read and write it.
pub(super) fn give(path: &Path, group: u32, only_on_mismatch: bool) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    let right = meta.gid() == group && meta.mode() & DIRECTORY == DIRECTORY;
    if only_on_mismatch && right {
        return Ok(());
    }
    // The root last: when it is right, all below it is.
    let mut queue = vec![path.to_owned()];
    let mut found = Vec::new();
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                queue.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.iter().try_for_each(|p| change(p, group))?;
    change(path, group)
}

fn change(path: &Path, group: u32) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    if meta.file_type().is_symlink() {
        return lchown(path, None, Some(group));
    }
    chown(path, None, Some(group))?;
    let more = if meta.is_dir() { DIRECTORY } else { FILE };
    std::fs::set_permissions(path, Permissions::from_mode(meta.mode() & 0o7777 | more))
}
