//! What admission has to know about the kinds that are served, custom ones included.

use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{GroupVersionKind, GroupVersionResource};
use ironclad_json::Value;
use std::time::Duration;

/// One version of a resource that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The resource as paths name it.
    pub resource: GroupVersionResource,
    /// The kind as objects name it.
    pub kind: GroupVersionKind,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// The kinds that are served, and how their objects get from one version to another.
#[async_trait]
pub trait World: Send + Sync {
    /// Every version in which the objects of a resource are served, that of the resource itself included.
    fn versions(&self, resource: &GroupVersionResource) -> Vec<Version>;

    /// The version of a kind, if it is served.
    fn of_kind(&self, kind: &GroupVersionKind) -> Option<Version>;

    /// The version of a kind that is written in small letters, as discovery's readers also know it.
    fn of_lower_kind(&self, _kind: &GroupVersionKind) -> Option<Version> {
        None
    }

    /// Whether objects of a kind have a type of the server's own; custom resources have none.
    fn is_typed(&self, _kind: &GroupVersionKind) -> bool {
        true
    }

    /// An object in another version of its kind.
    async fn convert(&self, object: Value, to: &GroupVersionKind) -> Result<Value>;

    /// An object that was changed from outside as its type has it: wrong types are refused, unknown fields dropped,
    /// defaults filled in.
    fn settle(&self, kind: &GroupVersionKind, object: Value) -> Result<Value, String>;

    /// The same, where an unknown field is a mistake as well.
    fn settle_strictly(&self, kind: &GroupVersionKind, object: Value) -> Result<Value, String> {
        self.settle(kind, object)
    }

    /// An object of a manifest, with its defaults, if it is valid and holds nothing unknown.
    fn valid(&self, _kind: &GroupVersionKind, object: Value) -> Result<Value, String> {
        Ok(object)
    }

    /// A webhook was asked: its name, `admit` or `validating`, the operation, whether it refused, and the time it took.
    fn asked(&self, _name: &str, _step: &'static str, _operation: &'static str, _refused: bool, _took: Duration) {}

    /// An object with an apply configuration merged into it, as server-side apply merges.
    fn merge(&self, kind: &GroupVersionKind, object: &Value, config: &Value) -> Result<Value, String>;
}

/// No kinds at all, for chains without webhooks and policies.
pub struct Nowhere;

#[async_trait]
impl World for Nowhere {
    fn versions(&self, _: &GroupVersionResource) -> Vec<Version> {
        Vec::new()
    }

    fn of_kind(&self, _: &GroupVersionKind) -> Option<Version> {
        None
    }

    async fn convert(&self, object: Value, _: &GroupVersionKind) -> Result<Value> {
        Ok(object)
    }

    fn settle(&self, _: &GroupVersionKind, object: Value) -> Result<Value, String> {
        Ok(object)
    }

    fn merge(&self, kind: &GroupVersionKind, _: &Value, _: &Value) -> Result<Value, String> {
        Err(format!("no kind {kind} is served"))
    }
}
