//! PersistentVolumes and PersistentVolumeClaims.

pub(crate) mod claim;
mod inline;
pub(crate) mod persistent;

pub(crate) use inline::inline_volume;

use ironclad_api::object;
use ironclad_json::{Value, json};

use crate::common::claim::CLASS_ANNOTATION;

/// The class of a volume or a claim; the old annotation goes before the field.
fn class(o: &Value) -> &str {
    let old = object::text(o, &["metadata", "annotations", CLASS_ANNOTATION]);
    if old.is_empty() { object::text(o, &["spec", "storageClassName"]) } else { old }
}

fn or_unset(text: &str) -> Value {
    json!(if text.is_empty() { "<unset>" } else { text })
}
