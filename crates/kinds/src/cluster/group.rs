//! Groups of pods that are scheduled together, and the workloads that say what groups are made of.

use crate::common::conditions;
use crate::declared::Step::{
    self, Field, Immutable, Is, Items, KeepItems, Max, MaxItems, Min, NoSet, NoUnset, OneOf, Optional, OptionalPointer,
    Required, Union, Unique,
};
use crate::declared::format;
use crate::print;
use crate::read::{fill, has, items, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

const PRIORITY_MAX: i64 = 1_000_000_000;

const TOPOLOGY: &[Step] =
    &[Field("topology", &[MaxItems(1), Optional, Items(&[], &[Field("key", &[Required, Is(format::label_key)])])])];
const CONSTRAINTS: Step = Field("schedulingConstraints", &[OptionalPointer, Immutable, TOPOLOGY[0]]);
/// How many of them are scheduled together; what a gang counts is called by the name that is given.
macro_rules! policy {
    ($count:expr) => {
        Field(
            "schedulingPolicy",
            &[
                Union(&["basic", "gang"]),
                Field("basic", &[Immutable, OptionalPointer]),
                Field("gang", &[OptionalPointer, NoSet, NoUnset, Field($count, &[Required, Min(1)])]),
            ],
        )
    };
}
const POLICY: Step = policy!("minCount");
const COMPOSITE_POLICY: Step = policy!("minGroupCount");
const CLAIMS: Step = Field(
    "resourceClaims",
    &[
        Immutable,
        MaxItems(4),
        Optional,
        Unique(&["name"]),
        Items(
            &["name"],
            &[
                Union(&["resourceClaimName", "resourceClaimTemplateName"]),
                Field("name", &[Required, Is(format::short_name)]),
                Field("resourceClaimName", &[OptionalPointer, Is(format::long_name)]),
                Field("resourceClaimTemplateName", &[OptionalPointer, Is(format::long_name)]),
            ],
        ),
    ],
);
const DISRUPTION: Step = Field("disruptionMode", &[Immutable, OptionalPointer, Union(&["single", "all"])]);
const PRIORITY: [Step; 3] = [
    Field("priorityClassName", &[Immutable, Optional, Is(format::long_name)]),
    Field("priority", &[Immutable, OptionalPointer, Max(PRIORITY_MAX)]),
    Field("preemptionPolicy", &[OptionalPointer, Immutable, OneOf(&["Never", "PreemptLowerPriority"])]),
];
const PARENT: Step = Field("parentCompositePodGroupName", &[OptionalPointer, Immutable, Is(format::long_name)]);
const WORKLOAD_REF: [Step; 2] = [
    Field("workloadName", &[Required, Is(format::long_name)]),
    Field("templateName", &[Required, Is(format::short_name)]),
];
const NAME: Step = Field("name", &[Required, Is(format::short_name)]);

const DECLARED_GROUP: &[Step] = &[
    Field(
        "spec",
        &[
            PARENT,
            Field("workloadRef", &[Immutable, OptionalPointer, WORKLOAD_REF[0], WORKLOAD_REF[1]]),
            POLICY,
            CONSTRAINTS,
            CLAIMS,
            DISRUPTION,
            PRIORITY[0],
            PRIORITY[1],
            PRIORITY[2],
        ],
    ),
    Field(
        "status",
        &[Field(
            "resourceClaimStatuses",
            &[
                MaxItems(4),
                Optional,
                Unique(&["name"]),
                Items(&["name"], &[Field("resourceClaimName", &[OptionalPointer, Is(format::long_name)])]),
            ],
        )],
    ),
];

const DECLARED_COMPOSITE: &[Step] = &[Field(
    "spec",
    &[
        PARENT,
        Field("workloadRef", &[Immutable, WORKLOAD_REF[0], WORKLOAD_REF[1]]),
        COMPOSITE_POLICY,
        CONSTRAINTS,
        DISRUPTION,
        PRIORITY[0],
        PRIORITY[1],
        PRIORITY[2],
    ],
)];

const TEMPLATES: Step = Field(
    "podGroupTemplates",
    &[
        MaxItems(8),
        Optional,
        KeepItems(&["name"]),
        Unique(&["name"]),
        Items(&["name"], &[NAME, POLICY, CONSTRAINTS, CLAIMS, DISRUPTION, PRIORITY[0], PRIORITY[1], PRIORITY[2]]),
    ],
);
/// Templates of groups of groups; those below them are checked as deep as they go.
static COMPOSITES: Step = Field(
    "compositePodGroupTemplates",
    &[
        MaxItems(8),
        Optional,
        KeepItems(&["name"]),
        Unique(&["name"]),
        Items(
            &["name"],
            &[
                NAME,
                COMPOSITE_POLICY,
                CONSTRAINTS,
                DISRUPTION,
                PRIORITY[0],
                PRIORITY[1],
                PRIORITY[2],
                TEMPLATES,
                Step::Again(&COMPOSITES),
            ],
        ),
    ],
);
const DECLARED_WORKLOAD: &[Step] = &[Field(
    "spec",
    &[
        Union(&["podGroupTemplates", "compositePodGroupTemplates"]),
        Field(
            "controllerRef",
            &[
                Immutable,
                OptionalPointer,
                Field("apiGroup", &[Optional, Is(format::long_name)]),
                Field("kind", &[Required, Is(format::path_segment)]),
                Field("name", &[Required, Is(format::path_segment)]),
            ],
        ),
        TEMPLATES,
        Step::Again(&COMPOSITES),
    ],
)];

pub(crate) const WORKLOAD: Rules = Rules::new().declares(DECLARED_WORKLOAD);

pub(crate) const COMPOSITE: Rules =
    Rules::new().defaults(disruption).checks_status(|o, _| told(o)).declares_all(DECLARED_COMPOSITE);

pub(crate) const GROUP: Rules = Rules::new()
    .defaults(disruption)
    .checks_status(|o, _| {
        let mut errors = told(o);
        let at = Path::new("status").child("resourceClaimStatuses");
        let claims = items(o, &["spec", "resourceClaims"]);
        for (i, status) in items(o, &["status", "resourceClaimStatuses"]).iter().enumerate() {
            let name = text(status, &["name"]);
            if !claims.iter().any(|claim| text(claim, &["name"]) == name) {
                let why = "must match the name of an entry in `spec.resourceClaims`";
                errors.push(FieldError::invalid_str(&at.index(i).child("name"), name, why));
            }
        }
        errors
    })
    .declares_all(DECLARED_GROUP)
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Policy", "How its pods are scheduled."),
                Column::text("Workload", "Name of the referenced Workload object"),
                Column::text("Status", "Status of the PodGroup"),
                Column::age(),
            ]
        },
        cells,
    );

