//! ControllerRevisions.

use crate::common::numbers::not_negative_at;
use crate::print;
use crate::read::{count, flag, has, items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .checks(validate)
    .checks_update(|new, old| {
        let mut errors = ErrorList::new();
        not_negative_at(new, &Path::root(), &["revision"], &mut errors);
        if new["data"] != old["data"] {
            errors.push(FieldError::invalid(&Path::new("data"), &new["data"], "field is immutable"));
        }
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Controller", "Controller of the object"),
                Column::text("Revision", "The number of the state."),
                Column::age(),
            ]
        },
        cells,
    );

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    not_negative_at(o, &Path::root(), &["revision"], &mut errors);
    if !has(o, &["data"]) {
        errors.push(FieldError::required(&Path::new("data"), "data is mandatory"));
    }
    errors
}

fn cells(o: &Value) -> Cells {
    let owner = items(o, &["metadata", "ownerReferences"]).iter().find(|r| flag(r, &["controller"]));
    let controller = owner.map_or(print::NONE.to_owned(), |r| {
        let kind = text(r, &["kind"]).to_lowercase();
        let group = text(r, &["apiVersion"]).split_once('/').map(|(g, _)| format!(".{g}")).unwrap_or_default();
        format!("{kind}{group}/{}", text(r, &["name"]))
    });
    vec![print::name(o), json!(controller), json!(count(o, &["revision"])), table::age(o)]
}
