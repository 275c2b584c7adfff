//! Kinds with little of their own: defaults, columns, names.

use crate::Strategy;
use crate::common::cells::{number, or_none, selector};
use crate::common::pod_defaults;
use ironclad_api::object::{self, default_to, entry_of};
use ironclad_api::table::{Cells, Column, age, since};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Columns made once.
macro_rules! columns {
    ($($column:expr),* $(,)?) => {{
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| vec![$($column),*]);
        &COLUMNS
    }};
}

pub(crate) struct Claim;
pub(crate) struct Volume;
pub(crate) struct Job;
pub(crate) struct CronJob;
pub(crate) struct Ingress;
pub(crate) struct IngressClass;
pub(crate) struct NetworkPolicy;
pub(crate) struct DisruptionBudget;
pub(crate) struct Binding;
pub(crate) struct Role;
pub(crate) struct ClusterRole;
pub(crate) struct StorageClass;
pub(crate) struct PriorityClass;
pub(crate) struct Lease;
pub(crate) struct RuntimeClass;

fn spec_mut(object: &mut Value) -> &mut serde_json::Map<String, Value> {
    object::entry(object, "spec")
}

fn modes(list: &Value) -> Value {
    let short = |m: &Value| match m.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    let all: Vec<&str> = list.as_array().into_iter().flatten().map(short).collect();
    json!(all.join(","))
}

