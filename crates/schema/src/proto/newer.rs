//! Facts of the wire format that are newer than the package it is read from: numbers of added fields, and messages that
//! went to a later version as they were. The kind of a field follows from its shape in the bundle.

use super::{Messages, Wire};
use crate::bundle::{Field, Scalar, Shape, bundle};

/// Message, field in JSON, number.
const FIELDS: &[(&str, &str, u32)] = &[
    ("api::autoscaling::v2::HorizontalPodAutoscalerCondition", "observedGeneration", 6),
    ("api::certificates::v1beta1::PodCertificateRequestSpec", "stubPKCS10Request", 12),
    ("api::core::v1::ClusterTrustBundleProjection", "user", 6),
    ("api::core::v1::ConfigMapVolumeSource", "defaultUser", 5),
    ("api::core::v1::DownwardAPIVolumeFile", "user", 5),
    ("api::core::v1::DownwardAPIVolumeSource", "defaultUser", 3),
    ("api::core::v1::EmptyDirVolumeSource", "mode", 3),
    ("api::core::v1::GrpcAction", "mode", 3),
    ("api::core::v1::HttpGetAction", "protocol", 6),
    ("api::core::v1::KeyToPath", "user", 4),
    ("api::core::v1::NodePodPreemptionPolicy", "disableResizePreemption", 1),
    ("api::core::v1::PodCertificateProjection", "user", 8),
    ("api::core::v1::PodSchedulingGroup", "podGroupName", 1),
    ("api::core::v1::PodSpec", "schedulingGroup", 43),
    ("api::core::v1::ProjectedVolumeSource", "defaultUser", 3),
    ("api::core::v1::ResourceHealth", "message", 6),
    ("api::core::v1::SecretVolumeSource", "defaultUser", 5),
    ("api::core::v1::ServiceAccountTokenProjection", "user", 4),
    ("api::core::v1::VolumeMount", "bindMountOptions", 8),
    ("api::resource::v1::DeviceAttribute", "ints", 6),
    ("api::resource::v1::DeviceAttribute", "bools", 7),
    ("api::resource::v1::DeviceAttribute", "strings", 8),
    ("api::resource::v1::DeviceAttribute", "versions", 9),
    ("api::resource::v1::DeviceRequestAllocationResult", "skipNodeOperations", 11),
    ("api::resource::v1::ResourceSliceSpec", "partitionTypeAttribute", 9),
    ("api::resource::v1::ResourceSliceSpec", "skipNodeOperations", 10),
    ("api::resource::v1beta1::DeviceAttribute", "ints", 6),
    ("api::resource::v1beta1::DeviceAttribute", "bools", 7),
    ("api::resource::v1beta1::DeviceAttribute", "strings", 8),
    ("api::resource::v1beta1::DeviceAttribute", "versions", 9),
    ("api::resource::v1beta1::DeviceRequestAllocationResult", "skipNodeOperations", 11),
    ("api::resource::v1beta1::ResourceSliceSpec", "partitionTypeAttribute", 9),
    ("api::resource::v1beta1::ResourceSliceSpec", "skipNodeOperations", 10),
    ("api::resource::v1beta2::DeviceAttribute", "ints", 6),
    ("api::resource::v1beta2::DeviceAttribute", "bools", 7),
    ("api::resource::v1beta2::DeviceAttribute", "strings", 8),
    ("api::resource::v1beta2::DeviceAttribute", "versions", 9),
    ("api::resource::v1beta2::DeviceRequestAllocationResult", "skipNodeOperations", 11),
    ("api::resource::v1beta2::ResourceSliceSpec", "partitionTypeAttribute", 9),
    ("api::resource::v1beta2::ResourceSliceSpec", "skipNodeOperations", 10),
    ("api::storage::v1::CSIDriverSpec", "preventPodSchedulingIfMissing", 11),
    ("api::core::v1::EvictionResponder", "name", 1),
    ("api::core::v1::EvictionResponder", "priority", 2),
    ("api::core::v1::ImageVolumeStatus", "imageRef", 1),
    ("api::core::v1::NodeSpec", "podPreemptionPolicy", 8),
    ("api::core::v1::PersistentVolumeClaimStatus", "healthStatus", 10),
    ("api::core::v1::PodSpec", "evictionResponders", 44),
    ("api::core::v1::PodStatus", "volumeHealth", 22),
    ("api::core::v1::PodVolumeHealth", "name", 1),
    ("api::core::v1::PodVolumeHealth", "healthConditions", 2),
    ("api::core::v1::PodVolumeHealth", "lastTransitionTime", 3),
    ("api::core::v1::VolumeHealthCondition", "status", 1),
    ("api::core::v1::VolumeHealthCondition", "reason", 2),
    ("api::core::v1::VolumeHealthCondition", "message", 3),
    ("api::core::v1::VolumeHealthStatus", "healthConditions", 1),
    ("api::core::v1::VolumeHealthStatus", "lastTransitionTime", 2),
    ("api::core::v1::VolumeMountStatus", "volumeStatus", 5),
    ("api::core::v1::VolumeStatus", "image", 1),
    ("api::storage::v1::CSINode", "status", 3),
    ("api::storage::v1::CSINodeStatus", "storageHealth", 1),
    ("api::storage::v1::StorageHealth", "name", 1),
    ("api::storage::v1::StorageHealth", "healthConditions", 2),
    ("api::storage::v1::StorageHealthCondition", "status", 1),
    ("api::storage::v1::StorageHealthCondition", "reason", 2),
    ("api::storage::v1::StorageHealthCondition", "message", 3),
    ("api::storage::v1::StorageHealthCondition", "accessMode", 4),
    ("api::storage::v1::StorageHealthCondition", "volumeMode", 5),
    ("api::storage::v1::StorageHealthCondition", "lastTransitionTime", 6),
];

