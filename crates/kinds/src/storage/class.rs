//! StorageClasses and VolumeAttributesClasses.

use crate::common::checks::{rule, same};
use crate::common::pod_rules::one_of;
use crate::common::pod_warnings::old_node_label;
use crate::declared::Step::{Field, Immutable, Required};
use crate::print;
use crate::read::{fill, flag, items, map, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;

pub(crate) const CLASS: Rules = Rules::new()
    .defaults(|o| {
        fill(o, "reclaimPolicy", "Delete");
        fill(o, "volumeBindingMode", "Immediate");
    })
    .checks(validate)
    .declares(
        const {
            &[
                Field("provisioner", &[Required, Immutable]),
                Field("parameters", &[Immutable]),
                Field("reclaimPolicy", &[Immutable]),
                Field("volumeBindingMode", &[Immutable]),
            ]
        },
    )
    .warns(|o, _| warnings(o))
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
        cells,
    );

pub(crate) const ATTRIBUTES: Rules = Rules::new()
    .checks(validate_attributes)
    .checks_update(|new, old| {
        let mut errors = fixed(new, old, &["driverName", "parameters"]);
        errors.extend(validate_attributes(new));
        errors
    })
    .prints(const { &[Column::object_name(), Column::text("DriverName", "The driver's name."), Column::age()] }, |o| {
        vec![print::name(o), json!(text(o, &["driverName"])), table::age(o)]
    });

/// Parts that may not change, as these classes say it.
fn fixed(new: &Value, old: &Value, keys: &[&str]) -> ErrorList {
    let changed = keys.iter().filter(|k| !same(&new[**k], &old[**k]));
    changed.map(|k| FieldError::forbidden(&Path::new(k), format!("updates to {k} are forbidden."))).collect()
}

fn provisioner(o: &Value, key: &str, errors: &mut ErrorList) {
    match text(o, &[key]) {
        "" => errors.push(FieldError::required(&Path::new(key), "").covered()),
        given => {
            let given = given.to_lowercase();
            rule(names::qualified_name(&given), &given, &Path::new(key), errors);
        }
    }
}

fn parameters(o: &Value, needed: bool, errors: &mut ErrorList) {
    let at = Path::new("parameters");
    let given = map(o, &["parameters"]);
    let count = given.map_or(0, ironclad_json::Map::len);
    if count > PARAMETERS_MAX {
        errors.push(FieldError::too_long(&at, PARAMETERS_MAX));
        return;
    }
    let mut size = 0;
    for (key, value) in given.into_iter().flatten() {
        if key.is_empty() {
            errors.push(FieldError::invalid_str(&at, "", "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > PARAMETERS_SIZE_MAX {
        errors.push(FieldError::too_long(&at, PARAMETERS_SIZE_MAX));
    }
    if needed && count == 0 {
        errors.push(FieldError::required(&at, "must contain at least one key/value pair"));
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let root = Path::root();
    provisioner(o, "provisioner", &mut errors);
    parameters(o, false, &mut errors);
    if !text(o, &["reclaimPolicy"]).is_empty() {
        one_of(o, &root, "reclaimPolicy", &["Delete", "Retain"], false, &mut errors);
    }
    one_of(o, &root, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], false, &mut errors);
    let terms = items(o, &["allowedTopologies"]);
    // Stock compares each term with as many empty ones as there are terms, and with those before.
    let mut seen = vec![json!({}); terms.len()];
    for (i, term) in terms.iter().enumerate() {
        let at = Path::new("allowedTopologies").index(i);
        topology(term, &at, &mut errors);
        let meaning = meaning(term);
        for _ in seen.iter().filter(|before| **before == meaning) {
            errors.push(FieldError::duplicate(&at.child("matchLabelExpressions"), &json!("")));
        }
        seen.push(meaning);
    }
    errors
}

fn validate_attributes(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    provisioner(o, "driverName", &mut errors);
    parameters(o, true, &mut errors);
    errors
}

/// A term as a map of keys to sorted values.
fn meaning(term: &Value) -> Value {
    let pairs = items(term, &["matchLabelExpressions"]).iter().map(|e| {
        let mut values: Vec<&str> = items(e, &["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        values.dedup();
        (text(e, &["key"]).to_owned(), json!(values))
    });
    Value::Object(pairs.collect())
}

fn topology(term: &Value, at: &Path, errors: &mut ErrorList) {
    let mut keys = Vec::new();
    for (i, expression) in items(term, &["matchLabelExpressions"]).iter().enumerate() {
        let at = at.child("matchLabelExpressions").index(i);
        let (key, values) = (text(expression, &["key"]), items(expression, &["values"]));
        if values.is_empty() {
            errors.push(FieldError::required(&at.child("values"), ""));
        }
        for (j, value) in values.iter().enumerate().filter(|(j, v)| values[..*j].contains(v)) {
            errors.push(FieldError::duplicate(&at.child("values").index(j), value));
        }
        rule(names::qualified_name(key), key, &at.child("key"), errors);
        if keys.contains(&key) {
            errors.push(FieldError::duplicate(&at.child("key"), &json!(key)));
        }
        keys.push(key);
    }
}

fn warnings(o: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, term) in items(o, &["allowedTopologies"]).iter().enumerate() {
        for (j, expression) in items(term, &["matchLabelExpressions"]).iter().enumerate() {
            if let Some(why) = old_node_label(text(expression, &["key"])) {
                warnings.push(format!("allowedTopologies[{i}].matchLabelExpressions[{j}].key: {why}"));
            }
        }
    }
    warnings
}

fn cells(o: &Value) -> Cells {
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
