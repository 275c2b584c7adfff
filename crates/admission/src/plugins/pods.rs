//! Priority and PodTopologyLabels.

use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::{entry, metadata_mut};
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::{Value, json};
use std::sync::Arc;

fn is_new_pod(request: &Request) -> bool {
    request.resource.group.is_empty() && request.resource.resource == "pods" && request.subresource.is_empty()
}

/// Gives pods the number of their priority class.
pub(super) struct Priority {
    source: Arc<dyn Source>,
}

impl Priority {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    fn class(&self, name: &str) -> Option<Arc<Value>> {
        let classes = GroupResource::new("scheduling.k8s.io", "priorityclasses");
        if !name.is_empty() {
            return self.source.get(&classes, "", name);
        }
        let defaults = self.source.list(&classes, "").into_iter().filter(|c| c["globalDefault"] == true);
        defaults.min_by_key(|c| c["value"].as_i64().unwrap_or(0))
    }
}

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Priority {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !is_new_pod(request) || request.operation != Operation::Create {
            return Ok(());
        }
        let resource = request.resource.group_resource();
        let name = request.shown().to_owned();
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        let wanted = object::text(pod, &["spec", "priorityClassName"]).to_owned();
        let class = self.class(&wanted);
        if class.is_none() && !wanted.is_empty() {
            return Err(ApiError::forbidden(
                &resource,
                &name,
                format!("no PriorityClass with name {wanted} was found"),
            ));
        }
        let value = class.as_ref().and_then(|c| c["value"].as_i64()).unwrap_or(0);
        let policy =
            class.as_ref().and_then(|c| c["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority").to_owned();
        let spec = entry(pod, "spec");
        if spec.get("priority").and_then(Value::as_i64).is_some_and(|p| p != value) {
            let why = format!(
                "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
                spec["priority"]
            );
            return Err(ApiError::forbidden(&resource, &name, why));
        }
        if let Some(given) = spec.get("preemptionPolicy").and_then(Value::as_str).filter(|given| *given != policy) {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            );
            return Err(ApiError::forbidden(&resource, &name, why));
        }
        spec.insert("priority", json!(value));
        spec.insert("preemptionPolicy", json!(policy));
        if let Some(class) = class.filter(|_| wanted.is_empty()) {
            spec.insert("priorityClassName", json!(object::name(&class)));
        }
        Ok(())
    }
}

#[async_trait]
impl Validate for Priority {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let classes = GroupResource::new("scheduling.k8s.io", "priorityclasses");
        let class = request.object.as_ref().filter(|o| o["globalDefault"] == true);
        if class.is_none() || request.resource.group_resource() != classes {
            return Ok(());
        }
        let others = self.source.list(&classes, "");
        match others.iter().find(|c| c["globalDefault"] == true && object::name(c) != request.name) {
            Some(other) => {
                let other = object::name(other);
                let why = format!("PriorityClass {other} is already marked as default. Only one default can exist");
                Err(ApiError::forbidden(&classes, &request.name, why))
            }
            None => Ok(()),
        }
    }
}

/// Gives pods the topology labels of the node to which they are bound.
pub(super) struct Topology {
    source: Arc<dyn Source>,
}

const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

impl Topology {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    fn labels(&self, node: &str) -> Vec<(&'static str, Value)> {
        let Some(node) = self.source.get(&GroupResource::new("", "nodes"), "", node) else { return Vec::new() };
        let found = TOPOLOGY.into_iter().filter_map(|l| Some((l, node["metadata"]["labels"].get(l)?.clone())));
        found.collect()
    }
}

impl Plugin for Topology {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Topology {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !request.resource.group.is_empty() || request.resource.resource != "pods" {
            return Ok(());
        }
        let Some(object) = request.object.as_mut() else { return Ok(()) };
        let node = match request.subresource.as_str() {
            "" => object::text(object, &["spec", "nodeName"]),
            "binding" if object["target"]["kind"] == "Node" => object::text(object, &["target", "name"]),
            _ => "",
        };
        let labels = if node.is_empty() { Vec::new() } else { self.labels(node) };
        for (label, value) in labels {
            let meta = metadata_mut(object).entry("labels").or_insert_with(|| json!({}));
            if let Some(all) = meta.as_object_mut() {
                all.entry(label).or_insert(value);
            }
        }
        Ok(())
    }
}
