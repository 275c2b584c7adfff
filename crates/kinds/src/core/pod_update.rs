//! What may change in a pod: by an update, by `ephemeralcontainers`, by `resize`.

use crate::common::{pod_rules, qos};
use crate::read::{each, has, int, items, put, text};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Map, Value, json};

const CONTAINERS: [&str; 2] = ["containers", "initContainers"];

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What is wrong with an update of a pod through the main resource.
pub(crate) fn validate(new: &Value, old: &Value) -> ErrorList {
    let at = Path::new("spec");
    let mut errors = pod_rules::template_spec(&new["spec"], &at);
    for key in CONTAINERS {
        if items(new, &["spec", key]).len() != items(old, &["spec", key]).len() {
            let detail = "pod updates may not add or remove containers";
            errors.insert(0, FieldError::forbidden(&at.child(key), detail));
            return errors;
        }
    }
    deadline(new, old, &at, &mut errors);
    tolerations(new, old, &at, &mut errors);
    gates(new, old, &at, &mut errors);
    let (before, mut now) = (old["spec"].clone(), new["spec"].clone());
    for key in CONTAINERS {
        for (i, c) in items(&before, &[key]).iter().enumerate() {
            if let Some(container) = now.get_mut(key).and_then(|list| list.get_mut(i)) {
                put(container, "image", c["image"].clone());
            }
        }
    }
    let gated = !items(old, &["spec", "schedulingGates"]).is_empty();
    let mut free = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if int(old, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|n| n < 0)
        && int(new, &["spec", "terminationGracePeriodSeconds"]) == Some(1)
    {
        free.push("terminationGracePeriodSeconds");
    }
    if gated {
        free.extend(["nodeSelector", "affinity"]);
    }
    let (before, now) = (without(before, &free), without(now, &free));
    if before != now {
        errors.push(FieldError::forbidden(&at, format!("{MUTABLE}\n{}", difference(&now, &before))));
    }
    errors
}

/// A map without these keys and without nulls.
fn without(v: Value, keys: &[&str]) -> Value {
    let Value::Object(map) = v else { return v };
    let kept = map.into_iter().filter(|(k, v)| !keys.contains(&k.as_str()) && !v.is_null());
    Value::Object(kept.map(|(k, v)| (k, without(v, &[]))).collect())
}

fn deadline(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let path = ["spec", "activeDeadlineSeconds"];
    let at = at.child("activeDeadlineSeconds");
    match (int(new, &path), int(old, &path)) {
        (Some(now), Some(before)) if now > before => {
            let detail = format!("must be less than or equal to previous value {before}");
            errors.push(FieldError::invalid(&at, &json!(now), detail));
        }
        (None, Some(_)) => {
            errors.push(FieldError::invalid(&at, &Value::Null, "must not update from a positive integer to nil value"));
        }
        _ => {}
    }
}

fn tolerations(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let path = ["spec", "tolerations"];
    let key = |t: &Value| without(t.clone(), &["tolerationSeconds"]);
    let now: Vec<Value> = items(new, &path).iter().map(key).collect();
    if items(old, &path).iter().any(|t| !now.contains(&key(t))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&at.child("tolerations"), detail));
    }
}

fn gates(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let before = items(old, &["spec", "schedulingGates"]);
    let added: Vec<&str> = items(new, &["spec", "schedulingGates"])
        .iter()
        .filter(|g| !before.contains(g))
        .map(|g| text(g, &["name"]))
        .collect();
    if !added.is_empty() {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", added.join(","));
        errors.push(FieldError::forbidden(&at.child("schedulingGates"), detail));
    }
}

/// The changed parts of a specification, line by line: `-` as it would become, `+` as it is.
fn difference(now: &Value, before: &Value) -> String {
    let mut lines = Vec::new();
    diff("", now, before, 1, &mut lines);
    format!("  core.PodSpec{{\n{}\n  }}\n", lines.join("\n"))
}

