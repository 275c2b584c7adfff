//! LimitRanges and ResourceQuotas.

use crate::print;
use crate::read::{canonical, child, each, fill, has, items, map, text};
use crate::rules::Rules;
use ironclad_api::quantity::Quantity;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};

pub(crate) const LIMIT_RANGE: Rules = Rules::new()
    .defaults(default_limits)
    .checks(validate_limits)
    .prints(const { &[Column::object_name(), Column::text("Created At", "When the object was created.")] }, |o| {
        vec![print::name(o), print::created_at(o)]
    });

pub(crate) const QUOTA: Rules =
    Rules::new().defaults(|o| canonical(o, &["spec", "hard"])).checks(validate_quota).prints(
        const {
            &[
                Column::object_name(),
                Column::text("Request", "Used and allowed requests."),
                Column::text("Limit", "Used and allowed limits."),
                Column::age(),
            ]
        },
        quota_cells,
    );

const PARTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn default_limits(o: &mut Value) {
    each(o, &["spec", "limits"], |item| {
        for part in PARTS {
            canonical(item, &[part]);
        }
        if text(item, &["type"]) != "Container" {
            return;
        }
        let copy = |item: &mut Value, from: &str, to: &str| {
            for (name, quantity) in map(item, &[from]).cloned().unwrap_or_default() {
                fill(child(item, to), &name, quantity);
            }
        };
        copy(item, "max", "default");
        copy(item, "default", "defaultRequest");
        copy(item, "min", "defaultRequest");
    });
}

fn validate_limits(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for (i, item) in items(o, &["spec", "limits"]).iter().enumerate() {
        let at = Path::new("spec").child("limits").index(i);
        let kind = text(item, &["type"]);
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&at.child("type"), &json!(kind)));
        }
        seen.push(kind);
        let of = |part: &str, name: &str| -> Option<Quantity> { text(item, &[part, name]).parse().ok() };
        for (name, min) in map(item, &["min"]).into_iter().flatten() {
            if let (Some(low), Some(high)) = (of("min", name), of("max", name))
                && low > high
            {
                let detail = format!("min value {low} is greater than max value {high}");
                errors.push(FieldError::invalid(&at.child("min").key(name), min, detail));
            }
        }
    }
    errors
}

fn validate_quota(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec").child("hard");
    for (name, amount) in map(o, &["spec", "hard"]).into_iter().flatten() {
        let at = at.key(name);
        errors.extend(names::qualified_name(name).into_iter().map(|e| FieldError::invalid_str(&at, name, e)));
        match amount.as_str().unwrap_or_default().parse::<Quantity>() {
            Ok(q) if q.is_negative() => {
                errors.push(FieldError::invalid(&at, amount, "must be greater than or equal to 0"));
            }
            _ => {}
        }
    }
    errors
}

fn quota_cells(o: &Value) -> Cells {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let mut hard: Vec<(&String, &Value)> = map(o, &["status", "hard"]).into_iter().flatten().collect();
    hard.sort_by_key(|(name, _)| *name);
    for (name, amount) in hard {
        let used = if has(o, &["status", "used", name]) { text(o, &["status", "used", name]) } else { "0" };
        let shown = format!("{name}: {used}/{}", amount.as_str().unwrap_or_default());
        if name.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
    }
    vec![print::name(o), json!(requests.join(", ")), json!(limits.join(", ")), table::age(o)]
}
