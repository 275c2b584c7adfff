//! What extends and guards the API itself: CRDs, aggregated APIs, admission, flow control, storage versions.

use super::build::{Row, row};
use crate::Kind;

const ADMISSION: &str = "admissionregistration.k8s.io";

fn mutating_policies(rows: &mut Vec<Kind>, version: &'static str) {
    let kind = |kind, plural| row(ADMISSION, version, kind, plural).cluster().api_extension().stored("v1").counted();
    rows.push(kind("MutatingAdmissionPolicy", "mutatingadmissionpolicies"));
    rows.push(kind("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"));
}

fn flow(kind: &'static str, plural: &'static str) -> Kind {
    row("flowcontrol.apiserver.k8s.io", "v1", kind, plural).cluster().status().counted()
}

fn migration(version: &'static str) -> Kind {
    row("storagemigration.k8s.io", version, "StorageVersionMigration", "storageversionmigrations")
        .cluster()
        .status()
        .stored("v1")
}

pub(super) fn rows() -> Vec<Kind> {
    let mut rows = Vec::new();
    mutating_policies(&mut rows, "v1");
    mutating_policies(&mut rows, "v1beta1");
    mutating_policies(&mut rows, "v1alpha1");
    let admission = |kind, plural| row(ADMISSION, "v1", kind, plural).cluster().api_extension().counted();
    rows.extend([
        admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies").status(),
        admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
        row("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
            .cluster()
            .short(&["crd", "crds"])
            .api_extension()
            .prefix("/registry/apiextensions.k8s.io/customresourcedefinitions/")
            .status()
            .counted(),
        row("apiregistration.k8s.io", "v1", "APIService", "apiservices")
            .cluster()
            .api_extension()
            .prefix("/registry/apiregistration.k8s.io/apiservices/")
            .status(),
        flow("FlowSchema", "flowschemas"),
        flow("PriorityLevelConfiguration", "prioritylevelconfigurations"),
        migration("v1"),
        migration("v1beta1"),
        row("internal.apiserver.k8s.io", "v1alpha1", "StorageVersion", "storageversions").cluster().status(),
    ]);
    rows
}
