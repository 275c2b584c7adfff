//! CertificateSigningRequests: kubelets' are approved by themselves, approved ones are signed by the cluster's
//! authority for stock's signers, old ones go.
//!
//! Invariant: nothing is signed that was not approved, and nothing whose subject or usages its signer does not allow.

mod rules;

use crate::{Context, is_conflict, is_missing};
use ironclad_client::{Change, WorkQueue};
use ironclad_json::{Value, json};
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, PostParams};
use rules::{APPROVED, FAILED, Next};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub use rules::Asked;

/// The cluster's authority.
pub trait Authority: Send + Sync {
    /// Reads a request (PEM) whose sender has its key.
    fn read(&self, request: &[u8]) -> Result<Asked, String>;
    /// Signs it for these usages and this life.
    fn sign(&self, request: &[u8], usages: &[String], life: Duration) -> Result<String, String>;
}

const SHORTEST: Duration = Duration::from_mins(10);

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<String>> = WorkQueue::new();
    let requests = context.informers.get::<CertificateSigningRequest>();
    let add = queue.clone();
    requests.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            add.add(change.object().metadata.name.clone().unwrap_or_default());
        }
    });
    requests.synced().await;
    let work = move |name: String| {
        let (context, requests) = (context.clone(), requests.clone());
        async move {
            let Some(request) = requests.get("", &name) else { return Ok(None) };
            reconcile(&context, &request).await
        }
    };
    queue.run("certificates", 2, token, work).await;
}

async fn reconcile(context: &Context, request: &CertificateSigningRequest) -> Result<Option<Duration>, kube::Error> {
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    let name = request.metadata.name.clone().unwrap_or_default();
    let asked = context.authority.read(&request.spec.request.0);
    let outcome = match rules::next(request, asked.as_ref().map_err(Clone::clone), Timestamp::now()) {
        Next::Delete => api.delete(&name, &DeleteParams::default()).await.map(drop),
        Next::Approve { subresource, message } => match may(context, request, subresource).await? {
            true => approve(&api, request, message).await,
            false => Ok(()),
        },
        Next::Fail(why) => fail(&api, request, "SignerValidationFailure", &why).await,
        Next::Sign => sign(context, &api, request).await,
        Next::Wait => Ok(()),
    };
    match outcome {
        Err(error) if is_missing(&error) || is_conflict(&error) => {}
        other => other?,
    }
    Ok(rules::age_limit(request, Timestamp::now()))
}

/// Whether whoever sent a request may have it approved by itself.
async fn may(context: &Context, request: &CertificateSigningRequest, subresource: &str) -> Result<bool, kube::Error> {
    let spec = &request.spec;
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".to_owned()),
        version: Some("*".to_owned()),
        resource: Some("certificatesigningrequests".to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some("create".to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer =
        Api::<SubjectAccessReview>::all(context.client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

type Requests = Api<CertificateSigningRequest>;

/// The request with one more condition, as an object to be sent.
fn with_condition(request: &CertificateSigningRequest, kind: &str, reason: &str, message: &str) -> Value {
    let mut object = ironclad_json::to_value(request).unwrap_or_default();
    let now = ironclad_api::time::now();
    let condition =
        json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now});
    match object["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => object["status"]["conditions"] = json!([condition]),
    }
    object
}

async fn approve(api: &Requests, request: &CertificateSigningRequest, message: &str) -> Result<(), kube::Error> {
    let body = with_condition(request, APPROVED, "AutoApproved", message);
    put(api, request, "approval", &body).await
}

async fn fail(api: &Requests, request: &CertificateSigningRequest, reason: &str, why: &str) -> Result<(), kube::Error> {
    put(api, request, "status", &with_condition(request, FAILED, reason, why)).await
}

async fn sign(context: &Context, api: &Requests, request: &CertificateSigningRequest) -> Result<(), kube::Error> {
    let life = life(request.spec.expiration_seconds, context.signing_duration);
    let usages = request.spec.usages.clone().unwrap_or_default();
    match context.authority.sign(&request.spec.request.0, &usages, life) {
        Ok(certificate) => {
            let mut body = ironclad_json::to_value(request).unwrap_or_default();
            body["status"]["certificate"] = json!(ByteString(certificate.into_bytes()));
            put(api, request, "status", &body).await
        }
        Err(why) => fail(api, request, "SigningError", &why).await,
    }
}

/// How long a certificate lives: as long as was asked for, but not longer than the cluster allows.
fn life(asked: Option<i32>, longest: Duration) -> Duration {
    let Some(asked) = asked else { return longest };
    let asked = Duration::from_secs(asked.max(0) as u64);
    if asked > longest { longest } else { asked.max(SHORTEST) }
}

async fn put(api: &Requests, request: &CertificateSigningRequest, sub: &str, body: &Value) -> Result<(), kube::Error> {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    api.replace_subresource::<Value>(sub, name, &PostParams::default(), body).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_lives_no_longer_than_the_cluster_allows() {
        let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
        for (asked, longest, lives) in [
            (None, hour, hour),
            (Some(7200), hour, hour),
            (Some(1800), hour, Duration::from_secs(1800)),
            (Some(1), hour, SHORTEST),
            (None, minute, minute),
            (Some(1), minute, SHORTEST),
        ] {
            assert_eq!(life(asked, longest), lives, "{asked:?} of {longest:?}");
        }
    }

    #[test]
    fn a_condition_is_added_behind_the_others() {
        let request = CertificateSigningRequest::default();
        let first: CertificateSigningRequest =
            ironclad_json::from_value(with_condition(&request, APPROVED, "Yes", "yes")).unwrap();
        assert!(rules::has(&first, APPROVED));
        let second = with_condition(&first, FAILED, "Bad", "bad");
        assert_eq!(second["status"]["conditions"][1]["type"], "Failed");
    }
}
