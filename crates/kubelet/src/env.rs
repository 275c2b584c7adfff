//! Environment variables of containers: given ones, those from ConfigMaps and Secrets, those of Services.

use ironclad_client::Informer;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};
use std::collections::BTreeMap;

/// What variables can come from.
pub(crate) struct Sources<'a> {
    pub(crate) config_maps: &'a (dyn Fn(&str) -> Option<ConfigMap> + Sync),
    pub(crate) secrets: &'a (dyn Fn(&str) -> Option<Secret> + Sync),
    pub(crate) host_ip: &'a str,
    pub(crate) pod_ip: &'a str,
}

/// A field of the pod, as `fieldRef` names it; `None` for one that it does not have.
pub(crate) fn field(pod: &Pod, path: &str, sources: &Sources<'_>) -> Option<String> {
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
        "status.hostIP" | "status.hostIPs" => sources.host_ip.to_owned(),
        "status.podIP" | "status.podIPs" => sources.pod_ip.to_owned(),
        _ if path.starts_with("metadata.labels['") => keyed(&meta.labels, "metadata.labels['")?,
        _ if path.starts_with("metadata.annotations['") => keyed(&meta.annotations, "metadata.annotations['")?,
        _ => return None,
    })
}

/// An amount of a container, as `resourceFieldRef` names it.
pub(crate) fn resource(container: &Container, name: &str, divisor: &str) -> Option<String> {
    let (group, resource) = name.split_once('.')?;
    let lists = container.resources.as_ref();
    let list = match group {
        "limits" => lists.and_then(|r| r.limits.as_ref()),
        "requests" => lists.and_then(|r| r.requests.as_ref()),
        _ => return None,
    };
    let amount: ironclad_api::quantity::Quantity = list?.get(resource)?.0.parse().ok()?;
    let divisor: ironclad_api::quantity::Quantity =
        if divisor.is_empty() || divisor == "0" { "1" } else { divisor }.parse().ok()?;
    let (a, d) = (amount.milli_value(), divisor.milli_value().max(1));
    Some(((a + d - 1) / d).to_string())
}

/// The variables of a container, in order. An error says which source is missing.
pub(crate) fn variables(
    pod: &Pod,
    container: &Container,
    services: &[(String, String)],
    sources: &Sources<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut out: Vec<(String, String)> = services.to_vec();
    let set = |out: &mut Vec<(String, String)>, name: String, value: String| match out.iter_mut().find(|v| v.0 == name)
    {
        Some(found) => found.1 = value,
        None => out.push((name, value)),
    };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match (sources.config_maps)(&reference.name) {
                Some(map) => map.data.into_iter().flatten().for_each(|(k, v)| set(&mut out, format!("{prefix}{k}"), v)),
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match (sources.secrets)(&reference.name) {
                Some(secret) => {
                    for (k, v) in secret.data.into_iter().flatten() {
                        set(&mut out, format!("{prefix}{k}"), String::from_utf8_lossy(&v.0).into_owned());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
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
    Ok(out)
}

fn value_from(
    pod: &Pod,
    container: &Container,
    from: &k8s_openapi::api::core::v1::EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, String> {
    if let Some(reference) = &from.field_ref {
        return Ok(field(pod, &reference.field_path, sources));
    }
    if let Some(reference) = &from.resource_field_ref {
        let divisor = reference.divisor.as_ref().map(|d| d.0.clone()).unwrap_or_default();
        return Ok(resource(container, &reference.resource, &divisor));
    }
    if let Some(reference) = &from.config_map_key_ref {
        let Some(map) = (sources.config_maps)(&reference.name) else {
            return if reference.optional == Some(true) {
                Ok(None)
            } else {
                Err(format!("configmap {:?} not found", reference.name))
            };
        };
        let found = map.data.and_then(|d| d.get(&reference.key).cloned());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        return match found {
            None if reference.optional != Some(true) => {
                Err(format!("couldn't find key {} in ConfigMap {namespace}/{}", reference.key, reference.name))
            }
            found => Ok(found),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let Some(secret) = (sources.secrets)(&reference.name) else {
            return if reference.optional == Some(true) {
                Ok(None)
            } else {
                Err(format!("secret {:?} not found", reference.name))
            };
        };
        let found = secret.data.and_then(|d| d.get(&reference.key).cloned());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        return match found {
            None if reference.optional != Some(true) => {
                Err(format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name))
            }
            found => Ok(found.map(|b| String::from_utf8_lossy(&b.0).into_owned())),
        };
    }
    Ok(None)
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

/// The variables by which the Services of a namespace are found, and the API server's in every namespace.
pub(crate) fn services(all: &Informer<Service>, namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut add = |service: &Service| {
        let Some(spec) = service.spec.as_ref() else { return };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
        let name = service.metadata.name.as_deref().unwrap_or_default().to_uppercase().replace('-', "_");
        let Some(first) = spec.ports.as_ref().and_then(|p| p.first()) else { return };
        out.push((format!("{name}_SERVICE_HOST"), ip.to_owned()));
        out.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
        for port in spec.ports.iter().flatten() {
            if let Some(named) = port.name.as_deref().filter(|n| !n.is_empty()) {
                out.push((
                    format!("{name}_SERVICE_PORT_{}", named.to_uppercase().replace('-', "_")),
                    port.port.to_string(),
                ));
            }
        }
        let url = |p: &k8s_openapi::api::core::v1::ServicePort| {
            let protocol = p.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            (format!("{protocol}://{ip}:{}", p.port), protocol)
        };
        out.push((format!("{name}_PORT"), url(first).0));
        for port in spec.ports.iter().flatten() {
            let (address, protocol) = url(port);
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            out.push((prefix.clone(), address));
            out.push((format!("{prefix}_PROTO"), protocol));
            out.push((format!("{prefix}_PORT"), port.port.to_string()));
            out.push((format!("{prefix}_ADDR"), ip.to_owned()));
        }
    };
    if let Some(kubernetes) = all.get("default", "kubernetes") {
        add(&kubernetes);
    }
    if links {
        let here = all.list_namespace(namespace);
        here.iter()
            .filter(|s| !(namespace == "default" && s.metadata.name.as_deref() == Some("kubernetes")))
            .for_each(|s| add(s));
    }
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
}
