//! Declared shapes of values: what a schema says about types, and how large a value can get.
//!
//! One declaration serves the checker (its type), the evaluator (how JSON is read) and the cost estimate (sizes).

use crate::types::Type;
use ironclad_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest request, which bounds every value in it.
pub const MAX_REQUEST: u64 = 3 * 1024 * 1024;

/// How two lists of a declaration are compared and joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// By position.
    #[default]
    Position,
    /// As sets: the order does not matter.
    Set,
    /// As maps from these fields to items.
    Keys(Vec<String>),
}

/// What a value looks like.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Shape {
    Dyn,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    /// RFC 3339, or a date alone.
    Timestamp {
        date: bool,
    },
    Duration,
    List {
        item: Arc<Decl>,
        identity: Identity,
    },
    Map {
        value: Arc<Decl>,
    },
    /// A value of a type that no schema has.
    Of(Type),
    /// Fields by the names that expressions use, with the names they have in JSON.
    Object {
        fields: BTreeMap<String, (String, Arc<Decl>)>,
    },
}

/// A declaration.
#[derive(Clone, Debug)]
pub struct Decl {
    /// The name of the type in messages.
    pub name: String,
    /// What it looks like.
    pub shape: Shape,
    /// Most characters, items or entries.
    pub max: u64,
    /// Least bytes that a value takes.
    pub min_bytes: u64,
    /// Whether null is a value of it.
    pub nullable: bool,
    /// Most characters of a key of a map.
    pub key_max: u64,
}

impl Decl {
    fn new(name: &str, shape: Shape, max: u64, min_bytes: u64) -> Self {
        Self { name: name.to_owned(), shape, max, min_bytes, nullable: false, key_max: MAX_REQUEST }
    }

    /// A value of which nothing is known.
    pub fn dynamic() -> Arc<Self> {
        Arc::new(Self::new("dyn", Shape::Dyn, MAX_REQUEST - 2, 1))
    }

    /// A scalar of this shape with its usual sizes; lists and objects have constructors of their own.
    pub fn scalar(shape: Shape, max_length: Option<u64>) -> Self {
        let open = MAX_REQUEST - 2;
        match &shape {
            Shape::Bool => Self::new("bool", shape, 5, 4),
            Shape::Int => Self::new("int", shape, 20, 1),
            Shape::Double => Self::new("double", shape, 20, 1),
            Shape::Bytes => Self::new("bytes", shape, max_length.unwrap_or(open), 2),
            Shape::Timestamp { date: true } => Self::new("timestamp", shape, 12, 12),
            Shape::Timestamp { date: false } => Self::new("timestamp", shape, 37, 21),
            Shape::Duration => Self::new("duration", shape, 32, 3),
            Shape::String => Self::new("string", shape, max_length.map_or(open, |m| m.saturating_mul(4)), 2),
            _ => Self::new("dyn", Shape::Dyn, max_length.map_or(open, |m| m.saturating_mul(4)), 1),
        }
    }

    /// A value of any type.
    pub fn of(ty: Type) -> Arc<Self> {
        Arc::new(Self::new("dyn", Shape::Of(ty), MAX_REQUEST - 2, 1))
    }

    /// A list.
    pub fn list(item: Arc<Self>, identity: Identity, max_items: Option<u64>) -> Self {
        let max = max_items.unwrap_or((MAX_REQUEST - 2) / (item.min_bytes + 1));
        Self::new("list", Shape::List { item, identity }, max, 2)
    }

    /// A map with text keys.
    pub fn map(value: Arc<Self>, max_entries: Option<u64>) -> Self {
        let max = max_entries.unwrap_or((MAX_REQUEST - 2) / (value.min_bytes + 6));
        Self::new("map", Shape::Map { value }, max, 2)
    }

    /// A map whose keys have no more characters than so many.
    #[must_use]
    pub fn keyed(mut self, max: u64) -> Self {
        self.key_max = max;
        self
    }

