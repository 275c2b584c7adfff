//! ValidatingAdmissionPolicies: their status says what the types of the kinds that they are about have to say to their
//! expressions.
//!
//! Invariant: types come from the OpenAPI documents that the server publishes, so that custom resources are checked as
//! built-in kinds are.

mod check;
mod schema;

use crate::Context;
use check::{Kinds, check, targets};
use ironclad_api::GroupVersionKind;
use ironclad_cel::Decl;
use ironclad_client::{Change, Informer, ObjectKey, WorkQueue};
use ironclad_json::{Value, json};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::{Api, ApiResource, Patch, PatchParams};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const MANAGER: &str = "validatingadmissionpolicy-status-controller";
/// A definition is published a little later than it is stored.
const PUBLISHED: Duration = Duration::from_secs(1);

struct Controller {
    context: Context,
    policies: Arc<Informer<ValidatingAdmissionPolicy>>,
    /// Policies about kinds that are not served.
    waiting: Mutex<HashSet<ObjectKey>>,
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let policies = context.informers.get::<ValidatingAdmissionPolicy>();
    let add = queue.clone();
    policies.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            add.add(ObjectKey::of(&**change.object()));
        }
    });
    let controller = Arc::new(Controller { context, policies, waiting: Mutex::default() });
    let gvk = kube::core::GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "customresourcedefinitions");
    let (add, this) = (queue.clone(), Arc::downgrade(&controller));
    controller.context.informers.metadata(&resource).on_change(move |_| {
        if let Some(this) = this.upgrade() {
            this.waiting.lock().drain().for_each(|key| add.add_after(key, PUBLISHED));
        }
    });
    let work = move |key: ObjectKey| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    };
    queue.run("policy-status", 1, token, work).await;
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, kube::Error> {
        let Some(policy) = self.policies.get_key(key) else { return Ok(None) };
        let seen = policy.status.as_ref().and_then(|s| s.observed_generation);
        if seen == policy.metadata.generation {
            return Ok(None);
        }
        let object = ironclad_json::to_value(&*policy).unwrap_or_default();
        let mut kinds = Kinds::default();
        for resource in targets(&object["spec"]) {
            match self.kind_of(&resource).await? {
                Some((kind, decl)) => kinds.objects.push((kind, decl)),
                None => drop(self.waiting.lock().insert(key.clone())),
            }
        }
        let param = &object["spec"]["paramKind"];
        if let (Some(version), Some(kind)) = (param["apiVersion"].as_str(), param["kind"].as_str()) {
            let gvk = GroupVersionKind::parse(version, kind);
            let document = self.document(&gvk.group, &gvk.version).await?;
            kinds.params = document.and_then(|d| schema::of_kind(&d, &gvk));
        }
        let warnings = check(&object["spec"], &kinds);
        self.write(key, policy.metadata.generation, &warnings).await
    }

    /// What OpenAPI says about a group and version, if it is served.
    async fn document(&self, group: &str, version: &str) -> Result<Option<Value>, kube::Error> {
        let path = if group.is_empty() {
            format!("/openapi/v3/api/{version}")
        } else {
            format!("/openapi/v3/apis/{group}/{version}")
        };
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        match self.context.client.request::<Value>(request).await {
            Ok(document) => Ok(Some(document)),
            Err(error) if crate::is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The kind of a resource with its declaration.
    async fn kind_of(
        &self,
        resource: &ironclad_api::GroupVersionResource,
    ) -> Result<Option<(GroupVersionKind, Arc<Decl>)>, kube::Error> {
        let document = self.document(&resource.group, &resource.version).await?;
        Ok(document.and_then(|d| {
            let kind = schema::kind_of(&d, resource)?;
            let decl = schema::of_kind(&d, &kind)?;
            Some((kind, decl))
        }))
    }

    async fn write(
        &self,
        key: &ObjectKey,
        generation: Option<i64>,
        warnings: &[(String, String)],
    ) -> Result<Option<Duration>, kube::Error> {
        let list: Vec<Value> = warnings.iter().map(|(at, text)| json!({"fieldRef": at, "warning": text})).collect();
        let mut checking = json!({});
        if !list.is_empty() {
            checking["expressionWarnings"] = Value::Array(list.into());
        }
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": key.name},
            "status": {"observedGeneration": generation, "typeChecking": checking},
        });
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.context.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        match api.patch_status(&key.name, &params, &Patch::Apply(patch)).await {
            Err(error) if crate::is_missing(&error) => Ok(None),
            other => other.map(|_| None),
        }
    }
}
