//! Rules of pod specifications, for pods and for templates, in the order in which stock checks them.

use super::checks::{optional_rule, rule};
use super::container_rules::{self, Context};
use super::inside::inside;
use super::numbers::{quantity, range_at};
use super::{affinity_rules, env_rules, ip, os_rules, resources, security_rules, spread_rules, volume_rules};
use crate::read::{flag, has, items, map, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::{BTreeSet, HashSet};

/// Checks the specification of a template.
pub(crate) fn template_spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = check(spec, None, at);
    if !items(spec, &["ephemeralContainers"]).is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&at.child("ephemeralContainers"), why));
    }
    errors
}

/// Checks a pod's own specification and what belongs to it in the metadata.
pub(crate) fn pod(pod: &Value) -> ErrorList {
    let mut errors = metadata(pod);
    let (spec, at) = (&pod["spec"], Path::new("spec"));
    errors.extend(check(spec, Some(pod), &at));
    if text(spec, &["serviceAccountName"]).is_empty() {
        for (i, volume) in items(spec, &["volumes"]).iter().enumerate() {
            for (j, source) in items(volume, &["projected", "sources"]).iter().enumerate() {
                if has(source, &["serviceAccountToken"]) {
                    let at = at.child("volumes").index(i).child("projected").child("sources").index(j);
                    let why = "must not be specified when serviceAccountName is not set";
                    errors.push(FieldError::forbidden(&at.child("serviceAccountToken"), why));
                }
            }
        }
    }
    for key in ["containers", "initContainers"] {
        for (i, c) in items(spec, &[key]).iter().enumerate() {
            container_rules::image_is_trimmed(c, &at.child(key).index(i), &mut errors);
        }
    }
    errors
}

/// Checks what a pod's metadata say of it.
pub(crate) fn metadata(pod: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    annotations(pod, &Path::new("metadata").child("annotations"), &mut errors);
    errors
}

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn annotations(pod: &Value, at: &Path, errors: &mut ErrorList) {
    let of = |key: &str| pod["metadata"]["annotations"].get(key).and_then(Value::as_str);
    if let Some(value) = of(MIRROR)
        && text(pod, &["spec", "nodeName"]).is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid_str(&at.key(MIRROR), value, why));
    }
    if let Some(cost) = of(DELETION_COST) {
        let plain = !cost.starts_with('+') && (cost == "0" || !cost.trim_start_matches('-').starts_with('0'));
        if !plain || cost.parse::<i32>().is_err() {
            errors.push(FieldError::invalid_str(&at.key(DELETION_COST), cost, "must be a 32bit integer"));
        }
    }
}

