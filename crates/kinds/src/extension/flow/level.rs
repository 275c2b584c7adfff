//! What is wrong with a PriorityLevelConfiguration.

use super::mandatory::mandatory_flow;
use crate::common::checks::same;
use crate::declared::Given;
use crate::declared::Step::{self, Field, OptionalPointer, Required, When};
use crate::read::{count, has, int, text};
use ironclad_api::{ErrorList, FieldError, Path, object};
use ironclad_json::{Value, json};

/// What is declared with the type.
pub(super) const DECLARED: &[Step] = &[Field(
    "spec",
    &[
        When("type", "exempt", &[("Exempt", Given::May)], Given::Never),
        When("type", "limited", &[("Limited", Given::Must)], Given::Never),
        Field("type", &[Required]),
        Field(
            "limited",
            &[
                OptionalPointer,
                Field(
                    "limitResponse",
                    &[When("type", "queuing", &[("Queue", Given::Must)], Given::Never), Field("type", &[Required])],
                ),
            ],
        ),
    ],
)];

const QUEUES_MAX: i64 = 10 * 1000 * 1000;
const HASH_BITS: i64 = 60;

/// What holds for each level.
pub(super) fn level(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at, name, kind) = (&o["spec"], Path::new("spec"), object::name(o), text(o, &["spec", "type"]));
    if (name == "exempt") != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid_str(&at.child("type"), kind, why));
    }
    let parts = |own: &str, other: &str, errors: &mut ErrorList| {
        if has(spec, &[other]) {
            let why =
                format!("must be nil if the type is {}", if own == "limited" { "Limited" } else { "not Limited" });
            errors.push(FieldError::forbidden(&at.child(other), why).covered());
        }
        if !has(spec, &[own]) {
            let why = format!("must not be empty when type is {kind}");
            errors.push(FieldError::required(&at.child(own), why).covered());
        }
    };
    match kind {
        "Exempt" => {
            parts("exempt", "limited", &mut errors);
            shares(&spec["exempt"], &at.child("exempt"), &mut errors);
        }
        "Limited" => {
            parts("limited", "exempt", &mut errors);
            shares(&spec["limited"], &at.child("limited"), &mut errors);
            if has(spec, &["limited"]) {
                response(&spec["limited"]["limitResponse"], &at.child("limited").child("limitResponse"), &mut errors);
            }
        }
        other => errors.push(FieldError::not_supported(&at.child("type"), &json!(other), &["Exempt", "Limited"])),
    }
    if let Some(fixed) = mandatory_flow("PriorityLevelConfiguration", name) {
        fixed_spec(spec, fixed, name, &at, &mut errors);
    }
    errors.extend(super::rules::status(o));
    errors
}

/// The level `exempt` may change what it lends, and no more.
fn fixed_spec(spec: &Value, mut fixed: Value, name: &str, at: &Path, errors: &mut ErrorList) {
    let mut given = spec.clone();
    let mut but = "";
    if name == "exempt" {
        but = " except the 'spec.exempt' field";
        for side in [&mut given, &mut fixed] {
            side.as_object_mut().and_then(|s| s.remove("exempt"));
        }
    }
    if !same(&given, &fixed) {
        errors.push(FieldError::invalid(at, spec, format!("spec of '{name}'{but} must equal the fixed value")));
    }
}

fn shares(o: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(n) = int(o, &["nominalConcurrencyShares"]).filter(|n| *n < 0) {
        let why = "must be a non-negative integer";
        errors.push(FieldError::invalid(&at.child("nominalConcurrencyShares"), &json!(n), why));
    }
    if let Some(n) = int(o, &["lendablePercent"]).filter(|n| !(0..=100).contains(n)) {
        let why = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(&at.child("lendablePercent"), &json!(n), why));
    }
    if let Some(n) = int(o, &["borrowingLimitPercent"]).filter(|n| *n < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(&at.child("borrowingLimitPercent"), &json!(n), why));
    }
}

fn response(o: &Value, at: &Path, errors: &mut ErrorList) {
    let queuing = at.child("queuing");
    match (text(o, &["type"]), has(o, &["queuing"])) {
        ("Reject", true) => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&queuing, why).covered());
        }
        ("Queue", false) => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&queuing, why).covered());
        }
        ("Queue", true) => queues(&o["queuing"], &queuing, errors),
        ("Reject", false) => {}
        (other, _) => {
            errors.push(FieldError::not_supported(&at.child("type"), &json!(other), &["Queue", "Reject"]));
        }
    }
}

fn queues(o: &Value, at: &Path, errors: &mut ErrorList) {
    let of = |key: &str| count(o, &[key]);
    let (length, queues, hand) = (of("queueLengthLimit"), of("queues"), of("handSize"));
    let mut wrong = |key: &str, why: String| errors.push(FieldError::invalid(&at.child(key), &json!(of(key)), why));
    let positive = "must be positive".to_owned();
    if length <= 0 {
        wrong("queueLengthLimit", positive.clone());
    }
    if queues <= 0 {
        wrong("queues", positive.clone());
    } else if queues > QUEUES_MAX {
        wrong("queues", format!("must not be greater than {QUEUES_MAX}"));
    }
    if hand <= 0 {
        wrong("handSize", positive);
    } else if hand > queues {
        wrong("handSize", format!("should not be greater than queues ({queues})"));
    } else if entropy(queues, hand) > HASH_BITS {
        let sizes = format!("deckSize {queues} and handSize {hand}");
        wrong("handSize", format!("required entropy bits of {sizes} should not be greater than {HASH_BITS}"));
    }
}

/// How many bits of a hash it takes to draw so many queues.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as stock reckons it")]
fn entropy(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_one_sort_and_within_bounds() {
        let level_of = |name: &str, spec: Value| {
            let found = level(&json!({"metadata": {"name": name}, "spec": spec}));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let queuing = json!({"queues": 64, "handSize": 11, "queueLengthLimit": 0});
        let limited = json!({"lendablePercent": 101, "limitResponse": {"type": "Queue", "queuing": queuing}});
        let expected = [
            "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: 0: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 11: required entropy bits of deckSize 64 and handSize 11 should not be greater than 60",
        ];
        assert_eq!(level_of("l", json!({"type": "Limited", "limited": limited})), expected);
        let expected = ["spec.limited: Required value: must not be empty when type is Limited"];
        assert_eq!(level_of("l", json!({"type": "Limited"})), expected);
        assert!(level_of("exempt", json!({"type": "Exempt", "exempt": {"lendablePercent": 5}})).is_empty());
        let reject = json!({"nominalConcurrencyShares": 6, "lendablePercent": 0, "limitResponse": {"type": "Reject"}});
        let found = level_of("catch-all", json!({"type": "Limited", "limited": reject}));
        assert!(found[0].ends_with("spec of 'catch-all' must equal the fixed value"), "{found:?}");
    }
}
