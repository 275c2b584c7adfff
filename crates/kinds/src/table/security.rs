//! Who and what: reviews, certificates, RBAC.

use super::{Row, STATUS, Sub, cl, ns};
use crate::row::Verb;
use crate::{csr, optional, rbac};
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

pub(super) const CERTIFICATES: &[Row] = &[
    cl(CERTS, "v1", "CertificateSigningRequest", "certificatesigningrequests")
        .with(|| Arc::new(csr::STRATEGY))
        .short(&["csr"])
        .subs(CSR_SUBS)
        .fields(&["spec.signerName"]),
    cl(CERTS, "v1", "ClusterTrustBundle", "clustertrustbundles")
        .fields(&["spec.signerName"])
        .opt_in()
        .with(|| Arc::new(optional::TRUST_BUNDLE)),
    ns(CERTS, "v1", "PodCertificateRequest", "podcertificaterequests")
        .status()
        .opt_in()
        .with(|| Arc::new(optional::POD_CERTIFICATE)),
];

pub(super) const ROLES: &[Row] = &[
    cl(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings").upsert().with(|| Arc::new(rbac::CLUSTER_BINDING)),
    cl(RBAC, "v1", "ClusterRole", "clusterroles").upsert().with(|| Arc::new(rbac::CLUSTER_ROLE)),
    ns(RBAC, "v1", "RoleBinding", "rolebindings").upsert().with(|| Arc::new(rbac::BINDING)),
    ns(RBAC, "v1", "Role", "roles").upsert().with(|| Arc::new(rbac::ROLE)),
];
