//! OpenAPI v2 and v3 documents: the schemas of the bundle and the paths of the resources that are served.
//!
//! A document is made when it is asked for, from the bundle and from what the caller serves; keep what it returns, for
//! it depends on nothing else. Version 2, which has everything in one document, is made of parts: one for each group's
//! version, and the definitions that they share.

mod custom;
mod gnostic;
mod gnostic3;
mod group_versions;
mod message;
mod operations;
mod parameters;
mod paths;
mod root;
mod schemas;

use crate::bundle::{Bundle, bundle};
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value, json};
use std::collections::BTreeSet;

pub use gnostic3::encode as v3_protobuf;
pub use message::{open_bytes, varint};

/// The media type of version 2 as protobuf.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The media type of [`v3_protobuf`].
pub const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

/// A resource that is served in one version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Group, version and kind of its objects.
    pub gvk: GroupVersionKind,
    /// The kind of lists of them.
    pub list_kind: String,
    /// Plural in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs as discovery names them.
    pub verbs: Vec<&'static str>,
    /// What is below an object.
    pub subresources: Vec<Subresource>,
    /// For custom resources the schema of their definition.
    pub schema: Option<Value>,
    /// For custom resources the fields by which they can be selected, as paths from the object.
    pub selectable: Vec<String>,
}

/// What is below an object: `status`, `scale`, `exec`, ...
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Its name in the path.
    pub name: String,
    /// What is sent and answered, where it is not the object's own kind.
    pub kind: Option<GroupVersionKind>,
    /// Verbs as discovery names them.
    pub verbs: Vec<&'static str>,
}

/// Which of the two forms is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    V2,
    V3,
}

impl Form {
    fn reference(self, definition: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{definition}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{definition}")}),
        }
    }
}

fn security_scheme() -> Value {
    json!({"BearerToken": {"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"}})
}

/// Of the release only its first two numbers are told: `1.37`.
fn info(release: &str) -> Value {
    let numbers: Vec<&str> = release.trim_start_matches('v').splitn(3, '.').take(2).collect();
    json!({"title": "Kubernetes", "version": numbers.join(".")})
}

/// What documents are made of: the types with their texts, which are unpacked once.
pub struct Sources {
    bundle: &'static Bundle,
    docs: Vec<(String, Vec<String>)>,
}

/// What the resources of one version of a group add to the document of version 2.
#[derive(Debug, Default)]
pub struct Part {
    /// The paths.
    pub paths: Map,
    /// Definitions that nobody else has: those of custom resources.
    pub definitions: Map,
    /// Parameters by their names in the document.
    pub parameters: Map,
    /// The definitions of built-in types that are referred to.
    pub wanted: BTreeSet<String>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { bundle: bundle(), docs: bundle().docs() }
    }
}

