//! Binding and eviction of pods, and the finalizers of namespaces.

use crate::registry::{Answer, Input, Registry, Request};
use ironclad_api::object::{self, metadata_mut};
use ironclad_api::{ApiError, GroupResource, Reason, time};
use serde_json::{Value, json};

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

    /// Whether disruption budgets let a pod go; takes one disruption from each that covers it.
    pub(crate) async fn may_evict(&self, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
        let phase = object::text(pod, &["status", "phase"]);
        if matches!(phase, "Succeeded" | "Failed" | "Pending") || !pod["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let kinds = ironclad_kinds::all().iter().find(|k| &*k.plural == "poddisruptionbudgets");
        let Some(cache) = kinds.and_then(|k| self.caches.of(k)) else { return Ok(()) };
        let prefix = format!("/registry/poddisruptionbudgets/{}/", object::namespace(pod));
        let empty = serde_json::Map::new();
        let labels = pod["metadata"]["labels"].as_object().unwrap_or(&empty);
        for cached in cache.list(&prefix, None) {
            let budget = cached.value();
            let parsed = serde_json::from_value(budget["spec"]["selector"].clone()).ok();
            let covers =
                ironclad_api::selector::LabelSelector::from_meta(parsed.as_ref()).is_ok_and(|s| s.matches(labels));
            if !covers {
                continue;
            }
            let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
            if allowed <= 0 {
                let why = "Cannot evict pod as it would violate the pod's disruption budget.";
                let status = &budget["status"];
                let detail = format!(
                    "The disruption budget {} needs {} healthy pods and has {} currently",
                    cached.name(),
                    status["desiredHealthy"].as_i64().unwrap_or(0),
                    status["currentHealthy"].as_i64().unwrap_or(0)
                );
                return Err(ApiError::new(Reason::TooManyRequests, why).with_cause("DisruptionBudget", detail, ""));
            }
            if !dry_run {
                self.take_disruption(&cached.key, object::name(pod)).await?;
            }
        }
        Ok(())
    }

    async fn take_disruption(&self, key: &str, pod: &str) -> Result<(), ApiError> {
        let Some(entry) = self.entry(key).await? else { return Ok(()) };
        let mut budget = crate::encode::decode(entry.value.bytes());
        let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
        budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
        budget["status"]["disruptedPods"][pod] = json!(time::now());
        let change = ironclad_store::Change::Put { value: crate::encode::template(&budget), ttl: None };
        let op =
            ironclad_store::Op { key: key.into(), expect: ironclad_store::Expect::Modified(entry.modified), change };
        match self.store.commit(vec![op]).await {
            Ok(_) => Ok(()),
            Err(ironclad_store::Error::Conflict { .. }) => {
                let why = "Cannot evict pod because its disruption budget is changing; try again.";
                Err(ApiError::new(Reason::TooManyRequests, why).retry_after(1))
            }
            Err(error) => Err(crate::registry::store_error(&error)),
        }
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
