//! Rules of pod specifications, for pods and for templates.

use crate::common::resources;
use crate::read::{has, int, items, map, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};
use std::collections::HashSet;

use super::container_rules::{self, Context};
use super::volume_rules;

/// Checks the specification of a template; a pod's own is checked the same way.
pub(crate) fn template_spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let volumes = volume_rules::check(spec, &at.child("volumes"), &mut errors);
    containers(spec, at, &volumes, &mut errors);
    one_of(spec, at, "restartPolicy", &["Always", "OnFailure", "Never"], true, &mut errors);
    one_of(spec, at, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], true, &mut errors);
    errors.extend(crate::metadata::labels(&spec["nodeSelector"], &at.child("nodeSelector")));
    pod_names(spec, at, &mut errors);
    numbers(spec, at, &mut errors);
    host_namespaces(spec, at, &mut errors);
    dns_config(spec, at, &mut errors);
    tolerations(spec, &at.child("tolerations"), &mut errors);
    host_aliases(spec, &at.child("hostAliases"), &mut errors);
    spread(spec, &at.child("topologySpreadConstraints"), &mut errors);
    for (i, secret) in items(spec, &["imagePullSecrets"]).iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            errors.push(FieldError::required(&at.child("imagePullSecrets").index(i).child("name"), ""));
        }
    }
    for (i, gate) in items(spec, &["readinessGates"]).iter().enumerate() {
        let name = text(gate, &["conditionType"]);
        let at = at.child("readinessGates").index(i).child("conditionType");
        errors.extend(names::qualified_name(name).into_iter().map(|e| FieldError::invalid_str(&at, name, e)));
    }
    super::affinity_rules::check(&spec["affinity"], &at.child("affinity"), &mut errors);
    if has(spec, &["resources"]) {
        resources::check(&spec["resources"], &at.child("resources"), &mut errors);
    }
    errors
}

/// Checks that a field has one of the supported values; an empty one is an error where it is required.
pub(crate) fn one_of(v: &Value, at: &Path, key: &str, supported: &[&str], required: bool, errors: &mut ErrorList) {
    let given = text(v, &[key]);
    if given.is_empty() {
        if required {
            errors.push(FieldError::required(&at.child(key), ""));
        }
    } else if !supported.contains(&given) {
        errors.push(FieldError::not_supported(&at.child(key), &json!(given), supported));
    }
}

fn containers(spec: &Value, at: &Path, volumes: &HashSet<String>, errors: &mut ErrorList) {
    let main = items(spec, &["containers"]);
    if main.is_empty() {
        errors.push(FieldError::required(&at.child("containers"), ""));
    }
    let mut seen = HashSet::new();
    let context = Context { volumes, host_network: crate::read::flag(spec, &["hostNetwork"]) };
    for (key, init) in [("containers", false), ("initContainers", true)] {
        for (i, c) in items(spec, &[key]).iter().enumerate() {
            let at = at.child(key).index(i);
            container_rules::check(c, &at, init, &context, errors);
            let name = text(c, &["name"]);
            if !name.is_empty() && !seen.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
            }
        }
    }
    container_rules::host_port_conflicts(main, &at.child("containers"), errors);
    for (i, c) in items(spec, &["ephemeralContainers"]).iter().enumerate() {
        let at = at.child("ephemeralContainers").index(i);
        container_rules::check_ephemeral(c, &at, &context, errors);
        let name = text(c, &["name"]);
        if !name.is_empty() && !seen.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
        let target = text(c, &["targetContainerName"]);
        if !target.is_empty() && !main.iter().any(|m| text(m, &["name"]) == target) {
            errors.push(FieldError::not_found(&at.child("targetContainerName"), &json!(target)));
        }
    }
}

fn pod_names(spec: &Value, at: &Path, errors: &mut ErrorList) {
    type Rule = fn(&str) -> Vec<String>;
    let table: [(&str, Rule); 7] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
        ("schedulerName", names::qualified_name),
    ];
    for (key, rule) in table {
        let given = text(spec, &[key]);
        if !given.is_empty() {
            errors.extend(rule(given).into_iter().map(|e| FieldError::invalid_str(&at.child(key), given, e)));
        }
    }
}

fn numbers(spec: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(n) = int(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.push(FieldError::invalid(&at.child("activeDeadlineSeconds"), &json!(n), detail));
    }
    if let Some(n) = int(spec, &["terminationGracePeriodSeconds"])
        && n < 0
    {
        let at = at.child("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(&at, &json!(n), "must be greater than or equal to 0"));
    }
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        check_id(&spec["securityContext"][key], &at.child("securityContext").child(key), errors);
    }
    for (i, id) in items(spec, &["securityContext", "supplementalGroups"]).iter().enumerate() {
        check_id(id, &at.child("securityContext").child("supplementalGroups").index(i), errors);
    }
    for (i, s) in items(spec, &["securityContext", "sysctls"]).iter().enumerate() {
        let at = at.child("securityContext").child("sysctls").index(i).child("name");
        if text(s, &["name"]).is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
    }
}

