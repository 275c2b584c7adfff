//! Who a container runs as and what it may do.

use super::sandbox::namespaces;
use crate::Config;
use crate::pod::{Plan, Unit};
use ironclad_cri::{Seccomp, SecurityContext};
use k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext as Wanted};

const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Refuses to run as root where that was asked for.
fn check_user(plan: &Plan, c: &str, user: Option<i64>, image: (Option<i64>, &str)) -> Result<(), String> {
    let place = format!("(pod: {:?}, container: {c})", plan.full_name());
    match (user, image) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, (Some(0), _) | (None, "")) => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, (None, name)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {place}"
        )),
        _ => Ok(()),
    }
}

/// Whether AppArmor must confine a container.
pub(crate) fn confined(plan: &Plan, unit: &Unit) -> bool {
    let own = unit.spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    let pod = plan.spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    let key = format!("container.apparmor.security.beta.kubernetes.io/{}", unit.name());
    match own.or(pod) {
        Some(profile) => profile.type_ != "Unconfined",
        None => plan.annotation(&key).is_some_and(|p| p != "unconfined"),
    }
}

pub(super) fn of(
    config: &Config,
    plan: &Plan,
    unit: &Unit,
    image: (Option<i64>, &str),
) -> Result<SecurityContext, String> {
    let pod: PodSecurityContext = plan.spec.security_context.clone().unwrap_or_default();
    let own: Wanted = unit.spec.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) {
        check_user(plan, unit.name(), user, image)?;
    }
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let profile = own.seccomp_profile.or(pod.seccomp_profile).filter(|_| !privileged);
    let seccomp = match profile.as_ref().map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") => Seccomp::RuntimeDefault,
        Some("Localhost") => {
            let name = profile.and_then(|p| p.localhost_profile).unwrap_or_default();
            Seccomp::Localhost(config.root_dir.join("seccomp").join(name).display().to_string())
        }
        _ => Seccomp::Unconfined,
    };
    let hidden = !privileged && own.proc_mount.as_deref() != Some("Unmasked");
    let mut groups = pod.supplemental_groups.clone().unwrap_or_default();
    groups.extend(pod.fs_group);
    let own_list = |list: &[&str]| list.iter().filter(|_| hidden).map(|p| (*p).to_owned()).collect();
    Ok(SecurityContext {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        privileged,
        pid: namespaces(plan).pid,
        run_as_user: user,
        run_as_group: own.run_as_group.or(pod.run_as_group),
        run_as_username: String::new(),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups,
        supplemental_groups_strict: pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: own_list(&MASKED),
        readonly_paths: own_list(&READONLY),
        seccomp,
    })
}
