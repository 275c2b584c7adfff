//! VolumeAttachments.

use crate::common::checks::rule;
use crate::declared::Step::{Field, Immutable, Is, MaxLength, Required};
use crate::declared::format;
use crate::print;
use crate::read::{flag, has, int, map, text};
use crate::rules::Rules;
use crate::volume::inline_volume;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::borrow::Cow;

const METADATA_MAX: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;

const ATTACHER: Column = Column {
    name: Cow::Borrowed("Attacher"),
    kind: Cow::Borrowed("string"),
    format: Cow::Borrowed("name"),
    description: Cow::Borrowed("The driver that attaches the volume."),
    priority: 0,
};

pub(crate) const ATTACHMENT: Rules = Rules::new()
    .checks(validate)
    .declares(
        const {
            &[Field(
                "spec",
                &[Immutable, Field("attacher", &[Required, Is(format::long_name_caseless), MaxLength(63)])],
            )]
        },
    )
    .checks_status(|new, _| {
        let mut errors = ErrorList::new();
        status(new, &mut errors);
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                ATTACHER,
                Column::text("PV", "The volume."),
                Column::text("Node", "The node."),
                print::typed("Attached", "boolean", "Whether the volume is attached."),
                Column::age(),
            ]
        },
        |o| {
            vec![
                print::name(o),
                json!(text(o, &["spec", "attacher"])),
                json!(text(o, &["spec", "source", "persistentVolumeName"])),
                json!(text(o, &["spec", "nodeName"])),
                json!(flag(o, &["status", "attached"])),
                table::age(o),
            ]
        },
    );

fn validate(o: &Value) -> ErrorList {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let mut errors = ErrorList::new();
    let (at, source) = (Path::new("spec"), &o["spec"]["source"]);
    let source_at = at.child("source");
    match (has(source, &["inlineVolumeSpec"]), source["persistentVolumeName"].as_str()) {
        (false, None) => errors.push(FieldError::required(&source_at, ONE)),
        (true, Some(_)) => errors.push(FieldError::forbidden(&source_at, ONE)),
        (false, Some("")) => {
            let why = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(&source_at.child("persistentVolumeName"), why));
        }
        (false, Some(_)) => {}
        (true, None) => errors.extend(inline_volume(&source["inlineVolumeSpec"], &source_at.child("inlineVolumeSpec"))),
    }
    let node = text(o, &["spec", "nodeName"]);
    rule(names::dns1123_subdomain(node), node, &at.child("nodeName"), &mut errors);
    status(o, &mut errors);
    if let Some(volume) = source["persistentVolumeName"].as_str() {
        rule(names::dns1123_subdomain(volume), volume, &source_at.child("persistentVolumeName"), &mut errors);
    }
    errors
}

fn status(o: &Value, errors: &mut ErrorList) {
    let at = Path::new("status");
    let metadata = map(o, &["status", "attachmentMetadata"]).into_iter().flatten();
    let size: usize = metadata.map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > METADATA_MAX {
        errors.push(FieldError::too_long(&at.child("attachmentMetadata"), METADATA_MAX));
    }
    for key in ["attachError", "detachError"] {
        let (error, at) = (&o["status"][key], at.child(key));
        if text(error, &["message"]).len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(&at.child("message"), METADATA_MAX));
        }
        if let Some(code) = int(error, &["errorCode"]).filter(|c| *c < 0) {
            let why = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(FieldError::invalid(&at.child("errorCode"), &json!(code), why));
        }
    }
}
