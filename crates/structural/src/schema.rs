//! A schema as it is used: read once from the JSON of a CustomResourceDefinition, without its texts.
//!
//! Invariant: reading never fails on what validation has let in, and never panics on anything else: what cannot be
//! understood is an error that says why.

use ironclad_json::{Map, Value};
use std::collections::BTreeMap;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of OpenAPI")]
pub enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl Type {
    /// From its name in a schema.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    /// Its name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// What values of keys that are no properties look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Additional {
    /// Whether there may be any.
    Any(bool),
    /// Each is like this.
    Like(Box<Schema>),
}

/// How items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value.
    #[default]
    Atomic,
    /// Each value stands once.
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

/// A rule in CEL (`x-kubernetes-validations`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The expression.
    pub rule: String,
    /// What is said when it is false.
    pub message: String,
    /// An expression that makes the message.
    pub message_expression: String,
    /// The reason of the error.
    pub reason: String,
    /// The field that the error names, below the one where the rule stands.
    pub field_path: String,
    /// Whether a rule about the old value also holds when there was none.
    pub optional_old_self: Option<bool>,
}

/// What a value must be like besides its type.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are those of OpenAPI")]
pub struct Checks {
    pub format: String,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: String,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub unique_items: bool,
    pub multiple_of: Option<f64>,
    pub choices: Vec<Value>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Vec<String>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

/// A schema.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// The type; none for anything.
    pub ty: Option<Type>,
    /// Whether null is allowed.
    pub nullable: bool,
    /// What stands where nothing is given.
    pub default: Option<Value>,
    /// Fields of an object.
    pub properties: BTreeMap<String, Schema>,
    /// Other keys of an object.
    pub additional: Option<Additional>,
    /// Items of a list.
    pub items: Option<Box<Schema>>,
    /// Keep what the schema does not have.
    pub preserve: bool,
    /// The value is a whole object with kind and metadata.
    pub embedded: bool,
    /// An integer or a text.
    pub int_or_string: bool,
    /// How items are told apart.
    pub list: Option<ListType>,
    /// The object is one value when it is merged.
    pub atomic_map: bool,
    /// Rules in CEL.
    pub rules: Vec<Rule>,
    /// What else must hold; none if nothing.
    pub checks: Option<Box<Checks>>,
}

/// What a schema may not have.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
    ("additionalItems", "additionalItems"),
    ("definitions", "definitions"),
];

impl Schema {
    /// Reads a schema.
    pub fn parse(raw: &Value) -> Result<Self, String> {
        let Value::Object(map) = raw else { return Err("a schema must be an object".to_owned()) };
        for (key, name) in UNSUPPORTED {
            let set = match map.get(key) {
                None | Some(Value::Null) => false,
                Some(Value::String(s)) => !s.is_empty(),
                Some(Value::Object(o)) if *key != "additionalItems" => !o.is_empty(),
                Some(_) => true,
            };
            if set {
                return Err(format!("OpenAPIV3Schema '{name}' is not supported"));
            }
        }
        if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let why = "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
            return Err(why.to_owned());
        }
        let mut schema = Self {
            ty: Type::parse(text(map, "type")),
            nullable: flag(map, "nullable"),
            default: map.get("default").filter(|d| !d.is_null()).cloned(),
            preserve: flag(map, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(map, "x-kubernetes-embedded-resource"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            list: list_type(map),
            atomic_map: text(map, "x-kubernetes-map-type") == "atomic",
            rules: rules(map),
            checks: Checks::parse(map)?,
            ..Self::default()
        };
        for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            schema.properties.insert(name.to_string(), Self::parse(property)?);
        }
        schema.additional = match map.get("additionalProperties") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(allowed)) => Some(Additional::Any(*allowed)),
            Some(other) => Some(Additional::Like(Box::new(Self::parse(other)?))),
        };
        schema.items = match map.get("items") {
            None | Some(Value::Null) => None,
            Some(Value::Array(_)) => return Err("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned()),
            Some(other) => Some(Box::new(Self::parse(other)?)),
        };
        Ok(schema)
    }

    /// The schema of the value of a key, if there is one.
    pub fn child(&self, key: &str) -> Option<&Self> {
        self.properties.get(key).or_else(|| self.like())
    }

    /// The schema of keys that are no properties.
    pub fn like(&self) -> Option<&Self> {
        match &self.additional {
            Some(Additional::Like(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The checks; empty ones where there are none.
    pub fn checks(&self) -> &Checks {
        static NONE: std::sync::LazyLock<Checks> = std::sync::LazyLock::new(Checks::default);
        self.checks.as_deref().unwrap_or(&NONE)
    }

    /// Whether a rule stands anywhere in the structure.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Self::has_rules)
            || self.items.as_deref().is_some_and(Self::has_rules)
            || self.like().is_some_and(Self::has_rules)
    }
}

impl Checks {
    fn parse(map: &Map) -> Result<Option<Box<Self>>, String> {
        let number = |key: &str| map.get(key).and_then(Value::as_f64);
        let count = |key: &str| map.get(key).and_then(Value::as_i64);
        let items = |key: &str| map.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let nested = |key: &str| items(key).iter().map(Schema::parse).collect::<Result<Vec<_>, _>>();
        let checks = Self {
            format: text(map, "format").to_owned(),
            maximum: number("maximum"),
            exclusive_maximum: flag(map, "exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag(map, "exclusiveMinimum"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: text(map, "pattern").to_owned(),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            unique_items: flag(map, "uniqueItems"),
            multiple_of: number("multipleOf"),
            choices: items("enum").to_vec(),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: items("required").iter().filter_map(|r| r.as_str().map(str::to_owned)).collect(),
            all_of: nested("allOf")?,
            any_of: nested("anyOf")?,
            one_of: nested("oneOf")?,
            not: match map.get("not") {
                None | Some(Value::Null) => None,
                Some(not) => Some(Box::new(Schema::parse(not)?)),
            },
        };
        Ok((checks != Self::default()).then(|| Box::new(checks)))
    }
}

fn text<'a>(map: &'a Map, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(map: &Map, key: &str) -> bool {
    map.get(key) == Some(&Value::Bool(true))
}

fn list_type(map: &Map) -> Option<ListType> {
    let keys = || map.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
    match text(map, "x-kubernetes-list-type") {
        "atomic" => Some(ListType::Atomic),
        "set" => Some(ListType::Set),
        "map" => Some(ListType::Map(keys().filter_map(|k| k.as_str().map(str::to_owned)).collect())),
        _ => None,
    }
}

fn rules(map: &Map) -> Vec<Rule> {
    let one = |raw: &Value| {
        let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: raw.get("optionalOldSelf").and_then(Value::as_bool),
        }
    };
    map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten().map(one).collect()
}
