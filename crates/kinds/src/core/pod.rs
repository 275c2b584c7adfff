//! Pods.

use super::{pod_resize, pod_table, pod_update};
use crate::Strategy;
use crate::apps::name_warning;
use crate::common::{pod_defaults, pod_rules, pod_warnings, qos, status_rules};
use crate::read::items;
use ironclad_api::object::{self, at};
use ironclad_api::table::{Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

pub(crate) struct Pod;

impl Strategy for Pod {
    fn default(&self, pod: &mut Value) {
        pod_defaults::spec(&mut pod["spec"]);
        pod_defaults::pod(pod);
    }

    fn default_changed(&self, new: &mut Value, old: &Value) {
        // Nothing else is defaulted.
        if new["spec"] != old["spec"] {
            self.default(new);
        }
    }

    fn prepare_create(&self, pod: &mut Value) {
        let mut status = json!({"phase": "Pending", "qosClass": qos::class(pod)});
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": null, "lastTransitionTime": ironclad_api::time::now(),
            }]);
        }
        pod["status"] = status;
    }

    fn prepare_subresource(&self, subresource: &str, new: &mut Value, old: &Value) {
        match subresource {
            "ephemeralcontainers" => pod_update::keep_ephemeral(new, old),
            "resize" => pod_update::keep_resources(new, old),
            _ => return,
        }
        self.default(new);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        status_rules::prepare(new, old);
    }

    fn validate(&self, pod: &Value) -> ErrorList {
        let mut errors = pod_rules::pod(pod);
        let (spec, at) = (&pod["spec"], Path::new("spec"));
        if !items(spec, &["ephemeralContainers"]).is_empty() {
            errors.push(FieldError::forbidden(&at.child("ephemeralContainers"), "cannot be set on create"));
        }
        if !object::text(spec, &["nodeName"]).is_empty() && !items(spec, &["schedulingGates"]).is_empty() {
            let why = "cannot be set until all schedulingGates have been cleared";
            errors.push(FieldError::forbidden(&at.child("nodeName"), why));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        status_rules::validate(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        // Updates come from controllers and kubelets, which nobody reads warnings of; those of a status tell addresses.
        match old {
            None => name_warning(new, old, "the Pod's hostname").into_iter().chain(pod_warnings::pod(new)).collect(),
            Some(old) if old["status"] != new["status"] => status_rules::warnings(new),
            Some(_) => Vec::new(),
        }
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        pod_update::validate(new, old)
    }

    fn validate_subresource(&self, subresource: &str, new: &Value, old: &Value) -> ErrorList {
        match subresource {
            "ephemeralcontainers" => pod_update::validate_ephemeral(new, old),
            "resize" => pod_resize::validate(new, old),
            _ => self.validate_update(new, old),
        }
    }

    fn columns(&self) -> &[Column] {
        pod_table::columns()
    }

    fn cells(&self, pod: &Value) -> Cells {
        pod_table::cells(pod)
    }

    fn row_conditions(&self, pod: &Value) -> Option<Value> {
        let (reason, message) = match object::text(pod, &["status", "phase"]) {
            "Succeeded" => ("Succeeded", "The pod has completed successfully."),
            "Failed" => ("Failed", "The pod failed."),
            _ => return None,
        };
        Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
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
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""
        );
        assert_eq!(messages(&Pod.validate(&pod(json!({"containers": []})))), ["spec.containers: Required value"]);
    }

    #[test]
    fn a_good_pod_is_accepted() {
        assert!(Pod.validate(&pod(json!({"containers": [{"name": "a", "image": "nginx:1"}]}))).is_empty());
    }

    #[test]
    fn the_row_of_a_pod_that_ended_says_so() {
        let conditions = |phase: &str| Pod.row_conditions(&json!({"status": {"phase": phase}}));
        assert_eq!(conditions("Failed").unwrap()[0]["message"], "The pod failed.");
        assert_eq!(conditions("Running"), None);
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
        let with = |resources: Value| qos::class(&json!({"spec": {"containers": [{"resources": resources}]}}));
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