/// One pod at a time is disrupted where nobody says otherwise.
fn disruption(o: &mut Value) {
    fill(spec(o), "disruptionMode", json!({"single": {}}));
}

fn told(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status").child("conditions");
    conditions::all(items(o, &["status", "conditions"]), &at, &mut errors);
    errors
}

fn cells(o: &Value) -> Cells {
    let conditions = items(o, &["status", "conditions"]);
    let of = |kind: &str| conditions.iter().find(|c| text(c, &["type"]) == kind);
    let status = match (of("DisruptionTarget"), of("PodGroupScheduled")) {
        (Some(disrupted), _) => text(disrupted, &["reason"]),
        (None, Some(scheduled)) if text(scheduled, &["status"]) == "True" => "Scheduled",
        (None, Some(_)) => "Unschedulable",
        (None, None) => "Pending",
    };
    let policy = if has(o, &["spec", "schedulingPolicy", "gang"]) { "Gang" } else { "Basic" };
    let workload = print::or_none(o, &["spec", "workloadRef", "workloadName"]);
    vec![print::name(o), json!(policy), workload, json!(status), table::age(o)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    fn says(rules: &Rules, mut new: Value, old: Option<&Value>) -> Vec<String> {
        rules.default(&mut new);
        let found = old.map_or_else(|| rules.validate(&new), |old| rules.validate_update(&new, old));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn groups_have_one_policy_and_stay_what_they_are() {
        let group = |policy: Value| json!({"spec": {"schedulingPolicy": policy, "disruptionMode": {"single": {}}}});
        let table = [
            (group(json!({"basic": {}})), None, vec![]),
            (
                group(json!({})),
                None,
                vec!["spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"],
            ),
            (
                group(json!({"gang": {"minCount": 0}})),
                None,
                vec!["spec.schedulingPolicy.gang.minCount: Required value"],
            ),
            (group(json!({"gang": {"minCount": 3}})), Some(group(json!({"gang": {"minCount": 2}}))), vec![]),
            (
                group(json!({"gang": {"minCount": 3}})),
                Some(group(json!({"basic": {}}))),
                vec![
                    "spec.schedulingPolicy.basic: Invalid value: null: field is immutable",
                    "spec.schedulingPolicy.gang: Invalid value: null: field cannot be set once created",
                ],
            ),
        ];
        for (new, old, expected) in table {
            assert_eq!(says(&GROUP, new.clone(), old.as_ref()), expected, "{new}");
        }
    }

    #[test]
    fn workloads_keep_their_templates_however_deep() {
        let template = |name: &str| json!({"name": name, "schedulingPolicy": {"basic": {}}});
        let workload = |names: &[&str]| {
            let below: Vec<Value> = names.iter().map(|name| template(name)).collect();
            let inner = json!({"name": "in", "schedulingPolicy": {"basic": {}}, "podGroupTemplates": below});
            let outer =
                json!({"name": "out", "schedulingPolicy": {"basic": {}}, "compositePodGroupTemplates": [inner]});
            json!({"spec": {"compositePodGroupTemplates": [outer]}})
        };
        let at = "spec.compositePodGroupTemplates[0].compositePodGroupTemplates[0].podGroupTemplates";
        assert!(says(&WORKLOAD, workload(&["a"]), None).is_empty());
        let expected = [format!("{at}[1]: Forbidden: item may not be added")];
        assert_eq!(says(&WORKLOAD, workload(&["a", "b"]), Some(&workload(&["a"]))), expected);
        let expected = [format!("{at}: Forbidden: item may not be removed")];
        assert_eq!(says(&WORKLOAD, workload(&["a"]), Some(&workload(&["a", "b"]))), expected);
        let why = "must specify one of: `podGroupTemplates`, `compositePodGroupTemplates`";
        assert_eq!(says(&WORKLOAD, json!({"spec": {}}), None), [format!("spec: Invalid value: \"\": {why}")]);
    }

    #[test]
    fn a_group_tells_of_its_own_claims_alone() {
        let group = json!({"spec": {"resourceClaims": [{"name": "a", "resourceClaimName": "x"}]},
            "status": {"resourceClaimStatuses": [{"name": "b"}]}});
        let found = GROUP.validate_status_update(&group, &json!({"spec": group["spec"]}));
        let why = "must match the name of an entry in `spec.resourceClaims`";
        assert_eq!(found[0].to_string(), format!("status.resourceClaimStatuses[0].name: Invalid value: \"b\": {why}"));
    }
}