    /// An object with these fields, by their names in JSON; names that no expression can spell are left out.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Arc<Self>)>, min_bytes: u64) -> Self {
        let spelled = |(json, decl): (String, Arc<Self>)| Some((escape(&json)?, (json, decl)));
        let fields = fields.into_iter().filter_map(spelled).collect();
        Self::new(name, Shape::Object { fields }, MAX_REQUEST, min_bytes)
    }

    /// An object of the API itself: its fields have the names that expressions use.
    pub fn record(name: &str, fields: impl IntoIterator<Item = (String, Arc<Self>)>) -> Self {
        let fields = fields.into_iter().map(|(name, decl)| (name.clone(), (name, decl))).collect();
        Self::new(name, Shape::Object { fields }, MAX_REQUEST, 2)
    }

    /// The type that the checker sees.
    pub fn ty(self: &Arc<Self>) -> Type {
        match &self.shape {
            Shape::Dyn => Type::Dyn,
            Shape::Of(ty) => ty.clone(),
            Shape::Bool => Type::Bool,
            Shape::Int => Type::Int,
            Shape::Double => Type::Double,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Timestamp { .. } => Type::Timestamp,
            Shape::Duration => Type::Duration,
            Shape::List { item, .. } => Type::list(item.ty()),
            Shape::Map { value } => Type::map(Type::String, value.ty()),
            Shape::Object { .. } => Type::Object(self.clone()),
        }
    }

    /// The declaration of a step below this one: a field, or `@items`, `@keys`, `@values`.
    pub(crate) fn step(&self, step: &str) -> Option<&Arc<Self>> {
        match &self.shape {
            Shape::List { item, .. } if step == "@items" => Some(item),
            Shape::Map { value } if step == "@values" => Some(value),
            // What is of no known type in a map of names, by its name.
            Shape::Map { value } if self.key_max < MAX_REQUEST && matches!(value.shape, Shape::Dyn) => Some(value),
            Shape::Object { fields } => fields.get(step).map(|(_, d)| d),
            _ => None,
        }
    }

    /// From an OpenAPI v3 schema in its JSON form; `None` where the schema says nothing that expressions may use.
    /// `root` is set for objects that have `apiVersion`, `kind` and `metadata`.
    pub fn from_schema(schema: &Value, root: bool) -> Option<Arc<Self>> {
        Self::read(schema, "object", root || schema["x-kubernetes-embedded-resource"] == true)
    }

    fn read(schema: &Value, name: &str, root: bool) -> Option<Arc<Self>> {
        let number = |field: &str| schema[field].as_i64().map(|n| n.max(0) as u64);
        let max_length = number("maxLength");
        let mut decl = if schema["x-kubernetes-int-or-string"] == true {
            Self::scalar(Shape::Dyn, max_length)
        } else {
            match schema["type"].as_str().unwrap_or_default() {
                "array" => Self::read_list(schema, name, number("maxItems"))?,
                "object" => Self::read_object(schema, name, root, number("maxProperties"))?,
                "boolean" => Self::scalar(Shape::Bool, None),
                "integer" => Self::scalar(Shape::Int, None),
                "number" => Self::scalar(Shape::Double, None),
                "string" => Self::read_text(schema, max_length),
                _ => return None,
            }
        };
        decl.nullable = schema["nullable"] == true;
        Some(Arc::new(decl))
    }

    fn read_text(schema: &Value, max_length: Option<u64>) -> Self {
        let shape = match schema["format"].as_str().unwrap_or_default() {
            "byte" => Shape::Bytes,
            "duration" => Shape::Duration,
            "date" => Shape::Timestamp { date: true },
            "date-time" => Shape::Timestamp { date: false },
            _ => Shape::String,
        };
        let mut decl = Self::scalar(shape, max_length);
        if let (Shape::String, None, Some(values)) = (&decl.shape, max_length, schema["enum"].as_array()) {
            decl.max = values.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0) as u64;
        }
        decl
    }

    fn read_list(schema: &Value, name: &str, max: Option<u64>) -> Option<Self> {
        let items = &schema["items"];
        let item = Self::read(items, &format!("{name}.@idx"), items["x-kubernetes-embedded-resource"] == true)?;
        let identity = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => Identity::Set,
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                Identity::Keys(keys.filter_map(Value::as_str).map(str::to_owned).collect())
            }
            _ => Identity::Position,
        };
        Some(Self::list(item, identity, max))
    }

    fn read_object(schema: &Value, name: &str, root: bool, max: Option<u64>) -> Option<Self> {
        let more = &schema["additionalProperties"];
        if more.is_object() {
            let value = Self::read(more, &format!("{name}.@elem"), more["x-kubernetes-embedded-resource"] == true)?;
            return Some(Self::map(value, max));
        }
        let mut fields = BTreeMap::new();
        let mut min_bytes = 2;
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let inner = format!("{name}.{key}");
            let embedded = property["x-kubernetes-embedded-resource"] == true;
            let Some(field) = Self::read(property, &inner, embedded) else { continue };
            if required.contains(&key.as_str()) && property["default"].is_null() && escape(key).is_some() {
                min_bytes += key.len() as u64 + field.min_bytes + 4;
            }
            fields.insert(key.to_string(), field);
        }
        if root {
            Self::add_meta(&mut fields, name);
        }
        Some(Self::object(name, fields, min_bytes))
    }

    /// Every object names itself, whether its schema says so or not.
    fn add_meta(fields: &mut BTreeMap<String, Arc<Self>>, name: &str) {
        let text = || Arc::new(Self::scalar(Shape::String, None));
        let has =
            |d: &BTreeMap<String, Arc<Self>>, key: &str| d.get(key).is_some_and(|f| matches!(f.shape, Shape::String));
        let metadata = fields.get("metadata").is_some_and(|m| {
            ["name", "generateName"].iter().all(|k| m.step(k).is_some_and(|d| matches!(d.shape, Shape::String)))
        });
        if has(fields, "kind") && has(fields, "apiVersion") && metadata {
            return;
        }
        fields.insert("apiVersion".into(), text());
        fields.insert("kind".into(), text());
        let meta = ["name", "generateName"].map(|k| (k.to_owned(), text()));
        fields.insert("metadata".into(), Arc::new(Self::object(&format!("{name}.metadata"), meta, 2)));
    }
}

/// The name by which an expression refers to a property, or `None` if it cannot.
pub fn escape(name: &str) -> Option<String> {
    let first = name.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if crate::RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (taken, text) = match c {
            '_' if rest.starts_with("__") => (2, "__underscores__"),
            '.' => (1, "__dot__"),
            '-' => (1, "__dash__"),
            '/' => (1, "__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => (1, &rest[..1]),
            _ => return None,
        };
        out.push_str(text);
        rest = &rest[taken..];
    }
    Some(out)
}
