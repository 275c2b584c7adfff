//! CertificateApproval, CertificateSigning, ClusterTrustBundleAttest and CertificateSubjectRestriction: who may approve,
//! sign and attest for a signer, and that nobody asks for `system:masters`.

use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use base64::Engine;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, FieldError, Path, object, user};
use ironclad_auth::{Attributes, Authorizer, Decision};
use ironclad_json::Value;
use std::sync::Arc;

const GROUP: &str = "certificates.k8s.io";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn requests(request: &Request, subresource: &str) -> bool {
    request.resource.group == GROUP
        && request.resource.resource == "certificatesigningrequests"
        && request.subresource == subresource
}

/// Asks for the permission that a signer's name needs, for the name itself and for its domain.
async fn may(authorizer: &dyn Authorizer, request: &Request, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map_or(signer, |(d, _)| d);
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let attributes = Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: "signers".into(),
            name,
            is_resource: true,
            ..Attributes::default()
        };
        if matches!(authorizer.authorize(&attributes).await, Decision::Allow(_)) {
            return true;
        }
    }
    false
}

/// Approving and signing, each with its verb on the signer.
pub(super) struct Signers {
    name: &'static str,
    subresource: &'static str,
    verb: &'static str,
    authorizer: Arc<dyn Authorizer>,
}

impl Signers {
    pub(super) fn approval(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { name: "CertificateApproval", subresource: "approval", verb: "approve", authorizer }
    }

    pub(super) fn signing(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { name: "CertificateSigning", subresource: "status", verb: "sign", authorizer }
    }
}

/// Whether a request answers one for a pod's certificate.
fn of_pod(request: &Request) -> bool {
    let what = (request.resource.group.as_str(), request.resource.resource.as_str(), request.subresource.as_str());
    what == (GROUP, "podcertificaterequests", "status")
}

impl Signers {
    /// Only a signer answers.
    async fn answer(&self, request: &Request) -> Result<()> {
        let (new, old) = (request.object.as_ref(), request.old.as_deref().unwrap_or(&Value::Null));
        let status = |o: &Value| o["status"].as_object().cloned().unwrap_or_default();
        let signer = object::text(old, &["spec", "signerName"]);
        if new.map(status) == Some(status(old)) || may(&*self.authorizer, request, "sign", signer).await {
            return Ok(());
        }
        let user = &request.user.name;
        let why = format!("User {user:?} is not permitted to \"sign\" for signer {signer:?}");
        let error = FieldError::forbidden(&Path::new("spec").child("signerName"), why);
        Err(ApiError::invalid(GROUP, "PodCertificateRequest", &request.name, &[error]))
    }
}

impl Plugin for Signers {
    fn name(&self) -> &'static str {
        self.name
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Signers {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        if self.verb == "sign" && of_pod(request) {
            return self.answer(request).await;
        }
        if !requests(request, self.subresource) {
            return Ok(());
        }
        let (new, old) = (request.object.as_ref(), request.old.as_deref().unwrap_or(&Value::Null));
        let same = |field: &str| new.is_some_and(|n| n["status"][field] == old["status"][field]);
        if self.verb == "sign" && same("certificate") && same("conditions") {
            return Ok(());
        }
        let signer = object::text(old, &["spec", "signerName"]);
        if may(&*self.authorizer, request, self.verb, signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to {} requests with signerName {signer:?}", self.verb);
        Err(request.forbidden(why))
    }
}

/// Lets only those publish trust for a signer who may attest for it.
pub(super) struct Attest {
    authorizer: Arc<dyn Authorizer>,
}

impl Attest {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }
}

impl Plugin for Attest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Attest {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let bundle = request.resource.group == GROUP && request.resource.resource == "clustertrustbundles";
        let Some(object) = request.object.as_ref().filter(|_| bundle && request.subresource.is_empty()) else {
            return Ok(());
        };
        let signer = object::text(object, &["spec", "signerName"]);
        // Changing labels or annotations says nothing about the signer.
        if signer.is_empty() || request.old.as_deref().is_some_and(|old| old["spec"] == object["spec"]) {
            return Ok(());
        }
        if may(&*self.authorizer, request, "attest", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to attest for signerName {signer:?}");
        Err(request.forbidden(why))
    }
}

/// Refuses requests for certificates of the group that may do everything.
pub(super) struct Subjects;

impl Plugin for Subjects {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Subjects {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(object) = request.object.as_ref().filter(|_| requests(request, "")) else { return Ok(()) };
        if object["spec"]["signerName"] != KUBELET_CLIENT {
            return Ok(());
        }
        let encoded = object::text(object, &["spec", "request"]);
        let organizations = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .ok()
            .and_then(|pem| ironclad_auth::pki::organizations_of_request(&pem));
        match organizations {
            Some(groups) if groups.iter().any(|g| g == user::MASTERS) => {
                let why = format!("use of {KUBELET_CLIENT} signer with system:masters group is not allowed");
                Err(request.forbidden(why))
            }
            Some(_) => Ok(()),
            None => Err(request.forbidden("failed to parse CSR: PEM block type must be CERTIFICATE REQUEST")),
        }
    }
}
