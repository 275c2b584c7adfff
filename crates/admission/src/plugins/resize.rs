//! PodResizeValidator and NodeDeclaredFeatureValidator: a pod that runs changes only into what its node can do.

use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::quantity::Quantity;
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, object, pod_resources};
use ironclad_json::Value;
use k8s_openapi::api::core::v1::PodSpec;
use std::sync::Arc;

fn node(source: &dyn Source, pod: &Value) -> std::result::Result<Arc<Value>, String> {
    let name = object::text(pod, &["spec", "nodeName"]);
    source.get(&GroupResource::new("", "nodes"), "", name).ok_or_else(|| format!("node {name:?} not found"))
}

/// The new pod of an update through one of these doors, if the pod has a node and its specification changes.
fn changed<'a>(request: &'a Request, doors: &[&str]) -> Option<(&'a Value, &'a Value)> {
    let pods = request.resource.group.is_empty() && request.resource.resource == "pods";
    if !pods || !doors.contains(&request.subresource.as_str()) {
        return None;
    }
    let (new, old) = (request.object.as_ref()?, request.old.as_deref()?);
    (!object::text(new, &["spec", "nodeName"]).is_empty() && new["spec"] != old["spec"]).then_some((new, old))
}

/// Refuses what a node can never give.
pub(super) struct Room {
    source: Arc<dyn Source>,
}

impl Room {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    fn check(&self, pod: &Value) -> std::result::Result<(), String> {
        let node = node(&*self.source, pod)?;
        let spec: PodSpec = ironclad_json::from_value(pod["spec"].clone()).map_err(|e| e.to_string())?;
        let requests = pod_resources::requests(&spec);
        let asked = |name: &str| requests.iter().find(|(n, _)| *n == name).map_or(Quantity::ZERO, |(_, q)| *q);
        let given = |name: &str| -> Quantity {
            object::text(&node, &["status", "allocatable", name]).parse().unwrap_or(Quantity::ZERO)
        };
        let cpu = (asked("cpu").milli_value(), given("cpu").milli_value());
        let memory = (asked("memory").value(), given("memory").value());
        let mut wrong = Vec::new();
        for (name, (asked, given)) in [("cpu", (cpu.0, cpu.1)), ("memory", (memory.0, memory.1))] {
            if asked > given {
                wrong.push(format!("{name}, requested: {asked}, allocatable: {given}"));
            }
        }
        if !wrong.is_empty() {
            return Err(format!("Node didn't have enough allocatable resources: {}", wrong.join("; ")));
        }
        match object::text(&node, &["metadata", "labels", "kubernetes.io/os"]) {
            "linux" => Ok(()),
            os => Err(format!("pod resize is only supported on linux nodes, node {:?} is {os:?}", object::name(&node))),
        }
    }
}

impl Plugin for Room {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Room {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some((pod, _)) = changed(request, &["resize"]) else { return Ok(()) };
        self.check(pod).map_err(|why| request.forbidden(why))
    }
}

/// Refuses what a node does not say that it can do.
pub(super) struct Declared {
    source: Arc<dyn Source>,
}

impl Declared {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }
}

/// What a change of a pod needs of its node, in the order of the alphabet.
fn needed(new: &Value, old: &Value) -> Vec<&'static str> {
    let mut out = Vec::new();
    if new["spec"]["resources"] != old["spec"]["resources"] {
        out.push("InPlacePodLevelResourcesVerticalScaling");
    }
    if initial(new) != initial(old) {
        out.push("InPlacePodVerticalScalingInitContainers");
    }
    if memory_volumes(new) != memory_volumes(old) {
        out.push("InPlacePodVerticalScalingMemoryBackedVolumes");
    }
    out
}

/// The resources of the init containers that end.
fn initial(pod: &Value) -> Vec<(&str, &Value)> {
    let all = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    all.filter(|c| c["restartPolicy"] != "Always").map(|c| (object::text(c, &["name"]), &c["resources"])).collect()
}

fn memory_volumes(pod: &Value) -> Vec<(&str, &Value)> {
    let all = pod["spec"]["volumes"].as_array().into_iter().flatten();
    all.filter(|v| v["emptyDir"]["medium"] == "Memory" && v["emptyDir"]["sizeLimit"].is_string())
        .map(|v| (object::text(v, &["name"]), &v["emptyDir"]["sizeLimit"]))
        .collect()
}

impl Plugin for Declared {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Declared {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some((pod, old)) = changed(request, &["", "resize"]) else { return Ok(()) };
        let needed = needed(pod, old);
        if needed.is_empty() {
            return Ok(());
        }
        let refuse = |why: String| Err(request.forbidden(why));
        let node = match node(&*self.source, pod) {
            Ok(node) => node,
            Err(why) => return refuse(why),
        };
        let declared = node["status"]["declaredFeatures"].as_array().cloned().unwrap_or_default();
        let missing: Vec<&str> = needed.into_iter().filter(|f| !declared.iter().any(|d| d == f)).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => refuse(format!(
                "pod update requires features {} which are not available on node {:?}",
                missing.join(", "),
                object::name(&node)
            )),
        }
    }
}
