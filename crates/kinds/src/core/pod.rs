//! Pods.

use super::pod_table;
use crate::Strategy;
use crate::common::{pod_defaults, pod_spec};
use ironclad_api::object::{self, at, entry};
use ironclad_api::table::{Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) struct Pod;

impl Strategy for Pod {
    fn default(&self, pod: &mut Value) {
        pod_defaults::spec(&mut pod["spec"]);
        pod_defaults::pod(pod);
    }

    fn prepare_create(&self, pod: &mut Value) {
        let mut status = json!({"phase": "Pending", "qosClass": qos_class(pod)});
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": null, "lastTransitionTime": ironclad_api::time::now(),
            }]);
        }
        pod["status"] = status;
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        // What a kubelet reports never changes these.
        let qos = old["status"]["qosClass"].clone();
        if !qos.is_null() {
            entry(new, "status").insert("qosClass".into(), qos);
        }
    }

    fn validate(&self, pod: &Value) -> ErrorList {
        pod_spec::validate(&pod["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = pod_spec::validate(&new["spec"], &Path::new("spec"));
        errors.extend(unchangeable(&new["spec"], &old["spec"]));
        errors
    }

    fn columns(&self) -> &[Column] {
        pod_table::columns()
    }

    fn cells(&self, pod: &Value) -> Cells {
        pod_table::cells(pod)
    }

    fn field<'a>(&self, pod: &'a Value, field: &str) -> std::borrow::Cow<'a, str> {
        match field {
            "spec.hostNetwork" => (if pod["spec"]["hostNetwork"] == true { "true" } else { "false" }).into(),
            "status.podIPs" => {
                let ips = at(pod, &["status", "podIPs"]).and_then(Value::as_array).into_iter().flatten();
                ips.filter_map(|i| i["ip"].as_str()).collect::<Vec<_>>().join(",").into()
            }
            _ => object::text(pod, &field.split('.').collect::<Vec<_>>()).into(),
        }
    }

    fn grace_period(&self, pod: &Value, requested: Option<i64>) -> Option<i64> {
        // A pod that no kubelet has, or that has ended, needs no grace.
        let ended = matches!(object::text(pod, &["status", "phase"]), "Succeeded" | "Failed");
        if object::text(pod, &["spec", "nodeName"]).is_empty() || ended {
            return Some(0);
        }
        let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
        // A negative period, which only updates of old could store, counts as one second.
        Some(requested.or(own).unwrap_or(30)).map(|s| if s < 0 { 1 } else { s })
    }
}

