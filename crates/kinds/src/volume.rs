//! PersistentVolumes and PersistentVolumeClaims.

use crate::common::claim::{check_modes, validate_claim_spec};
use crate::print;
use crate::read::{canonical, fill, fill_zero, has, items, map, put, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

pub(crate) const VOLUME: Rules = Rules::new()
    .defaults(|o| {
        let spec = spec(o);
        fill_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
        canonical(spec, &["capacity"]);
        if let Some(path) = crate::read::at_mut(spec, &["hostPath"]) {
            fill(path, "type", "");
        }
    })
    .on_create(|o| o["status"] = json!({"phase": "Pending"}))
    .checks(validate_volume)
    .prints(VOLUME_COLUMNS, volume_cells);

pub(crate) const CLAIM: Rules = Rules::new()
    .defaults(|o| {
        let spec = spec(o);
        fill(spec, "volumeMode", "Filesystem");
        canonical(spec, &["resources", "requests"]);
        canonical(spec, &["resources", "limits"]);
    })
    .on_create(|o| o["status"] = json!({"phase": "Pending"}))
    .checks(|o| validate_claim_spec(&o["spec"], &Path::new("spec")))
    .checks_update(validate_claim_update)
    .prints(CLAIM_COLUMNS, claim_cells);

const VOLUME_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::text("Capacity", "Size of the volume."),
    Column::text("Access Modes", "How the volume can be mounted."),
    Column::text("Reclaim Policy", "What happens to the volume when it is released."),
    Column::text("Status", "The phase of the volume."),
    Column::text("Claim", "The claim that the volume is bound to."),
    Column::text("StorageClass", "StorageClass of the pv"),
    Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    Column::text("Reason", "Why the volume is in its phase."),
    Column::age(),
    Column::text("VolumeMode", "Whether it is a file system or a block device.").wide(),
];

const CLAIM_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::text("Status", "The phase of the claim."),
    Column::text("Volume", "The volume that the claim is bound to."),
    Column::text("Capacity", "Size of the volume."),
    Column::text("Access Modes", "How the volume can be mounted."),
    Column::text("StorageClass", "StorageClass of the pvc"),
    Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    Column::age(),
    Column::text("VolumeMode", "Whether it is a file system or a block device.").wide(),
];

fn validate_volume(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    check_modes(&o["spec"], &at, &mut errors);
    if map(o, &["spec", "capacity"]).is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required(&at.child("capacity"), ""));
    } else if !has(o, &["spec", "capacity", "storage"]) {
        let given: Vec<&String> = map(o, &["spec", "capacity"]).into_iter().flatten().map(|(k, _)| k).collect();
        errors.push(FieldError::not_supported(&at.child("capacity"), &json!(given), &["storage"]));
    }
    let policy = text(o, &["spec", "persistentVolumeReclaimPolicy"]);
    let policies = ["Delete", "Recycle", "Retain"];
    if !policy.is_empty() && !policies.contains(&policy) {
        let at = at.child("persistentVolumeReclaimPolicy");
        errors.push(FieldError::not_supported(&at, &json!(policy), &policies));
    }
    const SOURCES: [&str; 10] = [
        "hostPath",
        "local",
        "nfs",
        "csi",
        "iscsi",
        "fc",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "azureDisk",
        "rbd",
    ];
    const MORE: [&str; 11] = [
        "glusterfs",
        "cephfs",
        "cinder",
        "flocker",
        "flexVolume",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "photonPersistentDisk",
        "portworxVolume",
        "scaleIO",
    ];
    let given = SOURCES.iter().chain(&MORE).chain(&["storageos"]).filter(|s| has(o, &["spec", s])).count();
    if given == 0 {
        errors.push(FieldError::required(&at, "must specify a volume type"));
    }
    errors
}

fn validate_claim_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = validate_claim_spec(&new["spec"], &Path::new("spec"));
    let mut copy = new["spec"].clone();
    // A claim may grow, may be bound, and may get another attributes class.
    for key in ["resources", "volumeAttributesClassName"] {
        put(&mut copy, key, old["spec"][key].clone());
    }
    if text(old, &["spec", "volumeName"]).is_empty() {
        put(&mut copy, "volumeName", old["spec"]["volumeName"].clone());
    }
    let mut before = old["spec"].clone();
    for v in [&mut copy, &mut before] {
        if let Some(map) = v.as_object_mut() {
            map.retain(|_, v| !v.is_null());
        }
    }
    if copy != before {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        errors.push(FieldError::forbidden(&Path::new("spec"), detail));
    }
    errors
}

fn class<'a>(o: &'a Value, annotation: &str) -> &'a str {
    let old = text(o, &["metadata", "annotations", annotation]);
    if old.is_empty() { text(o, &["spec", "storageClassName"]) } else { old }
}

fn or_unset(text: &str) -> Value {
    json!(if text.is_empty() { "<unset>" } else { text })
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn volume_cells(o: &Value) -> Cells {
    let claim = match (text(o, &["spec", "claimRef", "namespace"]), text(o, &["spec", "claimRef", "name"])) {
        ("", "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    let deleting = has(o, &["metadata", "deletionTimestamp"]);
    vec![
        print::name(o),
        json!(text(o, &["spec", "capacity", "storage"])),
        json!(print::access_modes(items(o, &["spec", "accessModes"]))),
        json!(text(o, &["spec", "persistentVolumeReclaimPolicy"])),
        json!(if deleting { "Terminating" } else { text(o, &["status", "phase"]) }),
        json!(claim),
        json!(class(o, CLASS_ANNOTATION)),
        or_unset(text(o, &["spec", "volumeAttributesClassName"])),
        json!(text(o, &["status", "reason"])),
        table::age(o),
        or_unset(text(o, &["spec", "volumeMode"])),
    ]
}

fn claim_cells(o: &Value) -> Cells {
    let deleting = has(o, &["metadata", "deletionTimestamp"]);
    let volume = text(o, &["spec", "volumeName"]);
    let bound = |v: String| json!(if volume.is_empty() { String::new() } else { v });
    vec![
        print::name(o),
        json!(if deleting { "Terminating" } else { text(o, &["status", "phase"]) }),
        json!(volume),
        bound(text(o, &["status", "capacity", "storage"]).to_owned()),
        bound(print::access_modes(items(o, &["status", "accessModes"]))),
        json!(class(o, CLASS_ANNOTATION)),
        or_unset(text(o, &["spec", "volumeAttributesClassName"])),
        table::age(o),
        or_unset(text(o, &["spec", "volumeMode"])),
    ]
}
