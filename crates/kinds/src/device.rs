//! Devices: claims and slices.

use crate::print;
use crate::read::{each, fill_zero, has, items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use serde_json::{Value, json};

pub(crate) const CLAIM: Rules = Rules::new().defaults(|o| requests(o, &["spec", "devices", "requests"])).prints(
    const { &[Column::object_name(), Column::text("State", "What became of the claim."), Column::age()] },
    |o| vec![print::name(o), json!(state(o)), table::age(o)],
);

pub(crate) const TEMPLATE: Rules = Rules::new().defaults(|o| requests(o, &["spec", "spec", "devices", "requests"]));

pub(crate) const SLICE: Rules = Rules::new().prints(
    const {
        &[
            Column::object_name(),
            Column::text("Node", "The node that has the devices."),
            Column::text("Driver", "The driver of the devices."),
            Column::text("Pool", "The pool that the slice is part of."),
            Column::age(),
        ]
    },
    |o| {
        let node = text(o, &["spec", "nodeName"]);
        vec![
            print::name(o),
            json!(if node.is_empty() { "<unset>" } else { node }),
            json!(text(o, &["spec", "driver"])),
            json!(text(o, &["spec", "pool", "name"])),
            table::age(o),
        ]
    },
);

fn requests(o: &mut Value, path: &[&str]) {
    let count = |r: &mut Value| {
        fill_zero(r, "allocationMode", "ExactCount");
        if text(r, &["allocationMode"]) == "ExactCount" {
            fill_zero(r, "count", 1);
        }
    };
    each(o, path, |request| {
        if let Some(exact) = crate::read::at_mut(request, &["exactly"]) {
            count(exact);
        } else if has(request, &["deviceClassName"]) {
            count(request);
        }
        each(request, &["firstAvailable"], count);
    });
}

fn state(o: &Value) -> String {
    let mut states = Vec::new();
    if has(o, &["metadata", "deletionTimestamp"]) {
        states.push("deleted");
    }
    if has(o, &["status", "allocation"]) {
        states.push("allocated");
    } else if !has(o, &["metadata", "deletionTimestamp"]) {
        states.push("pending");
    }
    if !items(o, &["status", "reservedFor"]).is_empty() {
        states.push("reserved");
    }
    states.join(",")
}
