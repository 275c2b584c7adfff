//! Who and what: reviews, certificates, RBAC.

use super::{Row, STATUS, Sub, cl, ns};
use crate::row::Verb;
use crate::{csr, optional, rbac};
use ironclad_api::features;
use std::sync::Arc;

const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";
const CERTS: &str = "certificates.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

const CSR_SUBS: &[Sub] = &[("approval", None, Verb::GET_PATCH_UPDATE), STATUS];

pub(super) const AUTHENTICATION: &[Row] = &[
    cl(AUTHN, "v1", "TokenReview", "tokenreviews").verbs(Verb::CREATE),
    cl(AUTHN, "v1", "SelfSubjectReview", "selfsubjectreviews").verbs(Verb::CREATE),
];

pub(super) const AUTHORIZATION: &[Row] = &[
    ns(AUTHZ, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews").verbs(Verb::CREATE),
    cl(AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews").verbs(Verb::CREATE),
    cl(AUTHZ, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews").verbs(Verb::CREATE),
    cl(AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews").verbs(Verb::CREATE),
];

const BUNDLE: Row = cl(CERTS, "v1", "ClusterTrustBundle", "clustertrustbundles")
    .fields(&["spec.signerName"])
    .gated(features::CLUSTER_TRUST_BUNDLE)
    .with(|| Arc::new(optional::TRUST_BUNDLE));
const POD_CERTIFICATE: Row = ns(CERTS, "v1", "PodCertificateRequest", "podcertificaterequests")
    .status()
    .stored_as("v1beta1")
    .fields(&["spec.signerName", "spec.podName", "spec.nodeName"])
    .gated(features::POD_CERTIFICATE_REQUEST)
    .with(|| Arc::new(optional::POD_CERTIFICATE));

pub(super) const CERTIFICATES: &[Row] = &[
    cl(CERTS, "v1", "CertificateSigningRequest", "certificatesigningrequests")
        .with(|| Arc::new(csr::STRATEGY))
        .short(&["csr"])
        .subs(CSR_SUBS)
        .fields(&["spec.signerName"]),
    BUNDLE,
    POD_CERTIFICATE,
    BUNDLE.of("v1beta1", "v1").opt_in().replaced(37, 40),
    // What only this version says of keys is kept, as stock keeps it in the release in which v1 appears.
    POD_CERTIFICATE.of("v1beta1", "v1beta1").opt_in().replaced(37, 40),
];

pub(super) const ROLES: &[Row] = &[
    cl(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings").upsert().with(|| Arc::new(rbac::CLUSTER_BINDING)),
    cl(RBAC, "v1", "ClusterRole", "clusterroles").upsert().with(|| Arc::new(rbac::CLUSTER_ROLE)),
    ns(RBAC, "v1", "RoleBinding", "rolebindings").upsert().with(|| Arc::new(rbac::BINDING)),
    ns(RBAC, "v1", "Role", "roles").upsert().with(|| Arc::new(rbac::ROLE)),
];