fn check(spec: &Value, pod: Option<&Value>, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !has(spec, &["terminationGracePeriodSeconds"]) {
        errors.push(FieldError::required(&at.child("terminationGracePeriodSeconds"), ""));
    }
    let name = pod.map_or("", ironclad_api::object::name);
    let volumes = volume_rules::check(spec, name, &at.child("volumes"), &mut errors);
    let claims = claim_names(spec);
    resource_claims(spec, &at.child("resourceClaims"), &mut errors);
    let context = Context { spec, volumes: &volumes, claims: &claims };
    container_rules::all(&context, at, &mut errors);
    pod_resources(spec, &claims, at, &mut errors);
    host_ports(spec, pod.is_some(), &at.child("containers"), &mut errors);
    one_of(spec, at, "restartPolicy", &["Always", "OnFailure", "Never"], true, &mut errors);
    one_of(spec, at, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], true, &mut errors);
    errors.extend(crate::metadata::labels(&spec["nodeSelector"], &at.child("nodeSelector")));
    security_rules::pod(spec, &at.child("securityContext"), &mut errors);
    affinity_rules::check(&spec["affinity"], &at.child("affinity"), &mut errors);
    dns_config(spec, at, &mut errors);
    gates(spec, at, &mut errors);
    spread_rules::check(spec, &at.child("topologySpreadConstraints"), &mut errors);
    os_rules::host_processes(spec, at, &mut errors);
    host_namespaces(spec, at, &mut errors);
    hostname_override(spec, at, &mut errors);
    pod_names(spec, at, &mut errors);
    range_at(spec, at, "activeDeadlineSeconds", 1, i64::from(i32::MAX), &mut errors);
    optional_rule(spec, at, "hostname", names::dns1123_label, &mut errors);
    optional_rule(spec, at, "subdomain", names::dns1123_label, &mut errors);
    tolerations(spec, &at.child("tolerations"), &mut errors);
    host_aliases(spec, &at.child("hostAliases"), &mut errors);
    optional_rule(spec, at, "priorityClassName", names::dns1123_subdomain, &mut errors);
    if let Some(class) = spec.get("runtimeClassName").and_then(Value::as_str) {
        rule(names::dns1123_subdomain(class), class, &at.child("runtimeClassName"), &mut errors);
    }
    if has(spec, &["preemptionPolicy"]) {
        one_of(spec, at, "preemptionPolicy", &["PreemptLowerPriority", "Never"], true, &mut errors);
    }
    resources::container(&json!({"limits": spec["overhead"]}), &BTreeSet::new(), &at.child("overhead"), &mut errors);
    os_rules::operating_system(spec, at, &mut errors);
    scheduling_group(spec, at, &mut errors);
    env_rules::files_are_in_empty_dirs(spec, at, &mut errors);
    errors
}

/// Checks that a field has one of the supported values; an empty one is an error where it is required.
pub(crate) fn one_of(v: &Value, at: &Path, key: &str, supported: &[&str], required: bool, errors: &mut ErrorList) {
    let given = text(v, &[key]);
    // Whoever sends an empty text where nothing may stand has said something.
    if given.is_empty() && (required || v.get(key).is_none_or(Value::is_null)) {
        if required {
            errors.push(FieldError::required(&at.child(key), ""));
        }
    } else if !supported.contains(&given) {
        errors.push(FieldError::not_supported(&at.child(key), &json!(given), supported));
    }
}

/// As [`one_of`] for a field that may be missing, but not empty.
pub(crate) fn one_of_if_set(v: &Value, at: &Path, key: &str, supported: &[&str], errors: &mut ErrorList) {
    if let Some(given) = v.get(key).and_then(Value::as_str)
        && !supported.contains(&given)
    {
        errors.push(FieldError::not_supported(&at.child(key), &json!(given), supported));
    }
}

/// The names by which containers refer to the pod's claims to devices.
fn claim_names(spec: &Value) -> BTreeSet<&str> {
    items(spec, &["resourceClaims"]).iter().map(|c| text(c, &["name"])).filter(|n| !n.is_empty()).collect()
}

fn resource_claims(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, claim) in items(spec, &["resourceClaims"]).iter().enumerate() {
        let (at, name) = (at.index(i), text(claim, &["name"]));
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if seen.insert(name) {
            rule(names::dns1123_label(name), name, &at.child("name"), errors);
        } else {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
        let shown = || inside(claim, "PodResourceClaim");
        match (has(claim, &["resourceClaimName"]), has(claim, &["resourceClaimTemplateName"])) {
            (true, true) => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(FieldError::invalid_shown(&at, shown(), why));
            }
            (false, false) => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(FieldError::invalid_shown(&at, shown(), why));
            }
            _ => {}
        }
        for key in ["resourceClaimName", "resourceClaimTemplateName"].into_iter().filter(|k| has(claim, &[k])) {
            let given = text(claim, &[key]);
            rule(names::dns1123_subdomain(given), given, &at.child(key), errors);
        }
    }
}

