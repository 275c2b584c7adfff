//! The messages of the wire format: their fields' numbers, kinds and presence, unpacked once from the table that the
//! build step packed (`build/wire.txt` says how it is written).

use crate::bundle::inflate_text;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wire.bin"));

/// A message's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(u32);

/// When a field is on the wire and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// On the wire always; in JSON unless it is zero.
    Value,
    /// On the wire and in JSON always.
    Always,
    /// Only when it is set.
    Pointer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    One,
    Many,
    /// Entries of a text and a value.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    String,
    Bytes,
    Int32,
    Int64,
    Bool,
    Double,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON as it is, in a message.
    Raw,
    /// A list of strings in a message.
    Items,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
    Message(MessageId),
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) tag: u32,
    /// The name in JSON; empty for a message whose fields stand beside the others.
    pub(crate) name: Box<str>,
    pub(crate) presence: Presence,
    pub(crate) number: Number,
    pub(crate) sort: Sort,
    /// What Go calls the type of a value, or of each of several, where it has a name of its own.
    pub(crate) named: Option<Named>,
}

/// A name of Go for a plain type.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    /// Whether it is that of the list or map, not of what stands in it.
    pub(crate) whole: bool,
}

/// The fields of a message in the order of their tags.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Field>,
    /// The places of the fields in the order of Go's type.
    declared: Vec<usize>,
}

impl Message {
    /// The fields in the order of Go's type.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &Field> {
        self.declared.iter().map(|place| &self.fields[*place])
    }

    pub(super) fn field(&self, tag: u32) -> Option<&Field> {
        self.fields.binary_search_by_key(&tag, |f| f.tag).ok().map(|i| &self.fields[i])
    }
}

/// What stands in a field that Go always writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Always {
    Text,
    Number,
    False,
    Object,
    Quantity,
    Null,
}

/// All messages.
pub(crate) struct Wire {
    messages: Vec<Message>,
    names: HashMap<String, MessageId>,
    /// The schema of custom resources, to which three sorts of fields refer.
    pub(super) schema: MessageId,
    /// Messages of the machinery, whose Go types say how they look in JSON.
    machinery: HashSet<MessageId>,
}

pub(crate) fn wire() -> &'static Wire {
    static WIRE: LazyLock<Wire> = LazyLock::new(|| Wire::read(&inflate_text(TABLE)));
    &WIRE
}

impl Wire {
    pub(crate) fn get(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    /// Whether a message is one of the machinery that all groups share.
    pub(crate) fn is_machinery(&self, id: MessageId) -> bool {
        self.machinery.contains(&id)
    }

    /// The message of a definition such as `io.k8s.api.core.v1.Pod`.
    pub(crate) fn find(&self, definition: &str) -> Option<MessageId> {
        self.names.get(definition).copied()
    }

    /// The fields of a definition in the order of Go's type.
    pub(crate) fn order(&self, definition: &str) -> Vec<&str> {
        let mut out = Vec::new();
        if let Some(id) = self.find(definition) {
            self.order_of(id, &mut out);
        }
        out
    }

    fn order_of<'a>(&'a self, id: MessageId, out: &mut Vec<&'a str>) {
        for field in self.get(id).declared() {
            match field.sort {
                Sort::Message(inner) if field.name.is_empty() => self.order_of(inner, out),
                _ => out.push(&field.name),
            }
        }
    }

    /// The bare names of the messages without a name of their own in which a field of a definition stands.
    pub(crate) fn inside(&self, definition: &str, field: &str) -> Vec<&str> {
        self.find(definition).and_then(|id| self.inside_of(id, field)).unwrap_or_default()
    }

