//! Reads from an object's JSON only what selection needs, and skips the rest without building it.

use ironclad_json::{Map, Value};
use ironclad_kinds::Kind;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Which members are read: all below a leaf, else those that are named.
#[derive(Debug, Default)]
pub(crate) struct Pick {
    members: Vec<(String, Pick)>,
}

impl Pick {
    /// The labels and the selectable fields of a kind.
    pub(crate) fn of(kind: &Kind) -> Self {
        let mut pick = Self::default();
        pick.add("metadata.labels".split('.'));
        kind.selectable.iter().for_each(|f| pick.add(f.split('.').filter(|p| !p.is_empty())));
        pick
    }

    fn add<'a>(&mut self, mut path: impl Iterator<Item = &'a str>) {
        let Some(first) = path.next() else { return };
        let at = self.members.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
            self.members.push((first.to_owned(), Self::default()));
            self.members.len() - 1
        });
        self.members[at].1.add(path);
    }

    /// What is picked from an object. The store holds only JSON that the server wrote.
    pub(crate) fn from(&self, bytes: &[u8]) -> Value {
        let mut deserializer = sonic_rs::Deserializer::from_slice(bytes);
        self.deserialize(&mut deserializer).unwrap_or_default()
    }
}

impl<'de> DeserializeSeed<'de> for &Pick {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.members.is_empty() {
            return serde::Deserialize::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Pick {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.members.iter().find(|(name, _)| *name == *key) {
                Some((name, pick)) => drop(out.insert(name.clone(), map.next_value_seed(pick)?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(out))
    }

    // A field that has another shape than its path says has no value to select by.
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }
}