/// What the pod as a whole asks for, and that no container asks for more.
fn pod_resources(spec: &Value, claims: &BTreeSet<&str>, at: &Path, errors: &mut ErrorList) {
    if !has(spec, &["resources"]) {
        return;
    }
    let (whole, at) = (&spec["resources"], at.child("resources"));
    if text(spec, &["os", "name"]) == "windows" {
        errors.push(FieldError::forbidden(&at, "may not be set for a windows pod"));
        return;
    }
    if has(whole, &["claims"]) {
        errors.push(FieldError::forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level"));
    }
    resources::pod(whole, claims, &at, errors);
    let mut without = spec.clone();
    if let Some(map) = without.as_object_mut() {
        ["resources", "overhead"].iter().for_each(|key| drop(map.remove(key)));
    }
    if let Ok(typed) = ironclad_json::from_value(without) {
        for (name, total) in ironclad_api::pod_resources::requests(&typed) {
            if let Some(own) = quantity(&whole["requests"][&name]).filter(|own| total > *own) {
                let why = format!("must be greater than or equal to aggregate container requests of {total}");
                errors.push(FieldError::invalid_str(&at.child("requests").key(&name), &own.to_string(), why));
            }
        }
    }
    for (i, c) in items(spec, &["containers"]).iter().enumerate() {
        for (name, limit) in map(c, &["resources", "limits"]).into_iter().flatten() {
            if let (Some(own), Some(limit)) = (quantity(&whole["limits"][name]), quantity(limit))
                && limit > own
            {
                let at = at.child("containers").index(i).key(name).child("limits");
                let why = format!("must be less than or equal to pod limits of {own}");
                errors.push(FieldError::invalid_str(&at, &limit.to_string(), why));
            }
        }
    }
}

fn host_ports(spec: &Value, is_pod: bool, at: &Path, errors: &mut ErrorList) {
    if !flag(spec, &["hostNetwork"]) {
        return;
    }
    for (i, c) in items(spec, &["containers"]).iter().enumerate() {
        for (j, port) in items(c, &["ports"]).iter().enumerate() {
            let (own, host) = (crate::read::count(port, &["containerPort"]), crate::read::count(port, &["hostPort"]));
            if (is_pod || host != 0) && host != own {
                let at = at.index(i).child("ports").index(j).child("hostPort");
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&at, &json!(host), why));
            }
        }
    }
}

fn pod_names(spec: &Value, at: &Path, errors: &mut ErrorList) {
    optional_rule(spec, at, "serviceAccountName", names::dns1123_subdomain, errors);
    optional_rule(spec, at, "nodeName", names::dns1123_subdomain, errors);
}

fn gates(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, gate) in items(spec, &["readinessGates"]).iter().enumerate() {
        let name = text(gate, &["conditionType"]);
        rule(names::qualified_name(name), name, &at.child("readinessGates").index(i).child("conditionType"), errors);
    }
    let mut seen = HashSet::new();
    for (i, gate) in items(spec, &["schedulingGates"]).iter().enumerate() {
        let (name, at) = (text(gate, &["name"]), at.child("schedulingGates").index(i));
        rule(names::qualified_name(name), name, &at, errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at, &json!(name)));
        }
    }
}

fn host_namespaces(spec: &Value, at: &Path, errors: &mut ErrorList) {
    if spec["hostUsers"].as_bool() != Some(false) {
        return;
    }
    for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, &[key]) {
            errors.push(FieldError::forbidden(&at.child(shown), "when `hostUsers` is false"));
        }
    }
    for (c, at) in container_rules::visit(spec, at) {
        if !items(c, &["volumeDevices"]).is_empty() {
            errors.push(FieldError::forbidden(&at.child("volumeDevices"), "when `hostUsers` is false"));
        }
    }
}

fn scheduling_group(spec: &Value, at: &Path, errors: &mut ErrorList) {
    if !has(spec, &["schedulingGroup"]) {
        return;
    }
    let at = at.child("schedulingGroup").child("podGroupName");
    match spec["schedulingGroup"].get("podGroupName").and_then(Value::as_str) {
        None => errors.push(FieldError::invalid(&at, &Value::Null, "must specify one of: `podGroupName`")),
        Some(name) => rule(names::dns1123_subdomain(name), name, &at, errors),
    }
}

