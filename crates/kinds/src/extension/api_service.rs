//! APIServices.

use crate::print;
use crate::read::{at_mut, fill, has, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, object};
use serde_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(|o| {
        if let Some(service) = at_mut(o, &["spec", "service"]) {
            fill(service, "port", 443);
        }
    })
    .named(ironclad_api::names::path_segment)
    .checks(validate)
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

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (group, version) = (text(o, &["spec", "group"]), text(o, &["spec", "version"]));
    let wanted = format!("{version}.{group}");
    if object::name(o) != wanted && !group.is_empty() {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid_str(&Path::new("metadata").child("name"), object::name(o), detail));
    }
    if version.is_empty() {
        errors.push(FieldError::required(&Path::new("spec").child("version"), ""));
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
