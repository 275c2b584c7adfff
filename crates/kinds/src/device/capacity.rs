//! How much of a capacity that many share may be asked for.

use super::names::{Most, set};
use crate::common::numbers::quantity;
use crate::read::{has, items};
use ironclad_api::quantity::Quantity;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

const OPTIONS_MAX: usize = 10;

fn invalid(at: &Path, given: Quantity, why: impl Into<String>) -> FieldError {
    FieldError::invalid_str(at, &given.to_string(), why)
}

/// What holds for the policy of a capacity.
pub(super) fn policy(capacity: &Value, at: &Path, errors: &mut ErrorList) {
    let (policy, max) = (&capacity["requestPolicy"], quantity(&capacity["value"]).unwrap_or(Quantity::ZERO));
    let (values, ranged, default) = (items(policy, &["validValues"]), has(policy, &["validRange"]), &policy["default"]);
    let which = match (values.is_empty(), ranged) {
        (true, false) => return,
        (false, true) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(FieldError::forbidden(at, why));
            return;
        }
        (false, false) => "validValues",
        (true, true) => "validRange",
    };
    match quantity(default) {
        None => errors.push(FieldError::required(&at.child("default"), format!("required when {which} is defined"))),
        Some(default) if ranged => range(default, max, &policy["validRange"], &at.child(which), errors),
        Some(default) => choices(default, max, values, &at.child(which), errors),
    }
}

/// Some amounts and no others.
fn choices(default: Quantity, max: Quantity, values: &[Value], at: &Path, errors: &mut ErrorList) {
    let amounts: Vec<Quantity> = values.iter().filter_map(quantity).collect();
    for (i, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        errors.push(invalid(&at.index(i + 1), pair[1], "values must be sorted in ascending order"));
    }
    let plain = |v: &Value| match quantity(v) {
        Some(q) if q.is_integer() => json!(q.value().to_string()),
        Some(q) => json!(format!("{}.{:03}", q.milli_value() / 1000, q.milli_value() % 1000)),
        None => Value::Null,
    };
    let found = values.len() <= OPTIONS_MAX && amounts.contains(&default);
    set(values, Most::ByHand(OPTIONS_MAX), plain, at, errors, |option, at, errors| {
        if let Some(option) = quantity(option).filter(|o| *o > max) {
            errors.push(invalid(at, option, format!("option is larger than capacity value: {max}")));
        }
    });
    if !found {
        errors.push(invalid(at, default, "default value is not valid according to the requestPolicy"));
    }
}

/// All amounts between two, perhaps in steps.
fn range(default: Quantity, capacity: Quantity, range: &Value, at: &Path, errors: &mut ErrorList) {
    let [min, max, step] = ["min", "max", "step"].map(|key| quantity(&range[key]));
    let Some(min) = min else {
        errors.push(FieldError::required(&at.child("min"), "required when validRange is defined"));
        return;
    };
    if min > capacity {
        errors.push(invalid(&at.child("min"), min, format!("min is larger than capacity value: {capacity}")));
    }
    if default < min {
        errors.push(invalid(&at.child("default"), default, format!("default is less than min: {min}")));
    }
    if let Some(max) = max {
        if min > max {
            errors.push(invalid(&at.child("max"), min, format!("min is larger than max: {max}")));
        }
        if max > capacity {
            errors.push(invalid(&at.child("max"), max, format!("max is larger than capacity value: {capacity}")));
        }
        if default > max {
            errors.push(invalid(&at.child("default"), default, format!("default is more than max: {max}")));
        }
    }
    let given = [("default", Some(default)), ("min", Some(min)), ("max", max), ("step", step)];
    let given = given.into_iter().filter_map(|(name, q)| Some((name, q?)));
    let fractional = given.clone().any(|(_, q)| !q.is_integer());
    let before = errors.len();
    if fractional {
        for (name, q) in given.clone().filter(|(_, q)| Quantity::millis(q.milli_value()) != *q) {
            errors.push(invalid(&at.child(name), q, "value cannot be represented as a milli value"));
        }
        if errors.len() > before {
            return;
        }
    }
    let Some(step) = step else { return };
    if step <= Quantity::ZERO {
        errors.push(invalid(&at.child("step"), step, "must be greater than zero"));
        return;
    }
    let one = min + step;
    if one > capacity {
        let why = format!("one step {one} is larger than capacity value: {capacity}");
        errors.push(invalid(&at.child("step"), step, why));
    }
    let before = errors.len();
    if !fractional {
        for (name, q) in given.filter(|(_, q)| q.is_negative()) {
            errors.push(invalid(&at.child(name), q, "must be greater than or equal to 0"));
        }
    }
    if errors.len() > before {
        return;
    }
    let whole = |q: Quantity| i128::from(if fractional { q.milli_value() } else { q.value() });
    for value in [Some(default), max].into_iter().flatten() {
        if (whole(value) - whole(min)) % whole(step) != 0 {
            let why = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.push(invalid(&at.child("step"), value, why));
        }
    }
}
