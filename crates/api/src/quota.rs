//! What an object counts for in a ResourceQuota, and which quotas count it.
//!
//! Both sides use it: admission, which charges, and the controller, which counts.

use crate::quantity::Quantity;
use crate::resource::GroupResource;
use crate::{object, pod_resources};
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;
use std::collections::BTreeMap;

/// Amounts by the names that stand in `spec.hard`.
pub type Amounts = BTreeMap<String, Quantity>;

/// Kinds that count under their plain name as well as under `count/`.
const PLAIN: [&str; 7] =
    ["pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas"];

/// A JSON object of quantities.
pub fn amounts(value: &Value) -> Amounts {
    let one = |(k, v): (&String, &Value)| {
        let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        Some((k.clone(), text.parse().ok()?))
    };
    value.as_object().into_iter().flatten().filter_map(one).collect()
}

/// What an object counts for.
pub fn usage(resource: &GroupResource, object: &Value) -> Amounts {
    let one = Quantity::units(1);
    let mut out = Amounts::from([(format!("count/{resource}"), one)]);
    if !resource.group.is_empty() {
        return out;
    }
    let plain = PLAIN.contains(&resource.resource.as_str());
    match resource.resource.as_str() {
        // A pod that has ended gives back all but its place among the objects.
        "pods" if finished(object) => return out,
        "pods" => out.extend(compute(object)),
        "services" => out.extend(service(object)),
        "persistentvolumeclaims" => out.extend(claim(object)),
        _ => {}
    }
    if plain {
        out.insert(resource.resource.clone(), one);
    }
    out
}

/// Whether a pod has ended, or should have: its node may be gone.
fn finished(pod: &Value) -> bool {
    let ended = ["Succeeded", "Failed"].contains(&object::text(pod, &["status", "phase"]));
    let deleted: Option<jiff::Timestamp> = object::text(pod, &["metadata", "deletionTimestamp"]).parse().ok();
    ended || deleted.is_some_and(|at| at < jiff::Timestamp::now())
}

fn compute(pod: &Value) -> Amounts {
    let Ok(spec) = serde_json::from_value::<PodSpec>(pod["spec"].clone()) else { return Amounts::new() };
    let mut out = Amounts::new();
    let native = |name: &str| ["cpu", "memory", "ephemeral-storage"].contains(&name);
    for (name, amount) in pod_resources::requests(&spec) {
        if native(&name) || name.starts_with("hugepages-") {
            out.insert(name.clone(), amount);
        }
        // Names without a domain that are none of these are nobody's resources.
        if native(&name) || name.starts_with("hugepages-") || name.contains('/') {
            out.insert(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in pod_resources::limits(&spec).into_iter().filter(|(name, _)| native(name)) {
        out.insert(format!("limits.{name}"), amount);
    }
    out
}

fn service(service: &Value) -> Amounts {
    let ports = service["spec"]["ports"].as_array().map_or(0, Vec::len) as i64;
    let (balancers, node_ports) = match object::text(service, &["spec", "type"]) {
        "NodePort" => (0, ports),
        "LoadBalancer" if service["spec"]["allocateLoadBalancerNodePorts"] == false => (1, 0),
        "LoadBalancer" => (1, ports),
        _ => (0, 0),
    };
    Amounts::from([
        ("services.loadbalancers".to_owned(), Quantity::units(balancers)),
        ("services.nodeports".to_owned(), Quantity::units(node_ports)),
    ])
}

fn claim(claim: &Value) -> Amounts {
    let size = object::text(claim, &["spec", "resources", "requests", "storage"]).parse().unwrap_or(Quantity::ZERO);
    let mut out = Amounts::from([("requests.storage".to_owned(), size)]);
    let class = object::text(claim, &["spec", "storageClassName"]);
    if !class.is_empty() {
        out.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), size);
        out.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), Quantity::units(1));
    }
    out
}

