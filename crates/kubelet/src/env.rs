//! Environment variables of containers: given ones, those from ConfigMaps, Secrets and files, those of Services.

mod files;
pub(crate) mod services;

use crate::container::Volume;
use ironclad_api::pod_resources::{self, ResourceList};
use ironclad_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvFromSource, EnvVarSource, Pod, ResourceRequirements, Secret,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What variables can come from.
pub(crate) struct Sources<'a> {
    pub(crate) config_maps: &'a HashMap<String, Arc<ConfigMap>>,
    pub(crate) secrets: &'a HashMap<String, Arc<Secret>>,
    pub(crate) facts: &'a Facts,
    pub(crate) volumes: &'a HashMap<String, Volume>,
}

/// What the downward API tells besides the pod's own fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) host_ip: String,
    pub(crate) pod_ips: Vec<String>,
    /// What the node has for pods: the limit of a container without one.
    pub(crate) allocatable: ResourceList,
    /// What the node gives each container, where that differs from what its specification says.
    pub(crate) allocated: HashMap<String, ResourceRequirements>,
}

/// A field of the pod, as `fieldRef` names it; `None` for one that it does not have.
pub(crate) fn field(pod: &Pod, path: &str, facts: &Facts) -> Option<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let keyed = |map: &Option<BTreeMap<String, String>>, prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        Some(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default())
    };
    let all = |map: &Option<BTreeMap<String, String>>| {
        let lines = map.iter().flatten().map(|(k, v)| format!("{k}={v:?}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    Some(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => all(&meta.labels),
        "metadata.annotations" => all(&meta.annotations),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.clone(),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ if path.starts_with("metadata.labels['") => keyed(&meta.labels, "metadata.labels['")?,
        _ if path.starts_with("metadata.annotations['") => keyed(&meta.annotations, "metadata.annotations['")?,
        _ => return None,
    })
}

/// An amount of a container, as `resourceFieldRef` names it: a limit that is not set is what the node has.
pub(crate) fn resource(container: &Container, name: &str, divisor: &str, facts: &Facts) -> Option<String> {
    let (group, resource) = name.split_once('.')?;
    let own = facts.allocated.get(&container.name).or(container.resources.as_ref());
    let amount = match group {
        "limits" => {
            let given = pod_resources::parse(own.and_then(|r| r.limits.as_ref()));
            given.get(resource).or_else(|| facts.allocatable.get(resource)).copied()
        }
        "requests" => pod_resources::parse(own.and_then(|r| r.requests.as_ref())).get(resource).copied(),
        _ => return None,
    };
    let amount = amount.unwrap_or(Quantity::ZERO);
    let divisor: Quantity = if divisor.is_empty() || divisor == "0" { "1" } else { divisor }.parse().ok()?;
    let (a, d) = (amount.milli_value(), divisor.milli_value().max(1));
    Some(((a + d - 1) / d).to_string())
}

/// The variables of a container, in order, and the keys that can be none. An error says which source is missing.
pub(crate) fn variables(
    pod: &Pod,
    container: &Container,
    services: &[(String, String)],
    sources: &Sources<'_>,
) -> Result<(Vec<(String, String)>, Vec<String>), String> {
    let mut out: Vec<(String, String)> = services.to_vec();
    let mut remarks = Vec::new();
    for from in container.env_from.iter().flatten() {
        remarks.extend(all_from(pod, from, sources, &mut out)?);
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &out)),
            Some(from) => value_from(pod, container, from, sources)?,
        };
        if let Some(value) = value {
            set(&mut out, variable.name.clone(), value);
        }
    }
    Ok((out, remarks))
}

fn set(out: &mut Vec<(String, String)>, name: String, value: String) {
    match out.iter_mut().find(|v| v.0 == name) {
        Some(found) => found.1 = value,
        None => out.push((name, value)),
    }
}

/// Any printable ASCII character but `=` (KEP-4369).
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

