//! Claims that are bound to a volume of this node: hostPath and local.

use super::{Around, directories, owner};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::Api;
use std::path::PathBuf;

/// Where the volume of a claim lies.
pub(super) async fn path(around: &Around<'_>, claim: &str) -> Result<PathBuf, String> {
    let client = &around.config.client;
    let plan = around.plan;
    let text = |e: kube::Error| match e {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    };
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &plan.namespace);
    let found = claims.get(claim).await.map_err(text)?;
    let bound = found.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let volume = found.spec.and_then(|s| s.volume_name).filter(|_| bound);
    let volume = volume.ok_or_else(|| format!("PVC {}/{claim} is not bound", plan.namespace))?;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let spec = volumes.get(&volume).await.map_err(text)?.spec.unwrap_or_default();
    if let Some(host) = &spec.host_path {
        return directories::host_path(&host.path, host.type_.as_deref().unwrap_or_default());
    }
    if let Some(local) = &spec.local {
        let path = PathBuf::from(&local.path);
        if !path.is_dir() {
            return Err(format!("path {:?} does not exist", local.path));
        }
        if let Some(group) = owner::group(plan) {
            owner::give(&path, group, owner::policy(plan)).map_err(|e| e.to_string())?;
        }
        return Ok(path);
    }
    Err(format!("failed to get Plugin from volumeSpec for volume {volume:?} err=no volume plugin matched"))
}
