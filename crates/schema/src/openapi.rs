//! OpenAPI v2 and v3 documents: the schemas of the bundle and the paths of the resources that are served.
//!
//! A document is made when it is asked for, from the bundle and from what the caller serves; keep what it returns, for
//! it depends on nothing else.

mod custom;
mod gnostic;
mod paths;
mod schemas;

use crate::bundle::Bundle;
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value, json};
use std::collections::BTreeSet;

pub use gnostic::encode as v2_protobuf;

/// The media type of [`v2_protobuf`].
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// A resource that is served in one version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Group, version and kind of its objects.
    pub gvk: GroupVersionKind,
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

fn info(version: &str) -> Value {
    json!({"title": "Kubernetes", "version": version})
}

/// The document of `/openapi/v2`: every resource.
pub fn v2(bundle: &Bundle, resources: &[Resource], version: &str) -> Value {
    let mut schemas = schemas::Schemas::new(bundle, Form::V2);
    resources.iter().for_each(|r| schemas.custom(r));
    let paths = paths::all(&mut schemas, resources.iter());
    json!({"swagger": "2.0", "info": info(version), "paths": paths, "definitions": schemas.finish()})
}

/// The document of one group and version; `None` where nothing of it is served.
pub fn v3(bundle: &Bundle, resources: &[Resource], group_version: &str, version: &str) -> Option<Value> {
    let mut mine = resources.iter().filter(|r| place(&r.gvk) == group_version).peekable();
    mine.peek()?;
    let mut schemas = schemas::Schemas::new(bundle, Form::V3);
    resources.iter().filter(|r| place(&r.gvk) == group_version).for_each(|r| schemas.custom(r));
    let paths = paths::all(&mut schemas, mine);
    let components = json!({"schemas": schemas.finish()});
    Some(json!({"openapi": "3.0.0", "info": info(version), "paths": paths, "components": components}))
}

/// The places of all documents of version 3: `api/v1`, `apis/apps/v1`.
pub fn v3_places(resources: &[Resource]) -> BTreeSet<String> {
    resources.iter().map(|r| place(&r.gvk)).collect()
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

#[cfg(test)]
mod tests;
