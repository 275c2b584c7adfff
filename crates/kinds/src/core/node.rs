//! Nodes.

use super::node_rules;
use crate::Strategy;
use ironclad_api::ErrorList;
use ironclad_api::object;
use ironclad_api::table::{Cells, Column, age};
use ironclad_json::{Value, json};
use std::sync::LazyLock;

pub(crate) struct Node;

static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    vec![
        Column::object_name(),
        Column::text("Status", "Whether the node takes pods."),
        Column::text("Roles", "What the node is for."),
        Column::age(),
        Column::text("Version", "The kubelet's version."),
        Column::text("Internal-IP", "The node's address in the cluster.").wide(),
        Column::text("External-IP", "The node's address outside.").wide(),
        Column::text("OS-Image", "The operating system.").wide(),
        Column::text("Kernel-Version", "The kernel.").wide(),
        Column::text("Container-Runtime", "What runs containers.").wide(),
    ]
});

const ROLE: &str = "node-role.kubernetes.io/";

/// InPlacePodVerticalScalingSchedulerPreemption.
fn drop_what_is_off(node: &mut Value) {
    if let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("podPreemptionPolicy");
    }
}

/// The configuration from objects of the cluster, which kubelets no longer take, is kept only where it was.
fn drop_config_source(node: &mut Value, old: &Value) {
    for (part, field) in [("spec", "configSource"), ("status", "config")] {
        if old[part][field].is_null()
            && let Some(map) = node.get_mut(part).and_then(Value::as_object_mut)
        {
            map.remove(field);
        }
    }
}

impl Strategy for Node {
    fn default(&self, node: &mut Value) {
        if let Some(status) = node.get_mut("status").and_then(Value::as_object_mut)
            && let Some(capacity) = status.get("capacity").filter(|c| !c.is_null()).cloned()
        {
            object::default_to(status, "allocatable", || capacity);
        }
        // Who owns the one owns the other.
        node_rules::first_cidr(node);
    }

    fn prepare_create(&self, node: &mut Value) {
        drop_what_is_off(node);
        drop_config_source(node, &Value::Null);
        node_rules::first_cidr(node);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        drop_what_is_off(new);
        drop_config_source(new, old);
        node_rules::first_cidr(new);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        drop_config_source(new, old);
    }

    fn validate(&self, node: &Value) -> ErrorList {
        node_rules::validate(node)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = node_rules::validate(new);
        errors.extend(node_rules::validate_update(new, old));
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        node_rules::validate_update(new, old)
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        node_rules::warnings(new)
    }

    fn columns(&self) -> &[Column] {
        &COLUMNS
    }

    fn field<'a>(&self, node: &'a Value, field: &str) -> std::borrow::Cow<'a, str> {
        match field {
            "spec.unschedulable" => (if node["spec"]["unschedulable"] == true { "true" } else { "false" }).into(),
            _ => "".into(),
        }
    }

    fn cells(&self, node: &Value) -> Cells {
        let info = |field: &str| match object::text(node, &["status", "nodeInfo", field]) {
            "" => json!("<unknown>"),
            text => json!(text),
        };
        let kernel = match object::text(node, &["status", "nodeInfo", "architecture"]) {
            "" => info("kernelVersion"),
            machine => json!(format!("{} ({machine})", info("kernelVersion").as_str().unwrap_or_default())),
        };
        let address = |kind: &str| {
            let all = node["status"]["addresses"].as_array().into_iter().flatten();
            let found = all.into_iter().find(|a| a["type"] == kind).and_then(|a| a["address"].as_str());
            json!(found.unwrap_or("<none>"))
        };
        vec![
            json!(object::name(node)),
            json!(status(node)),
            json!(roles(node)),
            age(node),
            json!(object::text(node, &["status", "nodeInfo", "kubeletVersion"])),
            address("InternalIP"),
            address("ExternalIP"),
            info("osImage"),
            kernel,
            info("containerRuntimeVersion"),
        ]
    }
}

fn status(node: &Value) -> String {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| c["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let role = |(key, value): (&'_ ironclad_json::Text, &'_ Value)| -> Option<String> {
        let named = (key == "kubernetes.io/role").then(|| value.as_str().unwrap_or_default());
        key.strip_prefix(ROLE).or(named).filter(|r| !r.is_empty()).map(str::to_owned)
    };
    let mut roles: Vec<String> = labels.filter_map(role).collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}
