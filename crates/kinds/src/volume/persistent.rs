//! PersistentVolumes.

use super::{class, or_unset};
use crate::common::checks::{IMMUTABLE, optional_rule, same};
use crate::common::claim::{CLASS_ANNOTATION, check_modes};
use crate::common::inside::inside;
use crate::common::numbers::{positive_amount, quantity};
use crate::common::pod_rules::{one_of, one_of_if_set};
use crate::common::{affinity_rules, diff, volume_rules, volume_sources};
use crate::print;
use crate::read::{at_mut, canonical, fill, fill_zero, has, items, map, put, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::{Map, Value, json};

pub(crate) const VOLUME: Rules = Rules::new()
    .defaults(|o| {
        let spec = spec(o);
        fill_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
        canonical(spec, &["capacity"]);
        volume_rules::default_source(spec);
        super::claim::default_phase(o);
    })
    .on_create(|o| put(o, "status", json!({"phase": "Pending", "lastPhaseTransitionTime": ironclad_api::time::now()})))
    .on_subresource(|_, new, old| phase_time(new, old))
    .checks(validate)
    .checks_update(validate_update)
    .warns(warnings)
    .prints(
        const {
            &[
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
            ]
        },
        cells,
    );

/// The time of the last change of phase, where the client does not give it.
fn phase_time(new: &mut Value, old: &Value) {
    let (is, was) = (text(new, &["status", "phase"]), text(old, &["status", "phase"]));
    let time = |o: &Value| o["status"]["lastPhaseTransitionTime"].clone();
    let time = match (is == was, time(new)) {
        (true, _) => time(old),
        (false, given) if !given.is_null() && given != time(old) => given,
        (false, _) => json!(ironclad_api::time::now()),
    };
    if let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) {
        match time {
            Value::Null => drop(status.remove("lastPhaseTransitionTime")),
            time => drop(status.insert("lastPhaseTransitionTime", time)),
        }
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    check_modes(spec, &at, "", &mut errors);
    capacity(spec, &at.child("capacity"), &mut errors);
    one_of(spec, &at, "persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"], false, &mut errors);
    let affinity = at.child("nodeAffinity");
    if has(spec, &["nodeAffinity", "required"]) {
        affinity_rules::node_selector(&spec["nodeAffinity"]["required"], &affinity.child("required"), &mut errors);
    } else if has(spec, &["nodeAffinity"]) {
        errors.push(FieldError::required(&affinity.child("required"), "must specify required node constraints"));
    }
    volume_sources::persistent(spec, object::name(o), &at, &mut errors);
    if has(spec, &["hostPath"])
        && text(spec, &["hostPath", "path"]).trim_matches('/').is_empty()
        && text(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle"
    {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&at.child("persistentVolumeReclaimPolicy"), why));
    }
    optional_rule(spec, &at, "storageClassName", names::dns1123_subdomain, &mut errors);
    one_of_if_set(spec, &at, "volumeMode", &["Block", "Filesystem"], &mut errors);
    if let Some(class) = spec.get("volumeAttributesClassName").and_then(Value::as_str) {
        if class.is_empty() {
            errors.push(FieldError::required(&at.child("volumeAttributesClassName"), "an empty string is disallowed"));
        }
        optional_rule(spec, &at, "volumeAttributesClassName", names::dns1123_subdomain, &mut errors);
        if !has(spec, &["csi"]) {
            let why = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&at.child("csi"), why));
        }
    }
    errors
}

fn capacity(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let given = map(spec, &["capacity"]);
    if given.is_none_or(Map::is_empty) {
        errors.push(FieldError::required(at, ""));
    }
    if !has(spec, &["capacity", "storage"]) || given.is_some_and(|c| c.len() > 1) {
        let shown = given.map_or(Value::Null, |c| Value::Object(c.clone()));
        errors.push(FieldError::not_supported(at, &shown, &["storage"]));
    }
    for (name, amount) in given.into_iter().flatten() {
        if let Some(below) = quantity(amount).map(|q| q.value()).filter(|n| *n < 0) {
            errors.push(FieldError::invalid(&at.key(name), &json!(below), "must be a valid resource quantity"));
        }
        positive_amount(amount, &at.key(name), errors);
    }
}

/// Where the data is, as it is compared: a secret for growing may come later.
fn source(o: &Value, old: &Value) -> Value {
    let mut found = Map::new();
    for key in volume_sources::PERSISTENT.iter().filter(|k| has(o, &["spec", k])) {
        found.insert((*key).to_owned(), o["spec"][*key].clone());
    }
    let mut found = Value::Object(found);
    if has(old, &["spec", "csi"])
        && !has(old, &["spec", "csi", "controllerExpandSecretRef"])
        && let Some(csi) = at_mut(&mut found, &["csi"]).and_then(Value::as_object_mut)
    {
        csi.remove("controllerExpandSecretRef");
    }
    found
}

fn validate_update(new: &Value, old: &Value) -> ErrorList {
    // Stock looks at the whole twice.
    let mut errors = validate(new);
    errors.extend(errors.clone());
    let (is, was) = (source(new, old), source(old, old));
    if !same(&is, &was) {
        let why = format!(
            "spec.persistentvolumesource is immutable after creation\n{}",
            diff::unified(&was, &is, "PersistentVolumeSource")
        );
        errors.push(FieldError::forbidden(&Path::new("spec").child("persistentvolumesource"), why));
    }
    let (is, was) = (&new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
    if is != was {
        errors.push(FieldError::invalid(&Path::new("volumeMode"), is, IMMUTABLE));
    }
    let (is, was) = (&new["spec"]["nodeAffinity"], &old["spec"]["nodeAffinity"]);
    if !was.is_null() && !same(is, was) {
        let why = "field is immutable, except for updating from beta label to GA";
        let shown = if is.is_null() { "null".to_owned() } else { inside(is, "VolumeNodeAffinity") };
        errors.push(FieldError::invalid_shown(&Path::new("nodeAffinity"), shown, why));
    }
    if has(old, &["spec", "volumeAttributesClassName"]) && !has(new, &["spec", "volumeAttributesClassName"]) {
        let at = Path::new("spec").child("volumeAttributesClassName");
        errors.push(FieldError::forbidden(&at, "update from non-nil value to nil is forbidden"));
    }
    errors
}

fn warnings(o: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let annotations = [
        (CLASS_ANNOTATION, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    for (key, why) in annotations.into_iter().filter(|(k, _)| has(o, &["metadata", "annotations", k])) {
        warnings.push(format!("{}: {why}", Path::new("metadata").child("annotations").key(key)));
    }
    if text(o, &["spec", "persistentVolumeReclaimPolicy"]) == "Recycle" {
        warnings.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned(),
        );
    }
    let gone = [
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    for (_, shown, why) in gone.into_iter().filter(|(k, ..)| has(o, &["spec", k])) {
        warnings.push(format!("spec.{shown}: {why}"));
    }
    warnings
}

fn cells(o: &Value) -> Cells {
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
        json!(class(o)),
        or_unset(text(o, &["spec", "volumeAttributesClassName"])),
        json!(text(o, &["status", "reason"])),
        table::age(o),
        or_unset(text(o, &["spec", "volumeMode"])),
    ]
}
