//! APIServices.

use crate::print;
use crate::read::{at_mut, count, fill, flag, has, items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names, object, time};
use ironclad_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(|o| {
        if let Some(service) = at_mut(o, &["spec", "service"]) {
            fill(service, "port", 443);
        }
    })
    .on_create(|o| {
        o["status"] = if has(o, &["spec", "service"]) { json!({}) } else { json!({"conditions": [local()]}) };
    })
    .named(ironclad_api::names::path_segment)
    .checks(validate)
    .checks_status(|new, _| validate_status(new))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Service", "The reference to the service that hosts this API endpoint."),
                Column::text("Available", "Whether this service is available."),
                Column::age(),
            ]
        },
        cells,
    );

/// The condition of a group version that the server answers itself.
fn local() -> Value {
    json!({
        "type": "Available", "status": "True", "lastTransitionTime": time::now(), "reason": "Local",
        "message": "Local APIServices are always available",
    })
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (group, version) = (text(o, &["spec", "group"]), text(o, &["spec", "version"]));
    let spec = Path::new("spec");
    let wanted = format!("{version}.{group}");
    let is_name = names::path_segment(object::name(o)).is_empty() && !object::name(o).is_empty();
    if is_name && object::name(o) != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid_str(&Path::new("metadata").child("name"), object::name(o), detail));
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&spec.child("group"), detail));
    }
    if !group.is_empty() {
        let wrong = names::dns1123_subdomain(group).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid_str(&spec.child("group"), group, why)));
    }
    let wrong = names::dns1035_label(version).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid_str(&spec.child("version"), version, why)));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = count(o, &["spec", field]);
        if priority <= 0 || priority > most {
            let why = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(&spec.child(field), &json!(priority), why));
        }
    }
    errors.extend(validate_access(o, &spec));
    errors
}

fn validate_status(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, condition) in items(o, &["status", "conditions"]).iter().enumerate() {
        let status = text(condition, &["status"]);
        if !matches!(status, "True" | "False" | "Unknown") {
            let path = Path::new("status").child("conditions").index(i).child("status");
            errors.push(FieldError::not_supported(&path, &json!(status), &["True", "False", "Unknown"]));
        }
    }
    errors
}

/// How the server behind an APIService is reached.
fn validate_access(o: &Value, spec: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let bundle = text(o, &["spec", "caBundle"]);
    let insecure = flag(o, &["spec", "insecureSkipTLSVerify"]);
    let skip = spec.child("insecureSkipTLSVerify");
    if !has(o, &["spec", "service"]) {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.trim_end_matches('=').len() * 3 / 4);
            let why = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid_str(&spec.child("caBundle"), &shown, why));
        }
        if insecure {
            errors.push(FieldError::invalid(
                &skip,
                &json!(true),
                "local APIServices may not have insecureSkipTLSVerify",
            ));
        }
        return errors;
    }
    let service = spec.child("service");
    for field in ["namespace", "name"] {
        if text(o, &["spec", "service", field]).is_empty() {
            errors.push(FieldError::required(&service.child(field), ""));
        }
    }
    let port = count(o, &["spec", "service", "port"]);
    if !(1..=65_535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(&service.child("port"), &json!(port), why));
    }
    if insecure && !bundle.is_empty() {
        errors.push(FieldError::invalid(&skip, &json!(true), "may not be true if caBundle is present"));
    }
    errors
}

fn cells(o: &Value) -> Cells {
    let service = if has(o, &["spec", "service"]) {
        format!("{}/{}", text(o, &["spec", "service", "namespace"]), text(o, &["spec", "service", "name"]))
    } else {
        "Local".to_owned()
    };
    let available = match print::condition(o, "Available") {
        Some(c) if text(c, &["status"]) == "True" => "True".to_owned(),
        Some(c) => format!("{} ({})", text(c, &["status"]), text(c, &["reason"])),
        None => "Unknown".to_owned(),
    };
    vec![print::name(o), json!(service), json!(available), table::age(o)]
}
