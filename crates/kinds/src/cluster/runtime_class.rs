//! RuntimeClasses.

use crate::print;
use crate::read::text;
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .checks(validate)
    .checks_update(|new, old| {
        let mut errors = validate(new);
        if new["handler"] != old["handler"] {
            errors.push(FieldError::invalid(&Path::new("handler"), &new["handler"], "field is immutable"));
        }
        errors
    })
    .prints(
        const { &[Column::object_name(), Column::text("Handler", "The runtime's configuration."), Column::age()] },
        |o| vec![print::name(o), json!(text(o, &["handler"])), table::age(o)],
    );

fn validate(o: &Value) -> ErrorList {
    let handler = text(o, &["handler"]);
    let at = Path::new("handler");
    names::dns1123_label(handler).into_iter().map(|e| FieldError::invalid_str(&at, handler, e)).collect()
}
