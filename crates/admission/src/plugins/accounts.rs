//! ServiceAccount: every pod has an account, and a token of it where it can be read.

use super::quota::Ledger;
use super::secrets;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::{default_to, entry};
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, names, object};
use ironclad_json::{Value, json};
use std::sync::Arc;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(super) struct ServiceAccounts {
    source: Arc<dyn Source>,
    ledger: Arc<dyn Ledger>,
}

impl ServiceAccounts {
    pub(super) fn new(source: Arc<dyn Source>, ledger: Arc<dyn Ledger>) -> Self {
        Self { source, ledger }
    }

    /// A service account, also one that was made a moment ago.
    async fn account(&self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        let accounts = GroupResource::new("", "serviceaccounts");
        match self.source.get(&accounts, namespace, name) {
            None => Ok(self.ledger.find(&accounts, namespace, name).await?.map(Arc::new)),
            found => Ok(found),
        }
    }
}

impl Plugin for ServiceAccounts {
    fn name(&self) -> &'static str {
        "ServiceAccount"
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
impl Mutate for ServiceAccounts {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        let resource = request.resource.group_resource();
        let new = request.operation == Operation::Create && request.subresource.is_empty();
        if resource != GroupResource::new("", "pods") || !new {
            return Ok(());
        }
        let (namespace, name) = (request.namespace.clone(), request.shown().to_owned());
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        // A mirror of a pod that a kubelet runs by itself has nothing of the API.
        if is_mirror(pod) {
            return self.validate(request).await;
        }
        let spec = entry(pod, "spec");
        default_to(spec, "serviceAccountName", || json!("default"));
        if spec["serviceAccountName"] == "" {
            spec.insert("serviceAccountName", json!("default"));
        }
        let account = spec["serviceAccountName"].clone();
        spec.insert("serviceAccount", account.clone());
        let account = account.as_str().unwrap_or_default().to_owned();
        let Some(found) = self.account(&namespace, &account).await? else {
            let why =
                format!("error looking up service account {namespace}/{account}: serviceaccount {account:?} not found");
            return Err(ApiError::forbidden(&resource, &name, why));
        };
        let wanted = pod["spec"]["automountServiceAccountToken"].as_bool();
        if wanted.or(found["automountServiceAccountToken"].as_bool()).unwrap_or(true) {
            mount_token(pod);
        }
        let own = pod["spec"]["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty());
        if !own && found["imagePullSecrets"].is_array() {
            pod["spec"]["imagePullSecrets"] = found["imagePullSecrets"].clone();
        }
        // Before others look, as in stock; and again in the end, since they may change it.
        self.validate(request).await
    }
}

#[async_trait]
impl Validate for ServiceAccounts {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let (resource, operation) = (request.resource.group_resource(), request.operation);
        let new = match (operation, &*request.subresource) {
            (Operation::Create, "") => true,
            (Operation::Update, "ephemeralcontainers") => false,
            _ => return Ok(()),
        };
        let Some(pod) = request.object.as_ref().filter(|_| resource == GroupResource::new("", "pods")) else {
            return Ok(());
        };
        let no = |why: &str| Err(ApiError::forbidden(&resource, &request.name, why));
        if new && is_mirror(pod) {
            return secrets::refused_to_mirror(pod).map_or(Ok(()), no);
        }
        let account = object::text(pod, &["spec", "serviceAccountName"]);
        let Some(account) = self.account(&request.namespace, account).await?.filter(|a| secrets::enforced(a)) else {
            return Ok(());
        };
        let refused = if new { secrets::refused(&account, pod) } else { secrets::ephemeral_refused(&account, pod) };
        refused.map_or(Ok(()), |why| no(&why))
    }
}

/// How the names of the volumes begin that hold tokens.
const VOLUME: &str = "kube-api-access-";

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some()
}

/// Gives every container that mounts nothing there a token, the cluster's certificate and the namespace. A container
/// that came later shares the volume of those before it.
fn mount_token(pod: &mut Value) {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let own = |v: &&Value| v["projected"].is_object() && object::text(v, &["name"]).starts_with(VOLUME);
    let known = volumes.filter(own).map(|v| object::text(v, &["name"]).to_owned()).next();
    let volume = known.clone().unwrap_or_else(|| format!("{VOLUME}{}", names::random_suffix()));
    let mut used = false;
    for group in ["containers", "initContainers"] {
        for container in pod["spec"].get_mut(group).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|m| object::text(m, &["mountPath"]) == MOUNT) {
                continue;
            }
            mounts.push(json!({"name": volume, "mountPath": MOUNT, "readOnly": true}));
            used = true;
        }
    }
    if !used || known.is_some() {
        return;
    }
    let source = json!({"name": volume, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    let volumes = entry(pod, "spec").entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_is_added_later_shares_the_volume_of_the_token() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
        mount_token(&mut pod);
        pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "sidecar"}));
        mount_token(&mut pod);
        let spec = &pod["spec"];
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        for container in spec["containers"].as_array().unwrap() {
            assert_eq!(container["volumeMounts"][0]["name"], spec["volumes"][0]["name"]);
        }
    }
}
