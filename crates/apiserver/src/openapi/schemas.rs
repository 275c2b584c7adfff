//! Definitions: the types of the bundle that a document reaches, as schemas.

use super::Dialect;
use ironclad_api::GroupVersionKind;
use ironclad_schema::{Bundle, Field, List, Scalar, Shape, Type, TypeId, bundle};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

const API: &str = "io.k8s.apimachinery.pkg";

/// The definitions that a document has so far, and those that it still has to get.
pub(super) struct Schemas {
    pub(super) dialect: Dialect,
    bundle: &'static Bundle,
    docs: HashMap<TypeId, (String, Vec<String>)>,
    done: BTreeMap<String, Value>,
    open: Vec<TypeId>,
}

impl Schemas {
    pub(super) fn new(dialect: Dialect) -> Self {
        let bundle = bundle();
        let docs = bundle.types().map(|(id, _)| id).zip(bundle.docs()).collect();
        Self { dialect, bundle, docs, done: BTreeMap::new(), open: Vec::new() }
    }

    /// A reference to the type of a kind's objects; nothing where the type is not known.
    pub(super) fn of_kind(&mut self, gvk: &GroupVersionKind) -> Option<Value> {
        self.bundle.kind(gvk).map(|id| self.refer(id))
    }

    /// All definitions that were referred to, and those to which they refer.
    pub(super) fn finish(mut self) -> Value {
        while let Some(id) = self.open.pop() {
            let definition = &self.bundle.get(id).definition;
            if self.done.get(definition).is_none_or(Value::is_null) {
                let schema = self.define(id);
                self.done.insert(definition.clone(), schema);
            }
        }
        json!(self.done)
    }

    fn refer(&mut self, id: TypeId) -> Value {
        let definition = &self.bundle.get(id).definition;
        if !self.done.contains_key(definition) {
            self.done.insert(definition.clone(), Value::Null);
            self.open.push(id);
        }
        self.dialect.reference(definition)
    }

    fn define(&mut self, id: TypeId) -> Value {
        let ty: &'static Type = self.bundle.get(id);
        let (doc, docs) = self.docs.get(&id).cloned().unwrap_or_default();
        let mut schema = match ty.scalar {
            Some(scalar) => plain(scalar, self.dialect),
            None => json!({"type": "object"}),
        };
        if !doc.is_empty() {
            schema["description"] = json!(doc);
        }
        let mut properties = Map::new();
        for (index, field) in ty.fields.iter().enumerate() {
            let doc = docs.get(index).map(String::as_str).unwrap_or_default();
            properties.insert(field.name.clone(), self.property(field, doc));
        }
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
        let required: Vec<&str> = ty.fields.iter().filter(|f| f.required).map(|f| f.name.as_str()).collect();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if let Some(gvk) = &ty.gvk {
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": gvk.group, "version": gvk.version, "kind": gvk.kind}]);
        }
        schema
    }

    fn property(&mut self, field: &Field, doc: &str) -> Value {
        let mut schema = self.shape(&field.shape);
        // In version 3 nothing may stand beside a reference.
        if self.dialect == Dialect::V3 && schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        if !doc.is_empty() {
            schema["description"] = json!(doc);
        }
        let is_list = matches!(field.shape, Shape::List(_));
        match &field.list {
            List::Atomic if is_list => schema["x-kubernetes-list-type"] = json!("atomic"),
            List::Set => schema["x-kubernetes-list-type"] = json!("set"),
            List::Map(keys) => {
                schema["x-kubernetes-list-type"] = json!("map");
                schema["x-kubernetes-list-map-keys"] = json!(keys);
            }
            List::Atomic => {}
        }
        if field.atomic && !is_list {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
        if let Some(key) = &field.merge_key {
            schema["x-kubernetes-patch-strategy"] = json!("merge");
            if !key.is_empty() {
                schema["x-kubernetes-patch-merge-key"] = json!(key);
            }
        }
        schema
    }

    fn shape(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Scalar(scalar) => self.scalar(*scalar),
            Shape::Object(id) => self.refer(*id),
            Shape::List(items) => json!({"type": "array", "items": self.inner(items)}),
            Shape::Map(values) => json!({"type": "object", "additionalProperties": self.inner(values)}),
        }
    }

    /// What a list or a map holds.
    fn inner(&mut self, shape: &Shape) -> Value {
        let schema = self.shape(shape);
        if self.dialect == Dialect::V3 && schema.get("$ref").is_some() { json!({"allOf": [schema]}) } else { schema }
    }

    /// A scalar; those with a name of their own by reference.
    fn scalar(&mut self, scalar: Scalar) -> Value {
        let name = match scalar {
            Scalar::Time => format!("{API}.apis.meta.v1.Time"),
            Scalar::MicroTime => format!("{API}.apis.meta.v1.MicroTime"),
            Scalar::Quantity => format!("{API}.api.resource.Quantity"),
            Scalar::IntOrString => format!("{API}.util.intstr.IntOrString"),
            _ => return plain(scalar, self.dialect),
        };
        let reference = self.dialect.reference(&name);
        let schema = plain(scalar, self.dialect);
        let known = self.done.entry(name).or_default();
        if known.is_null() {
            *known = schema;
        }
        reference
    }
}

fn plain(scalar: Scalar, dialect: Dialect) -> Value {
    let v3 = dialect == Dialect::V3;
    match scalar {
        Scalar::String => json!({"type": "string"}),
        Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
        Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
        Scalar::Double => json!({"type": "number", "format": "double"}),
        Scalar::Bool => json!({"type": "boolean"}),
        Scalar::Bytes => json!({"type": "string", "format": "byte"}),
        Scalar::Time | Scalar::MicroTime => json!({"type": "string", "format": "date-time"}),
        Scalar::Quantity if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Scalar::Quantity => json!({"type": "string"}),
        Scalar::IntOrString if v3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Scalar::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Scalar::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    }
}
