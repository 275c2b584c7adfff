//! CSIDrivers.

use crate::common::checks::{immutable, same};
use crate::common::pod_rules::one_of;
use crate::print;
use crate::read::{count, fill, flag, has, int, items, put, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, object};
use ironclad_json::{Value, json};

const TOKEN_LIFE_MIN: i64 = 600;
const TOKEN_LIFE_MAX: i64 = 1 << 32;
const UPDATE_PERIOD_MIN: i64 = 10;
const TOKENS_IN_ATTRIBUTES: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

pub(crate) const DRIVER: Rules = Rules::new()
    .defaults(default)
    .on_update(|new, old| {
        // Unlike others it begins without a generation.
        if !same(&new["spec"], &old["spec"]) {
            let next = count(old, &["metadata", "generation"]) + 1;
            object::metadata_mut(new).insert("generation", json!(next));
        }
    })
    .checks(validate)
    .checks_update(|new, old| {
        let mut errors = validate(new);
        let at = Path::new("spec");
        if new["spec"]["attachRequired"] != old["spec"]["attachRequired"] {
            let given = &new["spec"]["attachRequired"];
            errors.push(FieldError::invalid(&at.child("attachedRequired"), given, "field is immutable"));
        }
        immutable(&new["spec"], &old["spec"], &at, &["volumeLifecycleModes"], &mut errors);
        errors
    })
    .warns(|o, old| {
        let spec = &o["spec"];
        let tokens = items(spec, &["tokenRequests"]);
        let told = tokens.is_empty() || old.is_some_and(|old| items(old, &["spec", "tokenRequests"]) == tokens);
        let told = told || has(spec, &["serviceAccountTokenInSecrets"]);
        if told { Vec::new() } else { vec![TOKENS_IN_ATTRIBUTES.to_owned()] }
    })
    .prints(
        const {
            &[
                Column::object_name(),
                print::typed("AttachRequired", "boolean", "Whether volumes are attached before they are mounted."),
                print::typed("PodInfoOnMount", "boolean", "Whether the driver is told of the pod."),
                print::typed("StorageCapacity", "boolean", "Whether the scheduler looks at capacities."),
                Column::text("TokenRequests", "Audiences of the tokens that the driver gets."),
                print::typed("RequiresRepublish", "boolean", "Whether volumes are published again and again."),
                Column::text("Modes", "Life cycles of volumes."),
                Column::age(),
            ]
        },
        cells,
    );

fn default(o: &mut Value) {
    let spec = spec(o);
    fill(spec, "attachRequired", true);
    for key in
        ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount", "preventPodSchedulingIfMissing"]
    {
        fill(spec, key, false);
    }
    fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if items(spec, &["volumeLifecycleModes"]).is_empty() {
        put(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (at, spec) = (Path::new("spec"), &o["spec"]);
    for (key, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if !has(spec, &[key]) {
            errors.push(FieldError::required(&at.child(shown), ""));
        }
    }
    one_of(spec, &at, "fsGroupPolicy", &["File", "None", "ReadWriteOnceWithFSType"], false, &mut errors);
    tokens(items(spec, &["tokenRequests"]), &at.child("tokenRequests"), &mut errors);
    if has(spec, &["serviceAccountTokenInSecrets"]) && items(spec, &["tokenRequests"]).is_empty() {
        let given = &spec["serviceAccountTokenInSecrets"];
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(FieldError::invalid(&at.child("serviceAccountTokenInSecrets"), given, why));
    }
    let modes = ["Persistent", "Ephemeral"];
    for mode in items(spec, &["volumeLifecycleModes"]).iter().filter(|m| !modes.contains(&m.as_str().unwrap_or(""))) {
        errors.push(FieldError::not_supported(&at.child("volumeLifecycleModes"), mode, &modes));
    }
    if !has(spec, &["seLinuxMount"]) {
        errors.push(FieldError::required(&at.child("seLinuxMount"), ""));
    }
    let key = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(n) = int(spec, &[key]).filter(|n| *n < UPDATE_PERIOD_MIN) {
        let why = "must be greater than or equal to 10 seconds";
        errors.push(FieldError::invalid(&at.child(key), &json!(n), why));
    }
    errors
}

fn tokens(requests: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        let (audience, at) = (text(request, &["audience"]), at.index(i));
        if seen.contains(&audience) {
            errors.push(FieldError::duplicate(&at.child("audience"), &json!(audience)));
            continue;
        }
        seen.push(audience);
        let at = at.child("expirationSeconds");
        let Some(n) = int(request, &["expirationSeconds"]) else { continue };
        if n < TOKEN_LIFE_MIN {
            errors.push(FieldError::invalid(&at, &json!(n), "may not specify a duration less than 10 minutes"));
        }
        if n > TOKEN_LIFE_MAX {
            errors.push(FieldError::invalid(&at, &json!(n), "may not specify a duration larger than 2^32 seconds"));
        }
    }
}

fn cells(o: &Value) -> Cells {
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
