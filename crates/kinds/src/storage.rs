//! Storage classes and what CSI drivers need.

use crate::common::pod_rules::one_of;
use crate::print;
use crate::read::{fill, fill_zero, flag, items, size, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

pub(crate) const CLASS: Rules = Rules::new()
    .defaults(|o| {
        fill_zero(o, "reclaimPolicy", "Delete");
        fill_zero(o, "volumeBindingMode", "Immediate");
    })
    .checks(validate_class)
    .checks_update(|new, old| fixed(new, old, &["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"]))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Provisioner", "Who makes volumes of this class."),
                Column::text("ReclaimPolicy", "What happens to a volume when it is released."),
                Column::text("VolumeBindingMode", "When volumes are made and bound."),
                Column::text("AllowVolumeExpansion", "Whether volumes may grow."),
                Column::age(),
            ]
        },
        class_cells,
    );

pub(crate) const ATTRIBUTES: Rules = Rules::new()
    .checks(|o| needs(o, &["driverName"]))
    .checks_update(|new, old| fixed(new, old, &["driverName", "parameters"]))
    .prints(const { &[Column::object_name(), Column::text("DriverName", "The driver's name."), Column::age()] }, |o| {
        vec![print::name(o), json!(text(o, &["driverName"])), table::age(o)]
    });

pub(crate) const DRIVER: Rules = Rules::new().defaults(default_driver).prints(
    const {
        &[
            Column::object_name(),
            Column::text("AttachRequired", "Whether volumes are attached before they are mounted."),
            Column::text("PodInfoOnMount", "Whether the driver is told of the pod."),
            Column::text("StorageCapacity", "Whether the scheduler looks at capacities."),
            Column::text("TokenRequests", "Audiences of the tokens that the driver gets."),
            Column::text("RequiresRepublish", "Whether volumes are published again and again."),
            Column::text("Modes", "Life cycles of volumes."),
            Column::age(),
        ]
    },
    driver_cells,
);

pub(crate) const NODE: Rules = Rules::new().prints(
    const { &[Column::object_name(), Column::integer("Drivers", "Number of drivers on the node."), Column::age()] },
    |o| vec![print::name(o), json!(size(o, &["spec", "drivers"])), table::age(o)],
);

pub(crate) const ATTACHMENT: Rules = Rules::new()
    .checks(|o| {
        let spec = &o["spec"];
        let at = Path::new("spec");
        let missing = ["attacher", "nodeName"].into_iter().filter(|k| text(spec, &[k]).is_empty());
        missing.map(|k| FieldError::required(&at.child(k), "")).collect()
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Attacher", "The driver that attaches the volume."),
                Column::text("PV", "The volume."),
                Column::text("Node", "The node."),
                Column::text("Attached", "Whether the volume is attached."),
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

pub(crate) const CAPACITY: Rules = Rules::new().checks(|o| needs(o, &["storageClassName"])).prints(
    const {
        &[
            Column::object_name(),
            Column::text("StorageClassName", "The class that the capacity is for."),
            Column::text("Capacity", "How much there is."),
            Column::age(),
        ]
    },
    |o| vec![print::name(o), json!(text(o, &["storageClassName"])), json!(text(o, &["capacity"])), table::age(o)],
);

fn needs(o: &Value, keys: &[&str]) -> ErrorList {
    let missing = keys.iter().filter(|k| text(o, &[k]).is_empty());
    missing.map(|k| FieldError::required(&Path::new(k), "")).collect()
}

fn fixed(new: &Value, old: &Value, keys: &[&str]) -> ErrorList {
    let changed = keys.iter().filter(|k| new[**k] != old[**k]);
    changed.map(|k| FieldError::forbidden(&Path::new(k), "updates to this field are forbidden.")).collect()
}

fn validate_class(o: &Value) -> ErrorList {
    let mut errors = needs(o, &["provisioner"]);
    let root = Path::root();
    one_of(o, &root, "reclaimPolicy", &["Delete", "Retain"], true, &mut errors);
    one_of(o, &root, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], true, &mut errors);
    errors
}

fn class_cells(o: &Value) -> Cells {
    let mut name = ironclad_api::object::name(o).to_owned();
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if marks.iter().any(|m| text(o, &["metadata", "annotations", m]) == "true") {
        name.push_str(" (default)");
    }
    vec![
        json!(name),
        json!(text(o, &["provisioner"])),
        json!(text(o, &["reclaimPolicy"])),
        json!(text(o, &["volumeBindingMode"])),
        json!(flag(o, &["allowVolumeExpansion"])),
        table::age(o),
    ]
}

fn default_driver(o: &mut Value) {
    let spec = spec(o);
    fill(spec, "attachRequired", true);
    for key in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        fill(spec, key, false);
    }
    fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if items(spec, &["volumeLifecycleModes"]).is_empty() {
        crate::read::put(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }
}

fn driver_cells(o: &Value) -> Cells {
    let modes: Vec<&str> = items(o, &["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect();
    let tokens: Vec<&str> = items(o, &["spec", "tokenRequests"]).iter().map(|t| text(t, &["audience"])).collect();
    let tokens = if tokens.is_empty() { "<unset>".to_owned() } else { tokens.join(",") };
    let yes = |key: &str| json!(flag(o, &["spec", key]));
    vec![
        print::name(o),
        yes("attachRequired"),
        yes("podInfoOnMount"),
        yes("storageCapacity"),
        json!(tokens),
        yes("requiresRepublish"),
        json!(print::non_empty(&modes.join(","))),
        table::age(o),
    ]
}