fn diff(name: &str, now: &Value, before: &Value, depth: usize, lines: &mut Vec<String>) {
    let pad = "  ".repeat(depth);
    match (now, before) {
        (Value::Object(a), Value::Object(b)) => {
            if !name.is_empty() {
                lines.push(format!("  {pad}{name}: {{"));
            }
            members(a, b, depth + 1, lines);
            if !name.is_empty() {
                lines.push(format!("  {pad}}},"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            lines.push(format!("  {pad}{name}: ["));
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                if x != y {
                    diff(&i.to_string(), x, y, depth + 1, lines);
                }
            }
            lines.push(format!("  {pad}],"));
        }
        _ => {
            if !now.is_null() {
                lines.push(format!("- {pad}{name}: {now},"));
            }
            if !before.is_null() {
                lines.push(format!("+ {pad}{name}: {before},"));
            }
        }
    }
}

fn members(a: &Map<String, Value>, b: &Map<String, Value>, depth: usize, lines: &mut Vec<String>) {
    let mut keys: Vec<&String> = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))).collect();
    keys.sort();
    for key in keys {
        let none = Value::Null;
        let (x, y) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
        if x == y {
            continue;
        }
        let title = key[..1].to_uppercase() + &key[1..];
        diff(&title, x, y, depth, lines);
    }
}

/// The old pod with the ephemeral containers of the new one: that door carries nothing else.
pub(crate) fn keep_ephemeral(new: &mut Value, old: &Value) {
    let given = new["spec"]["ephemeralContainers"].take();
    restore(new, old);
    put(&mut new["spec"], "ephemeralContainers", given);
}

/// The old pod with the resources and resize policies of the new one. Where containers come, go or change places the
/// new pod stays as it is, for validation to refuse it.
pub(crate) fn keep_resources(new: &mut Value, old: &Value) {
    let names = |pod: &Value, key: &str| -> Vec<String> {
        items(pod, &["spec", key]).iter().map(|c| text(c, &["name"]).to_owned()).collect()
    };
    if CONTAINERS.iter().any(|key| names(new, key) != names(old, key)) {
        return;
    }
    let given = new["spec"].clone();
    restore(new, old);
    copy(&mut new["spec"], &given, "resources");
    for key in CONTAINERS {
        for (i, from) in items(&given, &[key]).iter().enumerate() {
            for field in ["resources", "resizePolicy"] {
                copy(&mut new["spec"][key][i], from, field);
            }
        }
    }
}

/// Everything of the old pod but what the request is known by.
fn restore(new: &mut Value, old: &Value) {
    let (version, managed) = (&new["metadata"]["resourceVersion"], &new["metadata"]["managedFields"]);
    let kept = [("resourceVersion", version.clone()), ("managedFields", managed.clone())];
    *new = old.clone();
    for (field, value) in kept.into_iter().filter(|(_, v)| !v.is_null()) {
        put(&mut new["metadata"], field, value);
    }
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    match from.get(field).filter(|v| !v.is_null()) {
        Some(value) => put(to, field, value.clone()),
        None => drop(to.as_object_mut().and_then(|m| m.remove(field))),
    }
}

/// What is wrong with an update through `ephemeralcontainers`: they may be added, never changed or removed.
pub(crate) fn validate_ephemeral(new: &Value, old: &Value) -> ErrorList {
    let at = Path::new("spec").child("ephemeralContainers");
    let mut errors = pod_rules::template_spec(&new["spec"], &Path::new("spec"));
    let now = items(new, &["spec", "ephemeralContainers"]);
    let before = items(old, &["spec", "ephemeralContainers"]);
    for (i, c) in before.iter().enumerate() {
        let name = text(c, &["name"]);
        match now.iter().find(|n| text(n, &["name"]) == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(FieldError::forbidden(&at, detail));
            }
            Some(same) if same != c => {
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(FieldError::forbidden(&at.index(i), detail));
            }
            Some(_) => {}
        }
    }
    errors
}