/// Takes all of a ConfigMap or Secret; returns a remark on what can be no variable.
fn all_from(
    pod: &Pod,
    from: &EnvFromSource,
    sources: &Sources<'_>,
    out: &mut Vec<(String, String)>,
) -> Result<Option<String>, String> {
    let prefix = from.prefix.clone().unwrap_or_default();
    let text = |b: &k8s_openapi::ByteString| String::from_utf8_lossy(&b.0).into_owned();
    let (kind, name, pairs): (_, _, Vec<(String, String)>) = if let Some(reference) = &from.config_map_ref {
        let found = sources.config_maps.get(&reference.name);
        if found.is_none() && reference.optional != Some(true) {
            return Err(format!("configmap {:?} not found", reference.name));
        }
        let data = found.iter().flat_map(|m| m.data.iter().flatten());
        ("ConfigMap", &reference.name, data.map(|(k, v)| (k.clone(), v.clone())).collect())
    } else if let Some(reference) = &from.secret_ref {
        let found = sources.secrets.get(&reference.name);
        if found.is_none() && reference.optional != Some(true) {
            return Err(format!("secret {:?} not found", reference.name));
        }
        let data = found.iter().flat_map(|s| s.data.iter().flatten());
        ("Secret", &reference.name, data.map(|(k, v)| (k.clone(), text(v))).collect())
    } else {
        return Ok(None);
    };
    let mut bad = Vec::new();
    for (key, value) in pairs {
        let key = format!("{prefix}{key}");
        if is_name(&key) { set(out, key, value) } else { bad.push(key) }
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Ok((!bad.is_empty()).then(|| {
        format!(
            "Keys [{}] from the EnvFrom {kind} {namespace}/{name} were skipped since they are considered invalid \
             environment variable names.",
            bad.join(", ")
        )
    }))
}

fn value_from(
    pod: &Pod,
    container: &Container,
    from: &EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, String> {
    if let Some(reference) = &from.field_ref {
        return Ok(field(pod, &reference.field_path, sources.facts));
    }
    if let Some(reference) = &from.resource_field_ref {
        let divisor = reference.divisor.as_ref().map(|d| d.0.clone()).unwrap_or_default();
        let all = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
        let named = reference.container_name.as_deref().filter(|n| !n.is_empty());
        let of = named.and_then(|n| all.into_iter().find(|c| c.name == n)).unwrap_or(container);
        return Ok(resource(of, &reference.resource, &divisor, sources.facts));
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(reference) = &from.config_map_key_ref {
        let missing = |text: String| if reference.optional == Some(true) { Ok(None) } else { Err(text) };
        let Some(map) = sources.config_maps.get(&reference.name) else {
            return missing(format!("configmap {:?} not found", reference.name));
        };
        return match map.data.as_ref().and_then(|d| d.get(&reference.key).cloned()) {
            None => missing(format!("couldn't find key {} in ConfigMap {namespace}/{}", reference.key, reference.name)),
            found => Ok(found),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let missing = |text: String| if reference.optional == Some(true) { Ok(None) } else { Err(text) };
        let Some(secret) = sources.secrets.get(&reference.name) else {
            return missing(format!("secret {:?} not found", reference.name));
        };
        return match secret.data.as_ref().and_then(|d| d.get(&reference.key)) {
            None => missing(format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name)),
            Some(found) => Ok(Some(String::from_utf8_lossy(&found.0).into_owned())),
        };
    }
    match &from.file_key_ref {
        Some(reference) => files::value(reference, sources.volumes),
        None => Ok(None),
    }
}

/// The first name in a text that is no variable.
pub(crate) fn unknown(text: &str, variables: &[(String, String)]) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')')) {
            if !variables.iter().any(|v| v.0 == name) {
                return Some(name.to_owned());
            }
            rest = after;
        } else {
            rest = &rest[1..];
        }
    }
    None
}

/// Replaces `$(NAME)` by a variable's value; `$$` is a dollar, an unknown name stays.
pub(crate) fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')')) {
            match variables.iter().find(|v| v.0 == name) {
                Some((_, value)) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_as_stock() {
        let vars = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
        for (text, want) in
            [("$(A)-$(B)", "1-2"), ("$$(A)", "$(A)"), ("$(C)", "$(C)"), ("$A $", "$A $"), ("$(A", "$(A")]
        {
            assert_eq!(expand(text, &vars), want, "{text}");
        }
    }

    #[test]
    fn limits_that_are_not_set_are_what_the_node_has() {
        let container = Container { name: "a".into(), ..Container::default() };
        let allocatable = [("cpu".to_owned(), "4".parse().unwrap())].into();
        let facts = Facts { allocatable, ..Facts::default() };
        assert_eq!(resource(&container, "limits.cpu", "1m", &facts).as_deref(), Some("4000"));
        assert_eq!(resource(&container, "requests.cpu", "", &facts).as_deref(), Some("0"));
    }

    #[test]
    fn names_without_a_value_are_found() {
        let vars = [("A".to_owned(), "1".to_owned())];
        assert_eq!(unknown("$(A)/$(B)", &vars).as_deref(), Some("B"));
        assert_eq!(unknown("$$(B)/$(A)", &vars), None);
    }
}