impl Sources {
    /// The document of one group's version in version 3; `None` where nothing of it is served.
    pub fn v3(&self, resources: &[Resource], version: &str) -> Option<Value> {
        let custom = resources.first()?.schema.is_some();
        let mut schemas = schemas::Schemas::new(self, Form::V3);
        resources.iter().for_each(|r| schemas.custom(r));
        let paths = paths::all(&mut schemas, resources);
        let mut components = json!({"schemas": schemas.finish()});
        // What all groups share is told of this one alone, but where a definition made it.
        let GroupVersionKind { group, version: of, .. } = &resources.first()?.gvk;
        for kind in ["DeleteOptions", "WatchEvent"].into_iter().filter(|_| !custom) {
            let name = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
            if let Some(shared) = components["schemas"].get_mut(name.as_str()) {
                let own = json!({"group": group, "kind": kind, "version": of});
                let core = json!({"group": "", "kind": kind, "version": "v1"});
                let all = if own == core { vec![own] } else { vec![core, own] };
                shared["x-kubernetes-group-version-kind"] = Value::from(all);
            }
        }
        if custom {
            let info = json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"});
            return Some(json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": components}));
        }
        components["securitySchemes"] = security_scheme();
        Some(json!({"openapi": "3.0.0", "info": info(version), "paths": paths, "components": components}))
    }

    /// The document of what is no group's version: `api`, `apis`, `apis/apps`, `version`, ...
    pub fn v3_root(&self, place: &str, version: &str) -> Option<Value> {
        let mut schemas = schemas::Schemas::new(self, Form::V3);
        let paths = root::paths(&mut schemas, place)?;
        let mut components = json!({"securitySchemes": security_scheme()});
        let found = schemas.finish();
        if !found.is_empty() {
            components["schemas"] = Value::Object(found);
        }
        Some(json!({"openapi": "3.0.0", "info": info(version), "paths": paths, "components": components}))
    }

    /// What the resources of one group's version add to the document of version 2.
    pub fn v2_part(&self, resources: &[Resource]) -> Part {
        let mut schemas = schemas::Schemas::new(self, Form::V2);
        resources.iter().for_each(|r| schemas.custom(r));
        let paths = paths::all(&mut schemas, resources);
        part(schemas, paths)
    }

    /// What the doors above all groups add to the document of version 2; `groups` are the built-in ones.
    pub fn v2_root(&self, groups: &[&str]) -> Part {
        let mut schemas = schemas::Schemas::new(self, Form::V2);
        let places = root::PLACES.iter().map(|p| (*p).to_owned());
        let places = places.chain(groups.iter().filter(|g| !g.is_empty()).map(|g| format!("apis/{g}")));
        let found: Vec<Map> = places.filter_map(|p| root::paths(&mut schemas, &p)).collect();
        part(schemas, found.into_iter().flatten().collect())
    }

    /// Calls a function with the definitions of built-in types, and with all that they refer to, one after the other.
    pub fn v2_definitions(&self, wanted: &BTreeSet<String>, act: &mut dyn FnMut(&str, Value)) {
        let mut schemas = schemas::Schemas::new(self, Form::V2);
        wanted.iter().for_each(|name| drop(schemas.reference(name)));
        schemas.each(act);
    }
}

fn part(mut schemas: schemas::Schemas<'_>, mut paths: Map) -> Part {
    let mut shared = parameters::Shared::default();
    paths.values_mut().for_each(|item| shared.take(item));
    let (definitions, wanted) = schemas.own();
    Part { paths, definitions, parameters: shared.0.into_iter().collect(), wanted }
}

/// What stands in a document of version 2 beside paths, definitions and parameters.
pub fn v2_head(version: &str) -> Map {
    let head = json!({
        "swagger": "2.0", "info": info(version), "securityDefinitions": security_scheme(),
        "security": [{"BearerToken": []}],
    });
    match head {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The places of documents of version 3 beside those of groups' versions; `groups` are the built-in ones.
pub fn v3_root_places(groups: &[&str]) -> Vec<String> {
    let above = root::PLACES.iter().map(|p| (*p).to_owned());
    above.chain(groups.iter().filter(|g| !g.is_empty()).map(|g| format!("apis/{g}"))).collect()
}

/// The parts of a document of version 2 as protobuf, field by field of `openapi.v2.Document`.
pub mod v2_message {
    pub use super::gnostic::{DEFINITIONS, PARAMETERS, PATHS, definitions, head, parameters, paths};
}

/// The index at `/openapi/v3` of documents by their places, each with a hash of its contents.
pub fn v3_index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let entry = |(place, hash): (&str, &str)| {
        (place.to_owned(), json!({"serverRelativeURL": format!("/openapi/v3/{place}?hash={hash}")}))
    };
    json!({"paths": documents.into_iter().map(entry).collect::<Map>()})
}

/// `api/v1` or `apis/apps/v1`.
fn place(gvk: &GroupVersionKind) -> String {
    if gvk.group.is_empty() { format!("api/{}", gvk.version) } else { format!("apis/{}", gvk.api_version()) }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A name as part of an operation id: what divides its parts is taken out, and the next letter is large.
fn word(text: &str, first: bool) -> String {
    let mut parts = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let start = parts.next().unwrap_or_default();
    let start = if first { capital(start) } else { start.to_owned() };
    parts.fold(start, |out, part| out + &capital(part))
}

#[cfg(test)]
mod tests;
