//! Rules of containers: names, images, ports, restarts, and what main, init and ephemeral containers differ in.

use super::pod_rules::{one_of, one_of_if_set};
use super::{checks, env_rules, mount_rules, probe_rules, resources, security_rules};
use crate::read::{count, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};

/// All containers of a pod and where they stand: init, main and ephemeral ones.
pub(crate) fn visit<'a>(spec: &'a Value, at: &Path) -> Vec<(&'a Value, Path)> {
    let of = |key: &'static str| {
        let at = at.child(key);
        items(spec, &[key]).iter().enumerate().map(move |(i, c)| (c, at.index(i)))
    };
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(of).collect()
}

/// What the checks of a container need to know of its pod.
pub(crate) struct Context<'a> {
    /// The pod's specification.
    pub(crate) spec: &'a Value,
    /// The volumes by their names.
    pub(crate) volumes: &'a HashMap<&'a str, &'a Value>,
    /// Names of the pod's claims to devices.
    pub(crate) claims: &'a BTreeSet<&'a str>,
}

/// Checks all containers of a pod.
pub(crate) fn all(context: &Context<'_>, at: &Path, errors: &mut ErrorList) {
    let main = items(context.spec, &["containers"]);
    let mut seen = HashSet::new();
    let main_at = at.child("containers");
    if main.is_empty() {
        errors.push(FieldError::required(&main_at, ""));
    }
    for (i, c) in main.iter().enumerate() {
        let at = main_at.index(i);
        common(c, &at, context, errors);
        unique(c, &mut seen, &at, errors);
        hooks_and_probes(c, context, &at, errors);
        restart(c, &at, errors);
    }
    host_port_conflicts(main, &main_at, errors);
    let init_at = at.child("initContainers");
    for (i, c) in items(context.spec, &["initContainers"]).iter().enumerate() {
        let at = init_at.index(i);
        common(c, &at, context, errors);
        init(c, context, &mut seen, (&at, &init_at), errors);
    }
    let ephemeral = items(context.spec, &["ephemeralContainers"]);
    let others = seen.clone();
    for (i, c) in ephemeral.iter().enumerate() {
        let at = at.child("ephemeralContainers").index(i);
        common(c, &at, context, errors);
        image_is_trimmed(c, &at, errors);
        unique(c, &mut seen, &at, errors);
        let target = text(c, &["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&at.child("targetContainerName"), &json!(target)));
        }
        only_ephemeral(c, &at, errors);
    }
}

fn unique<'a>(c: &'a Value, seen: &mut HashSet<&'a str>, at: &Path, errors: &mut ErrorList) {
    let name = text(c, &["name"]);
    if !name.is_empty() && !seen.insert(name) {
        errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
    }
}

fn hooks_and_probes(c: &Value, context: &Context<'_>, at: &Path, errors: &mut ErrorList) {
    if has(c, &["lifecycle"]) {
        probe_rules::lifecycle(&c["lifecycle"], context.spec, &at.child("lifecycle"), errors);
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if has(c, &[kind]) {
            probe_rules::probe(&c[kind], kind, context.spec, &at.child(kind), errors);
        }
    }
}

fn init<'a>(
    c: &'a Value,
    context: &Context<'_>,
    seen: &mut HashSet<&'a str>,
    (at, all): (&Path, &Path),
    errors: &mut ErrorList,
) {
    let sidecar = text(c, &["restartPolicy"]) == "Always";
    if has(c, &["restartPolicy"]) {
        restart(c, at, errors);
    } else if !items(c, &["restartPolicyRules"]).is_empty() {
        errors.push(FieldError::required(&at.child("restartPolicy"), NO_POLICY));
    }
    unique(c, seen, at, errors);
    // Each is looked at alone, as if it stood first.
    host_port_conflicts(std::slice::from_ref(c), all, errors);
    if sidecar {
        hooks_and_probes(c, context, at, errors);
    } else {
        let why = "may not be set for init containers without restartPolicy=Always";
        let keys = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
        checks::forbidden(c, at, &keys, why, errors);
        for (j, policy) in items(c, &["resizePolicy"]).iter().enumerate() {
            let at = at.child("resizePolicy").index(j).child("restartPolicy");
            if text(policy, &["restartPolicy"]) == "RestartContainer" {
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(FieldError::invalid_str(&at, "RestartContainer", why));
            }
        }
    }
}

/// An ephemeral container has no ports, probes, hooks or resources.
fn only_ephemeral(c: &Value, at: &Path, errors: &mut ErrorList) {
    let why = "cannot be set for an Ephemeral Container";
    if crate::read::has(c, &["ports"]) {
        errors.push(FieldError::forbidden(&at.child("ports"), why));
    }
    if ["limits", "requests", "claims"].iter().any(|k| crate::read::has(c, &["resources", k])) {
        errors.push(FieldError::forbidden(&at.child("resources"), why));
    }
    let keys = [
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    checks::forbidden(c, at, &keys, why, errors);
    for (i, mount) in items(c, &["volumeMounts"]).iter().enumerate() {
        for key in ["subPath", "subPathExpr"].into_iter().filter(|k| !text(mount, &[k]).is_empty()) {
            errors.push(FieldError::forbidden(&at.child("volumeMounts").index(i).child(key), why));
        }
    }
}

/// Checks that an image has no space around it.
pub(crate) fn image_is_trimmed(c: &Value, at: &Path, errors: &mut ErrorList) {
    let image = text(c, &["image"]);
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid_str(&at.child("image"), image, why));
    }
}

