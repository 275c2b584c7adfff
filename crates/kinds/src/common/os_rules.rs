//! Rules of operating systems: which one a pod is for, and what must not be asked of it.

use super::container_rules::visit;
use crate::read::{flag, has, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

/// What Windows does not have.
const NOT_WINDOWS_POD: [&str; 15] = [
    "appArmorProfile",
    "seLinuxOptions",
    "hostUsers",
    "hostPID",
    "hostIPC",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "shareProcessNamespace",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
/// Those of them that stand in the pod itself.
const IN_SPEC: [&str; 4] = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
const NOT_WINDOWS_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Checks `os` and that nothing is asked of an operating system that it has not.
pub(crate) fn operating_system(spec: &Value, at: &Path, errors: &mut ErrorList) {
    if !has(spec, &["os"]) {
        return;
    }
    let name = text(spec, &["os", "name"]);
    let contexts = containers(spec, at);
    match name {
        "" => errors.push(FieldError::required(&at.child("os").child("name"), "")),
        "linux" => {
            let why = "windows options cannot be set for a linux pod";
            let all = std::iter::once((&spec["securityContext"], at.child("securityContext"))).chain(contexts);
            for (context, at) in all {
                super::checks::forbidden(context, &at, &["windowsOptions"], why, errors);
            }
        }
        "windows" => {
            let why = "cannot be set for a windows pod";
            for key in NOT_WINDOWS_POD {
                let in_spec = IN_SPEC.contains(&key);
                let of = if in_spec { spec } else { &spec["securityContext"] };
                let given =
                    if key.starts_with("hostP") || key == "hostIPC" { flag(of, &[key]) } else { has(of, &[key]) };
                if given {
                    let at = if in_spec { at.child(key) } else { at.child("securityContext").child(key) };
                    errors.push(FieldError::forbidden(&at, why));
                }
            }
            for (context, at) in contexts {
                super::checks::forbidden(context, &at, &NOT_WINDOWS_CONTAINER, why, errors);
            }
        }
        other => {
            errors.push(FieldError::not_supported(&at.child("os"), &json!(other), &["linux", "windows"]));
        }
    }
}

/// The security contexts of all containers and where they stand.
fn containers<'a>(spec: &'a Value, at: &Path) -> Vec<(&'a Value, Path)> {
    visit(spec, at).into_iter().map(|(c, at)| (&c["securityContext"], at.child("securityContext"))).collect()
}

/// Checks pods whose containers are processes of a Windows host: all of them are, and on the host's network.
pub(crate) fn host_processes(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let of = |context: &Value| context["windowsOptions"]["hostProcess"].as_bool();
    let pod = of(&spec["securityContext"]);
    let (mut all, mut count) = (0, 0);
    for (context, at) in containers(spec, at) {
        all += 1;
        let own = of(context);
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(FieldError::invalid(&at.child("windowsOptions").child("hostProcess"), &json!(own), why));
        }
        count += usize::from(own.or(pod) == Some(true));
    }
    if count == 0 {
        return;
    }
    if count != all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid_str(at, "", why));
    }
    if !flag(spec, &["hostNetwork"]) {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&at.child("hostNetwork"), &json!(false), why));
    }
}