fn hostname_override(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let at = at.child("hostnameOverride");
    for (key, why) in [
        ("setHostnameAsFQDN", "may not be specified when setHostnameAsFQDN is true"),
        ("hostNetwork", "may not be specified when hostNetwork is true"),
    ] {
        if flag(spec, &[key]) {
            errors.push(FieldError::forbidden(&at, why));
        }
    }
    if name.len() > 64 {
        errors.push(FieldError::too_long(&at, 64));
    }
    rule(names::dns1123_subdomain(name), name, &at, errors);
}

fn dns_config(spec: &Value, at: &Path, errors: &mut ErrorList) {
    const SEARCHES_MAX: usize = 32;
    const SEARCH_CHARS_MAX: usize = 2048;
    let at = at.child("dnsConfig");
    let servers = items(spec, &["dnsConfig", "nameservers"]);
    if text(spec, &["dnsPolicy"]) == "None" {
        if !has(spec, &["dnsConfig"]) {
            errors.push(FieldError::required(&at, "must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(&at.child("nameservers"), why));
            return;
        }
    }
    if servers.len() > 3 {
        let why = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(&at.child("nameservers"), &json!(servers), why));
    }
    for (i, s) in servers.iter().enumerate() {
        ip::address(s.as_str().unwrap_or_default(), &at.child("nameservers").index(i), errors);
    }
    let searches = items(spec, &["dnsConfig", "searches"]);
    let searches_at = at.child("searches");
    if searches.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(&searches_at, &json!(searches), why));
    }
    let chars: usize = searches.iter().map(|s| s.as_str().map_or(0, str::len) + 1).sum();
    if chars > SEARCH_CHARS_MAX + 1 {
        let why =
            format!("must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list");
        errors.push(FieldError::invalid(&searches_at, &json!(searches), why));
    }
    for (i, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            rule(names::dns1123_subdomain_with_underscores(search), search, &searches_at.index(i), errors);
        }
    }
    for (i, option) in items(spec, &["dnsConfig", "options"]).iter().enumerate() {
        if text(option, &["name"]).is_empty() {
            errors.push(FieldError::required(&at.child("options").index(i), "must not be empty"));
        }
    }
}

/// Checks tolerations.
pub(crate) fn tolerations(o: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, t) in items(o, &["tolerations"]).iter().enumerate() {
        let at = at.index(i);
        let (key, operator, effect) = (text(t, &["key"]), text(t, &["operator"]), text(t, &["effect"]));
        if !key.is_empty() {
            rule(names::qualified_name(key), key, &at.child("key"), errors);
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid_str(&at.child("operator"), operator, why));
        }
        if has(t, &["tolerationSeconds"]) && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid_str(&at.child("effect"), effect, why));
        }
        let value = text(t, &["value"]);
        match operator {
            "" | "Equal" => {
                let found = names::label_value(value);
                if !found.is_empty() {
                    errors.push(FieldError::invalid_str(&at.child("operator"), value, found.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid_str(&at.child("operator"), value, why));
            }
            "Exists" => {}
            // These are behind TaintTolerationComparisonOperators, which is off.
            "Lt" | "Gt" => {
                let supported = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(FieldError::not_supported(&at.child("operator"), &json!(operator), &supported));
            }
            other => {
                errors.push(FieldError::not_supported(&at.child("operator"), &json!(other), &["Equal", "Exists"]));
            }
        }
        one_of(t, &at, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"], false, errors);
    }
}

fn host_aliases(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, alias) in items(spec, &["hostAliases"]).iter().enumerate() {
        ip::address(text(alias, &["ip"]), &at.index(i).child("ip"), errors);
        for (j, host) in items(alias, &["hostnames"]).iter().enumerate() {
            let host = host.as_str().unwrap_or_default();
            rule(names::dns1123_subdomain(host), host, &at.index(i).child("hostnames").index(j), errors);
        }
    }
}
