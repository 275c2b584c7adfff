//! Devices: classes, claims, slices and taints.

mod capacity;
mod claim;
mod declared;
mod names;
mod off;
mod old;
mod pools;
mod slice;

pub(crate) use pools::POOLS;

use crate::common::checks::immutable;
use crate::common::conditions;
use crate::metadata;
use crate::older::Older;
use crate::print;
use crate::read::{each, fill, fill_zero, has, items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

/// The version in which requests and devices have another shape.
const OLD: &str = "v1beta1";
/// Claims of v1beta1.
pub(crate) const OLD_CLAIM: Older =
    Older { rules: &CLAIM, up: old::claim_up, down: old::claim_down, declared: declared::OLD_CLAIM };
/// Templates of v1beta1.
pub(crate) const OLD_TEMPLATE: Older =
    Older { rules: &TEMPLATE, up: old::template_up, down: old::template_down, declared: &[] };
/// Slices of v1beta1.
pub(crate) const OLD_SLICE: Older =
    Older { rules: &SLICE, up: old::slice_up, down: old::slice_down, declared: declared::OLD_SLICE };

pub(crate) const CLASS: Rules =
    Rules::new().checks(claim::device_class).checks_update(claim::changed_class).declares(declared::CLASS);

pub(crate) const CLAIM: Rules = Rules::new()
    .converts(|o, version| if version == OLD { old::claim_down(o) } else { o })
    .defaults(|o| {
        requests(o, &["spec", "devices", "requests"]);
        each(o, &["status", "allocation", "devices", "results"], tolerations);
    })
    .checks(|o| {
        let mut errors = ErrorList::new();
        claim::spec(&o["spec"], &Path::new("spec"), &mut errors);
        errors
    })
    .on_create(|o| off::requests(o, &["spec", "devices", "requests"]))
    .on_update(|o, _| off::requests(o, &["spec", "devices", "requests"]))
    .on_subresource(|_, new, old| {
        off::status(new);
        claim::forget_devices(new, old);
    })
    .checks_update(|_, _| ErrorList::new())
    .checks_status(claim::status)
    .declares_all(declared::CLAIM)
    .prints(
        const { &[Column::object_name(), Column::text("State", "What became of the claim."), Column::age()] },
        |o| vec![print::name(o), json!(state(o)), table::age(o)],
    );

pub(crate) const TEMPLATE: Rules = Rules::new()
    .converts(|o, version| if version == OLD { old::template_down(o) } else { o })
    .defaults(|o| requests(o, &["spec", "spec", "devices", "requests"]))
    .checks(template)
    .on_create(|o| off::requests(o, &["spec", "spec", "devices", "requests"]))
    .on_update(|o, _| off::requests(o, &["spec", "spec", "devices", "requests"]))
    .checks_update(|new, old| {
        let mut errors = template(new);
        immutable(new, old, &Path::root(), &["spec"], &mut errors);
        errors
    });

pub(crate) const SLICE: Rules = Rules::new()
    .defaults(|o| {
        each(o, &["spec", "devices"], |device| {
            each(device, &["taints"], taint_time);
            if let Some(capacity) = device.get_mut("capacity").and_then(Value::as_object_mut) {
                capacity.values_mut().filter(|c| c.is_object()).for_each(|c| fill(c, "value", "0"));
            }
        });
    })
    .on_create(off::slice)
    .on_update(|o, _| off::slice(o))
    .converts(|o, version| if version == OLD { old::slice_down(o) } else { o })
    .checks(slice::validate)
    .checks_update(slice::update)
    .warns(|o, _| {
        let driver = text(o, &["spec", "driver"]);
        let said = format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters");
        if driver == driver.to_lowercase() { Vec::new() } else { vec![said] }
    })
    .declares(declared::SLICE)
    .prints(
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
            let of = |path: &[&str]| json!(text(o, path));
            let spec = [&["spec", "nodeName"] as &[&str], &["spec", "driver"], &["spec", "pool", "name"]].map(of);
            [print::name(o)].into_iter().chain(spec).chain([table::age(o)]).collect()
        },
    );

/// Most conditions of a rule that taints.
const CONDITIONS_MAX: usize = 8;

