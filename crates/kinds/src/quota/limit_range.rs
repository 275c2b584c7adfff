//! LimitRanges.

use crate::common::checks::rule;
use crate::common::numbers::quantity;
use crate::common::resources;
use crate::print;
use crate::read::{canonical, child, each, fill, items, map, size, text};
use crate::rules::Rules;
use ironclad_api::quantity::Quantity;
use ironclad_api::table::Column;
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) const LIMIT_RANGE: Rules = Rules::new()
    .defaults(default)
    .on_create(|o| {
        // One without a name gets one that nobody else has.
        if object::name(o).is_empty() {
            let uid = object::uid(o).to_owned();
            object::metadata_mut(o).insert("name", uid.into());
        }
    })
    .checks(validate)
    .prints(const { &[Column::object_name(), print::CREATED_AT] }, |o| vec![print::name(o), print::created_at(o)]);

const PARTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn default(o: &mut Value) {
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

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for (i, item) in items(o, &["spec", "limits"]).iter().enumerate() {
        let at = Path::new("spec").child("limits").index(i);
        let kind = text(item, &["type"]);
        let before = errors.len();
        rule(names::qualified_name(kind), kind, &at.child("type"), &mut errors);
        let known = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind);
        if errors.len() == before && !kind.contains('/') && !known {
            let why = "must be a standard limit type or fully qualified";
            errors.push(FieldError::invalid_str(&at.child("type"), kind, why));
        }
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&at.child("type"), &json!(kind)));
        }
        seen.push(kind);
        check_names(item, kind, &at, &mut errors);
        let keys: BTreeSet<&ironclad_json::Text> =
            PARTS.iter().flat_map(|p| map(item, &[p]).into_iter().flatten()).map(|(k, _)| k).collect();
        for key in keys {
            compare(item, kind, key, &at, &mut errors);
        }
    }
    errors
}

fn check_names(item: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    for part in PARTS {
        if kind == "Pod" && part.starts_with("default") {
            if size(item, &[part]) > 0 {
                errors.push(FieldError::forbidden(&at.child(part), "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (name, _) in map(item, &[part]).into_iter().flatten() {
            let at = at.child(part).key(name);
            if matches!(kind, "Pod" | "Container") {
                resources::container_name(name, &at, errors);
            } else {
                resources::name(name, &at, errors);
            }
        }
    }
    let given = |part: &str| map(item, &[part]).is_some_and(|m| m.contains_key("storage"));
    if kind == "PersistentVolumeClaim" && !given("min") && !given("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&at.child("limits"), why));
    }
}

/// How the amounts of one resource stand to each other.
fn compare(item: &Value, kind: &str, key: &str, at: &Path, errors: &mut ErrorList) {
    let of = |part: &str| -> Option<Quantity> {
        let skip = kind == "Pod" && part.starts_with("default");
        quantity(&item[part][key]).filter(|_| !skip)
    };
    let (min, max, default, request) = (of("min"), of("max"), of("default"), of("defaultRequest"));
    // Low, high, where it is said, which of both is shown, and what they are called.
    let table = [
        (min, max, "min", false, "min value", "max value"),
        (min, request, "defaultRequest", true, "min value", "default request value"),
        (request, max, "defaultRequest", false, "default request value", "max value"),
        (request, default, "defaultRequest", false, "default request value", "default limit value"),
        (min, default, "default", false, "min value", "default value"),
        (default, max, "default", true, "default value", "max value"),
    ];
    for (low, high, part, shows_high, low_name, high_name) in table {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let shown = if shows_high { high } else { low };
            let why = format!("{low_name} {low} is greater than {high_name} {high}");
            errors.push(FieldError::invalid_str(&at.child(part).key(key), &shown.to_string(), why));
        }
    }
    if let Some(ratio) = of("maxLimitRequestRatio") {
        let at = at.child("maxLimitRequestRatio").key(key);
        if ratio < Quantity::units(1) {
            let why = format!("ratio {ratio} is less than 1");
            errors.push(FieldError::invalid_str(&at, &ratio.to_string(), why));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let limit = max.milli_value() as f64 / min.milli_value() as f64;
            if ratio.milli_value() as f64 / 1000.0 > limit {
                let why = format!("ratio {ratio} is greater than max/min = {limit:.6}");
                errors.push(FieldError::invalid_str(&at, &ratio.to_string(), why));
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !resources::can_exceed(key)
        && default != request
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {key}");
        errors.push(FieldError::invalid_str(&at.child("defaultRequest").key(key), &request.to_string(), why));
    }
}
