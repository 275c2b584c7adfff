//! Values from anything that `serde` reads. Members and items are gathered on one pile and then take just the room
//! that they need.

use crate::{Map, Text, Value};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::cell::Cell;
use std::fmt;

#[derive(Default)]
struct Pile {
    members: Vec<(Text, Value)>,
    items: Vec<Value>,
}

/// The largest pile that a thread keeps, in members or items.
const KEPT: usize = 4096;

thread_local! {
    static PILE: Cell<Pile> = Cell::default();
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut pile = PILE.take();
        let value = Builder(&mut pile).deserialize(deserializer)?;
        if pile.members.capacity().max(pile.items.capacity()) <= KEPT {
            PILE.set(pile);
        }
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(map) => Ok(map),
            Value::Null => Ok(Self::new()),
            _ => Err(D::Error::custom("invalid type, expected a map")),
        }
    }
}

struct Builder<'a>(&'a mut Pile);

impl<'de> DeserializeSeed<'de> for Builder<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Builder<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.as_str().into())
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let first = self.0.items.len();
        while let Some(item) = seq.next_element_seed(Builder(self.0))? {
            self.0.items.push(item);
        }
        Ok(Value::Array(self.0.items.drain(first..).collect::<Vec<_>>().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let first = self.0.members.len();
        while let Some(name) = map.next_key_seed(Name)? {
            let value = map.next_value_seed(Builder(self.0))?;
            self.0.members.push((name, value));
        }
        Ok(Value::Object(Map::of(self.0.members.drain(first..).collect())))
    }
}

/// The name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Text, E> {
        Ok(name.into())
    }

    fn visit_string<E>(self, name: String) -> Result<Text, E> {
        Ok(name.as_str().into())
    }
}