    fn inside_of(&self, id: MessageId, field: &str) -> Option<Vec<&str>> {
        let fields = &self.get(id).fields;
        if fields.iter().any(|f| &*f.name == field) {
            return Some(Vec::new());
        }
        fields.iter().filter(|f| f.name.is_empty()).find_map(|f| {
            let Sort::Message(inner) = f.sort else { return None };
            let mut path = self.inside_of(inner, field)?;
            let name = self.names.iter().find(|(_, id)| **id == inner).map(|(name, _)| name.as_str())?;
            path.insert(0, name.rsplit('.').next().unwrap_or(name));
            Some(path)
        })
    }

    /// What Go calls the type of a definition's field, where that has a name of its own.
    pub(crate) fn named(&self, definition: &str, field: &str) -> Option<&Named> {
        self.find(definition).and_then(|id| self.named_of(id, field))
    }

    fn named_of(&self, id: MessageId, field: &str) -> Option<&Named> {
        self.get(id).fields.iter().find_map(|f| match f.sort {
            Sort::Message(inner) if f.name.is_empty() => self.named_of(inner, field),
            _ => f.named.as_ref().filter(|_| &*f.name == field),
        })
    }

    /// The fields of a definition that Go always writes.
    pub(crate) fn always(&self, definition: &str) -> Vec<(String, Always)> {
        let mut out = Vec::new();
        if let Some(id) = self.find(definition) {
            self.always_of(id, &mut out);
        }
        out
    }

    fn always_of(&self, id: MessageId, out: &mut Vec<(String, Always)>) {
        for field in &self.get(id).fields {
            let zero = match (field.number, field.sort) {
                (Number::One, Sort::Message(inner)) if field.name.is_empty() => {
                    self.always_of(inner, out);
                    continue;
                }
                (Number::Many | Number::Map, _) | (_, Sort::Time | Sort::MicroTime) => Always::Null,
                (_, Sort::String) => Always::Text,
                (_, Sort::Int32 | Sort::Int64 | Sort::Double) => Always::Number,
                (_, Sort::Bool) => Always::False,
                (_, Sort::Message(_)) => Always::Object,
                (_, Sort::Quantity) => Always::Quantity,
                // What else there is cannot be zero in an object that is valid.
                _ => continue,
            };
            if field.presence == Presence::Always {
                out.push((field.name.to_string(), zero));
            }
        }
    }

    /// The plain values of a definition that Go leaves out when they are zero.
    pub(crate) fn sparse(&self, definition: &str) -> HashSet<&str> {
        let mut out = HashSet::new();
        if let Some(id) = self.find(definition) {
            self.sparse_of(id, &mut out);
        }
        out
    }

