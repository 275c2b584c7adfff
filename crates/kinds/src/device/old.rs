//! Devices in resource.k8s.io/v1beta1: what a request wants exactly, and what a device is, stood one level higher and
//! one lower than they do now.

use ironclad_json::{Map, Value, json};

/// Requests in an object that holds the specification of a claim at `path`.
fn requests<'o>(object: &'o mut Value, path: &[&str]) -> impl Iterator<Item = &'o mut Map> {
    let list = path.iter().try_fold(object, |o, key| o.get_mut(*key)).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

const CLAIM: &[&str] = &["spec", "devices", "requests"];
const TEMPLATE: &[&str] = &["spec", "spec", "devices", "requests"];
/// What a request has besides what it wants exactly.
const OWN: [&str; 2] = ["name", "firstAvailable"];

fn request_up(request: &mut Map) {
    let wanted = request.keys().filter(|k| !OWN.contains(&k.as_str())).cloned().collect::<Vec<_>>();
    let mut exactly = Map::new();
    for key in wanted {
        exactly.extend(request.remove(&key).map(|value| (key, value)));
    }
    // The class is always there; an empty one says nothing.
    let empty = exactly.values().all(|v| v.is_null() || v == "" || v == 0);
    if !empty {
        request.insert("exactly".to_owned(), Value::Object(exactly));
    }
}

fn request_down(request: &mut Map) {
    if let Some(Value::Object(exactly)) = request.remove("exactly") {
        request.extend(exactly);
    }
    request.entry("deviceClassName").or_insert_with(|| json!(""));
}

pub(super) fn claim_up(mut object: Value) -> Value {
    requests(&mut object, CLAIM).for_each(request_up);
    object
}

pub(super) fn claim_down(mut object: Value) -> Value {
    requests(&mut object, CLAIM).for_each(request_down);
    object
}

pub(super) fn template_up(mut object: Value) -> Value {
    requests(&mut object, TEMPLATE).for_each(request_up);
    object
}

pub(super) fn template_down(mut object: Value) -> Value {
    requests(&mut object, TEMPLATE).for_each(request_down);
    object
}

pub(super) fn slice_up(mut object: Value) -> Value {
    for device in requests(&mut object, &["spec", "devices"]) {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
    }
    object
}

pub(super) fn slice_down(mut object: Value) -> Value {
    for device in requests(&mut object, &["spec", "devices"]) {
        let name = device.remove("name");
        let basic = std::mem::take(device);
        device.extend(name.map(|name| ("name".to_owned(), name)));
        device.insert("basic".to_owned(), Value::Object(basic));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_say_the_same() {
        let old = json!({"spec": {"devices": {"requests": [
            {"name": "a", "deviceClassName": "gpu", "count": 2, "selectors": [{"cel": {"expression": "true"}}]},
            {"name": "b", "deviceClassName": "", "firstAvailable": [{"name": "x", "deviceClassName": "y"}]},
            {"name": "c", "deviceClassName": ""},
        ]}}});
        let new = claim_up(old.clone());
        let requests = &new["spec"]["devices"]["requests"];
        assert_eq!(
            requests[0],
            json!({"name": "a", "exactly": {"deviceClassName": "gpu", "count": 2, "selectors": [{"cel": {"expression": "true"}}]}})
        );
        assert_eq!(requests[1], json!({"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "y"}]}));
        assert_eq!(requests[2], json!({"name": "c"}));
        assert_eq!(claim_down(new), old);
        let old = json!({"spec": {"devices": [{"name": "d", "basic": {"attributes": {"a": {"int": 1}}}}]}});
        let new = slice_up(old.clone());
        assert_eq!(new["spec"]["devices"], json!([{"name": "d", "attributes": {"a": {"int": 1}}}]));
        assert_eq!(slice_down(new), old);
    }
}
