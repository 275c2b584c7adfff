//! What may change in a pod through `resize`: CPU and memory of containers and of the pod as a whole, never removed.

use crate::common::checks::same;
use crate::common::{pod_rules, qos};
use crate::read::{has, items, put, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Map, Value, json};

const LISTS: [&str; 2] = ["containers", "initContainers"];
const PARTS: [&str; 2] = ["requests", "limits"];
const COMPUTE: [&str; 2] = ["cpu", "memory"];
const ONLY: &str = "only cpu and memory resources are mutable";

/// What is wrong with an update through `resize`.
pub(crate) fn validate(new: &Value, old: &Value) -> ErrorList {
    let at = Path::new("spec");
    let refuse = |why: &str| vec![FieldError::forbidden(&Path::root(), why)];
    if has(old, &["metadata", "annotations", "kubernetes.io/config.mirror"]) {
        return refuse("static pods cannot be resized");
    }
    if text(old, &["spec", "os", "name"]) == "windows" {
        return refuse("windows pods cannot be resized");
    }
    let mut errors = pod_rules::pod(new);
    let known = text(old, &["status", "qosClass"]);
    if qos::class(new) != if known.is_empty() { qos::class(old) } else { known } {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid_str(&at, text(new, &["status", "qosClass"]), detail));
    }
    if !supported(old) {
        errors.push(FieldError::forbidden(&at, "Pod running on node without support for resize"));
    }
    let mut masked = new["spec"].clone();
    whole(new, old, &mut masked, &at, &mut errors);
    if !items(old, &["status", "nodeAllocatableResourceClaimStatuses"]).is_empty() {
        let detail = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden(&at, detail));
    }
    let order = order(new, old, &at);
    if !order.is_empty() {
        errors.extend(order);
        return errors;
    }
    containers(new, old, &mut masked, &at, &mut errors);
    if errors.is_empty() && !alike(&masked, &old["spec"]) {
        errors.push(FieldError::forbidden(&at, ONLY));
    }
    errors
}

/// Whether the node shows what containers have; of one that runs nothing of the pod that is not known yet.
fn supported(old: &Value) -> bool {
    let running = |c: &&Value| has(c, &["state", "running"]);
    items(old, &["status", "containerStatuses"]).iter().find(running).is_none_or(|c| has(c, &["resources"]))
}

fn lists_something(resources: &Value) -> bool {
    PARTS.iter().any(|part| resources[*part].as_object().is_some_and(|m| !m.is_empty()))
}

/// Checks the resources of the pod as a whole, and sets those in `masked` that may change to what they were.
fn whole(new: &Value, old: &Value, masked: &mut Value, at: &Path, errors: &mut ErrorList) {
    let (is, was) = (&new["spec"]["resources"], &old["spec"]["resources"]);
    if !lists_something(is) && !lists_something(was) {
        return;
    }
    let path = at.child("resources");
    if !was.is_null() && is.is_null() {
        errors.push(FieldError::forbidden(&path, "pod-level resources cannot be removed"));
        return;
    }
    for part in PARTS.into_iter().filter(|part| removed(&is[*part], &was[*part])) {
        let detail = format!("pod-level resource {part} cannot be removed");
        errors.push(FieldError::forbidden(&path.child(part), detail));
    }
    let mut mask = is.clone();
    for part in PARTS {
        set(&mut mask, part, restored(&is[part], &was[part]));
    }
    let empty = was.is_null() && !lists_something(&mask) && items(&mask, &["claims"]).is_empty();
    set(masked, "resources", if empty { Value::Null } else { mask });
    if !alike(&masked["resources"], was) {
        errors.push(FieldError::forbidden(at, "only cpu and memory resources are mutable at pod-level"));
    }
}

