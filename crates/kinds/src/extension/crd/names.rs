//! The names of a definition.

use super::check::label;
use crate::read::{items, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::Value;

/// What is wrong with names, as far as there are any.
pub(super) fn check(names: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for key in ["plural", "singular", "kind", "listKind"] {
        let name = text(names, &[key]);
        let cased = key.ends_with("ind");
        let Some(why) = label(&if cased { name.to_lowercase() } else { name.to_owned() }).filter(|_| !name.is_empty())
        else {
            continue;
        };
        let mixed = if cased { "may have mixed case, but should otherwise match: " } else { "" };
        errors.push(FieldError::invalid_str(&at.child(key), name, format!("{mixed}{why}")));
    }
    for key in ["shortNames", "categories"] {
        for (i, name) in items(names, &[key]).iter().filter_map(Value::as_str).enumerate() {
            if let Some(why) = label(name) {
                errors.push(FieldError::invalid_str(&at.child(key).index(i), name, why));
            }
        }
    }
    let (kind, list) = (text(names, &["kind"]), text(names, &["listKind"]));
    if !kind.is_empty() && kind == list {
        errors.push(FieldError::invalid_str(&at.child("listKind"), list, "kind and listKind may not be the same"));
    }
    errors
}
