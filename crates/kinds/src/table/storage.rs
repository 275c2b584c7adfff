//! Storage, and the migration of stored versions.

use super::{Row, cl, ns};
use crate::{cluster, storage};
use ironclad_api::features;
use std::sync::Arc;

pub(super) const STORAGE: &str = "storage.k8s.io";

pub(super) const CLASSES: &[Row] = &[
    cl(STORAGE, "v1", "CSIDriver", "csidrivers").with(|| Arc::new(storage::DRIVER)),
    cl(STORAGE, "v1", "CSINode", "csinodes").with(|| Arc::new(storage::NODE)),
    ns(STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities").with(|| Arc::new(storage::CAPACITY)),
    cl(STORAGE, "v1", "StorageClass", "storageclasses").short(&["sc"]).with(|| Arc::new(storage::CLASS)),
    cl(STORAGE, "v1", "VolumeAttachment", "volumeattachments").with(|| Arc::new(storage::ATTACHMENT)).status(),
    cl(STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses")
        .with(|| Arc::new(storage::ATTRIBUTES))
        .short(&["vac"]),
];

const ONE_MIGRATION: Row = cl("storagemigration.k8s.io", "v1", "StorageVersionMigration", "storageversionmigrations")
    .status()
    .gated(features::STORAGE_VERSION_MIGRATOR)
    .with(|| Arc::new(cluster::migration::MIGRATION));

pub(super) const MIGRATION: &[Row] = &[ONE_MIGRATION, ONE_MIGRATION.of("v1beta1", "v1").opt_in().replaced(37, 40)];