/// No container may come, go or change its place.
fn order(new: &Value, old: &Value, at: &Path) -> ErrorList {
    let mut errors = Vec::new();
    for key in LISTS {
        let (now, before) = (items(new, &["spec", key]), items(old, &["spec", key]));
        if now.len() != before.len() {
            let detail = format!("{key} may not be added or removed on resize");
            errors.push(FieldError::forbidden(&at.child(key), detail));
            continue;
        }
        for (i, _) in before.iter().enumerate().filter(|(i, c)| text(c, &["name"]) != text(&now[*i], &["name"])) {
            let detail = format!("{key} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(&at.child(key).index(i).child("name"), detail));
        }
    }
    errors
}

/// Checks each container, and sets in `masked` what may change to what it was.
fn containers(new: &Value, old: &Value, masked: &mut Value, at: &Path, errors: &mut ErrorList) {
    for key in ["initContainers", "containers"] {
        for (i, was) in items(old, &["spec", key]).iter().enumerate() {
            let is = &new["spec"][key][i]["resources"];
            let path = at.child(key).index(i).child("resources");
            for part in PARTS.into_iter().filter(|part| removed(&is[*part], &was["resources"][*part])) {
                let detail = format!("resource {part} cannot be removed");
                errors.push(FieldError::forbidden(&path.child(part), detail));
            }
        }
    }
    for key in LISTS {
        for (i, was) in items(old, &["spec", key]).iter().enumerate() {
            let is = &new["spec"][key][i];
            let changed = !alike(is, was);
            let mut mask = is.clone();
            let of = |part: &str| restored(&is["resources"][part], &was["resources"][part]);
            put(&mut mask, "resources", json!({"requests": of("requests"), "limits": of("limits")}));
            let (path, why) = match key {
                "containers" => (at.clone(), ONLY),
                _ => {
                    (at.child(key).index(i), "only cpu and memory resources for init or sidecar containers are mutable")
                }
            };
            if !alike(&mask, was) {
                errors.push(FieldError::forbidden(&path, why));
            }
            masked[key][i] = mask;
            if key == "initContainers" && changed && text(is, &["restartPolicy"]) != "Always" {
                let restarts = |p: &&Value| text(p, &["restartPolicy"]) == "RestartContainer";
                for _ in items(is, &["resizePolicy"]).iter().filter(restarts) {
                    let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                    errors.push(FieldError::forbidden(&path, why));
                }
            }
        }
    }
}

/// Whether an amount of `was` is missing in `is`.
fn removed(is: &Value, was: &Value) -> bool {
    was.as_object().into_iter().flatten().any(|(name, _)| is.get(name).is_none())
}

/// A list of amounts with the CPU and memory of another.
fn restored(is: &Value, was: &Value) -> Value {
    let mut list: Map = is.as_object().cloned().unwrap_or_default();
    for name in COMPUTE {
        match was.get(name) {
            Some(amount) => drop(list.insert(name, amount.clone())),
            None => drop(list.remove(name)),
        }
    }
    Value::Object(list)
}

fn set(object: &mut Value, field: &str, value: Value) {
    match value {
        Value::Null => drop(object.as_object_mut().and_then(|m| m.remove(field))),
        value => put(object, field, value),
    }
}

/// Whether two values are equal, where what is missing and what is empty are the same.
fn alike(a: &Value, b: &Value) -> bool {
    same(&lean(a), &lean(b))
}

fn lean(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(k, v)| (k.clone(), lean(v)));
            let full = |v: &Value| !v.as_object().is_some_and(Map::is_empty);
            Value::Object(fields.filter(|(_, v)| full(v)).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(lean).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;
    use crate::core::Pod;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": {"qosClass": "Burstable"}});
        Pod.default(&mut pod);
        pod
    }

    fn usual() -> Value {
        let resources =
            json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
        pod(json!({
            "initContainers": [{"name": "i", "image": "b", "resources": resources},
                {"name": "s", "image": "b", "restartPolicy": "Always", "resources": resources}],
            "containers": [{"name": "a", "image": "b", "resources": resources}],
        }))
    }

    fn errors(change: impl Fn(&mut Value)) -> Vec<String> {
        let (old, mut new) = (usual(), usual());
        change(&mut new["spec"]);
        validate(&new, &old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_container_and_the_pod_may_be_resized() {
        let change = |s: &mut Value| {
            for key in LISTS {
                s[key][0]["resources"]["requests"]["cpu"] = json!("150m");
            }
            s["initContainers"][1]["resources"]["limits"]["memory"] = json!("128Mi");
            s["resources"] = json!({"requests": {"cpu": "1", "memory": "1Gi"}});
        };
        assert_eq!(errors(change), Vec::<String>::new());
    }

    #[test]
    fn what_may_not_change_is_refused_in_the_words_of_stock() {
        type Case = (fn(&mut Value), &'static str);
        let table: [Case; 8] = [
            (
                |s| s["containers"][0]["resources"]["limits"] = json!({"cpu": "200m"}),
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ),
            (
                |s| s["containers"][0]["image"] = json!("z"),
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
            (
                |s| s["containers"][0]["name"] = json!("z"),
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
            ),
            (
                |s| s["initContainers"] = json!([]),
                "spec.initContainers: Forbidden: initContainers may not be added or removed on resize",
            ),
            (
                |s| s["initContainers"][1]["image"] = json!("z"),
                "spec.initContainers[1]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
            ),
            (
                |s| s["resources"] = json!({"limits": {"hugepages-2Mi": "2Mi"}, "requests": {"cpu": "1"}}),
                "spec: Forbidden: only cpu and memory resources are mutable at pod-level",
            ),
            (|s| s["nodeName"] = json!("n"), "spec: Forbidden: only cpu and memory resources are mutable"),
            (
                |s| {
                    for key in LISTS {
                        for i in 0..s[key].as_array().map_or(0, Vec::len) {
                            s[key][i]["resources"] = json!({});
                        }
                    }
                },
                "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
            ),
        ];
        for (change, want) in table {
            assert!(errors(change).iter().any(|e| e == want), "{want}\n{:#?}", errors(change));
        }
    }

    #[test]
    fn a_node_that_does_not_show_resources_cannot_resize() {
        let (mut old, new) = (usual(), usual());
        old["status"]["containerStatuses"] = json!([{"name": "a", "state": {"running": {}}}]);
        assert!(validate(&new, &old)[0].to_string().ends_with("Pod running on node without support for resize"));
        old["status"]["containerStatuses"][0]["resources"] = json!({});
        assert!(validate(&new, &old).is_empty());
    }
}
