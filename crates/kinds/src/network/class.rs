//! IngressClasses.

use super::ingress_rules::reference;
use crate::common::checks::{IMMUTABLE, rule};
use crate::declared::Step::{Field, OptionalPointer, Required};
use crate::print;
use crate::read::{at_mut, fill, has, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const CONTROLLER_MAX: usize = 250;
const PATH: &str = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";

pub(crate) const CLASS: Rules = Rules::new()
    .defaults(|o| {
        if let Some(parameters) = at_mut(o, &["spec", "parameters"]) {
            fill(parameters, "scope", "Cluster");
        }
    })
    .checks(validate)
    .declares(
        const {
            &[Field(
                "spec",
                &[Field("parameters", &[OptionalPointer, Field("kind", &[Required]), Field("name", &[Required])])],
            )]
        },
    )
    .checks_update(|new, old| {
        let mut errors = ErrorList::new();
        let (controller, was) = (text(new, &["spec", "controller"]), text(old, &["spec", "controller"]));
        if controller != was {
            errors.push(FieldError::invalid_str(&Path::new("spec.controller"), controller, IMMUTABLE));
        }
        errors.extend(validate(new));
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Controller", "Controller that is responsible for handling this class"),
                Column::text("Parameters", "A reference to a resource with additional parameters"),
                Column::age(),
            ]
        },
        cells,
    );

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    match text(o, &["spec", "controller"]) {
        "" => errors.push(FieldError::required(&at.child("controller"), "")),
        controller => {
            if controller.len() > CONTROLLER_MAX {
                errors.push(FieldError::too_long(&at.child("controller"), CONTROLLER_MAX));
            }
            domain_path(controller, &at.child("controller"), &mut errors);
        }
    }
    if has(o, &["spec", "parameters"]) {
        parameters(&o["spec"]["parameters"], &at.child("parameters"), &mut errors);
    }
    errors
}

/// Checks a path below a domain, such as `acme.io/foo`.
pub(crate) fn domain_path(given: &str, at: &Path, errors: &mut ErrorList) {
    match given.split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            rule(names::dns1123_subdomain(host), host, at, errors);
            let good = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
            if !path.chars().all(good) {
                errors.push(FieldError::invalid_str(at, path, PATH));
            }
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid_str(at, given, why));
        }
    }
}

fn parameters(parameters: &Value, at: &Path, errors: &mut ErrorList) {
    reference(parameters, at, errors);
    let space_at = at.child("namespace");
    let space = parameters.get("namespace").and_then(Value::as_str);
    match (text(parameters, &["scope"]), space) {
        ("Namespace", None) => {
            errors.push(FieldError::required(&space_at, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", Some(name)) => rule(names::dns1123_label(name), name, &space_at, errors),
        ("Cluster", Some(_)) => {
            errors.push(FieldError::forbidden(&space_at, "`parameters.scope` is set to 'Cluster'"));
        }
        ("Cluster", None) => {}
        (other, _) => {
            errors.push(FieldError::not_supported(&at.child("scope"), &json!(other), &["Cluster", "Namespace"]));
        }
    }
}

fn cells(o: &Value) -> Cells {
    let parameters = &o["spec"]["parameters"];
    let shown = if parameters.is_object() {
        let group = text(parameters, &["apiGroup"]);
        let kind = text(parameters, &["kind"]);
        let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        format!("{kind}/{}", text(parameters, &["name"]))
    } else {
        print::NONE.to_owned()
    };
    vec![print::name(o), json!(text(o, &["spec", "controller"])), json!(shown), table::age(o)]
}
