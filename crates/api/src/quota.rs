//! What an object counts for in a ResourceQuota, and which quotas count it.
//!
//! Both sides use it: admission, which charges, and the controller, which counts.

use crate::quantity::Quantity;
use crate::resource::GroupResource;
use crate::{object, pod_resources};
use ironclad_json::Value;
use k8s_openapi::api::core::v1::PodSpec;
use std::collections::BTreeMap;

/// Amounts by the names that stand in `spec.hard`.
pub type Amounts = BTreeMap<String, Quantity>;

/// As many devices as a claim can be given.
const MOST_DEVICES: i64 = 32;

/// Kinds that count under their plain name as well as under `count/`.
const PLAIN: [&str; 7] =
    ["pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas"];

/// A JSON object of quantities.
pub fn amounts(value: &Value) -> Amounts {
    let one = |(k, v): (&ironclad_json::Text, &Value)| {
        let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        Some((k.to_string(), text.parse().ok()?))
    };
    value.as_object().into_iter().flatten().filter_map(one).collect()
}

/// What an object counts for.
pub fn usage(resource: &GroupResource, object: &Value) -> Amounts {
    let one = Quantity::units(1);
    let mut out = Amounts::from([(format!("count/{resource}"), one)]);
    if resource.group == "resource.k8s.io" && resource.resource == "resourceclaims" {
        add(&mut out, devices(object));
    }
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

/// What has to be known beyond an object to say what it counts for.
pub trait Around: Send + Sync {
    /// By which name pods ask for devices of a class, if they may by one.
    fn extended_resource(&self, _class: &str) -> Option<String> {
        None
    }

    /// A pod of a namespace.
    fn pod(&self, _namespace: &str, _name: &str) -> Option<Value> {
        None
    }

    /// The claims of devices of a namespace.
    fn claims(&self, _namespace: &str) -> Vec<Value> {
        Vec::new()
    }
}

/// Nothing is known.
#[derive(Debug)]
pub struct Alone;

impl Around for Alone {}

/// What an object counts for: a claim of devices also by the names by which pods ask for such devices, less what the pod
/// that it was made for counts for already.
pub fn usage_among(resource: &GroupResource, object: &Value, around: &dyn Around) -> Amounts {
    let mut out = usage(resource, object);
    if resource.group != "resource.k8s.io" || resource.resource != "resourceclaims" {
        return out;
    }
    let mut named = Amounts::new();
    for (name, amount) in &out {
        let Some(class) = name.strip_suffix(".deviceclass.resource.k8s.io/devices") else { continue };
        if let Some(extended) = around.extended_resource(class) {
            named.insert(format!("requests.deviceclass.resource.kubernetes.io/{class}"), *amount);
            named.insert(format!("requests.{extended}"), *amount);
        }
    }
    if !named.is_empty() {
        let counted =
            pod_of(object, around).map(|pod| usage(&GroupResource::new("", "pods"), &pod)).unwrap_or_default();
        for (name, amount) in &mut named {
            if let Some(counted) = counted.get(name) {
                *amount -= *counted;
            }
        }
    }
    named.retain(|_, amount| !amount.is_zero() && !amount.is_negative());
    out.extend(named);
    out
}

/// The pod for whose extended resources a claim was made, if it is that pod's one such claim.
fn pod_of(claim: &Value, around: &dyn Around) -> Option<Value> {
    let owner = |claim: &Value| {
        let owners = claim["metadata"]["ownerReferences"].as_array()?;
        let owner = owners.iter().find(|o| o["controller"] == true)?;
        let pod = owner["kind"] == "Pod" && owner["apiVersion"] == "v1";
        pod.then(|| (object::text(owner, &["name"]).to_owned(), object::text(owner, &["uid"]).to_owned()))
    };
    let made =
        |claim: &Value| claim["metadata"]["annotations"]["resource.kubernetes.io/extended-resource-claim"] == "true";
    if !made(claim) {
        return None;
    }
    let (namespace, name, (pod, uid)) = (object::namespace(claim), object::name(claim), owner(claim)?);
    let pod = around.pod(namespace, &pod).filter(|pod| object::uid(pod) == uid)?;
    match object::text(&pod, &["status", "extendedResourceClaimStatus", "resourceClaimName"]) {
        "" => {
            // The first of those that were made for it.
            let age = |c: &Value| {
                (object::text(c, &["metadata", "creationTimestamp"]).to_owned(), object::name(c).to_owned())
            };
            let others = around.claims(namespace).into_iter().filter(|c| object::name(c) != name && made(c));
            let mut others = others.filter(|c| owner(c).is_some_and(|(_, of)| of == uid));
            let own = match age(claim) {
                (created, name) if created.is_empty() => ("9".to_owned(), name),
                age => age,
            };
            (!others.any(|c| age(&c) < own)).then_some(pod)
        }
        of => (of == name).then_some(pod),
    }
}

/// Whether a pod has ended, or should have: its node may be gone.
fn finished(pod: &Value) -> bool {
    let ended = ["Succeeded", "Failed"].contains(&object::text(pod, &["status", "phase"]));
    let deleted: Option<jiff::Timestamp> = object::text(pod, &["metadata", "deletionTimestamp"]).parse().ok();
    ended || deleted.is_some_and(|at| at < jiff::Timestamp::now())
}

fn compute(pod: &Value) -> Amounts {
    let Ok(spec) = ironclad_json::from_value::<PodSpec>(pod["spec"].clone()) else { return Amounts::new() };
    let mut out = Amounts::new();
    let native = |name: &str| ["cpu", "memory", "ephemeral-storage"].contains(&name);
    for (name, amount) in pod_resources::requests(&spec) {
        if native(&name) || name.starts_with("hugepages-") {
            out.insert(name.clone(), amount);
        }
        // Names without a domain that are none of these are nobody's resources, and Kubernetes' own are not counted.
        if native(&name) || name.starts_with("hugepages-") || is_extended(&name) {
            out.insert(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in pod_resources::limits(&spec).into_iter().filter(|(name, _)| native(name)) {
        out.insert(format!("limits.{name}"), amount);
    }
    out
}

/// Whether a resource is one of somebody else's, or a class of devices by another name.
fn is_extended(name: &str) -> bool {
    let foreign = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    foreign || name.starts_with("deviceclass.resource.kubernetes.io/")
}

/// The most devices of each class that a claim can be given.
fn devices(claim: &Value) -> Amounts {
    let mut out = Amounts::new();
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let mut most = Amounts::new();
        // Of alternatives only one is chosen: each class counts by what it could be asked for at most.
        let alternatives = request["firstAvailable"].as_array().map(Vec::as_slice).unwrap_or_default();
        let alone = std::slice::from_ref(&request["exactly"]).iter().filter(|e| e.is_object());
        for one in alternatives.iter().chain(alone) {
            let count = match object::text(one, &["allocationMode"]) {
                "ExactCount" => one["count"].as_i64().unwrap_or(0),
                "All" => MOST_DEVICES,
                _ => continue,
            };
            let name = format!("{}.deviceclass.resource.k8s.io/devices", object::text(one, &["deviceClassName"]));
            let count = Quantity::units(count);
            most.entry(name).and_modify(|m| *m = (*m).max(count)).or_insert(count);
        }
        add(&mut out, most);
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
    let whole = |path: &[&str]| -> Option<Quantity> {
        let size: Quantity = object::text(claim, path).parse().ok()?;
        // Storage is counted in whole bytes.
        Some(Quantity::units(size.value()).max(size))
    };
    let asked = whole(&["spec", "resources", "requests", "storage"]);
    // What is being given already counts as long as it is more.
    let given = whole(&["status", "allocatedResources", "storage"]);
    let size = asked.map(|asked| given.map_or(asked, |given| asked.max(given)));
    let mut out = Amounts::new();
    out.extend(size.map(|size| ("requests.storage".to_owned(), size)));
    let class = match object::text(claim, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]) {
        "" => object::text(claim, &["spec", "storageClassName"]),
        annotated => annotated,
    };
    if !class.is_empty() {
        out.extend(size.map(|size| (format!("{class}.storageclass.storage.k8s.io/requests.storage"), size)));
        out.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), Quantity::units(1));
    }
    out
}

/// Whether what is written through a door of a resource can use more of a quota: `status` counts for claims of storage
/// only, `resize` for pods only.
pub fn is_counted(resource: &GroupResource, subresource: &str, creates: bool) -> bool {
    if resource.is_question() {
        return false;
    }
    match (resource.group.as_str(), resource.resource.as_str(), subresource) {
        ("", "bindings" | "componentstatuses" | "events", _) => false,
        ("", "pods", "resize") | ("", "persistentvolumeclaims", "status") => !creates,
        ("", "services" | "persistentvolumeclaims", "") | ("resource.k8s.io", "resourceclaims", "") => true,
        (_, _, "") => creates,
        _ => false,
    }
}

/// What a quota or a configuration selects objects by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// For example `PriorityClass`.
    pub name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Of `In` and `NotIn`.
    pub values: Vec<String>,
}

