//! Webhook configurations and admission policies.

mod policy;
mod rules;
pub(crate) mod webhook;

use crate::declared::Step::{Field, Required};
use crate::print;
use crate::read::{at_mut, each, fill, has, items, size, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_json::{Value, json};

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
    .checks(webhook::validate)
    .prints(WEBHOOK_COLUMNS, |o| vec![print::name(o), json!(size(o, &["webhooks"])), table::age(o)]);

pub(crate) const VALIDATING: Rules = Rules::new()
    .defaults(webhooks)
    .checks(webhook::validate)
    .prints(WEBHOOK_COLUMNS, |o| vec![print::name(o), json!(size(o, &["webhooks"])), table::age(o)]);

pub(crate) const POLICY: Rules = Rules::new()
    .defaults(default_policy)
    .checks(policy::validating)
    .checks_status(|new, _| policy::status(new))
    .prints(
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

pub(crate) const MUTATING_POLICY: Rules = Rules::new().defaults(default_policy).checks(policy::mutating).prints(
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

const BINDING_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::text("PolicyName", "The policy that is bound."),
    Column::text("ParamRef", "The parameters."),
    Column::age(),
];

/// A selector as Go prints the type.
fn shown_selector(selector: &Value) -> String {
    let mut labels: Vec<(&str, &str)> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    labels.sort_unstable();
    let labels: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}: {value},")).collect();
    let labels = labels.concat();
    let expression = |e: &Value| {
        let values: Vec<&str> = items(e, &["values"]).iter().filter_map(Value::as_str).collect();
        let (key, operator) = (text(e, &["key"]), text(e, &["operator"]));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    };
    let expressions = items(selector, &["matchExpressions"]).iter().map(expression).collect::<Vec<_>>().concat();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

fn binding_cells(o: &Value) -> Cells {
    let (ns, name) = (text(o, &["spec", "paramRef", "namespace"]), text(o, &["spec", "paramRef", "name"]));
    let params = match (has(o, &["spec", "paramRef"]), ns, name) {
        (false, ..) => "<unset>".to_owned(),
        (true, _, "") => shown_selector(&o["spec"]["paramRef"]["selector"]),
        (true, "", name) => name.to_owned(),
        (true, ns, name) => format!("{ns}/{name}"),
    };
    vec![print::name(o), json!(text(o, &["spec", "policyName"])), json!(params), table::age(o)]
}

pub(crate) const BINDING: Rules = Rules::new()
    .defaults(|o| matching(spec(o), "matchResources"))
    .checks(|o| policy::binding(o, true))
    .declares(const { &[Field("spec", &[Field("policyName", &[Required]), Field("validationActions", &[Required])])] })
    .prints(BINDING_COLUMNS, binding_cells);

pub(crate) const MUTATING_BINDING: Rules = Rules::new()
    .defaults(|o| matching(spec(o), "matchResources"))
    .checks(|o| policy::binding(o, false))
    .prints(BINDING_COLUMNS, binding_cells);

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
    matching(spec, "matchConstraints");
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
