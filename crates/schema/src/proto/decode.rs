//! Messages to JSON, with what Go's encoder would leave out left out.

use super::reader::{Item, Reader, last, text};
use super::wire::{Field, MessageId, Number, Presence, Sort, wire};
use base64::Engine;
use ironclad_json::{Map, Value, json};

/// How deep messages may be nested, and how many messages and items one object may have.
const DEPTH: u32 = 100;
const PARTS: u32 = 300_000;
const MANY: &str = "the object has too many parts";

/// The entry of a map.
type Member = (ironclad_json::Text, Value);

/// A message as a JSON object.
pub(super) fn object(id: MessageId, bytes: &[u8]) -> Result<Map, String> {
    let mut out = Map::new();
    Decoder { left: PARTS }.message(id, bytes, &mut out, 0)?;
    Ok(out)
}

/// The message of a list: its metadata, and objects of one kind.
pub(super) fn list(item: MessageId, bytes: &[u8]) -> Result<Map, String> {
    let meta = wire().find("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").ok_or("no message ListMeta")?;
    let mut decoder = Decoder { left: PARTS };
    let (mut metadata, mut items) = (Map::new(), Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((tag, field)) = reader.next()? {
        match (tag, field) {
            (1, Item::Bytes(b)) => decoder.message(meta, b, &mut metadata, 1)?,
            (2, Item::Bytes(b)) => {
                let mut object = Map::new();
                decoder.message(item, b, &mut object, 1)?;
                items.push(Value::Object(object));
            }
            _ => {}
        }
    }
    Ok(Map::from_iter([("metadata", Value::from(metadata)), ("items", items.into())]))
}

struct Decoder {
    left: u32,
}

impl Decoder {
    /// Lays the fields of a message over `out`.
    fn message(&mut self, id: MessageId, bytes: &[u8], out: &mut Map, depth: u32) -> Result<(), String> {
        self.count()?;
        if depth > DEPTH {
            return Err("the object is nested too deeply".to_owned());
        }
        let message = wire().get(id);
        let mut maps = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((tag, item)) = reader.next()? {
            // What is newer than the table is passed over.
            let Some(field) = message.field(tag) else { continue };
            match (field.number, field.sort, item) {
                (Number::One, Sort::Message(inner), Item::Bytes(b)) if field.name.is_empty() => {
                    self.message(inner, b, out, depth + 1)?;
                }
                (Number::One, _, item) => self.one(field, item, out, depth)?,
                (Number::Many, _, item) => self.many(field, item, out, depth)?,
                (Number::Map, _, Item::Bytes(b)) => maps.push((field, self.entry(field, b, depth)?)),
                _ => return Err(wrong(field)),
            }
        }
        self.put(maps, out)?;
        for field in message.fields.iter().filter(|f| f.number == Number::One) {
            self.complete(field, out, depth)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or(MANY)?;
        Ok(())
    }

    fn one(&mut self, field: &Field, item: Item<'_>, out: &mut Map, depth: u32) -> Result<(), String> {
        if let (Sort::Message(inner), Item::Bytes(b)) = (field.sort, item) {
            let slot = out.entry(&*field.name).or_insert_with(|| json!({}));
            let Value::Object(map) = slot else { return Err(wrong(field)) };
            return self.message(inner, b, map, depth + 1);
        }
        let value = self.value(field, item, depth)?;
        let zero = match &value {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Number(n) => n.as_f64() == Some(0.0),
            Value::String(s) => s.is_empty(),
            _ => false,
        };
        if value.is_null() || (zero && field.presence == Presence::Value) {
            out.remove(&field.name);
        } else {
            out.insert(field.name.to_string(), value);
        }
        Ok(())
    }

    fn many(&mut self, field: &Field, item: Item<'_>, out: &mut Map, depth: u32) -> Result<(), String> {
        let mut add = |value| match out.entry(&*field.name).or_insert_with(|| json!([])) {
            Value::Array(items) => {
                items.push(value);
                Ok(())
            }
            _ => Err(wrong(field)),
        };
        match (field.sort, item) {
            // Numbers can also stand packed.
            (Sort::Int32 | Sort::Int64 | Sort::Bool, Item::Bytes(bytes)) => {
                let mut reader = Reader::new(bytes);
                while !reader.bytes.is_empty() {
                    self.count()?;
                    let number = Item::Number(reader.varint()?);
                    add(self.value(field, number, depth)?)?;
                }
                Ok(())
            }
            _ => {
                self.count()?;
                add(self.value(field, item, depth)?)
            }
        }
    }

    fn entry(&mut self, field: &Field, bytes: &[u8], depth: u32) -> Result<Member, String> {
        self.count()?;
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some((tag, item)) = reader.next()? {
            match (tag, item) {
                (1, Item::Bytes(b)) => key = text(b)?,
                (2, item) => value = Some(self.value(field, item, depth)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.zero(field.sort, depth)?,
        };
        Ok((key.into(), value))
    }

    /// Puts the entries of a message's maps into its object, each map's at once.
    fn put(&mut self, mut entries: Vec<(&Field, Member)>, out: &mut Map) -> Result<(), String> {
        while let Some((field, _)) = entries.first() {
            let field = *field;
            let (mine, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(f, _)| std::ptr::eq(*f, field));
            entries = rest;
            let Value::Object(map) = out.entry(&*field.name).or_insert_with(|| json!({})) else {
                return Err(wrong(field));
            };
            // A message can come in many pieces, each of which touches all that is there.
            self.left = self.left.checked_sub(map.len() as u32 / 256).ok_or(MANY)?;
            map.extend(mine.into_iter().map(|(_, member)| member));
        }
        Ok(())
    }

    /// Puts in what Go writes although it was not sent, and takes out what it leaves out when it is empty.
    fn complete(&mut self, field: &Field, out: &mut Map, depth: u32) -> Result<(), String> {
        let there = out.get(&field.name);
        match field.presence {
            Presence::Always if there.is_none() && !field.name.is_empty() => {
                let zero = self.zero(field.sort, depth)?;
                if !zero.is_null() {
                    out.insert(field.name.to_string(), zero);
                }
            }
            Presence::Value if there.and_then(Value::as_object).is_some_and(Map::is_empty) => {
                out.remove(&field.name);
            }
            _ => {}
        }
        Ok(())
    }

    fn zero(&mut self, sort: Sort, depth: u32) -> Result<Value, String> {
        Ok(match sort {
            Sort::String => json!(""),
            Sort::Int32 | Sort::Int64 | Sort::IntOrString => json!(0),
            Sort::Double => json!(0.0),
            Sort::Bool => json!(false),
            Sort::Quantity => json!("0"),
            Sort::Items => json!([]),
            Sort::Message(id) => {
                let mut map = Map::new();
                self.message(id, &[], &mut map, depth + 1)?;
                map.into()
            }
            _ => Value::Null,
        })
    }

    fn value(&mut self, field: &Field, item: Item<'_>, depth: u32) -> Result<Value, String> {
        Ok(match (field.sort, item) {
            (Sort::String, Item::Bytes(b)) => json!(text(b)?),
            (Sort::Bytes, Item::Bytes(b)) => json!(base64::engine::general_purpose::STANDARD.encode(b)),
            (Sort::Int32, Item::Number(n)) => json!(n as i32),
            (Sort::Int64, Item::Number(n)) => json!(n as i64),
            (Sort::Bool, Item::Number(n)) => json!(n != 0),
            (Sort::Double, Item::Fixed(n)) => json!(f64::from_bits(n)),
            (Sort::Time, Item::Bytes(b)) => time(b, ironclad_api::time::rfc3339)?,
            (Sort::MicroTime, Item::Bytes(b)) => time(b, ironclad_api::time::rfc3339_micro)?,
            (Sort::Quantity, Item::Bytes(b)) => last(b, 1)?.map_or(Ok(json!("0")), |b| text(b).map(Value::from))?,
            (Sort::IntOrString, Item::Bytes(b)) => int_or_string(b)?,
            (Sort::Raw, Item::Bytes(b)) => raw(b)?,
            (Sort::Items, Item::Bytes(b)) => self.items(b)?,
            (Sort::SchemaOrArray, Item::Bytes(b)) => self.schema_or_array(b, depth)?,
            (Sort::SchemaOrBool, Item::Bytes(b)) => self.schema_or_bool(b, depth)?,
            (Sort::SchemaOrStrings, Item::Bytes(b)) => self.schema_or_strings(b, depth)?,
            (Sort::Message(id), Item::Bytes(b)) => {
                let mut map = Map::new();
                self.message(id, b, &mut map, depth + 1)?;
                map.into()
            }
            _ => return Err(wrong(field)),
        })
    }

    fn items(&mut self, bytes: &[u8]) -> Result<Value, String> {
        let mut items = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((_, item)) = reader.next()? {
            if let Item::Bytes(b) = item {
                self.count()?;
                items.push(json!(text(b)?));
            }
        }
        Ok(items.into())
    }

    fn schema(&mut self, bytes: &[u8], depth: u32) -> Result<Value, String> {
        let mut map = Map::new();
        self.message(wire().schema, bytes, &mut map, depth + 1)?;
        Ok(map.into())
    }

    fn schema_or_array(&mut self, bytes: &[u8], depth: u32) -> Result<Value, String> {
        let (mut one, mut many) = (None, Vec::new());
        let mut reader = Reader::new(bytes);
        while let Some((tag, item)) = reader.next()? {
            match (tag, item) {
                (1, Item::Bytes(b)) => one = Some(self.schema(b, depth)?),
                (2, Item::Bytes(b)) => many.push(self.schema(b, depth)?),
                _ => {}
            }
        }
        Ok(if many.is_empty() { one.unwrap_or(Value::Null) } else { many.into() })
    }

    fn schema_or_bool(&mut self, bytes: &[u8], depth: u32) -> Result<Value, String> {
        let (mut allows, mut schema) = (false, None);
        let mut reader = Reader::new(bytes);
        while let Some((tag, item)) = reader.next()? {
            match (tag, item) {
                (1, Item::Number(n)) => allows = n != 0,
                (2, Item::Bytes(b)) => schema = Some(self.schema(b, depth)?),
                _ => {}
            }
        }
        Ok(schema.unwrap_or(json!(allows)))
    }

    fn schema_or_strings(&mut self, bytes: &[u8], depth: u32) -> Result<Value, String> {
        let (mut schema, mut names) = (None, Vec::new());
        let mut reader = Reader::new(bytes);
        while let Some((tag, item)) = reader.next()? {
            match (tag, item) {
                (1, Item::Bytes(b)) => schema = Some(self.schema(b, depth)?),
                (2, Item::Bytes(b)) => {
                    self.count()?;
                    names.push(json!(text(b)?));
                }
                _ => {}
            }
        }
        Ok(if names.is_empty() { schema.unwrap_or(Value::Null) } else { names.into() })
    }
}

fn wrong(field: &Field) -> String {
    format!("proto: wrong wireType for field {}", field.name)
}

/// JSON in a message. The parser bounds its depth.
fn raw(bytes: &[u8]) -> Result<Value, String> {
    match last(bytes, 1)? {
        Some(raw) if !raw.is_empty() => serde_json::from_slice(raw).map_err(|e| format!("raw JSON: {e}")),
        _ => Ok(Value::Null),
    }
}

fn time(bytes: &[u8], write: fn(jiff::Timestamp) -> String) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (None, 0);
    let mut reader = Reader::new(bytes);
    while let Some((tag, item)) = reader.next()? {
        match (tag, item) {
            (1, Item::Number(n)) => seconds = Some(n as i64),
            (2, Item::Number(n)) => nanos = n as i32,
            _ => {}
        }
    }
    // The year 1 is Go's way to say that there is no time.
    let Some(seconds) = seconds.filter(|s| *s != -62_135_596_800) else { return Ok(Value::Null) };
    let stamp = jiff::Timestamp::new(seconds, nanos).map_err(|e| e.to_string())?;
    Ok(json!(write(stamp)))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((tag, item)) = reader.next()? {
        match (tag, item) {
            (1, Item::Number(n)) => is_text = n == 1,
            (2, Item::Number(n)) => number = n as i32,
            (3, Item::Bytes(b)) => string = text(b)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(number) })
}
