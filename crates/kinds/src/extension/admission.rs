//! Webhook configurations and admission policies.

use crate::print;
use crate::read::{at_mut, child, each, fill, has, items, size, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

const WEBHOOK_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
    Column::age(),
];

pub(crate) const MUTATING: Rules = Rules::new()
    .defaults(|o| {
        webhooks(o);
        each(o, &["webhooks"], |w| fill(w, "reinvocationPolicy", "Never"));
    })
    .checks(validate_webhooks)
    .prints(WEBHOOK_COLUMNS, |o| vec![print::name(o), json!(size(o, &["webhooks"])), table::age(o)]);

pub(crate) const VALIDATING: Rules = Rules::new()
    .defaults(webhooks)
    .checks(validate_webhooks)
    .prints(WEBHOOK_COLUMNS, |o| vec![print::name(o), json!(size(o, &["webhooks"])), table::age(o)]);

pub(crate) const POLICY: Rules = Rules::new().defaults(default_policy).checks(validate_policy).prints(
    const {
        &[
            Column::object_name(),
            Column::integer("Validations", "Number of validations."),
            Column::text("ParamKind", "The kind of the parameters."),
            Column::age(),
        ]
    },
    |o| vec![print::name(o), json!(size(o, &["spec", "validations"])), json!(param_kind(o)), table::age(o)],
);

pub(crate) const MUTATING_POLICY: Rules = Rules::new().defaults(default_policy).prints(
    const {
        &[
            Column::object_name(),
            Column::integer("Mutations", "Number of mutations."),
            Column::text("ParamKind", "The kind of the parameters."),
            Column::age(),
        ]
    },
    |o| vec![print::name(o), json!(size(o, &["spec", "mutations"])), json!(param_kind(o)), table::age(o)],
);

pub(crate) const BINDING: Rules =
    Rules::new().defaults(|o| matching(spec(o), "matchResources")).checks(validate_binding).prints(
        const {
            &[
                Column::object_name(),
                Column::text("PolicyName", "The policy that is bound."),
                Column::text("ParamRef", "The parameters."),
                Column::age(),
            ]
        },
        |o| {
            let (ns, name) = (text(o, &["spec", "paramRef", "namespace"]), text(o, &["spec", "paramRef", "name"]));
            let params = match (has(o, &["spec", "paramRef"]), ns, name) {
                (false, ..) => "<unset>".to_owned(),
                (true, "", name) => name.to_owned(),
                (true, ns, name) => format!("{ns}/{name}"),
            };
            vec![print::name(o), json!(text(o, &["spec", "policyName"])), json!(params), table::age(o)]
        },
    );

fn webhooks(o: &mut Value) {
    each(o, &["webhooks"], |w| {
        fill(w, "failurePolicy", "Fail");
        fill(w, "matchPolicy", "Equivalent");
        fill(w, "namespaceSelector", json!({}));
        fill(w, "objectSelector", json!({}));
        fill(w, "timeoutSeconds", 10);
        each(w, &["rules"], |r| fill(r, "scope", "*"));
        if let Some(service) = at_mut(w, &["clientConfig", "service"]) {
            fill(service, "port", 443);
        }
    });
}

fn validate_webhooks(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, w) in items(o, &["webhooks"]).iter().enumerate() {
        let at = Path::new("webhooks").index(i);
        let name = text(w, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid_str(&at.child("name"), name, detail));
        }
        let effects = text(w, &["sideEffects"]);
        if !matches!(effects, "None" | "NoneOnDryRun") {
            let supported = ["None", "NoneOnDryRun"];
            errors.push(FieldError::not_supported(&at.child("sideEffects"), &json!(effects), &supported));
        }
        if items(w, &["admissionReviewVersions"]).is_empty() {
            let detail = "must specify one of v1, v1beta1";
            errors.push(FieldError::required(&at.child("admissionReviewVersions"), detail));
        }
        let config = &w["clientConfig"];
        if has(config, &["url"]) == has(config, &["service"]) {
            let detail = "exactly one of url or service is required";
            errors.push(FieldError::required(&at.child("clientConfig"), detail));
        }
        let seconds = w["timeoutSeconds"].as_i64().unwrap_or(10);
        if !(1..=30).contains(&seconds) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(&at.child("timeoutSeconds"), &json!(seconds), detail));
        }
    }
    errors
}

fn matching(spec: &mut Value, key: &str) {
    if let Some(m) = at_mut(spec, &[key]) {
        fill(m, "matchPolicy", "Equivalent");
        fill(m, "namespaceSelector", json!({}));
        fill(m, "objectSelector", json!({}));
        for rules in ["resourceRules", "excludeResourceRules"] {
            each(m, &[rules], |r| fill(r, "scope", "*"));
        }
    }
}

fn default_policy(o: &mut Value) {
    let spec = spec(o);
    fill(spec, "failurePolicy", "Fail");
    child(spec, "matchConstraints");
    matching(spec, "matchConstraints");
}

fn validate_policy(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    if items(o, &["spec", "validations"]).is_empty() && items(o, &["spec", "auditAnnotations"]).is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&at.child("validations"), detail));
    }
    if items(o, &["spec", "matchConstraints", "resourceRules"]).is_empty() {
        errors.push(FieldError::required(&at.child("matchConstraints").child("resourceRules"), ""));
    }
    errors
}

fn validate_binding(o: &Value) -> ErrorList {
    if text(o, &["spec", "policyName"]).is_empty() {
        return vec![FieldError::required(&Path::new("spec").child("policyName"), "")];
    }
    ErrorList::new()
}

fn param_kind(o: &Value) -> String {
    if has(o, &["spec", "paramKind"]) {
        return format!(
            "{}/{}",
            text(o, &["spec", "paramKind", "apiVersion"]),
            text(o, &["spec", "paramKind", "kind"])
        );
    }
    "<unset>".to_owned()
}
