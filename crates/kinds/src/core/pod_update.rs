//! What may change in a pod: by an update, by `ephemeralcontainers`.

use crate::common::checks::same;
use crate::common::{diff, pod_rules};
use crate::read::{has, int, items, put, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

const CONTAINERS: [&str; 2] = ["containers", "initContainers"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What is wrong with an update of a pod through the main resource.
pub(crate) fn validate(new: &Value, old: &Value) -> ErrorList {
    let at = Path::new("spec");
    if new["spec"] == old["spec"] {
        // It was checked when it came.
        return pod_rules::metadata(new);
    }
    let mut errors = pod_rules::pod(new);
    for key in CONTAINERS {
        if items(new, &["spec", key]).len() != items(old, &["spec", key]).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&at.child(key), detail));
            return errors;
        }
        for (i, c) in items(new, &["spec", key]).iter().enumerate() {
            let at = at.child(key).index(i);
            if text(c, &["image"]).is_empty() {
                errors.push(FieldError::required(&at.child("image"), ""));
            }
            crate::common::container_rules::image_is_trimmed(c, &at, &mut errors);
        }
    }
    if !deadline(new, old, &at, &mut errors) {
        return errors;
    }
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
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        put(&mut now, key, before[key].clone());
    }
    if int(&before, &["terminationGracePeriodSeconds"]).is_some_and(|n| n < 0)
        && int(&now, &["terminationGracePeriodSeconds"]) == Some(1)
    {
        put(&mut now, "terminationGracePeriodSeconds", before["terminationGracePeriodSeconds"].clone());
    }
    if !items(old, &["spec", "schedulingGates"]).is_empty() {
        while_gated(&mut now, &before, &at, &mut errors);
    }
    if !same(&now, &before) {
        errors.push(FieldError::forbidden(&at, format!("{MUTABLE}\n{}", diff::unified(&before, &now, "PodSpec"))));
    }
    errors
}

/// As long as a pod is gated it may be bound to fewer nodes than before, never to others.
fn while_gated(now: &mut Value, before: &Value, at: &Path, errors: &mut ErrorList) {
    let fewer = |now: &Value, before: &Value| {
        let pairs = before["nodeSelector"].as_object().into_iter().flatten();
        pairs.into_iter().all(|(k, v)| now["nodeSelector"].get(k) == Some(v))
    };
    if !fewer(now, before) {
        let at = at.child("nodeSelector");
        errors.push(FieldError::invalid(
            &at,
            &now["nodeSelector"],
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
    put(now, "nodeSelector", before["nodeSelector"].clone());
    let (is, was) = (now["affinity"]["nodeAffinity"].clone(), before["affinity"]["nodeAffinity"].clone());
    if same(&is, &was) {
        return;
    }
    let terms = |v: &Value| items(v, &[REQUIRED, "nodeSelectorTerms"]).to_vec();
    let (new_terms, old_terms) = (terms(&is), terms(&was));
    if !old_terms.is_empty() {
        let at = at.child("affinity").child("nodeAffinity").child(REQUIRED).child("nodeSelectorTerms");
        let only_added = |(new, old): (&Value, &Value)| {
            let part = |key: &str| items(new, &[key]).starts_with(items(old, &[key]));
            let empty = items(old, &["matchExpressions"]).is_empty() && items(old, &["matchFields"]).is_empty();
            part("matchExpressions") && part("matchFields") && (!empty || new == old)
        };
        if new_terms.len() != old_terms.len() {
            let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
            let shown = if new_terms.is_empty() { Value::Null } else { json!(new_terms) };
            errors.push(FieldError::invalid(&at, &shown, why));
        } else {
            for (i, _) in new_terms.iter().zip(&old_terms).enumerate().filter(|(_, pair)| !only_added(*pair)) {
                let why = "only additions are allowed (no mutations or deletions)";
                errors.push(FieldError::invalid(&at.index(i), &new_terms[i], why));
            }
        }
    }
    if let Some(affinity) = now.get_mut("affinity").filter(|a| a.is_object()) {
        put(affinity, "nodeAffinity", was);
        let bare = affinity.as_object().is_some_and(|a| a.values().all(Value::is_null));
        if bare && !has(before, &["affinity"]) {
            put(now, "affinity", Value::Null);
        }
    } else if !was.is_null() {
        put(now, "affinity", json!({"nodeAffinity": was}));
    }
}

/// A map without these keys and without nulls.
fn without(v: Value, keys: &[&str]) -> Value {
    let Value::Object(map) = v else { return v };
    let kept = map.into_iter().filter(|(k, v)| !keys.contains(&k.as_str()) && !v.is_null());
    Value::Object(kept.map(|(k, v)| (k, without(v, &[]))).collect())
}

/// Whether the rest is worth a look.
fn deadline(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) -> bool {
    let path = ["spec", "activeDeadlineSeconds"];
    let at = at.child("activeDeadlineSeconds");
    match (int(new, &path), int(old, &path)) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            let why = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(FieldError::invalid(&at, &json!(now), why));
            return false;
        }
        (Some(now), Some(before)) if now > before => {
            errors.push(FieldError::invalid(&at, &json!(now), "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => {
            errors.push(FieldError::invalid(&at, &Value::Null, "must not update from a positive integer to nil value"));
        }
        _ => {}
    }
    true
}

fn tolerations(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let path = ["spec", "tolerations"];
    let key = |t: &Value| without(t.clone(), &["tolerationSeconds"]);
    let now: Vec<Value> = items(new, &path).iter().map(key).collect();
    if items(old, &path).iter().any(|t| !now.contains(&key(t))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&at.child("tolerations"), detail));
    } else {
        pod_rules::tolerations(&new["spec"], &at.child("tolerations"), errors);
    }
}

fn gates(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let before = items(old, &["spec", "schedulingGates"]);
    for (i, gate) in items(new, &["spec", "schedulingGates"]).iter().enumerate().filter(|(_, g)| !before.contains(g)) {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", text(gate, &["name"]));
        errors.push(FieldError::forbidden(&at.child("schedulingGates").index(i).child("name"), detail));
    }
}

/// The old pod with the ephemeral containers of the new one: that door carries nothing else.
pub(crate) fn keep_ephemeral(new: &mut Value, old: &Value) {
    let given = new["spec"]["ephemeralContainers"].take();
    restore(new, old);
    match given {
        Value::Null => drop(new["spec"].as_object_mut().and_then(|spec| spec.remove("ephemeralContainers"))),
        given => put(&mut new["spec"], "ephemeralContainers", given),
    }
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
    let mut errors = pod_rules::pod(new);
    if has(old, &["metadata", "annotations", "kubernetes.io/config.mirror"]) {
        return vec![FieldError::forbidden(&Path::root(), "static pods do not support ephemeral containers")];
    }
    let now = items(new, &["spec", "ephemeralContainers"]);
    let before = items(old, &["spec", "ephemeralContainers"]);
    for c in before {
        let name = text(c, &["name"]);
        match now.iter().find(|n| text(n, &["name"]) == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(FieldError::forbidden(&at, detail));
            }
            Some(same) if same != c => {
                let detail = format!(
                    "existing ephemeral containers {name:?} may not be changed\n{}",
                    diff::unified(c, same, "EphemeralContainer")
                );
                errors.push(FieldError::forbidden(&at, detail));
            }
            Some(_) => {}
        }
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
        assert!(errors[0].detail.contains("+   \"Command\": ["), "{}", errors[0].detail);
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
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
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
}
