//! A volume that is written into a VolumeAttachment: only what a CSI driver needs to know of it.

use crate::common::checks::forbidden;
use crate::common::claim::check_modes;
use crate::common::volume_sources::csi;
use crate::read::{has, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::Value;

/// What is wrong with the specification of a volume that has no object of its own.
pub(crate) fn inline_volume(spec: &Value, at: &Path) -> ErrorList {
    const WHY: &str = "may not be specified in the context of inline volumes";
    let mut errors = ErrorList::new();
    forbidden(spec, at, &["claimRef", "capacity"], WHY, &mut errors);
    if !has(spec, &["csi"]) {
        errors.push(FieldError::required(&at.child("csi"), "has to be specified in the context of inline volumes"));
    }
    check_modes(spec, at, "", &mut errors);
    if has(spec, &["csi"]) {
        csi(&spec["csi"], &at.child("csi"), &mut errors);
    }
    let retain = text(spec, &["persistentVolumeReclaimPolicy"]);
    if !matches!(retain, "" | "Retain") {
        let why = "may only be Retain in the context of inline volumes";
        errors.push(FieldError::forbidden(&at.child("persistentVolumeReclaimPolicy"), why));
    }
    forbidden(spec, at, &["nodeAffinity", "storageClassName"], WHY, &mut errors);
    if !matches!(text(spec, &["volumeMode"]), "" | "Filesystem") {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.push(FieldError::forbidden(&at.child("volumeMode"), why));
    }
    errors
}