impl Strategy for Claim {
    fn default(&self, object: &mut Value) {
        default_to(spec_mut(object), "volumeMode", || json!("Filesystem"));
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = ErrorList::new();
        if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
            errors.push(FieldError::required(&path.child("accessModes"), "at least 1 access mode is required"));
        }
        if spec["resources"]["requests"]["storage"].is_null() {
            errors.push(FieldError::required(&path.child("resources").key("storage"), ""));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Status", "Whether it has a volume."),
            Column::text("Volume", "Its volume."),
            Column::text("Capacity", "How much it holds."),
            Column::text("Access Modes", "How it can be mounted."),
            Column::text("StorageClass", "Its class."),
            Column::text("VolumeAttributesClass", "Its attributes."),
            Column::age(),
            Column::text("VolumeMode", "File system or block device.").wide(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let (spec, status) = (&object["spec"], &object["status"]);
        let bound = !object::text(spec, &["volumeName"]).is_empty();
        vec![
            json!(object::name(object)),
            status["phase"].clone(),
            json!(object::text(spec, &["volumeName"])),
            json!(if bound { object::text(status, &["capacity", "storage"]) } else { "" }),
            if bound { modes(&status["accessModes"]) } else { json!("") },
            json!(object::text(spec, &["storageClassName"])),
            json!(match object::text(status, &["currentVolumeAttributesClassName"]) {
                "" => "<unset>",
                name => name,
            }),
            age(object),
            spec["volumeMode"].clone(),
        ]
    }
}

impl Strategy for Volume {
    fn default(&self, object: &mut Value) {
        let spec = spec_mut(object);
        default_to(spec, "persistentVolumeReclaimPolicy", || json!("Retain"));
        default_to(spec, "volumeMode", || json!("Filesystem"));
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Capacity", "How much it holds."),
            Column::text("Access Modes", "How it can be mounted."),
            Column::text("Reclaim Policy", "What becomes of it after its claim."),
            Column::text("Status", "Whether it is in use."),
            Column::text("Claim", "Who has it."),
            Column::text("StorageClass", "Its class."),
            Column::text("VolumeAttributesClass", "Its attributes."),
            Column::text("Reason", "Why it is in its state."),
            Column::age(),
            Column::text("VolumeMode", "File system or block device.").wide(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let spec = &object["spec"];
        let claim = &spec["claimRef"];
        let claim = match claim.is_object() {
            true => format!("{}/{}", object::text(claim, &["namespace"]), object::text(claim, &["name"])),
            false => String::new(),
        };
        vec![
            json!(object::name(object)),
            spec["capacity"]["storage"].clone(),
            modes(&spec["accessModes"]),
            spec["persistentVolumeReclaimPolicy"].clone(),
            object["status"]["phase"].clone(),
            json!(claim),
            json!(object::text(spec, &["storageClassName"])),
            json!("<unset>"),
            json!(object::text(object, &["status", "reason"])),
            age(object),
            spec["volumeMode"].clone(),
        ]
    }
}

fn job_spec(spec: &mut serde_json::Map<String, Value>) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        spec.insert("completions".into(), json!(1));
    }
    for (field, default) in [
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        if field != "manualSelector" {
            default_to(spec, field, || default);
        }
    }
    if let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) {
        entry_of(template, "metadata");
        pod_defaults::spec(&mut template["spec"]);
    }
}

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        job_spec(spec_mut(object));
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Status", "Whether it runs, has ended or failed."),
            Column::text("Completions", "How many pods ended well of how many that must."),
            Column::text("Duration", "How long it ran."),
            Column::age(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let (spec, status) = (&object["spec"], &object["status"]);
        let condition = |kind: &str| {
            let all = status["conditions"].as_array().into_iter().flatten();
            all.into_iter().any(|c| c["type"] == kind && c["status"] == "True")
        };
        let known = ["Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"];
        let state = known.into_iter().find(|k| condition(k)).unwrap_or("Running");
        let done = number(&status["succeeded"]);
        let completions = match spec["completions"].as_i64() {
            Some(wanted) => format!("{done}/{wanted}"),
            None => format!("{done}/1 of {}", number(&spec["parallelism"])),
        };
        let start = object::text(status, &["startTime"]);
        let duration = match (
            start.parse::<jiff::Timestamp>(),
            object::text(status, &["completionTime"]).parse::<jiff::Timestamp>(),
        ) {
            (Ok(s), Ok(e)) => json!(ironclad_api::time::human_duration(e.as_second() - s.as_second())),
            (Ok(_), Err(_)) => since(start),
            _ => json!(""),
        };
        vec![json!(object::name(object)), json!(state), json!(completions), duration, age(object)]
    }
}

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = spec_mut(object);
        for (field, default) in [
            ("concurrencyPolicy", json!("Allow")),
            ("suspend", json!(false)),
            ("successfulJobsHistoryLimit", json!(3)),
            ("failedJobsHistoryLimit", json!(1)),
        ] {
            default_to(spec, field, || default);
        }
        if let Some(template) = spec.get_mut("jobTemplate").and_then(Value::as_object_mut) {
            entry_of(template, "metadata");
            if let Some(job) = template.get_mut("spec").and_then(Value::as_object_mut)
                && let Some(pods) = job.get_mut("template").and_then(Value::as_object_mut)
            {
                entry_of(pods, "metadata");
                pod_defaults::spec(&mut pods["spec"]);
            }
        }
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Schedule", "When it runs."),
            Column::text("Timezone", "In which time zone."),
            Column::text("Suspend", "Whether it is held."),
            Column::integer("Active", "How many jobs run."),
            Column::text("Last Schedule", "The time since it ran last."),
            Column::age(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let (spec, status) = (&object["spec"], &object["status"]);
        let last = object::text(status, &["lastScheduleTime"]);
        vec![
            json!(object::name(object)),
            spec["schedule"].clone(),
            or_none(object::text(spec, &["timeZone"])),
            json!(if spec["suspend"] == true { "True" } else { "False" }),
            json!(status["active"].as_array().map_or(0, Vec::len)),
            if last.is_empty() { json!("<none>") } else { since(last) },
            age(object),
        ]
    }
}

