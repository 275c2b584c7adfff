//! Requests for the status of pools of devices: what is asked stays, and what is answered is said once.

use super::declared;
use crate::common::checks::{IMMUTABLE, same};
use crate::common::conditions;
use crate::print;
use crate::read::{count, fill, has, int, items, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

const LIMIT: i64 = 100;

pub(crate) const POOLS: Rules = Rules::new()
    .defaults(|o| fill(spec(o), "limit", LIMIT))
    .checks_update(|_, _| ErrorList::new())
    .checks_status(status)
    .declares_all(declared::POOLS)
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Driver", "The driver to query pools for."),
                Column::text("Total", "Total number of devices across all pools."),
                Column::text("Available", "Number of available devices across all pools."),
                Column::text("Allocated", "Number of allocated devices across all pools."),
                Column::text("Unavailable", "Number of unavailable devices across all pools."),
                Column::text("Errors", "Number of pools with validation errors."),
                Column::integer("Pools", "Total number of matching pools."),
                Column::text("Status", "Processing status."),
                Column::text("Completed", "Time since the observation completed."),
            ]
        },
        cells,
    );

fn status(new: &Value, old: &Value) -> ErrorList {
    let (now, was, at) = (&new["status"], &old["status"], Path::new("status"));
    if !was.is_null() {
        let changed = !same(now, was);
        return changed.then(|| FieldError::invalid(&at, now, IMMUTABLE)).into_iter().collect();
    }
    let mut errors = ErrorList::new();
    conditions::all(items(now, &["conditions"]), &at.child("conditions"), &mut errors);
    errors
}

fn cells(o: &Value) -> Cells {
    let is = |c: &&Value| text(c, &["status"]) == "True" && ["Complete", "Failed"].contains(&text(c, &["type"]));
    let end = items(o, &["status", "conditions"]).iter().find(is);
    let kind = end.map_or("Pending", |end| text(end, &["type"]));
    let (pools, matching) = (items(o, &["status", "pools"]), count(o, &["status", "poolCount"]));
    let said = if kind == "Complete" && matching > i64::try_from(pools.len()).unwrap_or(i64::MAX) {
        format!("Complete ({}/{matching} pools)", pools.len())
    } else {
        kind.to_owned()
    };
    let counted = has(o, &["status"]) && kind != "Failed";
    let shown = |n: i64| json!(if counted { n.to_string() } else { "-".to_owned() });
    let sum = |key: &str| shown(pools.iter().filter_map(|p| int(p, &[key])).sum());
    let wrong = pools.iter().filter(|p| has(p, &["validationError"])).count();
    let complete = end.filter(|_| kind == "Complete");
    let completed = complete.map_or_else(|| json!(print::NONE), |end| table::since(text(end, &["lastTransitionTime"])));
    vec![
        print::name(o),
        json!(text(o, &["spec", "driver"])),
        sum("totalDevices"),
        sum("availableDevices"),
        sum("allocatedDevices"),
        sum("unavailableDevices"),
        shown(i64::try_from(wrong).unwrap_or(i64::MAX)),
        json!(matching),
        json!(said),
        completed,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    #[test]
    fn what_was_answered_stays() {
        let of = |status: Value| json!({"spec": {"driver": "d.x", "limit": 1}, "status": status});
        let asked = of(Value::Null);
        let answer = |n: i64| of(json!({"poolCount": n}));
        let says = |new: &Value, old: &Value| POOLS.validate_status_update(new, old).len();
        assert_eq!((says(&answer(1), &asked), says(&answer(-1), &asked)), (0, 1));
        assert_eq!((says(&answer(1), &answer(1)), says(&answer(2), &answer(1))), (0, 1));
        let mut request = json!({"spec": {"driver": "d.x"}});
        POOLS.default(&mut request);
        assert_eq!(request["spec"]["limit"], 100);
        assert!(POOLS.validate(&request).is_empty());
        let pools = json!([{"totalDevices": 2, "validationError": "x"}, {"totalDevices": 3}]);
        let done = of(json!({"poolCount": 3, "pools": pools, "conditions": [{"type": "Complete", "status": "True"}]}));
        let cells = POOLS.cells(&done);
        assert_eq!(
            cells[2..9],
            [json!("5"), json!("0"), json!("0"), json!("0"), json!("1"), json!(3), json!("Complete (2/3 pools)")]
        );
        assert_eq!(POOLS.cells(&asked)[2], "-");
    }
}