fn taint_rule(o: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (at, selector) = (Path::new("spec"), &o["spec"]["deviceSelector"]);
    let selector_at = at.child("deviceSelector");
    if has(selector, &["driver"]) {
        names::driver(selector, &selector_at, &mut errors);
    }
    if has(selector, &["pool"]) {
        names::pool(text(selector, &["pool"]), &selector_at.child("pool"), &mut errors);
    }
    if has(selector, &["device"]) {
        names::label(selector, &selector_at, "device", &mut errors);
    }
    names::taint(&o["spec"]["taint"], old.map(|old| &old["spec"]["taint"]), &at.child("taint"), &mut errors);
    errors
}

pub(crate) const TAINT: Rules = Rules::new()
    .defaults(|o| {
        if let Some(taint) = crate::read::at_mut(o, &["spec", "taint"]) {
            taint_time(taint);
        }
    })
    .on_update(|new, old| {
        let (taint, was) = (&new["spec"]["taint"], &old["spec"]["taint"]);
        // The time tells since when the effect is what it is.
        if taint.is_object() && taint["effect"] != was["effect"] && taint["timeAdded"] == was["timeAdded"] {
            new["spec"]["taint"]["timeAdded"] = json!(ironclad_api::time::now());
        }
    })
    .checks(|o| taint_rule(o, None))
    .checks_update(|new, old| taint_rule(new, Some(old)))
    .checks_status(|o, _| {
        let mut errors = ErrorList::new();
        let (list, at) = (items(o, &["status", "conditions"]), Path::new("status").child("conditions"));
        conditions::all(list, &at, &mut errors);
        if list.len() > CONDITIONS_MAX {
            errors.push(FieldError::too_many(&at, list.len(), CONDITIONS_MAX));
        }
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Key", "The key of the taint."),
                Column::text("Value", "The value of the taint."),
                Column::text("Effect", "What the taint does to pods."),
                Column::text("TimeAdded", "When the taint was added."),
                Column::age(),
            ]
        },
        taint_cells,
    );

fn taint_cells(o: &Value) -> Cells {
    let of = |key: &str| json!(text(o, &["spec", "taint", key]));
    let added = match text(o, &["spec", "taint", "timeAdded"]) {
        "" => json!("<unset>"),
        added => table::age(&json!({"metadata": {"creationTimestamp": added}})),
    };
    vec![print::name(o), of("key"), of("value"), of("effect"), added, table::age(o)]
}

fn template(o: &Value) -> ErrorList {
    let at = Path::new("spec");
    let (meta, meta_at) = (&o["spec"]["metadata"], at.child("metadata"));
    let mut errors = metadata::annotations(&meta["annotations"], &meta_at.child("annotations"));
    errors.extend(metadata::labels(&meta["labels"], &meta_at.child("labels")));
    let set = |v: &Value| !(v.is_null() || *v == json!("") || *v == json!(0));
    // No grace is some grace.
    let set = |key: &str| set(&meta[key]) || key == "deletionGracePeriodSeconds" && has(meta, &[key]);
    let wrong = metadata::OF_OBJECTS.iter().filter(|(key, _)| set(key));
    errors.extend(wrong.map(|(_, called)| FieldError::forbidden(&meta_at.child(called), "cannot be set")));
    claim::spec(&o["spec"]["spec"], &at.child("spec"), &mut errors);
    errors
}

fn tolerations(o: &mut Value) {
    each(o, &["tolerations"], |toleration| fill_zero(toleration, "operator", "Equal"));
}

/// When a taint came, where nobody says.
fn taint_time(taint: &mut Value) {
    if taint.is_object() {
        fill(taint, "timeAdded", ironclad_api::time::now());
    }
}

fn requests(o: &mut Value, path: &[&str]) {
    let count = |r: &mut Value| {
        fill_zero(r, "allocationMode", "ExactCount");
        if text(r, &["allocationMode"]) == "ExactCount" {
            fill_zero(r, "count", 1);
        }
        tolerations(r);
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
    let deleted = has(o, &["metadata", "deletionTimestamp"]);
    let mut states = if deleted { vec!["deleted"] } else { Vec::new() };
    if has(o, &["status", "allocation"]) {
        states.push("allocated");
        if !items(o, &["status", "reservedFor"]).is_empty() {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    states.join(",")
}

#[cfg(test)]
mod tests;
