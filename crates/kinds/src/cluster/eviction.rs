//! Requests to evict a pod, and what becomes of them.

use crate::common::conditions;
use crate::declared::Step::{
    self, Field, Immutable, Is, MaxItems, Min, OneOf, Optional, OptionalPointer, Required, Union, Unique,
};
use crate::declared::format;
use crate::network::class::domain_path;
use crate::read::{int, items, text};
use crate::rules::Rules;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

const CONDITIONS_MAX: usize = 100;

const TARGET: Step = Field(
    "target",
    &[
        Immutable,
        Union(&["pod"]),
        Field(
            "pod",
            &[
                OptionalPointer,
                Field("name", &[Required, Is(format::long_name)]),
                Field("uid", &[Required, Is(format::uuid)]),
            ],
        ),
    ],
);
const STATUS: Step = Field(
    "status",
    &[
        Field("observedGeneration", &[OptionalPointer, Min(1)]),
        Field("conditions", &[MaxItems(CONDITIONS_MAX), Optional, Unique(&["type"])]),
    ],
);

pub(crate) const REQUEST: Rules = Rules::new()
    .checks(|o| {
        let mut errors = ErrorList::new();
        let requester = text(o, &["spec", "requester"]);
        if !requester.is_empty() {
            domain_path(requester, &Path::new("spec").child("requester"), &mut errors);
        }
        errors
    })
    .checks_update(|_, _| ErrorList::new())
    .checks_status(status)
    .declares_all(
        const {
            &[
                Field(
                    "spec",
                    &[
                        TARGET,
                        Field("requester", &[Required, Immutable]),
                        Field("intent", &[Required, OneOf(&["Eviction", "Withdrawn"])]),
                    ],
                ),
                STATUS,
            ]
        },
    );

pub(crate) const EVICTION: Rules =
    Rules::new().checks_status(status).declares_all(const { &[Field("spec", &[TARGET]), STATUS] });

/// Who looks at it never goes back, and conditions are well formed.
fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    let seen = |o: &Value| int(o, &["status", "observedGeneration"]);
    let (now, was) = (seen(new), seen(old));
    let told = now.map_or(was.is_some(), |now| now >= 1);
    if told && now.unwrap_or(0) < was.unwrap_or(0) {
        let why = format!("cannot decrement, must be greater than or equal to {}", was.unwrap_or(1));
        errors.push(FieldError::invalid(&at.child("observedGeneration"), &json!(now), why));
    }
    conditions::all(items(new, &["status", "conditions"]), &at.child("conditions"), &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    #[test]
    fn a_request_names_a_pod_and_who_asks() {
        let uid = "11111111-1111-1111-1111-111111111111";
        let request = |requester: &str, intent: &str| json!({"spec": {"target": {"pod": {"name": "p", "uid": uid}}, "requester": requester, "intent": intent}});
        let says = |o: Value| REQUEST.validate(&o).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(says(request("acme.io/foo", "Eviction")).is_empty());
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        let expected = [
            format!("spec.requester: Invalid value: \"foo\": {why}"),
            "spec.intent: Unsupported value: \"x\": supported values: \"Eviction\", \"Withdrawn\"".to_owned(),
        ];
        assert_eq!(says(request("foo", "x")), expected);
        let expected = [
            "spec.target: Invalid value: \"\": must specify one of: `pod`",
            "spec.requester: Required value",
            "spec.intent: Required value",
        ];
        assert_eq!(says(json!({"spec": {"target": {}}})), expected);
        // The intent alone may change.
        let (old, new) = (request("a.io/b", "Eviction"), request("a.io/c", "Withdrawn"));
        let found = REQUEST.validate_update(&new, &old);
        assert_eq!(found.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["spec.requester"]);
        let seen = |n: i64| json!({"status": {"observedGeneration": n}});
        assert_eq!(REQUEST.validate_status_update(&seen(1), &seen(2)).len(), 1);
        assert!(REQUEST.validate_status_update(&seen(2), &seen(1)).is_empty());
    }
}