/// Messages whose numbers are those of an earlier version.
const PROMOTED: &[(&str, &str)] = &[
    (
        "api::admissionregistration::v1::MutatingAdmissionPolicy",
        "api::admissionregistration::v1beta1::MutatingAdmissionPolicy",
    ),
    (
        "api::admissionregistration::v1::MutatingAdmissionPolicyBinding",
        "api::admissionregistration::v1beta1::MutatingAdmissionPolicyBinding",
    ),
    ("api::certificates::v1::ClusterTrustBundle", "api::certificates::v1beta1::ClusterTrustBundle"),
    ("api::certificates::v1::PodCertificateRequest", "api::certificates::v1beta1::PodCertificateRequest"),
    ("api::resource::v1::DeviceTaintRule", "api::resource::v1alpha3::DeviceTaintRule"),
    ("api::resource::v1beta2::DeviceTaintRule", "api::resource::v1alpha3::DeviceTaintRule"),
    ("api::storagemigration::v1::StorageVersionMigration", "api::storagemigration::v1beta1::StorageVersionMigration"),
];

/// Puts the facts into the table.
pub(super) fn add(messages: &mut Messages) {
    for (path, name, number) in FIELDS {
        let ty = bundle().types().map(|(_, t)| t).find(|t| t.path.eq_ignore_ascii_case(path));
        if let Some(wire) = ty.and_then(|t| t.field(name)).and_then(wire) {
            messages.entry((*path).to_owned()).or_default().insert(*number, wire);
        }
    }
    for (new, old) in PROMOTED {
        if let Some(fields) = messages.get(*old).cloned() {
            messages.entry((*new).to_owned()).or_insert(fields);
        }
    }
}

/// A field's kind on the wire; `None` for shapes that need a message of their own.
fn wire(field: &Field) -> Option<Wire> {
    let (prefix, shape) = match &field.shape {
        Shape::List(item) => ("[", &**item),
        other => ("", other),
    };
    let (kind, message) = match shape {
        Shape::Scalar(Scalar::String) => ("string", String::new()),
        Shape::Scalar(Scalar::Int32) => ("int32", String::new()),
        Shape::Scalar(Scalar::Int64) => ("int64", String::new()),
        Shape::Scalar(Scalar::Bool) => ("bool", String::new()),
        Shape::Scalar(Scalar::Bytes) => ("bytes", String::new()),
        Shape::Scalar(Scalar::Time) => ("message", "apimachinery::pkg::apis::meta::v1::Time".to_owned()),
        Shape::Object(id) => ("message", bundle().get(*id).path.clone()),
        _ => return None,
    };
    Some(Wire { name: field.name.to_lowercase(), kind: format!("{prefix}{kind}"), message })
}
