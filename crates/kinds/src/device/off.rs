//! Fields whose features are off unless somebody turns them on, which nobody can here: they are dropped.

use crate::read::each;
use ironclad_json::Value;

fn drop(o: &mut Value, keys: &[&str]) {
    if let Some(o) = o.as_object_mut() {
        for key in keys {
            o.remove(key);
        }
    }
}

/// Of requests in a claim or a template, below `path`.
pub(super) fn requests(o: &mut Value, path: &[&str]) {
    each(o, path, |request| {
        if let Some(exactly) = request.get_mut("exactly") {
            drop(exactly, &["derivedAttributes"]);
        }
        drop(request, &["derivedAttributes"]);
        each(request, &["firstAvailable"], |sub| drop(sub, &["derivedAttributes"]));
    });
}

/// Of the status of a claim.
pub(super) fn status(o: &mut Value) {
    each(o, &["status", "allocation", "devices", "results"], |result| drop(result, &["skipNodeOperations"]));
}

/// Of a slice.
pub(super) fn slice(o: &mut Value) {
    if let Some(spec) = o.get_mut("spec") {
        drop(spec, &["partitionTypeAttribute", "skipNodeOperations"]);
    }
    each(o, &["spec", "devices"], |device| {
        drop(device, &["nodeAllocatableResources"]);
        each(device, &["consumesCounters"], |consumed| drop(consumed, &["compatibilityGroups"]));
        if let Some(attributes) = device.get_mut("attributes").and_then(Value::as_object_mut) {
            for attribute in attributes.values_mut() {
                drop(attribute, &["bools", "ints", "strings", "versions"]);
            }
        }
    });
}
