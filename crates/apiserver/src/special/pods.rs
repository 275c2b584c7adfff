//! Binding of pods, and the finalizers of namespaces.

use crate::registry::{Answer, Input, Registry, Request};
use ironclad_api::object::{self, metadata_mut};
use ironclad_api::{ApiError, GroupResource, time};
use serde_json::json;

use crate::registry::Changed;

fn success() -> Answer {
    Answer::value(201, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
}

impl Registry {
    /// `pods/binding`: puts a pod on a node.
    pub(crate) async fn bind(&self, request: &Request<'_>, input: Input) -> Result<Answer, ApiError> {
        let binding = input.value;
        let node = object::text(&binding, &["target", "name"]).to_owned();
        if node.is_empty() {
            return Err(ApiError::bad_request("target.name is required"));
        }
        let kind = object::text(&binding, &["target", "kind"]);
        if !kind.is_empty() && kind != "Node" {
            return Err(ApiError::bad_request(format!("invalid target kind {kind:?}: must be Node")));
        }
        let uid = object::uid(&binding).to_owned();
        let name = request.info.name.clone();
        let pods = GroupResource::new("", "pods");
        let refused = |why: String| ApiError::conflict(&GroupResource::new("", "pods/binding"), &name, why);
        self.change(request, |old| {
            if !uid.is_empty() && uid != object::uid(old) {
                let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", object::uid(old));
                return Err(ApiError::conflict(&pods, &name, why));
            }
            if !old["metadata"]["deletionTimestamp"].is_null() {
                return Err(refused(format!("pod {name} is being deleted, cannot be assigned to a host")));
            }
            let bound = object::text(old, &["spec", "nodeName"]);
            if !bound.is_empty() {
                return Err(refused(format!("pod {name} is already assigned to node {bound:?}")));
            }
            if old["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
                return Err(refused(format!("pod {name} has non-empty .spec.schedulingGates")));
            }
            let mut new = old.clone();
            metadata_mut(&mut new).remove("resourceVersion");
            new["spec"]["nodeName"] = json!(node);
            let annotations = binding["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
            if !annotations.is_empty() {
                object::entry_of(metadata_mut(&mut new), "annotations").extend(annotations);
            }
            let conditions = object::entry(&mut new, "status").entry("conditions").or_insert_with(|| json!([]));
            if let Some(list) = conditions.as_array_mut() {
                list.retain(|c| c["type"] != "PodScheduled");
                list.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::now(),
                    "observedGeneration": old["metadata"]["generation"]}));
            }
            Ok(Changed { object: new, warnings: Vec::new(), applied: false })
        })
        .await?;
        Ok(success())
    }

    /// `namespaces/finalize`: what its controller has cleaned.
    pub(crate) async fn finalize(&self, request: &Request<'_>, input: Input) -> Result<Answer, ApiError> {
        let (sent, _) = request.check(request.kind, input)?;
        self.change(request, |old| {
            let mut new = old.clone();
            match object::resource_version(&sent) {
                "" => drop(metadata_mut(&mut new).remove("resourceVersion")),
                version => drop(metadata_mut(&mut new).insert("resourceVersion".into(), json!(version))),
            }
            let finalizers = sent["spec"]["finalizers"].clone();
            new["spec"] = if finalizers.is_null() { json!({}) } else { json!({"finalizers": finalizers}) };
            Ok(Changed { object: new, warnings: Vec::new(), applied: false })
        })
        .await
    }
}
