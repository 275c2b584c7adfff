//! Places in a typed value: what stands there, and how what is below it is told apart.

use super::set::PathElement;
use crate::bundle::{Bundle, Field, List, Scalar, Shape};
use crate::facts;
use serde_json::Value;

const ANY: &Shape = &Shape::Scalar(Scalar::Any);

/// The shape of a value, with the field that says how its list merges.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    bundle: &'a Bundle,
    shape: &'a Shape,
    field: Option<&'a Field>,
    /// Whether no schema knows the value, so that it is told apart by what it is.
    deduced: bool,
    /// Whether an object is told apart field by field whatever its type says.
    granular: bool,
}

/// How a value is told apart by its owners.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    /// One value.
    Leaf,
    /// Fields or keys.
    Map,
    /// Items by these key fields.
    Keyed(&'a [String]),
    /// Items by their values.
    Set,
}

impl<'a> Place<'a> {
    pub(super) fn root(bundle: &'a Bundle, shape: &'a Shape) -> Self {
        Self { bundle, shape, field: None, deduced: false, granular: false }
    }

    /// How the value here is told apart; `value` decides where the schema does not.
    pub(super) fn form(self, value: &Value) -> Form<'a> {
        if self.field.is_some_and(|f| f.atomic) {
            return Form::Leaf;
        }
        match self.shape {
            Shape::Object(id) => {
                let ty = self.bundle.get(*id);
                let open = ty.open && !value.is_object();
                let atomic = ty.atomic || (!self.granular && facts::is_atomic(&ty.definition));
                if atomic || open { Form::Leaf } else { Form::Map }
            }
            Shape::Map(_) => Form::Map,
            Shape::List(_) => match self.field.map(|f| &f.list) {
                Some(List::Map(keys)) => Form::Keyed(keys),
                Some(List::Set) => Form::Set,
                _ => Form::Leaf,
            },
            Shape::Scalar(_) if self.deduced && value.is_object() => Form::Map,
            Shape::Scalar(_) => Form::Leaf,
        }
    }

    /// The place of a field or key, and whether the schema declares it by name.
    pub(super) fn child(self, name: &str) -> (Self, bool) {
        let at = |shape, field, deduced| Self { bundle: self.bundle, shape, field, deduced, granular: false };
        match self.shape {
            Shape::Object(id) => match self.bundle.get(*id).field(name) {
                Some(field) => {
                    let granular = facts::is_granular(&self.bundle.get(*id).definition, name);
                    (Self { granular, ..at(&field.shape, Some(field), false) }, true)
                }
                None => (at(ANY, None, true), false),
            },
            Shape::Map(value) => (at(value, None, self.deduced), false),
            _ => (at(ANY, None, true), false),
        }
    }

    /// The place of a list's items.
    pub(super) fn item(self) -> Self {
        let shape = match self.shape {
            Shape::List(item) => item,
            _ => ANY,
        };
        Self { shape, field: None, ..self }
    }

    /// Whether the type has such a field, where it is a type with fields.
    pub(super) fn declares(self, name: &str) -> bool {
        match self.shape {
            Shape::Object(id) => self.knows(*id, name),
            _ => true,
        }
    }

    fn knows(self, id: crate::TypeId, name: &str) -> bool {
        let ty = self.bundle.get(id);
        ty.open || ty.field(name).is_some() || (ty.gvk.is_some() && matches!(name, "apiVersion" | "kind"))
    }

    /// What the value here has to be, for messages.
    pub(super) fn scalar(self) -> Option<Scalar> {
        match self.shape {
            Shape::Scalar(scalar) => Some(*scalar),
            _ => None,
        }
    }

    pub(super) fn is_list(self) -> bool {
        matches!(self.shape, Shape::List(_))
    }
}

/// The key of a list's item. A missing protocol is TCP, the only default that a key of a built-in kind has.
pub(super) fn list_key(keys: &[String], item: &Value) -> Result<PathElement, String> {
    if item.is_null() {
        return Err("associative list with keys may not have a null element".to_owned());
    }
    let Value::Object(map) = item else {
        return Err("associative list with keys may not have non-map elements".to_owned());
    };
    let value = |key: &String| {
        let default = (key == "protocol").then(|| Value::from("TCP"));
        map.get(key).filter(|v| !v.is_null()).cloned().or(default)
    };
    let mut found: Vec<(String, Value)> = keys.iter().filter_map(|k| Some((k.clone(), value(k)?))).collect();
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
        return Err(match keys {
            [one] => format!(
                "associative list with keys has an element that omits key field {one:?} (and doesn't have default value)"
            ),
            _ => format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ),
        });
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(PathElement::Key(found))
}

/// How an item of a list is told apart from the others; `None` where it cannot be.
pub(super) fn element(form: Form<'_>, item: &Value) -> Result<PathElement, String> {
    match form {
        Form::Keyed(keys) => list_key(keys, item),
        _ if item.is_object() || item.is_array() => {
            Err("associative list without keys has an element that's not a scalar".to_owned())
        }
        _ => Ok(PathElement::Value(item.clone())),
    }
}