    fn sparse_of<'a>(&'a self, id: MessageId, out: &mut HashSet<&'a str>) {
        for field in &self.get(id).fields {
            match (field.number, field.sort) {
                (Number::One, Sort::Message(inner)) if field.name.is_empty() => self.sparse_of(inner, out),
                (Number::One, Sort::String | Sort::Bytes | Sort::Int32 | Sort::Int64 | Sort::Double | Sort::Bool)
                    if field.presence == Presence::Value =>
                {
                    out.insert(&field.name);
                }
                _ => {}
            }
        }
    }

    fn read(table: &str) -> Self {
        let mut wire =
            Self { messages: Vec::new(), names: HashMap::new(), schema: MessageId(0), machinery: HashSet::new() };
        let lines = || {
            let mut package = "";
            table.lines().filter(|l| !l.starts_with('#')).filter_map(move |line| match line.strip_prefix("package ") {
                Some(name) => {
                    package = name;
                    None
                }
                None => Some((package, line)),
            })
        };
        for (index, (package, line)) in lines().enumerate() {
            let name = line.split(' ').next().unwrap_or_default();
            wire.names.insert(format!("{package}.{name}"), MessageId(index as u32));
            if package.starts_with("io.k8s.apimachinery.") {
                wire.machinery.insert(MessageId(index as u32));
            }
        }
        for (package, line) in lines() {
            let told: Vec<Field> = line.split(' ').skip(1).map(|text| wire.field(package, text)).collect();
            let order: Vec<u32> = told.iter().map(|f| f.tag).collect();
            let mut fields = told;
            fields.sort_by_key(|f| f.tag);
            let place = |tag: &u32| fields.binary_search_by_key(tag, |f| f.tag).expect("it is one of them");
            let declared = order.iter().map(place).collect();
            wire.messages.push(Message { fields, declared });
        }
        wire.schema = wire
            .find("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
            .expect("the table has it");
        wire
    }

    /// Reads `name*=3[@Other`.
    fn field(&self, package: &str, text: &str) -> Field {
        let (name, rest) = text.split_once('=').expect("a field has a number");
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (tag, kind) = rest.split_at(digits);
        let (kind, named) = match kind.split_once(':') {
            Some((kind, name)) => {
                let (name, whole) = name.strip_prefix(':').map_or((name, false), |name| (name, true));
                (kind, Some(Named { name: name.into(), whole }))
            }
            None => (kind, None),
        };
        let (name, presence) = match (name.strip_suffix('*'), name.strip_suffix('!')) {
            (Some(name), _) => (name, Presence::Pointer),
            (_, Some(name)) => (name, Presence::Always),
            _ => (name, Presence::Value),
        };
        let (number, kind) = match (kind.strip_prefix('['), kind.strip_prefix('{')) {
            (Some(kind), _) => (Number::Many, kind),
            (_, Some(kind)) => (Number::Map, kind),
            _ => (Number::One, kind),
        };
        let sort = self.sort(package, kind);
        Field { tag: tag.parse().expect("a number"), name: name.into(), presence, number, sort, named }
    }

    fn sort(&self, package: &str, kind: &str) -> Sort {
        match kind {
            "s" => Sort::String,
            "y" => Sort::Bytes,
            "n" => Sort::Int32,
            "i" => Sort::Int64,
            "b" => Sort::Bool,
            "d" => Sort::Double,
            "T" => Sort::Time,
            "M" => Sort::MicroTime,
            "Q" => Sort::Quantity,
            "I" => Sort::IntOrString,
            "R" => Sort::Raw,
            "E" => Sort::Items,
            "A" => Sort::SchemaOrArray,
            "B" => Sort::SchemaOrBool,
            "C" => Sort::SchemaOrStrings,
            other => {
                let name = other.strip_prefix('@').expect("a message's name");
                let near = self.find(&format!("{package}.{name}"));
                Sort::Message(near.or_else(|| self.find(name)).expect("the table has every message"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle;

    #[test]
    fn every_field_of_the_bundle_has_its_number() {
        let mut missing = Vec::new();
        for (_, ty) in bundle().types().filter(|(_, t)| t.scalar.is_none() && t.definition != "io.k8s.List") {
            let Some(id) = wire().find(&ty.definition) else {
                missing.push(ty.definition.clone());
                continue;
            };
            let mut names = Vec::new();
            all_names(id, &mut names);
            let head = |n: &str| matches!(n, "apiVersion" | "kind");
            let lost = ty.fields.iter().filter(|f| !head(&f.name) && !names.contains(&&*f.name));
            missing.extend(lost.map(|f| format!("{}.{}", ty.definition, f.name)));
        }
        // Alpha fields of which nothing is published but their names, and what has no message.
        let alpha = ["DerivedAttribute", "derivedAttributes", "compatibilityGroups", "runningInUserNamespace"];
        let elsewhere = ["version.Info", "v1alpha1.MatchCondition"];
        missing.retain(|m| !alpha.iter().any(|a| m.contains(a)) && !elsewhere.iter().any(|e| m.ends_with(e)));
        assert_eq!(missing, Vec::<String>::new());
    }

    fn all_names(id: MessageId, out: &mut Vec<&'static str>) {
        for field in &wire().get(id).fields {
            match (&*field.name, field.sort) {
                ("", Sort::Message(inner)) => all_names(inner, out),
                (name, _) => out.push(name),
            }
        }
    }
}
