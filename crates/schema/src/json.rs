//! JSON from outside: bounded in depth, with duplicate keys noted rather than lost.

mod syntax;

use ironclad_json::{Map, Number, Text, Value};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// A parsed document.
#[derive(Debug)]
pub struct Parsed {
    /// The value; of duplicate keys the last one counts.
    pub value: Value,
    /// Paths of keys that stood twice, such as `metadata.name`, in the order in which they were met.
    pub duplicates: Vec<String>,
}

/// How many duplicates are noted.
const NOTED: usize = 100;

/// Parses one document. Nesting deeper than 128 levels and anything behind the document is an error.
pub fn parse(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let notes = RefCell::new(Notes::default());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Noting { notes: &notes }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Parsed { value, duplicates: notes.into_inner().duplicates })
}

/// A mistake in a document in the words of Go's reader.
pub fn in_go(error: &serde_json::Error, bytes: &[u8]) -> String {
    syntax::mistake(bytes).unwrap_or_else(|| error.to_string())
}

/// The places of keys in a document: for each of `wanted` paths the position of its last key among all keys. Paths are
/// written as [`Parsed::duplicates`] has them.
pub fn places(bytes: &[u8], wanted: &[String]) -> Vec<usize> {
    let notes =
        RefCell::new(Notes { wanted: wanted.to_vec(), places: vec![usize::MAX; wanted.len()], ..Notes::default() });
    // Who asks has parsed the document before.
    let _ = Noting { notes: &notes }.deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    notes.into_inner().places
}

#[derive(Default)]
struct Notes {
    path: Vec<String>,
    duplicates: Vec<String>,
    wanted: Vec<String>,
    places: Vec<usize>,
    keys: usize,
}

#[derive(Clone, Copy)]
struct Noting<'a> {
    notes: &'a RefCell<Notes>,
}

impl<'de> DeserializeSeed<'de> for Noting<'_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Noting<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.notes.borrow_mut().path.push(format!("[{}]", items.len()));
            let item = seq.next_element_seed(self);
            self.notes.borrow_mut().path.pop();
            match item? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items.into())),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members: Vec<(Text, Value)> = Vec::new();
        // The names that were met, once they do not come in order.
        let mut met: Option<HashSet<Text>> = None;
        while let Some(key) = access.next_key::<Text>()? {
            self.notes.borrow_mut().path.push(key.to_string());
            self.notes.borrow_mut().pass();
            if met.is_none() && members.last().is_some_and(|(last, _)| *last >= key) {
                met = Some(members.iter().map(|(name, _)| name.clone()).collect());
            }
            if met.as_mut().is_some_and(|met| !met.insert(key.clone())) {
                self.notes.borrow_mut().note();
            }
            let value = access.next_value_seed(self);
            self.notes.borrow_mut().path.pop();
            members.push((key, value?));
        }
        members.shrink_to_fit();
        Ok(Value::Object(Map::of(members)))
    }
}

impl Notes {
    fn note(&mut self) {
        if self.duplicates.len() < NOTED {
            let text = self.text();
            // What stands three times is told once.
            if !self.duplicates.contains(&text) {
                self.duplicates.push(text);
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.path {
            if !text.is_empty() && !part.starts_with('[') {
                text.push('.');
            }
            text.push_str(part);
        }
        text
    }

    /// Passes a key.
    fn pass(&mut self) {
        self.keys += 1;
        if self.wanted.is_empty() {
            return;
        }
        let text = self.text();
        if let Some(place) = self.wanted.iter().position(|w| *w == text) {
            self.places[place] = self.keys;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_are_noted_and_the_last_counts() {
        let parsed = parse(br#"{"a":1,"l":[{},{"b":{"c":1,"c":2}}],"a":3}"#).unwrap();
        assert_eq!(parsed.duplicates, ["l[1].b.c", "a"]);
        assert_eq!(parsed.value["a"], 3);
    }

    #[test]
    fn mistakes_are_worded_as_go_words_them() {
        let table = [
            ("{\"a\":1", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{} x", "invalid character 'x' after top-level value"),
        ];
        for (text, want) in table {
            assert_eq!(in_go(&parse(text.as_bytes()).unwrap_err(), text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_document() {
        let document = br#"{"b":{"x":1,"x":2},"a":[{"y":1}]}"#;
        let wanted = ["a[0].y".to_owned(), "b.x".to_owned(), "none".to_owned()];
        assert_eq!(places(document, &wanted), [5, 3, usize::MAX]);
    }

    #[test]
    fn depth_and_trailing_text_are_refused() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(b"{} x").is_err());
    }
}