impl Scope {
    /// From `ScopedResourceSelectorRequirement`.
    pub fn read(value: &Value) -> Self {
        let values = value["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self {
            name: object::text(value, &["scopeName"]).to_owned(),
            operator: object::text(value, &["operator"]).to_owned(),
            values: values.map(str::to_owned).collect(),
        }
    }

    /// Whether an object of a kind is in the scope. Kinds that have no scopes are in none.
    pub fn holds(&self, resource: &GroupResource, object: &Value) -> bool {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        match (resource.group.as_str(), resource.resource.as_str()) {
            ("", "pods") => scope(object, &self.name, &self.operator, &values),
            ("", "persistentvolumeclaims") if self.name == "VolumeAttributesClass" => {
                let classes = attributes_classes(object);
                match classes.as_slice() {
                    [] => selected(None, &self.operator, &values),
                    some => some.iter().any(|class| selected(Some(class), &self.operator, &values)),
                }
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{} {} [{}]}}", self.name, self.operator, self.values.join(" "))
    }
}

/// The scopes of a quota, from both of its fields.
pub fn scopes(quota: &Value) -> Vec<Scope> {
    let simple = quota["spec"]["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let simple = simple.map(|s| Scope { name: s.to_owned(), operator: "Exists".to_owned(), values: Vec::new() });
    let selected = quota["spec"]["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    simple.chain(selected.map(Scope::read)).collect()
}

/// Whether a quota's scopes take in an object.
pub fn in_scope(quota: &Value, resource: &GroupResource, object: &Value) -> bool {
    scopes(quota).iter().all(|scope| scope.holds(resource, object))
}

/// Whether the value of a key is what an operator asks for.
fn selected(value: Option<&str>, operator: &str, values: &[&str]) -> bool {
    match operator {
        "In" => value.is_some_and(|v| values.contains(&v)),
        "NotIn" => value.is_none_or(|v| !values.contains(&v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// The classes of attributes that a claim asks for, has, or is being given.
fn attributes_classes(claim: &Value) -> Vec<&str> {
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    paths.iter().map(|path| object::text(claim, path)).filter(|name| !name.is_empty()).collect()
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
            selected(Some(class).filter(|c| !c.is_empty()), operator, values)
        }
        "CrossNamespacePodAffinity" => reaches_out(&pod["spec"]["affinity"]),
        _ => false,
    }
}

/// Whether no container of a pod asks for anything.
pub fn best_effort(pod: &Value) -> bool {
    // What was decided once stays.
    let class = object::text(pod, &["status", "qosClass"]);
    if !class.is_empty() {
        return class == "BestEffort";
    }
    let named = |c: &Value| {
        ["requests", "limits"].iter().any(|f| {
            let list = amounts(&c["resources"][*f]);
            ["cpu", "memory"].iter().any(|r| list.get(*r).is_some_and(|q| !q.is_zero()))
        })
    };
    let all = ["containers", "initContainers"].into_iter();
    let mut all = all.flat_map(|g| pod["spec"][g].as_array().into_iter().flatten());
    !named(&pod["spec"]) && !all.any(named)
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

/// Whether a pod says what it needs as a whole, so that its containers need not.
fn whole_pod(pod: &Value) -> bool {
    let known =
        |name: &ironclad_json::Text| ["cpu", "memory"].contains(&name.as_str()) || name.starts_with("hugepages-");
    let names = |field: &str| pod["spec"]["resources"][field].as_object().into_iter().flatten().map(|(name, _)| name);
    names("requests").chain(names("limits")).any(known)
}

/// What containers must say because a quota limits it: `cpu for: a,b`; empty when all is said.
pub fn unsaid(hard: &Amounts, pod: &Value) -> String {
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    if whole_pod(pod) {
        return String::new();
    }
    for name in hard.keys() {
        let (field, resource) = match name.as_str() {
            "cpu" | "memory" => ("requests", name.as_str()),
            "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory" => {
                name.split_once('.').unwrap_or(("requests", name))
            }
            _ => continue,
        };
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
        .collect::<ironclad_json::Map>()
        .into()
}
