//! Custom resources: the rows that a CustomResourceDefinition makes, one for each version.
//!
//! Invariant: what only requests for objects need (the compiled schema, its shape) is made when the first one comes
//! and kept with the row: a thousand definitions that nobody uses cost little more than their own bytes.

mod accepted;
mod strategy;

use crate::read::{flag, has, items, text};
use crate::row::{Dependents, Kind, Served, Subresource, Text, Verb};
use bytes::Bytes;
use ironclad_api::{FieldError, GroupResource, Path};
use ironclad_json::Value;
use ironclad_schema::{Bundle, Shape};
use ironclad_structural::{Rules, Schema, embedded, prune, shapes};
use std::sync::{Arc, OnceLock};

pub use accepted::{condition, is_true, set_condition};
use strategy::Columns;

/// The finalizer by which a definition waits until its instances are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Where a scale subresource finds its parts, as paths of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted replicas, below `spec`.
    pub spec_replicas: Vec<String>,
    /// The present replicas, below `status`.
    pub status_replicas: Vec<String>,
    /// The label selector as text, if there is one.
    pub selector: Option<Vec<String>>,
}

/// What a webhook that converts objects is called with; see `spec.conversion` of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversionWebhook {
    /// `spec.conversion.webhook.clientConfig`.
    pub client: Value,
    /// The versions of `ConversionReview` that it understands.
    pub reviews: Vec<String>,
}

/// What is particular to the objects of a definition in one version.
pub struct Custom {
    /// The definition's name, `plural.group`.
    pub definition: String,
    /// How objects come from one version to another, where it is more than another `apiVersion`.
    pub webhook: Option<Arc<ConversionWebhook>>,
    /// Every version that objects can be converted from and to.
    pub versions: Arc<[String]>,
    /// The parts of the scale subresource.
    pub scale: Option<ScalePaths>,
    /// Whether status is a subresource.
    pub status: bool,
    /// Whether the definition is going, so that nothing new may be made.
    pub terminating: bool,
    /// What clients are warned of who use this version.
    pub warning: Option<String>,
    /// `openAPIV3Schema` of the version.
    source: Bytes,
    preserve: bool,
    compiled: OnceLock<Arc<Compiled>>,
}

/// A schema that is ready for use.
pub struct Compiled {
    /// The schema.
    pub schema: Schema,
    /// Its rules, if it has any.
    pub rules: Option<Rules>,
    types: OnceLock<(Bundle, Shape)>,
}

impl Compiled {
    /// The types of the objects, and the shape of a whole one.
    pub fn types(&self) -> &(Bundle, Shape) {
        self.types.get_or_init(|| shapes::shape(&self.schema))
    }
}

impl Custom {
    /// The schema, read when it is first asked for.
    pub fn compiled(&self) -> &Arc<Compiled> {
        self.compiled.get_or_init(|| {
            // Only what was validated is served; were there a mistake in it, nothing of an object would be lost.
            let open = |_| Schema { preserve: true, ..Schema::default() };
            let raw = self.raw();
            let mut schema = Schema::parse(&raw).unwrap_or_else(open);
            schema.preserve |= self.preserve;
            let rules = Rules::of(&schema, &raw, true);
            Arc::new(Compiled { schema, rules, types: OnceLock::new() })
        })
    }

    /// The types of the objects, and the shape of a whole one.
    pub fn types(&self) -> &(Bundle, Shape) {
        self.compiled().types()
    }

    /// The schema of the version, as the definition has it.
    pub fn raw(&self) -> Value {
        serde_json::from_slice(&self.source).unwrap_or_default()
    }

    /// Whether the objects have fields that the schema does not have.
    pub fn preserves(&self) -> bool {
        self.preserve
    }

    /// Checks an object that comes in: its metadata, and what the schema does not have. That is taken away, and its
    /// paths are returned.
    pub fn check(&self, object: &mut Value) -> Result<Vec<String>, FieldError> {
        let schema = &self.compiled().schema;
        let mut unknown = embedded::coerce(&Path::root(), object, schema, true, false)?;
        unknown.extend(prune::prune(object, schema, true));
        Ok(unknown)
    }

    /// Brings an object that was read into the form that this version has now: without what the schema does not
    /// have, with defaults that came later.
    pub fn settle(&self, object: &mut Value) {
        let schema = &self.compiled().schema;
        prune::prune(object, schema, true);
        ironclad_structural::default::drop_nulls(object, schema);
        ironclad_structural::default::default(object, schema);
    }
}

/// Numbers that came with a fraction and have none are stored without one.
pub fn without_fractions(value: &mut Value) {
    match value {
        Value::Number(n) if n.is_f64() => {
            let float = n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e18);
            if let Some(float) = float {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) if items.iter().any(holds_fraction) => items.iter_mut().for_each(without_fractions),
        Value::Object(map) if map.values().any(holds_fraction) => {
            map.iter_mut().for_each(|(_, v)| without_fractions(v));
        }
        _ => {}
    }
}

/// Whether there is such a number; what has none is left shared as it is.
fn holds_fraction(value: &Value) -> bool {
    match value {
        Value::Number(n) => n.is_f64(),
        Value::Array(items) => items.iter().any(holds_fraction),
        Value::Object(map) => map.values().any(holds_fraction),
        _ => false,
    }
}

/// Whether the webhook of a definition, if it has one, can be checked by its bundle.
pub fn has_usable_bundle(definition: &Value) -> bool {
    let bundle = text(definition, &["spec", "conversion", "webhook", "clientConfig", "caBundle"]);
    crate::extension::crd::conversion::bundle_mistake(bundle).is_none()
}