/// Checks a user or group id.
pub(crate) fn check_id(id: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(n) = id.as_i64()
        && !(0..=i64::from(i32::MAX)).contains(&n)
    {
        errors.push(FieldError::invalid(at, id, format!("must be between 0 and {}, inclusive", i32::MAX)));
    }
}

fn host_namespaces(spec: &Value, at: &Path, errors: &mut ErrorList) {
    use crate::read::flag;
    if flag(spec, &["hostPID"]) && flag(spec, &["shareProcessNamespace"]) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&at.child("shareProcessNamespace"), &json!(true), detail));
    }
    if spec["hostUsers"].as_bool() == Some(false) {
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            if flag(spec, &[key]) {
                let detail = format!("when `hostUsers` is false, {key} must not be true");
                errors.push(FieldError::forbidden(&at.child(key), detail));
            }
        }
    }
}

fn dns_config(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let at = at.child("dnsConfig");
    let servers = items(spec, &["dnsConfig", "nameservers"]);
    if text(spec, &["dnsPolicy"]) == "None" {
        if !has(spec, &["dnsConfig"]) {
            errors.push(FieldError::required(&at, "must provide `dnsConfig` when `dnsPolicy` is None"));
        } else if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(&at.child("nameservers"), detail));
        }
    }
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(&at.child("nameservers"), &json!(servers), detail));
    }
    for (i, s) in servers.iter().enumerate() {
        if s.as_str().unwrap_or_default().parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid(&at.child("nameservers").index(i), s, detail));
        }
    }
    let searches = items(spec, &["dnsConfig", "searches"]);
    if searches.len() > 32 {
        let detail = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(&at.child("searches"), &json!(searches), detail));
    }
    for (i, option) in items(spec, &["dnsConfig", "options"]).iter().enumerate() {
        if text(option, &["name"]).is_empty() {
            errors.push(FieldError::required(&at.child("options").index(i), "must not be empty"));
        }
    }
}

fn tolerations(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, t) in items(spec, &["tolerations"]).iter().enumerate() {
        let at = at.index(i);
        let (key, operator, effect) = (text(t, &["key"]), text(t, &["operator"]), text(t, &["effect"]));
        if !key.is_empty() {
            errors.extend(
                names::qualified_name(key).into_iter().map(|e| FieldError::invalid_str(&at.child("key"), key, e)),
            );
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid_str(&at.child("operator"), operator, detail));
        }
        if has(t, &["tolerationSeconds"]) && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid_str(&at.child("effect"), effect, detail));
        }
        let value = text(t, &["value"]);
        match operator {
            "" | "Equal" => {
                let found = names::label_value(value);
                errors.extend(found.into_iter().map(|e| FieldError::invalid_str(&at.child("operator"), value, e)));
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&at.child("operator"), t, detail));
            }
            "Exists" | "Lt" | "Gt" => {}
            other => {
                errors.push(FieldError::not_supported(&at.child("operator"), &json!(other), &["Equal", "Exists"]));
            }
        }
        one_of(t, &at, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"], false, errors);
    }
}

fn host_aliases(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, alias) in items(spec, &["hostAliases"]).iter().enumerate() {
        let ip = text(alias, &["ip"]);
        if ip.parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid_str(&at.index(i).child("ip"), ip, detail));
        }
        for (j, host) in items(alias, &["hostnames"]).iter().enumerate() {
            let host = host.as_str().unwrap_or_default();
            let at = at.index(i).child("hostnames").index(j);
            errors.extend(names::dns1123_subdomain(host).into_iter().map(|e| FieldError::invalid_str(&at, host, e)));
        }
    }
}

fn spread(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, c) in items(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let at = at.index(i);
        let skew = int(c, &["maxSkew"]).unwrap_or(0);
        if skew <= 0 {
            errors.push(FieldError::invalid(&at.child("maxSkew"), &json!(skew), "must be greater than zero"));
        }
        if text(c, &["topologyKey"]).is_empty() {
            errors.push(FieldError::required(&at.child("topologyKey"), "can not be empty"));
        }
        one_of(c, &at, "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"], true, errors);
        if map(c, &["labelSelector"]).is_some() {
            errors.extend(super::selector::validate(&c["labelSelector"], &at.child("labelSelector")));
        }
    }
}