/// What is wrong with an update through `resize`: only resources and resize policies of containers may change.
pub(crate) fn validate_resize(new: &Value, old: &Value) -> ErrorList {
    let at = Path::new("spec");
    let mut errors = pod_rules::template_spec(&new["spec"], &at);
    let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
    for spec in [&mut now, &mut before] {
        for key in CONTAINERS {
            each(spec, &[key], |c| {
                if let Some(map) = c.as_object_mut() {
                    map.remove("resources");
                    map.remove("resizePolicy");
                }
            });
        }
        if let Some(map) = spec.as_object_mut() {
            map.remove("resources");
        }
    }
    if without(now, &[]) != without(before, &[]) {
        let detail = "only cpu and memory resources are mutable";
        errors.push(FieldError::forbidden(&at, detail));
    }
    let class = qos::class;
    if class(new) != class(old) && has(old, &["status", "qosClass"]) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid_str(&at, class(new), detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;
    use crate::core::Pod;

    fn pod() -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}});
        Pod.default(&mut pod);
        pod
    }

    #[test]
    fn the_image_may_change_and_the_command_may_not() {
        let (old, mut new) = (pod(), pod());
        new["spec"]["containers"][0]["image"] = json!("c");
        assert!(validate(&new, &old).is_empty(), "{:?}", validate(&new, &old));
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        let errors = validate(&new, &old);
        assert!(errors[0].to_string().starts_with("spec: Forbidden: pod updates may not change fields other than"));
        assert!(errors[0].detail.contains("Command: [\"x\"],"), "{}", errors[0].detail);
    }

    #[test]
    fn every_rule_of_a_container_has_the_stock_wording() {
        let check = |patch: fn(&mut Value)| {
            let mut p = pod();
            patch(&mut p["spec"]);
            pod_rules::template_spec(&p["spec"], &Path::new("spec")).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        type Case = (fn(&mut Value), &'static str);
        let table: [Case; 8] = [
            (|s| s["containers"] = json!([]), "spec.containers: Required value"),
            (|s| s["containers"][0]["image"] = json!(""), "spec.containers[0].image: Required value"),
            (
                |s| s["containers"][0]["volumeMounts"] = json!([{"name": "x", "mountPath": "/x"}]),
                "spec.containers[0].volumeMounts[0].name: Not found: \"x\"",
            ),
            (
                |s| s["restartPolicy"] = json!("Sometimes"),
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            ),
            (
                |s| s["containers"][0]["ports"] = json!([{"containerPort": 70000, "protocol": "TCP"}]),
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                |s| s["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
            (
                |s| s["containers"][0]["livenessProbe"] = json!({"periodSeconds": 1}),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
            (
                |s| s["volumes"] = json!([{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]),
                "spec.volumes[1].name: Duplicate value: \"a\"",
            ),
        ];
        for (patch, expected) in table {
            assert_eq!(check(patch), [expected]);
        }
    }

    #[test]
    fn ephemeral_containers_only_come() {
        let (mut old, mut new) = (pod(), pod());
        let one = json!({"name": "d", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"});
        new["spec"]["ephemeralContainers"] = json!([one]);
        assert!(validate_ephemeral(&new, &old).is_empty());
        old["spec"]["ephemeralContainers"] = json!([one]);
        new["spec"]["ephemeralContainers"] = json!([]);
        assert!(validate_ephemeral(&new, &old)[0].detail.contains("may not be removed"));
    }

    #[test]
    fn each_door_carries_only_its_own() {
        let (old, mut new) = (pod(), pod());
        new["spec"]["nodeName"] = json!("elsewhere");
        new["metadata"]["labels"] = json!({"a": "b"});
        let one = json!({"name": "d", "image": "i"});
        new["spec"]["ephemeralContainers"] = json!([one]);
        new["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        let (mut debugged, mut resized) = (new.clone(), new);
        keep_ephemeral(&mut debugged, &old);
        let mut expected = old.clone();
        expected["spec"]["ephemeralContainers"] = json!([one]);
        assert_eq!(debugged, expected);
        keep_resources(&mut resized, &old);
        let mut expected = old.clone();
        expected["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        assert_eq!(resized, expected);
    }

    #[test]
    fn a_resize_keeps_containers_and_class() {
        let (mut old, mut new) = (pod(), pod());
        old["status"] = json!({"qosClass": "BestEffort"});
        assert!(validate_resize(&new, &old).is_empty());
        new["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        let class = "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing";
        assert_eq!(validate_resize(&new, &old)[0].to_string(), class);
        new["spec"]["containers"][0]["name"] = json!("z");
        assert!(validate_resize(&new, &old)[0].detail.contains("only cpu and memory resources are mutable"));
    }
}
