//! Places in a typed value: what stands there, and how what is below it is told apart.

use super::set::PathElement;
use crate::bundle::{Bundle, List, Scalar, Shape};
use crate::facts;
use ironclad_json::Value;

const DEDUCED: &Shape = &Shape::Scalar(Scalar::Deduced);
const ANY: &Shape = &Shape::Scalar(Scalar::Any);

/// The shape of a value.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    bundle: &'a Bundle,
    shape: &'a Shape,
    /// Whether an object is told apart field by field whatever its type says.
    granular: bool,
}

/// How a value is told apart by its owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        Self { bundle, shape, granular: false }
    }

    pub(super) fn shape(self) -> &'a Shape {
        self.shape
    }

    /// How the value here is told apart; `value` decides where the schema does not.
    pub(super) fn form(self, value: &Value) -> Form<'a> {
        match self.shape {
            Shape::Object(id) if self.bundle.get(*id).open && !value.is_object() && !value.is_null() => Form::Leaf,
            Shape::Scalar(Scalar::Deduced) if value.is_object() => Form::Map,
            _ => self.settled(),
        }
    }

    /// How values here are told apart as far as the schema says it.
    pub(super) fn settled(self) -> Form<'a> {
        match self.shape {
            Shape::Object(id) => {
                let ty = self.bundle.get(*id);
                let atomic = ty.atomic || (!self.granular && facts::is_atomic(&ty.definition));
                if atomic { Form::Leaf } else { Form::Map }
            }
            Shape::Map(_, true) | Shape::List(_, List::Atomic) | Shape::Scalar(_) => Form::Leaf,
            Shape::Map(_, false) => Form::Map,
            Shape::List(_, List::Map(keys)) => Form::Keyed(keys),
            Shape::List(_, List::Set) => Form::Set,
        }
    }

    /// The place of a field or key, and whether the schema declares it by name.
    pub(super) fn child(self, name: &str) -> (Self, bool) {
        let at = |shape, granular| Self { bundle: self.bundle, shape, granular };
        match self.shape {
            Shape::Object(id) => match self.bundle.get(*id).field(name) {
                Some(field) => {
                    let granular = facts::is_granular(&self.bundle.get(*id).definition, name);
                    (at(&field.shape, granular), true)
                }
                None => (at(DEDUCED, false), false),
            },
            Shape::Map(value, _) => (at(value, false), false),
            _ => (at(DEDUCED, false), false),
        }
    }

    /// The place of a list's items.
    pub(super) fn item(self) -> Self {
        let shape = match self.shape {
            Shape::List(item, _) => item,
            _ => ANY,
        };
        Self { shape, granular: false, ..self }
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
        matches!(self.shape, Shape::List(..))
    }

    /// Whether values here are objects with fields or keys, in whatever way they are told apart.
    pub(super) fn is_map(self) -> bool {
        matches!(self.shape, Shape::Map(..) | Shape::Object(_))
    }

    /// What stands for a key field of a list's item that does not have it.
    fn key_default(self, key: &str) -> Option<&'a Value> {
        match self.item().shape {
            Shape::Object(id) => self.bundle.get(*id).field(key)?.default.as_deref(),
            _ => None,
        }
    }

    /// How an item of the list here is told apart from the others; the error says why it cannot be.
    pub(super) fn element(self, form: Form<'_>, item: &Value) -> Result<PathElement, String> {
        match (form, item) {
            (Form::Keyed(keys), _) => self.key(keys, item),
            (_, Value::Object(_)) => Err("associative list without keys has an element that's a map type".to_owned()),
            (_, Value::Array(_)) => Err("not supported: associative list with lists as elements".to_owned()),
            (_, Value::Null) => Err("associative list without keys has an element that's an explicit null".to_owned()),
            _ => Ok(PathElement::Value(item.clone())),
        }
    }

    /// The key of a list's item. What it does not have and has no default is no part of it.
    fn key(self, keys: &[String], item: &Value) -> Result<PathElement, String> {
        if item.is_null() {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        let Value::Object(map) = item else {
            return Err("associative list with keys may not have non-map elements".to_owned());
        };
        let value = |key: &String| map.get(key).or_else(|| self.key_default(key)).cloned();
        let mut found: Vec<(ironclad_json::Text, Value)> =
            keys.iter().filter_map(|k| Some((k.into(), value(k)?))).collect();
        if found.is_empty() {
            let names: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(PathElement::Key(found))
    }
}
