//! What extends the server: aggregation, admission, custom resources, flow control.

use super::{EXTENSIONS, Row, cl};
use crate::cluster;
use crate::extension::{admission, api_service, crd, flow};
use ironclad_api::features;
use std::sync::Arc;

const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";

pub(super) const AGGREGATION: &[Row] = &[cl("apiregistration.k8s.io", "v1", "APIService", "apiservices")
    .with(|| Arc::new(api_service::STRATEGY))
    .categories(EXTENSIONS)
    .status()
    .at("apiregistration.k8s.io/apiservices")];

const MUTATING_POLICY: Row = cl(ADMISSION, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
    .gated(features::MUTATING_ADMISSION_POLICY)
    .with(|| Arc::new(admission::MUTATING_POLICY))
    .categories(EXTENSIONS)
    .counted();
const MUTATING_BINDING: Row = cl(ADMISSION, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
    .counted()
    .gated(features::MUTATING_ADMISSION_POLICY)
    .with(|| Arc::new(admission::MUTATING_BINDING))
    .categories(EXTENSIONS);

pub(super) const POLICIES: &[Row] = &[
    cl(ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .with(|| Arc::new(admission::MUTATING))
        .categories(EXTENSIONS)
        .counted(),
    cl(ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .with(|| Arc::new(admission::POLICY))
        .categories(EXTENSIONS)
        .status()
        .counted(),
    cl(ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        .counted()
        .with(|| Arc::new(admission::BINDING))
        .categories(EXTENSIONS),
    cl(ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .with(|| Arc::new(admission::VALIDATING))
        .categories(EXTENSIONS)
        .counted(),
    MUTATING_POLICY,
    MUTATING_BINDING,
    MUTATING_POLICY.of("v1beta1", "v1").opt_in().replaced(37, 40),
    MUTATING_BINDING.of("v1beta1", "v1").opt_in().replaced(37, 40),
    MUTATING_POLICY.of("v1alpha1", "v1").opt_in().until(35, 38),
    MUTATING_BINDING.of("v1alpha1", "v1").opt_in().until(35, 38),
];

pub(super) const CUSTOM: &[Row] =
    &[cl("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
        .with(|| Arc::new(crd::STRATEGY))
        .short(&["crd", "crds"])
        .categories(EXTENSIONS)
        .status()
        .at("apiextensions.k8s.io/customresourcedefinitions")
        .counted()];

pub(super) const FLOWS: &[Row] = &[
    cl(FLOW, "v1", "FlowSchema", "flowschemas").with(|| Arc::new(flow::SCHEMA)).status().counted(),
    cl(FLOW, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations")
        .with(|| Arc::new(flow::LEVEL))
        .status()
        .counted(),
];

pub(super) const INTERNAL: &[Row] = &[cl("internal.apiserver.k8s.io", "v1alpha1", "StorageVersion", "storageversions")
    .status()
    .opt_in()
    .with(|| Arc::new(cluster::storage_version::STORAGE_VERSION))];