/// Whether a quota's scopes take in an object. Quotas with scopes count pods only.
pub fn in_scope(quota: &Value, resource: &GroupResource, object: &Value) -> bool {
    let scopes = quota["spec"]["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let simple: Vec<(&str, &str, Vec<&str>)> = scopes.map(|s| (s, "Exists", Vec::new())).collect();
    let expressions = quota["spec"]["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let selected = expressions.map(|e| {
        let values = e["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (object::text(e, &["scopeName"]), object::text(e, &["operator"]), values)
    });
    let all: Vec<_> = simple.into_iter().chain(selected).collect();
    let pods = resource.group.is_empty() && resource.resource == "pods";
    all.is_empty() || pods && all.iter().all(|(name, operator, values)| scope(object, name, operator, values))
}

fn scope(pod: &Value, name: &str, operator: &str, values: &[&str]) -> bool {
    let deadline = pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|s| s >= 0);
    match name {
        "Terminating" => deadline,
        "NotTerminating" => !deadline,
        "BestEffort" => best_effort(pod),
        "NotBestEffort" => !best_effort(pod),
        "PriorityClass" => {
            let class = object::text(pod, &["spec", "priorityClassName"]);
            match operator {
                "In" => values.contains(&class),
                "NotIn" => !values.contains(&class),
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        "CrossNamespacePodAffinity" => reaches_out(&pod["spec"]["affinity"]),
        _ => false,
    }
}

fn best_effort(pod: &Value) -> bool {
    let named = |c: &Value| {
        ["requests", "limits"].iter().any(|f| {
            let list = amounts(&c["resources"][*f]);
            ["cpu", "memory"].iter().any(|r| list.get(*r).is_some_and(|q| !q.is_zero()))
        })
    };
    let all = ["containers", "initContainers"].into_iter();
    !all.flat_map(|g| pod["spec"][g].as_array().into_iter().flatten()).any(named)
}

fn reaches_out(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(reaches_out),
        Value::Object(map) => map.iter().any(|(key, inner)| {
            let names = key == "namespaces" && inner.as_array().is_some_and(|n| !n.is_empty());
            names || (key == "namespaceSelector" && !inner.is_null()) || reaches_out(inner)
        }),
        _ => false,
    }
}

/// What containers must say because a quota limits it: `cpu for: a,b`; empty when all is said.
pub fn unsaid(hard: &Amounts, pod: &Value) -> String {
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in hard.keys() {
        let (field, resource) = match name.as_str() {
            "cpu" | "memory" => ("requests", name.as_str()),
            "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory" => {
                name.split_once('.').unwrap_or(("requests", name))
            }
            _ => continue,
        };
        if !pod["spec"]["resources"][field][resource].is_null() {
            continue;
        }
        let containers = ["containers", "initContainers"].into_iter().filter_map(|g| pod["spec"][g].as_array());
        for container in containers.flatten() {
            if container["resources"][field].get(resource).is_none() {
                lacking.entry(name).or_default().push(object::text(container, &["name"]));
            }
        }
    }
    lacking.values_mut().for_each(|who| who.sort_unstable());
    let lines: Vec<String> = lacking.iter().map(|(name, who)| format!("{name} for: {}", who.join(","))).collect();
    lines.join("; ")
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        sum.entry(name).and_modify(|s| *s += amount).or_insert(amount);
    }
}

/// What `new` has more than `old`, name by name, where that is anything.
pub fn growth(old: &Amounts, new: &Amounts) -> Amounts {
    let grown = |(name, amount): (&String, &Quantity)| {
        let more = *amount - old.get(name).copied().unwrap_or(Quantity::ZERO);
        (!more.is_zero() && !more.is_negative()).then(|| (name.clone(), more))
    };
    new.iter().filter_map(grown).collect()
}

/// Amounts as `name=amount,...`.
pub fn show(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

/// Amounts as a JSON object.
pub fn to_value(amounts: &Amounts) -> Value {
    amounts
        .iter()
        .map(|(name, amount)| (name.clone(), Value::from(amount.to_string())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
