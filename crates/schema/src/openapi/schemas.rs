//! The schemas of a document: what its paths refer to, and whatever that refers to.

use super::{Form, Resource, Sources, custom, group_versions};
use crate::bundle::{Bundle, Field, List, Scalar, Shape, Type, TypeId};
use crate::facts;
use crate::proto::wire::wire;
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";
const SELECTABLE: &str = "x-kubernetes-selectable-fields";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

pub(super) struct Schemas<'a> {
    bundle: &'a Bundle,
    docs: &'a [(String, Vec<String>)],
    pub(super) form: Form,
    wanted: BTreeSet<String>,
    pub(super) done: BTreeMap<String, Value>,
    /// What was handed out already.
    seen: BTreeSet<String>,
    /// The definitions of custom resources.
    named: HashMap<GroupVersionKind, String>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(sources: &'a Sources, form: Form) -> Self {
        Self {
            bundle: sources.bundle,
            docs: &sources.docs,
            form,
            wanted: BTreeSet::new(),
            done: BTreeMap::new(),
            seen: BTreeSet::new(),
            named: HashMap::new(),
        }
    }

    /// A reference to a definition, which becomes part of the document.
    pub(super) fn reference(&mut self, definition: &str) -> Value {
        if !self.done.contains_key(definition) && !self.seen.contains(definition) {
            self.wanted.insert(definition.to_owned());
        }
        self.form.reference(definition)
    }

    /// A reference to the objects of a kind, if the bundle knows it.
    pub(super) fn kind(&mut self, gvk: &GroupVersionKind) -> Option<Value> {
        let definition = self.definition_of(gvk)?;
        Some(self.reference(&definition))
    }

    fn definition_of(&self, gvk: &GroupVersionKind) -> Option<String> {
        let custom = self.named.get(gvk).cloned();
        custom.or_else(|| Some(self.bundle.get(self.bundle.kind(gvk)?).definition.clone()))
    }

    /// Takes in the definition of a custom resource.
    pub(super) fn custom(&mut self, resource: &Resource) {
        let Some(raw) = &resource.schema else { return };
        let definition = custom::name(&resource.gvk);
        let schema = custom::definition(self, resource, raw);
        self.done.insert(definition.clone(), schema);
        self.named.insert(resource.gvk.clone(), definition);
    }

    /// A reference to the list of a kind's objects.
    pub(super) fn list(&mut self, gvk: &GroupVersionKind, kind: &str) -> Option<Value> {
        let item = self.definition_of(gvk)?;
        let custom = self.named.contains_key(gvk);
        let name = match item.rsplit_once('.') {
            Some((before, _)) => format!("{before}.{kind}"),
            None => kind.to_owned(),
        };
        if !self.done.contains_key(&name) {
            let element = self.reference(&item);
            let mut meta = self.reference(LIST_META);
            if self.form == Form::V3 && !custom {
                meta = json!({"allOf": [meta], "default": {}});
            }
            let items = json!({"type": "array", "items": element, "description": "The objects of the list."});
            if self.form == Form::V3 && custom {
                meta = json!({"allOf": [meta]});
            }
            meta["description"] = json!("Standard metadata of lists.");
            let mut properties = self.head();
            properties.insert("items", items);
            properties.insert("metadata", meta);
            let mut list = json!({
                "description": format!("{kind} is a list of {}", gvk.kind), "type": "object",
                "required": ["items"], "properties": properties,
                "x-kubernetes-group-version-kind": [{"group": gvk.group, "kind": kind, "version": gvk.version}],
            });
            // What objects are selected by is said with their lists as well.
            let selected = self.done.get(&item).and_then(|i| i.get(SELECTABLE)).cloned();
            if let Some(fields) = selected.filter(|_| custom) {
                list[SELECTABLE] = fields;
            }
            self.done.insert(name.clone(), list);
        }
        Some(self.form.reference(&name))
    }

    /// The definitions that no type of the bundle has, and what is referred to besides. Lists of built-in kinds are
    /// told apart by their names, so that each part has those of its own kinds.
    pub(super) fn own(&mut self) -> (Map, BTreeSet<String>) {
        (std::mem::take(&mut self.done).into_iter().collect(), std::mem::take(&mut self.wanted))
    }

    /// All that was referred to.
    pub(super) fn finish(mut self) -> Map {
        let mut all = std::mem::take(&mut self.done);
        self.seen.extend(all.keys().cloned());
        self.each(&mut |name, schema| drop(all.insert(name.to_owned(), schema)));
        all.into_iter().collect()
    }

    /// Calls a function with each definition that was referred to, one after the other.
    pub(super) fn each(mut self, act: &mut dyn FnMut(&str, Value)) {
        while let Some(name) = self.wanted.pop_first() {
            self.seen.insert(name.clone());
            let schema = match self.bundle.definition(&name) {
                Some(id) => self.definition(id),
                None => json!({"type": "object"}),
            };
            act(&name, schema);
        }
    }

    /// `apiVersion` and `kind`, which every whole object has, with the docs that a kind of the bundle has for them.
    pub(super) fn head(&self) -> Map {
        let found = self.bundle.definition(DELETE_OPTIONS);
        let doc = |name: &str| {
            let id = found?;
            let at = self.bundle.get(id).fields.iter().position(|f| f.name == name)?;
            Some(plain(&self.docs[id.0 as usize].1[at]))
        };
        let field = |name: &str| {
            let text = doc(name).unwrap_or_default();
            (name.to_owned(), json!({"type": "string", "description": text}))
        };
        ["apiVersion", "kind"].into_iter().map(field).collect()
    }

    fn definition(&mut self, id: TypeId) -> Value {
        let ty = self.bundle.get(id);
        if ty.definition == WATCH_EVENT {
            return watch_event(self);
        }
        let doc = plain(&self.docs[id.0 as usize].0);
        let mut schema = match ty.scalar {
            Some(s) => scalar_definition(self.form, &ty.definition, s),
            None => self.object(id, ty),
        };
        if !doc.is_empty() {
            schema["description"] = json!(doc);
        }
        if let Some(all) = group_versions::of(self.bundle, &ty.definition) {
            schema["x-kubernetes-group-version-kind"] = all;
        } else if let Some(gvk) = &ty.gvk {
            let GroupVersionKind { group, version, kind } = gvk;
            schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "kind": kind, "version": version}]);
        }
        if facts::is_atomic(&ty.definition) {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
        if let Some((discriminator, members)) = facts::union(&ty.definition) {
            let members: Map = members.iter().map(|(f, v)| ((*f).to_owned(), json!(v))).collect();
            let mut union = json!({"fields-to-discriminateBy": members});
            if !discriminator.is_empty() {
                union["discriminator"] = json!(discriminator);
            }
            schema["x-kubernetes-unions"] = json!([union]);
        }
        schema
    }

    fn object(&mut self, id: TypeId, ty: &Type) -> Value {
        let mut properties = if ty.gvk.is_some() { self.head() } else { Map::new() };
        for (at, field) in ty.fields.iter().enumerate() {
            let doc = plain(&self.docs[id.0 as usize].1[at]);
            let schema = self.field(ty, field, &doc);
            properties.insert(field.name.clone(), schema);
        }
        let mut schema = json!({"type": "object"});
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
        let required: Vec<&str> = ty.fields.iter().filter(|f| f.required).map(|f| f.name.as_str()).collect();
        // Stock calls the metadata of whole objects optional, but for one kind.
        let metadata = ty.gvk.is_none() || ty.definition == "io.k8s.api.core.v1.Event";
        let mut required: Vec<&str> = required.into_iter().filter(|r| metadata || *r != "metadata").collect();
        match facts::order(&ty.definition) {
            Some(order) => required.sort_by_key(|r| order.iter().position(|o| o == r)),
            None => {
                let order = wire().order(&ty.definition);
                required.sort_by_key(|r| order.iter().position(|o| o == r));
            }
        }
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    fn field(&mut self, ty: &Type, field: &Field, doc: &str) -> Value {
        let mut schema = self.shape(&field.shape, field.refers);
        if self.form == Form::V3 {
            // Siblings of a reference count for nothing; one that stands alone stays as it is.
            if schema.get("$ref").is_some() && (field.default.is_some() || !doc.is_empty()) {
                schema = json!({"allOf": [schema]});
            }
            if ty.definition == VERSION_INFO && field.required {
                schema["default"] = json!("");
            }
            if let Some(default) = &field.default {
                schema["default"] = (**default).clone();
            }
        }
        if !doc.is_empty() {
            schema["description"] = json!(doc);
        }
        facts::enums::tell(&ty.definition, &field.name, &mut schema);
        if let Shape::List(_, told) = &field.shape {
            match told {
                List::Atomic => schema["x-kubernetes-list-type"] = json!("atomic"),
                List::Set => schema["x-kubernetes-list-type"] = json!("set"),
                List::Map(keys) => {
                    schema["x-kubernetes-list-type"] = json!("map");
                    schema["x-kubernetes-list-map-keys"] = json!(keys);
                }
            }
        } else if matches!(field.shape, Shape::Map(_, true)) {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
        if let Some(told) = facts::list_type(&ty.definition, &field.name) {
            match told {
                "" => drop(schema.as_object_mut().map(|s| s.remove("x-kubernetes-list-type"))),
                told => schema["x-kubernetes-list-type"] = json!(told),
            }
        }
        if facts::is_granular(&ty.definition, &field.name) {
            schema["x-kubernetes-map-type"] = json!("granular");
        }
        let retains = facts::retains_keys(&ty.definition, &field.name);
        let strategy = match (&field.merge_key, retains) {
            (Some(_), true) => "merge,retainKeys",
            (Some(_), false) => "merge",
            (None, true) => "retainKeys",
            (None, false) if facts::is_replaced(&ty.definition, &field.name) => "replace",
            (None, false) => return schema,
        };
        schema["x-kubernetes-patch-strategy"] = json!(strategy);
        if let Some(key) = field.merge_key.as_deref().filter(|k| !k.is_empty()) {
            schema["x-kubernetes-patch-merge-key"] = json!(key);
        }
        schema
    }

    fn shape(&mut self, shape: &Shape, refers: Option<TypeId>) -> Value {
        match shape {
            Shape::List(item, _) => json!({"type": "array", "items": self.shape(item, refers)}),
            Shape::Map(value, _) => json!({"type": "object", "additionalProperties": self.shape(value, refers)}),
            Shape::Object(id) => {
                let name = self.bundle.get(*id).definition.clone();
                self.reference(&name)
            }
            Shape::Scalar(scalar) => match refers {
                Some(id) => {
                    let name = self.bundle.get(id).definition.clone();
                    self.reference(&name)
                }
                None => plain_scalar(*scalar),
            },
        }
    }
}

/// What a watch sends, which no type of the bundle is.
fn watch_event(schemas: &mut Schemas<'_>) -> Value {
    let raw = schemas.reference("io.k8s.apimachinery.pkg.runtime.RawExtension");
    let (object, ty) = match schemas.form {
        Form::V2 => (raw, json!({"type": "string"})),
        Form::V3 => (json!({"allOf": [raw]}), json!({"type": "string", "default": ""})),
    };
    let mut event = json!({
        "description": "Event represents a single event to a watched resource.", "type": "object",
        "required": ["type", "object"], "properties": {"object": object, "type": ty},
    });
    if let Some(all) = group_versions::of(schemas.bundle, WATCH_EVENT) {
        event["x-kubernetes-group-version-kind"] = all;
    }
    event
}

fn plain_scalar(scalar: Scalar) -> Value {
    match scalar {
        Scalar::String | Scalar::Quantity => json!({"type": "string"}),
        Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
        Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
        Scalar::Double => json!({"type": "number", "format": "double"}),
        Scalar::Bool => json!({"type": "boolean"}),
        Scalar::Bytes => json!({"type": "string", "format": "byte"}),
        Scalar::Time | Scalar::MicroTime => json!({"type": "string", "format": "date-time"}),
        Scalar::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Scalar::Any | Scalar::Deduced => json!({}),
    }
}

/// A named type that is one JSON value.
fn scalar_definition(form: Form, definition: &str, scalar: Scalar) -> Value {
    match (form, scalar) {
        (Form::V3, Scalar::Quantity) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Form::V3, Scalar::IntOrString) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        (_, Scalar::Any) => match definition.rsplit('.').next() {
            Some("RawExtension" | "FieldsV1" | "Patch" | "CustomResourceSubresourceStatus") => {
                json!({"type": "object"})
            }
            _ => json!({}),
        },
        (_, other) => plain_scalar(other),
    }
}

/// A remark of a Rust source as plain text: without the backslashes that keep marks from being read as markup.
fn plain(doc: &str) -> String {
    let mut out = String::with_capacity(doc.len());
    let mut chars = doc.chars().peekable();
    while let Some(c) = chars.next() {
        let escapes = c == '\\' && chars.peek().is_some_and(|n| "[]<>*_`|\\".contains(*n));
        if escapes {
            out.extend(chars.next());
        } else {
            out.push(c);
        }
    }
    out
}
