//! Rules of security contexts, and of what an operating system does not have.

use super::inside::inside;
use super::pod_rules::one_of_if_set;
use crate::read::{flag, items, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use std::collections::HashSet;

fn id(context: &Value, key: &str, at: &Path, errors: &mut ErrorList) {
    if let Some(n) = context[key].as_i64()
        && !(0..=i64::from(i32::MAX)).contains(&n)
    {
        let why = format!("must be between 0 and {}, inclusive", i32::MAX);
        errors.push(FieldError::invalid(&at.child(key), &json!(n), why));
    }
}

/// Checks a pod's security context.
pub(crate) fn pod(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let context = &spec["securityContext"];
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context, key, at, errors);
    }
    for (i, group) in items(context, &["supplementalGroups"]).iter().enumerate() {
        if group.as_i64().is_some_and(|n| !(0..=i64::from(i32::MAX)).contains(&n)) {
            let why = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(FieldError::invalid(&at.child("supplementalGroups").index(i), group, why));
        }
    }
    if flag(spec, &["hostPID"]) && flag(spec, &["shareProcessNamespace"]) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&at.child("shareProcessNamespace"), &json!(true), why));
    }
    sysctls(spec, &at.child("sysctls"), errors);
    one_of_if_set(context, at, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], errors);
    seccomp(&context["seccompProfile"], &at.child("seccompProfile"), errors);
    windows(&context["windowsOptions"], &at.child("windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &at.child("appArmorProfile"), errors);
    one_of_if_set(context, at, "supplementalGroupsPolicy", &["Merge", "Strict"], errors);
    one_of_if_set(context, at, "seLinuxChangePolicy", &["MountOption", "Recursive"], errors);
}

/// Checks a container's security context; `host_users` says that it shares the node's users.
pub(crate) fn container(context: &Value, host_users: bool, at: &Path, errors: &mut ErrorList) {
    if !context.is_object() {
        return;
    }
    for key in ["runAsUser", "runAsGroup"] {
        id(context, key, at, errors);
    }
    one_of_if_set(context, at, "procMount", &["Default", "Unmasked"], errors);
    if host_users && text(context, &["procMount"]) == "Unmasked" {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid_str(&at.child("procMount"), "Unmasked", why));
    }
    seccomp(&context["seccompProfile"], &at.child("seccompProfile"), errors);
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        if flag(context, &["privileged"]) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid_shown(at, inside(context, "SecurityContext"), why));
        }
        if items(context, &["capabilities", "add"]).iter().any(|c| c == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid_shown(at, inside(context, "SecurityContext"), why));
        }
    }
    windows(&context["windowsOptions"], &at.child("windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &at.child("appArmorProfile"), errors);
}

fn seccomp(profile: &Value, at: &Path, errors: &mut ErrorList) {
    if !profile.is_object() {
        return;
    }
    let kind = text(profile, &["type"]);
    let supported = ["Localhost", "RuntimeDefault", "Unconfined"];
    if kind.is_empty() {
        errors.push(FieldError::required(&at.child("type"), "type is required when seccompProfile is set"));
    } else if !supported.contains(&kind) {
        errors.push(FieldError::not_supported(&at.child("type"), &json!(kind), &supported));
    }
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    let at = at.child("localhostProfile");
    match (kind, local) {
        ("Localhost", None) => {
            errors.push(FieldError::required(&at, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(path)) => super::volume_rules::local_path(path, &at, errors),
        (_, Some(_)) => {
            let why = "can only be set when seccomp type is Localhost";
            let shown = inside(profile, "SeccompProfile");
            errors.push(FieldError::invalid_shown(&at, shown, why));
        }
        (_, None) => {}
    }
}

fn app_armor(profile: &Value, at: &Path, errors: &mut ErrorList) {
    const LONGEST: usize = 4095;
    if !profile.is_object() {
        return;
    }
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    let local_at = at.child("localhostProfile");
    let missing = "must be set when AppArmor type is Localhost";
    match text(profile, &["type"]) {
        "Localhost" => match local {
            None => errors.push(FieldError::required(&local_at, missing)),
            Some(name) => {
                if name.trim() != name {
                    errors.push(FieldError::invalid_str(&local_at, name, "must not be padded with whitespace"));
                } else if name.is_empty() {
                    errors.push(FieldError::required(&local_at, missing));
                }
                if name.len() > LONGEST {
                    errors.push(FieldError::too_long(&local_at, LONGEST));
                }
            }
        },
        "RuntimeDefault" | "Unconfined" => {
            if let Some(name) = local {
                let why = "can only be set when AppArmor type is Localhost";
                errors.push(FieldError::invalid_str(&local_at, name, why));
            }
        }
        "" => errors.push(FieldError::required(&at.child("type"), "type is required when appArmorProfile is set")),
        other => {
            let supported = ["Localhost", "RuntimeDefault", "Unconfined"];
            errors.push(FieldError::not_supported(&at.child("type"), &json!(other), &supported));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |p: &str| {
        let b = p.as_bytes();
        !b.is_empty() && inner(b[0]) && inner(b[b.len() - 1]) && b.iter().all(|c| inner(*c) || matches!(c, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

fn sysctls(spec: &Value, at: &Path, errors: &mut ErrorList) {
    const WHY: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let mut seen = HashSet::new();
    for (i, sysctl) in items(spec, &["securityContext", "sysctls"]).iter().enumerate() {
        let (name, at) = (text(sysctl, &["name"]), at.index(i).child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid_str(&at, name, WHY));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at, &json!(name)));
        }
        let dotted = name.replace('/', ".");
        let ipc =
            dotted == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p));
        if flag(spec, &["hostNetwork"]) && dotted.starts_with("net.") {
            errors.push(FieldError::invalid_str(&at, name, "may not be specified when 'hostNetwork' is true"));
        } else if flag(spec, &["hostIPC"]) && ipc {
            errors.push(FieldError::invalid_str(&at, name, "may not be specified when 'hostIPC' is true"));
        }
    }
}

fn windows(options: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(name) = options.get("gmsaCredentialSpecName").and_then(Value::as_str) {
        let found = ironclad_api::names::dns1123_subdomain(name);
        super::checks::rule(found, name, &at.child("gmsaCredentialSpecName"), errors);
    }
    if let Some(content) = options.get("gmsaCredentialSpec").and_then(Value::as_str) {
        let at = at.child("gmsaCredentialSpec");
        if content.is_empty() {
            errors.push(FieldError::invalid_str(&at, content, "gmsaCredentialSpec cannot be an empty string"));
        } else if content.len() > 64 << 10 {
            let why = "gmsaCredentialSpec size must be under 64 KiB";
            errors.push(FieldError::invalid_str(&at, content, why));
        }
    }
    if let Some(user) = options.get("runAsUserName").and_then(Value::as_str) {
        let at = at.child("runAsUserName");
        if user.is_empty() {
            errors.push(FieldError::invalid_str(&at, user, "runAsUserName cannot be an empty string"));
        } else if user.chars().any(char::is_control) {
            errors.push(FieldError::invalid_str(&at, user, "runAsUserName cannot contain control characters"));
        } else if user.split('\\').count() > 2 {
            let why = "runAsUserName cannot contain more than one backslash";
            errors.push(FieldError::invalid_str(&at, user, why));
        } else {
            for why in windows_user(user) {
                errors.push(FieldError::invalid_str(&at, user, why));
            }
        }
    }
}

/// What is wrong with a user of Windows, `NAME` or `DOMAIN\\NAME`.
fn windows_user(given: &str) -> Vec<&'static str> {
    const NOT_IN_USERS: [char; 15] = ['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '['];
    let (domain, user) = given.split_once('\\').map_or((None, given), |(domain, user)| (Some(domain), user));
    let mut wrong = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            wrong.push("runAsUserName's Domain length must be under 256 characters");
        }
        let bios = domain.chars().count() <= 15
            && !domain.is_empty()
            && !domain.starts_with('.')
            && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|']);
        let label = |l: &str| {
            let b = l.as_bytes();
            let ends =
                b.first().zip(b.last()).is_some_and(|(f, l)| f.is_ascii_alphanumeric() && l.is_ascii_alphanumeric());
            ends && b.len() <= 63 && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
        };
        if !bios && !domain.split('.').all(label) {
            wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        wrong.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        wrong.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(NOT_IN_USERS) || user.contains(']') {
        wrong.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    wrong
}
