//! Binding of pods, and the finalizers of namespaces.

use crate::encode;
use crate::registry::{Answer, DeleteOptions, Input, Registry, Request, modified};
use ironclad_api::object::{self, metadata_mut};
use ironclad_api::{ApiError, FieldError, GroupResource, Path, Reason, time};
use ironclad_json::{Value, json};
use ironclad_store::Expect;

use crate::registry::Changed;

fn success() -> Answer {
    Answer::value(201, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}

/// How often a pod that others change is tried again.
const EVICTIONS: u32 = 6;

/// Sets a condition of a pod to true.
fn condition(pod: &mut Value, kind: &str, reason: &str, message: &str) {
    let conditions = object::entry(pod, "status").entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    let known = list.iter().find(|c| c["type"] == kind && c["status"] == "True");
    let since = known.map_or_else(|| json!(time::now()), |c| c["lastTransitionTime"].clone());
    let mut new = json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": since});
    for (field, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            new[field] = json!(text);
        }
    }
    match list.iter_mut().find(|c| c["type"] == kind) {
        Some(condition) => *condition = new,
        None => list.push(new),
    }
}

/// What is wrong with a binding; stock answers with the bare text.
fn check_binding(binding: &Value) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    let target = Path::new("target");
    match object::text(binding, &["target", "kind"]) {
        "" | "Node" => {}
        kind => wrong.push(FieldError::not_supported(&target.child("kind"), &json!(kind), &["Node", "<empty>"])),
    }
    if object::text(binding, &["target", "name"]).is_empty() {
        wrong.push(FieldError::required(&target.child("name"), ""));
    }
    let texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError { code: 500, ..ApiError::new(Reason::Unknown, one) }),
        many => Err(ApiError { code: 500, ..ApiError::new(Reason::Unknown, format!("[{}]", many.join(", "))) }),
    }
}

impl Registry {
    /// `pods/binding`: puts a pod on a node. The binding is one that admission let in.
    pub(crate) async fn bind(&self, request: &Request<'_>, binding: Value) -> Result<Answer, ApiError> {
        check_binding(&binding)?;
        let node = object::text(&binding, &["target", "name"]).to_owned();
        let (uid, version) = (object::uid(&binding).to_owned(), object::resource_version(&binding).to_owned());
        let name = request.info.name.clone();
        let pods = GroupResource::new("", "pods");
        let refused = |why: String| ApiError::conflict(&GroupResource::new("", "pods/binding"), &name, why);
        self.change(request, |old| {
            if !uid.is_empty() && uid != object::uid(old) {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    object::uid(old)
                );
                return Err(ApiError::conflict(&pods, &name, why));
            }
            if !version.is_empty() && version != object::resource_version(old) {
                let why = format!(
                    "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                    object::resource_version(old)
                );
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
            // Admission may know more of the node than who binds does.
            let labels = binding["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            if !labels.is_empty() {
                object::entry_of(metadata_mut(&mut new), "labels").extend(labels);
            }
            object::entry(&mut new, "status").remove("nominatedNodeName");
            condition(&mut new, "PodScheduled", "", "");
            Ok(Changed::of(new))
        })
        .await?;
        Ok(success())
    }

    /// Notes in the status of a pod that it is evicted; returns the version of the pod since.
    pub(crate) async fn mark_evicted(&self, request: &Request<'_>, asked: &DeleteOptions) -> Result<String, ApiError> {
        let name = &request.info.name;
        let key = request.key(name);
        for _ in 0..EVICTIONS {
            let entry = self.entry(&key).await?.ok_or_else(|| request.not_found())?;
            let mut pod = encode::decode(entry.value.bytes());
            asked.check(request, name, &pod)?;
            condition(&mut pod, "DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting");
            match self.put(request, &pod, Expect::Modified(entry.modified)).await {
                Ok(entry) => return Ok(entry.modified.to_string()),
                Err(error) if error.reason == Reason::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(modified(request, name))
    }

    /// `namespaces/finalize`: what its controller has cleaned.
    pub(crate) async fn finalize(&self, request: &Request<'_>, input: Input) -> Result<Answer, ApiError> {
        let sent = request.check(request.kind, input)?.object;
        request.must_be_named(&sent)?;
        self.change(request, |old| {
            let mut new = old.clone();
            match object::resource_version(&sent) {
                "" => drop(metadata_mut(&mut new).remove("resourceVersion")),
                version => drop(metadata_mut(&mut new).insert("resourceVersion", json!(version))),
            }
            let finalizers = sent["spec"]["finalizers"].clone();
            new["spec"] = if finalizers.is_null() { json!({}) } else { json!({"finalizers": finalizers}) };
            Ok(Changed::of(new))
        })
        .await
    }
}