/// What may change in a pod that exists: images, deadlines, tolerations (more of them), gates (fewer of them).
fn unchangeable(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    let mut munged = new.clone();
    for group in ["containers", "initContainers"] {
        let before = old[group].as_array().map(Vec::as_slice).unwrap_or_default();
        let count = munged[group].as_array().map_or(0, Vec::len);
        if count != before.len() {
            errors.push(FieldError::forbidden(&path.child(group), "pod updates may not add or remove containers"));
            return errors;
        }
        for (index, container) in before.iter().enumerate() {
            if container["image"].is_string() {
                munged[group][index]["image"] = container["image"].clone();
            }
        }
    }
    let copy = |munged: &mut Value, field: &str| match old.get(field) {
        Some(value) => munged[field] = value.clone(),
        None => drop(munged.as_object_mut().and_then(|m| m.remove(field))),
    };
    let deadline = |v: &Value| v["activeDeadlineSeconds"].as_i64();
    match (deadline(new), deadline(old)) {
        (Some(n), Some(o)) if n > o => {
            let why = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), &json!(n), why));
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), &Value::Null, why));
        }
        _ => {}
    }
    copy(&mut munged, "activeDeadlineSeconds");
    let items = |v: &Value, field: &str| v[field].as_array().cloned().unwrap_or_default();
    if items(old, "tolerations").iter().any(|t| !items(new, "tolerations").contains(t)) {
        errors.push(FieldError::forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    copy(&mut munged, "tolerations");
    if items(new, "schedulingGates").iter().any(|g| !items(old, "schedulingGates").contains(g)) {
        errors.push(FieldError::forbidden(
            &path.child("schedulingGates"),
            "only deletion is allowed, but found new scheduling gate",
        ));
    }
    copy(&mut munged, "schedulingGates");
    if old["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0) && new["terminationGracePeriodSeconds"] == 1
    {
        copy(&mut munged, "terminationGracePeriodSeconds");
    }
    if munged != *old {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        errors.push(FieldError::forbidden(&path, format!("{why}\n{}", difference(&munged, old))));
    }
    errors
}

fn difference(new: &Value, old: &Value) -> String {
    let empty = serde_json::Map::new();
    let (n, o) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let keys: BTreeSet<&String> = n.keys().chain(o.keys()).collect();
    let lines = keys.into_iter().filter(|k| n.get(*k) != o.get(*k)).map(|k| {
        let show = |v: Option<&Value>| v.map_or_else(|| "null".to_owned(), ToString::to_string);
        format!("- {k}: {}\n+ {k}: {}", show(o.get(k)), show(n.get(k)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The quality of service that follows from requests and limits of CPU and memory.
fn qos_class(pod: &Value) -> &'static str {
    let quantity = |v: &Value| {
        v.as_str().and_then(|s| s.parse::<ironclad_api::quantity::Quantity>().ok()).filter(|q| !q.is_zero())
    };
    let (mut any, mut guaranteed) = (false, true);
    let groups = ["containers", "initContainers"];
    for c in groups.iter().flat_map(|g| pod["spec"][*g].as_array().into_iter().flatten()) {
        for resource in ["cpu", "memory"] {
            let request = quantity(&c["resources"]["requests"][resource]);
            let limit = quantity(&c["resources"]["limits"][resource]);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "a", "namespace": "default"}, "spec": spec});
        Pod.default(&mut pod);
        pod
    }

    fn messages(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mistakes_are_worded_as_stock() {
        let bad = pod(json!({"restartPolicy": "Sometimes", "containers": [
            {"name": "A", "image": "x", "ports": [{"containerPort": 0}], "volumeMounts": [{"name": "v", "mountPath": "/a"}]},
            {"name": "b"}]}));
        let errors = messages(&Pod.validate(&bad));
        assert_eq!(errors[1], "spec.containers[0].ports[0].containerPort: Required value");
        assert_eq!(errors[2], "spec.containers[0].volumeMounts[0].name: Not found: \"v\"");
        assert_eq!(errors[3], "spec.containers[1].image: Required value");
        assert_eq!(
            errors[4],
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\""
        );
        assert_eq!(messages(&Pod.validate(&pod(json!({"containers": []})))), ["spec.containers: Required value"]);
    }

    #[test]
    fn a_good_pod_is_accepted() {
        assert!(Pod.validate(&pod(json!({"containers": [{"name": "a", "image": "nginx:1"}]}))).is_empty());
    }

    #[test]
    fn only_little_may_change() {
        let old = pod(json!({"containers": [{"name": "a", "image": "nginx:1"}]}));
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("nginx:2");
        assert!(Pod.validate_update(&new, &old).is_empty());
        new["spec"]["nodeName"] = json!("elsewhere");
        assert!(
            messages(&Pod.validate_update(&new, &old))[0]
                .starts_with("spec: Forbidden: pod updates may not change fields other than")
        );
    }

    #[test]
    fn quality_of_service_follows_from_requests_and_limits() {
        let with = |resources: Value| qos_class(&json!({"spec": {"containers": [{"resources": resources}]}}));
        assert_eq!(with(json!({})), "BestEffort");
        assert_eq!(with(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(with(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
        assert_eq!(with(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable");
    }

    #[test]
    fn grace_is_for_pods_that_run_somewhere() {
        let mut p = pod(json!({"containers": []}));
        assert_eq!(Pod.grace_period(&p, None), Some(0));
        p["spec"]["nodeName"] = json!("n");
        assert_eq!(Pod.grace_period(&p, None), Some(30));
        assert_eq!(Pod.grace_period(&p, Some(5)), Some(5));
        p["status"] = json!({"phase": "Failed"});
        assert_eq!(Pod.grace_period(&p, None), Some(0));
    }
}