/// The group and plural that a definition serves.
pub fn resource(definition: &Value) -> GroupResource {
    GroupResource::new(text(definition, &["spec", "group"]), text(definition, &["spec", "names", "plural"]))
}

/// The rows of a definition whose names were accepted, one for each version: what is not served can still own fields.
pub fn rows(definition: &Value) -> Vec<Arc<Kind>> {
    let versions = items(definition, &["spec", "versions"]);
    let stored = versions.iter().find(|v| flag(v, &["storage"])).map(|v| text(v, &["name"]).to_owned());
    let Some(stored) = stored else { return Vec::new() };
    let names: Arc<[String]> = versions.iter().map(|v| text(v, &["name"]).to_owned()).collect();
    let webhook = webhook(definition).map(Arc::new);
    let making = Making { definition, stored: &stored, names, webhook };
    versions.iter().map(|version| Arc::new(making.row(version))).collect()
}

fn webhook(definition: &Value) -> Option<ConversionWebhook> {
    let conversion = &definition["spec"]["conversion"];
    if text(conversion, &["strategy"]) != "Webhook" {
        return None;
    }
    let reviews = items(conversion, &["webhook", "conversionReviewVersions"]);
    Some(ConversionWebhook {
        client: conversion["webhook"]["clientConfig"].clone(),
        reviews: reviews.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
    })
}

struct Making<'a> {
    definition: &'a Value,
    stored: &'a str,
    names: Arc<[String]>,
    webhook: Option<Arc<ConversionWebhook>>,
}

fn owned(text: &str) -> Text {
    Text::Owned(text.to_owned())
}

fn texts(value: &Value, path: &[&str]) -> Vec<Text> {
    items(value, path).iter().filter_map(|v| v.as_str().map(owned)).collect()
}

impl Making<'_> {
    fn row(&self, version: &Value) -> Kind {
        let d = self.definition;
        let group = text(d, &["spec", "group"]);
        let accepted = &d["status"]["acceptedNames"];
        let plural = text(d, &["spec", "names", "plural"]);
        let served = flag(version, &["served"]);
        let fields = items(version, &["selectableFields"]).iter();
        let fields = fields.map(|f| owned(text(f, &["jsonPath"]).trim_start_matches('.'))).collect();
        let custom = Arc::new(self.custom(version));
        let kind = text(accepted, &["kind"]);
        Kind {
            group: owned(group),
            version: owned(text(version, &["name"])),
            kind: owned(kind),
            plural: owned(plural),
            singular: owned(text(accepted, &["singular"])),
            short_names: texts(accepted, &["shortNames"]),
            categories: texts(accepted, &["categories"]),
            namespaced: text(d, &["spec", "scope"]) == "Namespaced",
            verbs: Verb::ALL,
            subresources: subresources(version),
            served: if served { Served::Default } else { Served::Stored },
            storage_group: owned(group),
            storage_version: owned(self.stored),
            prefix: Text::Owned(format!("/registry/{group}/{plural}/")),
            selectable: fields,
            create_on_update: false,
            generation: true,
            dependents: Dependents::Collected,
            list_kind: owned(text(accepted, &["listKind"])),
            gate: "",
            deprecation: None,
            strategy: Arc::new(strategy::CustomStrategy::new(custom.clone(), Columns::of(version))),
            custom: Some(custom),
        }
    }

    fn custom(&self, version: &Value) -> Custom {
        let d = self.definition;
        let keys = |path: &str| -> Vec<String> { path.trim_start_matches('.').split('.').map(str::to_owned).collect() };
        let scale = version.get("subresources").and_then(|s| s.get("scale")).filter(|s| s.is_object());
        let scale = scale.map(|s| ScalePaths {
            spec_replicas: keys(text(s, &["specReplicasPath"])),
            status_replicas: keys(text(s, &["statusReplicasPath"])),
            selector: Some(text(s, &["labelSelectorPath"])).filter(|p| !p.is_empty()).map(keys),
        });
        let named = || {
            let (group, name) = (text(d, &["spec", "group"]), text(version, &["name"]));
            format!("{group}/{name} {} is deprecated", text(d, &["spec", "names", "kind"]))
        };
        let warning = flag(version, &["deprecated"])
            .then(|| version["deprecationWarning"].as_str().map_or_else(named, str::to_owned));
        Custom {
            definition: ironclad_api::object::name(d).to_owned(),
            webhook: self.webhook.clone(),
            versions: self.names.clone(),
            scale,
            status: has(version, &["subresources", "status"]),
            terminating: !d["metadata"]["deletionTimestamp"].is_null(),
            warning,
            source: Bytes::from(version["schema"]["openAPIV3Schema"].to_string()),
            preserve: flag(d, &["spec", "preserveUnknownFields"]),
            compiled: OnceLock::new(),
        }
    }
}

fn subresources(version: &Value) -> Vec<Subresource> {
    let mut out = Vec::new();
    let verbs = Verb::GET_PATCH_UPDATE;
    if has(version, &["subresources", "status"]) {
        out.push(Subresource { name: "status".into(), kind: None, verbs });
    }
    if has(version, &["subresources", "scale"]) {
        let kind = Some(("autoscaling".into(), "v1".into(), "Scale".into()));
        out.push(Subresource { name: "scale".into(), kind, verbs });
    }
    out
}
