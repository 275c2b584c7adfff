//! What clients trust: the authorities of the API server as a ClusterTrustBundle that pods can mount. And old requests
//! of pods' certificates, which go.
//!
//! Invariant: of the API server's signer there is one bundle, named after what it holds; older ones go behind it.

use crate::{Context, is_conflict, is_missing};
use ironclad_client::{Change, WorkQueue};
use k8s_openapi::api::certificates::v1::{ClusterTrustBundle, ClusterTrustBundleSpec, PodCertificateRequest};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";
const PREFIX: &str = "kubernetes.io:kube-apiserver-serving:";
/// How long requests of pods' certificates stay.
const LIFE: Duration = Duration::from_mins(15);

/// The name of a bundle that holds this.
fn name(bundle: &str) -> String {
    format!("{PREFIX}{}", hex::encode(&Sha256::digest(bundle)[..12]))
}

fn is_ours(bundle: &ClusterTrustBundle) -> bool {
    bundle.spec.signer_name.as_deref() == Some(SIGNER)
}

/// Keeps the bundle of the API server.
pub(crate) async fn publish(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<()>> = WorkQueue::new();
    let bundles = context.informers.get::<ClusterTrustBundle>();
    let add = queue.clone();
    bundles.on_change(move |change| {
        if is_ours(change.object()) {
            add.add(());
        }
    });
    queue.add(());
    bundles.synced().await;
    let work = move |()| {
        let (context, bundles) = (context.clone(), bundles.clone());
        async move {
            let api: Api<ClusterTrustBundle> = Api::all(context.client.clone());
            let wanted = name(&context.root_ca);
            if bundles.get("", &wanted).is_none_or(|b| b.spec.trust_bundle != context.root_ca) {
                let spec = ClusterTrustBundleSpec {
                    signer_name: Some(SIGNER.to_owned()),
                    trust_bundle: context.root_ca.clone(),
                };
                let metadata = ObjectMeta { name: Some(wanted.clone()), ..ObjectMeta::default() };
                match api.create(&PostParams::default(), &ClusterTrustBundle { metadata, spec }).await {
                    // Somebody has put something else under its name.
                    Err(error) if is_conflict(&error) => remove(&api, &wanted, None).await?,
                    other => drop(other?),
                }
            }
            for old in bundles.list().into_iter().filter(|b| is_ours(b) && b.metadata.name.as_ref() != Some(&wanted)) {
                remove(&api, old.metadata.name.as_deref().unwrap_or_default(), old.metadata.uid.clone()).await?;
            }
            Ok::<_, kube::Error>(None)
        }
    };
    queue.run("kube-apiserver-serving-clustertrustbundle-publisher", 1, token, work).await;
}

async fn remove(api: &Api<ClusterTrustBundle>, name: &str, uid: Option<String>) -> Result<(), kube::Error> {
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    match api.delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
        Err(error) if !is_missing(&error) && !is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

/// How long a request stays yet.
fn left(created: Option<Timestamp>, now: Timestamp) -> Duration {
    let age = created.map_or(0, |at| now.as_second() - at.as_second());
    LIFE.saturating_sub(Duration::from_secs(age.max(0) as u64))
}

/// Removes old requests of pods' certificates.
pub(crate) async fn clean(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<(String, String)>> = WorkQueue::new();
    let requests = context.informers.get::<PodCertificateRequest>();
    let add = queue.clone();
    requests.on_change(move |change| {
        if let Change::Added(request) = change {
            let meta = &request.metadata;
            add.add((meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()));
        }
    });
    requests.synced().await;
    let work = move |(namespace, name): (String, String)| {
        let (context, requests) = (context.clone(), requests.clone());
        async move {
            let Some(request) = requests.get(&namespace, &name) else { return Ok(None) };
            let left = left(request.metadata.creation_timestamp.as_ref().map(|t| t.0), Timestamp::now());
            if !left.is_zero() {
                return Ok(Some(left));
            }
            let api: Api<PodCertificateRequest> = Api::namespaced(context.client.clone(), &namespace);
            let uid = request.metadata.uid.clone();
            let preconditions = Some(Preconditions { uid, resource_version: None });
            match api.delete(&name, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
                Err(error) if !is_missing(&error) && !is_conflict(&error) => Err(error),
                _ => Ok(None),
            }
        }
    };
    queue.run("podcertificaterequestcleaner", 1, token, work).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_named_after_what_it_holds() {
        assert!(name("a").starts_with(PREFIX) && name("a") != name("b"));
        assert_eq!(name("a").len(), PREFIX.len() + 24);
    }

    #[test]
    fn a_request_stays_a_quarter_of_an_hour() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        assert_eq!(left(Some(at(0)), at(300)), Duration::from_mins(10));
        assert_eq!(left(Some(at(0)), at(9000)), Duration::ZERO);
        assert_eq!(left(None, at(0)), LIFE);
    }
}
