//! Who may do what: reviews, RBAC, certificates.

use super::build::{Row, request, row, v};
use crate::Kind;

fn rbac(kind: &'static str, plural: &'static str) -> Kind {
    row("rbac.authorization.k8s.io", "v1", kind, plural).upsert()
}

fn authorization(kind: &'static str, plural: &'static str) -> Kind {
    request("authorization.k8s.io", "v1", kind, plural)
}

fn trust_bundle(version: &'static str) -> Kind {
    row("certificates.k8s.io", version, "ClusterTrustBundle", "clustertrustbundles")
        .cluster()
        .select(&["spec.signerName"])
        .stored("v1")
}

fn pod_certificate(version: &'static str) -> Kind {
    row("certificates.k8s.io", version, "PodCertificateRequest", "podcertificaterequests")
        .status()
        .select(&["spec.signerName", "spec.podName", "spec.nodeName"])
        .stored("v1")
}

pub(super) fn rows() -> Vec<Kind> {
    vec![
        request("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews").cluster(),
        request("authentication.k8s.io", "v1", "TokenReview", "tokenreviews").cluster(),
        authorization("LocalSubjectAccessReview", "localsubjectaccessreviews"),
        authorization("SelfSubjectAccessReview", "selfsubjectaccessreviews").cluster(),
        authorization("SelfSubjectRulesReview", "selfsubjectrulesreviews").cluster(),
        authorization("SubjectAccessReview", "subjectaccessreviews").cluster(),
        row("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests")
            .cluster()
            .short(&["csr"])
            .own("approval", v::EDIT)
            .status()
            .select(&["spec.signerName"]),
        trust_bundle("v1"),
        trust_bundle("v1beta1"),
        pod_certificate("v1"),
        pod_certificate("v1beta1"),
        rbac("ClusterRoleBinding", "clusterrolebindings").cluster(),
        rbac("ClusterRole", "clusterroles").cluster(),
        rbac("RoleBinding", "rolebindings"),
        rbac("Role", "roles"),
    ]
}