fn common(c: &Value, at: &Path, context: &Context<'_>, errors: &mut ErrorList) {
    checks::required_rule(c, at, "name", names::dns1123_label, errors);
    checks::required(c, at, &["image"], errors);
    one_of(c, at, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], true, errors);
    ports(c, &at.child("ports"), errors);
    env_rules::env(items(c, &["env"]), &at.child("env"), errors);
    env_rules::env_from(items(c, &["envFrom"]), &at.child("envFrom"), errors);
    mount_rules::mounts(c, context, &at.child("volumeMounts"), errors);
    mount_rules::devices(c, context, &at.child("volumeDevices"), errors);
    one_of(c, at, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], true, errors);
    resources::container(&c["resources"], context.claims, &at.child("resources"), errors);
    resize_policy(c, context, &at.child("resizePolicy"), errors);
    let masked = context.spec["hostUsers"].as_bool() != Some(false);
    security_rules::container(&c["securityContext"], masked, &at.child("securityContext"), errors);
}

fn ports(c: &Value, at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, port) in items(c, &["ports"]).iter().enumerate() {
        let at = at.index(i);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            let found = names::port_name(name);
            let valid = found.is_empty();
            checks::rule(found, name, &at.child("name"), errors);
            if valid && !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
            }
        }
        for (key, required) in [("containerPort", true), ("hostPort", false)] {
            match count(port, &[key]) {
                0 if required => errors.push(FieldError::required(&at.child(key), "")),
                0 => {}
                n => {
                    let found = names::port_number(n);
                    errors.extend(found.into_iter().map(|e| FieldError::invalid(&at.child(key), &json!(n), e)));
                }
            }
        }
        one_of(port, &at, "protocol", &["SCTP", "TCP", "UDP"], true, errors);
    }
}

/// No two containers may ask for the same port of the node.
fn host_port_conflicts(containers: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, c) in containers.iter().enumerate() {
        for (j, port) in items(c, &["ports"]).iter().enumerate() {
            let host = count(port, &["hostPort"]);
            if host == 0 {
                continue;
            }
            let key = format!("{}/{}/{host}", text(port, &["protocol"]), text(port, &["hostIP"]));
            if !seen.insert(key.clone()) {
                let at = at.index(i).child("ports").index(j).child("hostPort");
                errors.push(FieldError::duplicate(&at, &json!(key)));
            }
        }
    }
}

const NO_POLICY: &str = "must specify restartPolicy when restart rules are used";

/// When a container is started again, by policy and by rules of its own.
fn restart(c: &Value, at: &Path, errors: &mut ErrorList) {
    let rules = items(c, &["restartPolicyRules"]);
    if !has(c, &["restartPolicy"]) {
        if !rules.is_empty() {
            errors.push(FieldError::required(&at.child("restartPolicy"), NO_POLICY));
        } else {
            return;
        }
    }
    one_of_if_set(c, at, "restartPolicy", &["Always", "Never", "OnFailure"], errors);
    if rules.len() > 20 {
        errors.push(FieldError::too_many(&at.child("restartPolicyRules"), rules.len(), 20));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.child("restartPolicyRules").index(i);
        let action = text(rule, &["action"]);
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&action) {
            errors.push(FieldError::not_supported(&at.child("action"), &json!(action), &actions));
        }
        if !has(rule, &["exitCodes"]) {
            errors.push(FieldError::required(&at.child("exitCodes"), "must be specified"));
            continue;
        }
        let (codes, at) = (&rule["exitCodes"], at.child("exitCodes"));
        let operator = text(codes, &["operator"]);
        if !["In", "NotIn"].contains(&operator) {
            errors.push(FieldError::not_supported(&at.child("operator"), &json!(operator), &["In", "NotIn"]));
        }
        let values = items(codes, &["values"]).len();
        if values > 255 {
            errors.push(FieldError::too_many(&at.child("values"), values, 255));
        }
    }
}

fn resize_policy(c: &Value, context: &Context<'_>, at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, policy) in items(c, &["resizePolicy"]).iter().enumerate() {
        let (resource, restart) = (text(policy, &["resourceName"]), text(policy, &["restartPolicy"]));
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(&at.index(i), &json!(resource)));
        }
        for (given, supported) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])] {
            if given.is_empty() {
                errors.push(FieldError::required(at, ""));
            } else if !supported.contains(&given) {
                errors.push(FieldError::not_supported(at, &json!(given), &supported));
            }
        }
        if text(context.spec, &["restartPolicy"]) == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid_str(at, restart, why));
        }
    }
}
