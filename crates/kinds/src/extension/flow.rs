//! FlowSchemas and PriorityLevelConfigurations.

mod level;
mod mandatory;
mod rules;

pub use mandatory::mandatory_flow;

use crate::print;
use crate::read::{at_mut, child, count, fill, fill_zero, int, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_json::{Value, json};

pub(crate) const SCHEMA: Rules = Rules::new()
    .defaults(|o| fill_zero(spec(o), "matchingPrecedence", 1000))
    .checks(rules::schema)
    .checks_status(|new, _| rules::status(new))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("PriorityLevel", "The priority level of matching requests."),
                Column::text("MatchingPrecedence", "The order of matching."),
                Column::text("DistinguisherMethod", "What makes flows."),
                Column::age(),
                Column::text("MissingPL", "Whether the priority level is missing."),
            ]
        },
        schema_cells,
    );

pub(crate) const LEVEL: Rules = Rules::new()
    .defaults(default_level)
    .checks(level::level)
    .declares(level::DECLARED)
    .checks_status(|new, _| rules::status(new))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Type", "Whether requests are limited."),
                Column::text("NominalConcurrencyShares", "The share of the server's requests."),
                Column::text("Queues", "Number of queues."),
                Column::text("HandSize", "Number of queues for a flow."),
                Column::text("QueueLengthLimit", "The greatest length of a queue."),
                Column::age(),
            ]
        },
        level_cells,
    );

fn default_level(o: &mut Value) {
    let spec = spec(o);
    if text(spec, &["type"]) == "Exempt" {
        let exempt = child(spec, "exempt");
        fill(exempt, "nominalConcurrencyShares", 0);
        fill(exempt, "lendablePercent", 0);
    }
    let Some(limited) = at_mut(spec, &["limited"]) else { return };
    fill(limited, "nominalConcurrencyShares", 30);
    fill(limited, "lendablePercent", 0);
    if let Some(queuing) = at_mut(limited, &["limitResponse", "queuing"]) {
        fill_zero(queuing, "queues", 64);
        fill_zero(queuing, "handSize", 8);
        fill_zero(queuing, "queueLengthLimit", 50);
    }
}

fn schema_cells(o: &Value) -> Cells {
    let dangling = print::condition(o, "Dangling").map_or("?", |c| text(c, &["status"]));
    vec![
        print::name(o),
        json!(text(o, &["spec", "priorityLevelConfiguration", "name"])),
        json!(count(o, &["spec", "matchingPrecedence"])),
        print::or_none(o, &["spec", "distinguisherMethod", "type"]),
        table::age(o),
        json!(dangling),
    ]
}

fn level_cells(o: &Value) -> Cells {
    let number = |path: &[&str]| int(o, path).map_or(json!(print::NONE), |n| json!(n));
    let queuing = |key| number(&["spec", "limited", "limitResponse", "queuing", key]);
    vec![
        print::name(o),
        json!(text(o, &["spec", "type"])),
        number(&["spec", "limited", "nominalConcurrencyShares"]),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        table::age(o),
    ]
}