impl Strategy for Ingress {
    fn default(&self, object: &mut Value) {
        for rule in object["spec"]["rules"].as_array_mut().into_iter().flatten() {
            for path in rule["http"]["paths"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                default_to(path, "pathType", || json!("ImplementationSpecific"));
            }
            if rule["http"].is_null() {
                rule.as_object_mut().and_then(|r| r.remove("http"));
            }
        }
        if object["spec"]["rules"].is_null() {
            object["spec"].as_object_mut().and_then(|s| s.remove("rules"));
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Class", "Who serves it."),
            Column::text("Hosts", "The hosts that it answers for."),
            Column::text("Address", "Where it is reached."),
            Column::text("Ports", "80, and 443 with certificates."),
            Column::age(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let spec = &object["spec"];
        let rules = spec["rules"].as_array().into_iter().flatten();
        let hosts: Vec<&str> = rules.filter_map(|r| r["host"].as_str()).filter(|h| !h.is_empty()).collect();
        let ingress = object["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
        let addresses: Vec<&str> = ingress.filter_map(|i| i["ip"].as_str().or(i["hostname"].as_str())).collect();
        let tls = spec["tls"].as_array().is_some_and(|t| !t.is_empty());
        vec![
            json!(object::name(object)),
            or_none(object::text(spec, &["ingressClassName"])),
            json!(if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") }),
            json!(addresses.join(",")),
            json!(if tls { "80, 443" } else { "80" }),
            age(object),
        ]
    }
}

impl Strategy for IngressClass {
    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Controller", "Who serves it."),
            Column::text("Parameters", "Where its parameters stand."),
            Column::age(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let parameters = &object["spec"]["parameters"];
        let kind = match object::text(parameters, &["apiGroup"]) {
            "" => object::text(parameters, &["kind"]).to_owned(),
            group => format!("{}.{group}", object::text(parameters, &["kind"])),
        };
        let shown = if kind.is_empty() {
            json!("<none>")
        } else {
            json!(format!("{kind}/{}", object::text(parameters, &["name"])))
        };
        vec![json!(object::name(object)), object["spec"]["controller"].clone(), shown, age(object)]
    }
}

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let spec = spec_mut(object);
        for direction in ["ingress", "egress"] {
            for rule in spec.get_mut(direction).and_then(Value::as_array_mut).into_iter().flatten() {
                for port in rule["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                    default_to(port, "protocol", || json!("TCP"));
                }
                if rule["ports"].is_null() {
                    rule.as_object_mut().and_then(|r| r.remove("ports"));
                }
            }
        }
        if spec.get("policyTypes").is_none_or(Value::is_null) {
            let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            spec.insert("policyTypes".into(), types);
        }
    }

    fn columns(&self) -> &[Column] {
        columns![Column::object_name(), Column::text("Pod-Selector", "The pods that it is about."), Column::age()]
    }

    fn cells(&self, object: &Value) -> Cells {
        vec![json!(object::name(object)), selector(&object["spec"]["podSelector"]), age(object)]
    }
}

impl Strategy for DisruptionBudget {
    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Min Available", "How many pods must stay."),
            Column::text("Max Unavailable", "How many pods may be away."),
            Column::integer("Allowed Disruptions", "How many pods may go now."),
            Column::age(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let shown = |v: &Value| match v {
            Value::Null => json!("N/A"),
            Value::String(s) => json!(s),
            other => json!(other.to_string()),
        };
        vec![
            json!(object::name(object)),
            shown(&object["spec"]["minAvailable"]),
            shown(&object["spec"]["maxUnavailable"]),
            json!(number(&object["status"]["disruptionsAllowed"])),
            age(object),
        ]
    }
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        let group = "rbac.authorization.k8s.io";
        if let Some(reference) = object.get_mut("roleRef").and_then(Value::as_object_mut)
            && reference.get("apiGroup").is_none_or(|g| g == "")
        {
            reference.insert("apiGroup".into(), json!(group));
        }
        for subject in object["subjects"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            if subject.get("kind") != Some(&json!("ServiceAccount")) && subject.get("apiGroup").is_none_or(|g| g == "")
            {
                subject.insert("apiGroup".into(), json!(group));
            }
        }
        if object.get("subjects").is_some_and(Value::is_null) {
            object.as_object_mut().and_then(|o| o.remove("subjects"));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("roleRef");
        let kinds = ["ClusterRole", "Role"];
        if !kinds.contains(&object::text(object, &["roleRef", "kind"])) {
            errors.push(FieldError::not_supported(&path.child("kind"), &object["roleRef"]["kind"], &kinds));
        }
        if object::text(object, &["roleRef", "name"]).is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        for (index, subject) in object["subjects"].as_array().into_iter().flatten().enumerate() {
            let path = Path::new("subjects").index(index);
            if object::text(subject, &["name"]).is_empty() {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
            let kinds = ["Group", "ServiceAccount", "User"];
            match object::text(subject, &["kind"]) {
                "ServiceAccount" if object::text(subject, &["namespace"]).is_empty() => {
                    errors.push(FieldError::required(&path.child("namespace"), ""));
                }
                kind if !kinds.contains(&kind) => {
                    errors.push(FieldError::not_supported(&path.child("kind"), &subject["kind"], &kinds));
                }
                _ => {}
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        if new["roleRef"] != old["roleRef"] {
            errors.push(FieldError::invalid(&Path::new("roleRef"), &new["roleRef"], "cannot change roleRef"));
        }
        errors
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Role", "What is granted."),
            Column::age(),
            Column::text("Users", "To which users.").wide(),
            Column::text("Groups", "To which groups.").wide(),
            Column::text("ServiceAccounts", "To which service accounts.").wide(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let role =
            format!("{}/{}", object::text(object, &["roleRef", "kind"]), object::text(object, &["roleRef", "name"]));
        let of = |kind: &str| {
            let subjects = object["subjects"].as_array().into_iter().flatten().filter(|s| s["kind"] == kind);
            let name = |s: &Value| match object::text(s, &["namespace"]) {
                "" => object::text(s, &["name"]).to_owned(),
                ns => format!("{ns}/{}", object::text(s, &["name"])),
            };
            json!(subjects.map(name).collect::<Vec<_>>().join(", "))
        };
        vec![json!(object::name(object)), json!(role), age(object), of("User"), of("Group"), of("ServiceAccount")]
    }
}

fn created(object: &Value) -> Cells {
    vec![json!(object::name(object)), json!(object::text(object, &["metadata", "creationTimestamp"]))]
}

fn rules(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, rule) in object["rules"].as_array().into_iter().flatten().enumerate() {
        let path = Path::new("rules").index(index);
        let empty = |field: &str| rule[field].as_array().is_none_or(Vec::is_empty);
        if empty("verbs") {
            errors.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            continue;
        }
        if empty("apiGroups") {
            errors.push(FieldError::required(
                &path.child("apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if empty("resources") {
            errors.push(FieldError::required(
                &path.child("resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
    errors
}

impl Strategy for Role {
    fn validate(&self, object: &Value) -> ErrorList {
        rules(object)
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column { kind: "date".into(), ..Column::text("Created At", "When it was made.") }
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        created(object)
    }
}

impl Strategy for ClusterRole {
    fn validate(&self, object: &Value) -> ErrorList {
        rules(object)
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> &[Column] {
        Role.columns_of()
    }

    fn cells(&self, object: &Value) -> Cells {
        created(object)
    }
}

impl Role {
    fn columns_of(&self) -> &'static [Column] {
        columns![
            Column::object_name(),
            Column { kind: "date".into(), ..Column::text("Created At", "When it was made.") }
        ]
    }
}

impl Strategy for StorageClass {
    fn default(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            default_to(map, "reclaimPolicy", || json!("Delete"));
            default_to(map, "volumeBindingMode", || json!("Immediate"));
        }
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::text("Provisioner", "Who makes its volumes."),
            Column::text("ReclaimPolicy", "What becomes of them."),
            Column::text("VolumeBindingMode", "When they are made."),
            Column::text("AllowVolumeExpansion", "Whether they can grow."),
            Column::age(),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let default = "storageclass.kubernetes.io/is-default-class";
        let is_default = object::text(object, &["metadata", "annotations", default]) == "true";
        let name =
            if is_default { format!("{} (default)", object::name(object)) } else { object::name(object).to_owned() };
        vec![
            json!(name),
            object["provisioner"].clone(),
            object["reclaimPolicy"].clone(),
            object["volumeBindingMode"].clone(),
            json!(object["allowVolumeExpansion"] == true),
            age(object),
        ]
    }
}

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            default_to(map, "preemptionPolicy", || json!("PreemptLowerPriority"));
        }
    }

    fn columns(&self) -> &[Column] {
        columns![
            Column::object_name(),
            Column::integer("Value", "How important its pods are."),
            Column {
                kind: "boolean".into(),
                ..Column::text("Global-Default", "Whether pods without a class have this one.")
            },
            Column::age(),
            Column::text("PreemptionPolicy", "Whether its pods may push others away."),
        ]
    }

    fn cells(&self, object: &Value) -> Cells {
        let global = json!(object["globalDefault"] == true);
        vec![
            json!(object::name(object)),
            object["value"].clone(),
            global,
            age(object),
            object["preemptionPolicy"].clone(),
        ]
    }
}

impl Strategy for Lease {
    fn columns(&self) -> &[Column] {
        columns![Column::object_name(), Column::text("Holder", "Who has it."), Column::age()]
    }

    fn cells(&self, object: &Value) -> Cells {
        vec![json!(object::name(object)), json!(object::text(object, &["spec", "holderIdentity"])), age(object)]
    }
}

impl Strategy for RuntimeClass {
    fn columns(&self) -> &[Column] {
        columns![Column::object_name(), Column::text("Handler", "What the runtime calls it."), Column::age()]
    }

    fn cells(&self, object: &Value) -> Cells {
        vec![json!(object::name(object)), object["handler"].clone(), age(object)]
    }
}
