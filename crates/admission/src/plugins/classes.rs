//! RuntimeClass: what a class gives to the pods that name it.

use super::is;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::entry;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::{Value, json};
use std::sync::Arc;

/// Gives pods the overhead, node selector and tolerations of their runtime class.
pub(super) struct Runtime {
    source: Arc<dyn Source>,
}

impl Runtime {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    /// The class of a new pod, null when it names none; nothing where there is no pod.
    fn class(&self, request: &Request) -> Result<Option<Arc<Value>>> {
        let Some(pod) = request.object.as_ref().filter(|_| is(request, "", "pods")) else { return Ok(None) };
        let name = object::text(pod, &["spec", "runtimeClassName"]);
        if name.is_empty() {
            return Ok(Some(Arc::new(Value::Null)));
        }
        let found = self.source.get(&GroupResource::new("node.k8s.io", "runtimeclasses"), "", name);
        let missing = || request.forbidden(format!("pod rejected: RuntimeClass {name:?} not found"));
        found.ok_or_else(missing).map(Some)
    }
}

/// Applies a class to a pod; an error says what contradicts it.
fn apply(pod: &mut Value, class: &Value) -> std::result::Result<(), String> {
    let spec = entry(pod, "spec");
    let overhead = class["overhead"]["podFixed"].as_object();
    match (overhead, spec.get("overhead").filter(|o| !o.is_null())) {
        (Some(fixed), None) => {
            spec.insert("overhead", Value::Object(fixed.clone()));
        }
        (Some(fixed), Some(given)) if given.as_object() != Some(fixed) => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
        }
        _ => {}
    }
    for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        let selector = spec.entry("nodeSelector").or_insert_with(|| json!({}));
        if selector.is_null() {
            *selector = json!({});
        }
        if selector.get(key).is_some_and(|have| have != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                value.as_str().unwrap_or_default(),
                selector[key].as_str().unwrap_or_default()
            ));
        }
        selector[key] = value.clone();
    }
    for toleration in class["scheduling"]["tolerations"].as_array().into_iter().flatten() {
        let list = spec.entry("tolerations").or_insert_with(|| json!([]));
        match list.as_array_mut() {
            Some(list) if !list.contains(toleration) => list.push(toleration.clone()),
            _ => {}
        }
    }
    Ok(())
}

impl Plugin for Runtime {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Runtime {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        let Some(class) = self.class(request)? else { return Ok(()) };
        let (resource, name) = (request.resource.group_resource(), request.shown().to_owned());
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        apply(pod, &class).map_err(|why| ApiError::forbidden(&resource, &name, why))
    }
}

#[async_trait]
impl Validate for Runtime {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(class) = self.class(request)? else { return Ok(()) };
        let given = request.object.as_ref().and_then(|pod| pod["spec"].get("overhead")).filter(|o| !o.is_null());
        match (class["overhead"]["podFixed"].as_object(), given) {
            (Some(fixed), given) if given.and_then(Value::as_object) != Some(fixed) => {
                Err(request.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
            }
            (None, Some(_)) => {
                Err(request
                    .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
            }
            _ => Ok(()),
        }
    }
}
