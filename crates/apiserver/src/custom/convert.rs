//! Conversion of custom resources by webhooks.

use crate::reader::Reader;
use ironclad_admission::Caller;
use ironclad_api::{ApiError, FieldError, GroupVersionKind, Path, Reason, names, object};
use ironclad_json::{Map, Value, json};
use ironclad_kinds::custom::ConversionWebhook;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest that a conversion may take.
const LONGEST: Duration = Duration::from_secs(30);
/// Clients that are kept.
const KEPT: usize = 1000;

/// Who asks webhooks.
pub(crate) struct Webhooks {
    reader: Arc<Reader>,
    /// By their configuration.
    callers: Mutex<HashMap<String, Caller>>,
}

fn failed(message: String) -> ApiError {
    ApiError { code: 500, ..ApiError::new(Reason::Unknown, message) }
}

impl Webhooks {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader: Arc::new(reader), callers: Mutex::default() }
    }

    /// The client of a configuration, with the connections that it keeps.
    fn caller(&self, client: &Value) -> Result<Caller, String> {
        let key = client.to_string();
        let mut callers = self.callers.lock();
        if let Some(caller) = callers.get(&key) {
            return Ok(caller.clone());
        }
        let caller = Caller::new(client, self.reader.clone(), self.reader.egress())?;
        if callers.len() >= KEPT {
            callers.clear();
        }
        callers.insert(key, caller.clone());
        Ok(caller)
    }

    /// Objects of other versions in the wanted one, in their order.
    pub(crate) async fn convert(
        &self,
        webhook: &ConversionWebhook,
        objects: Vec<Value>,
        wanted: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let Some(first) = objects.first() else { return Ok(objects) };
        let gvk = object::gvk(first);
        let version = webhook.reviews.iter().find(|v| matches!(v.as_str(), "v1" | "v1beta1"));
        let version = version.ok_or_else(|| failed("no supported conversion review versions".to_owned()))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let question = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        });
        let of = |why: String| failed(format!("conversion webhook for {gvk} failed: {why}"));
        let caller = self.caller(&webhook.client).map_err(of)?;
        let answer = caller.post(&question, LONGEST).await.map_err(|failed| of(failed.why))?;
        let converted = taken(&answer, version, &uid).map_err(of)?;
        if converted.len() != objects.len() {
            let (has, wants) = (converted.len(), objects.len());
            return Err(failed(format!("conversion webhook for {gvk} returned {has} objects, expected {wants}")));
        }
        // Whether they are objects at all is seen before anything else.
        converted.iter().try_for_each(|o| is_object(o).map_err(failed))?;
        let several = objects.len() > 1;
        let pairs = objects.into_iter().zip(converted).enumerate();
        let one = |(at, (before, after)): (usize, (Value, Value))| {
            checked(&gvk, several.then_some(at), &before, after, wanted)
        };
        pairs.map(one).collect()
    }
}

/// Whether what was answered for an object is one, in the words of Go's readers.
fn is_object(value: &Value) -> Result<(), String> {
    match value {
        Value::Null => Err("unexpected end of JSON input".to_owned()),
        Value::Object(_) if object::text(value, &["kind"]).is_empty() => {
            Err(format!("Object 'Kind' is missing in '{value}'"))
        }
        Value::Object(_) if value.get("items").is_some_and(Value::is_array) => {
            Err("*unstructured.Unstructured is not a list: no Items field in this object".to_owned())
        }
        Value::Object(_) => Ok(()),
        Value::Bool(_) => Err(unmarshal("bool")),
        Value::Number(_) => Err(unmarshal("number")),
        Value::String(_) => Err(unmarshal("string")),
        Value::Array(_) => Err(unmarshal("array")),
    }
}

fn unmarshal(got: &str) -> String {
    format!("json: cannot unmarshal {got} into Go value of type map[string]interface {{}}")
}

/// What Go calls the type of a value that was read as anything.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.as_i64().is_some() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// What is wrong with the names of labels or annotations, or with values of labels.
fn misnamed(field: &str, map: &Map) -> Option<FieldError> {
    let path = Path::new("metadata");
    // Stock spells the field so.
    let path = path.child(if field == "annotations" { "annotation" } else { field });
    map.iter().find_map(|(key, value)| {
        let name = if field == "annotations" { key.to_lowercase() } else { key.clone() };
        if let Some(why) = names::qualified_name(&name).into_iter().next() {
            return Some(FieldError::invalid_str(&path, key, why));
        }
        let value = value.as_str().filter(|_| field == "labels")?;
        names::label_value(value).into_iter().next().map(|why| FieldError::invalid_str(&path, value, why))
    })
}

/// The objects of an answer.
fn taken(answer: &Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let response = &answer["response"];
    let gvk = object::gvk(answer);
    let wanted = GroupVersionKind::new("apiextensions.k8s.io", "v1", "ConversionReview");
    if version == "v1" && gvk != wanted {
        return Err(format!("expected webhook response of {wanted}, got {gvk}"));
    }
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let has = object::text(response, &["uid"]);
    if version == "v1" && has != uid {
        return Err(format!("expected response.uid={uid:?}, got {has:?}"));
    }
    let (status, message) =
        (object::text(response, &["result", "status"]), object::text(response, &["result", "message"]));
    match (status, message) {
        ("Success", _) => {}
        (_, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => return Err(message.to_owned()),
    }
    Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default())
}

/// A converted object, if it is still the same one; `at` says which of several it is.
fn checked(
    gvk: &GroupVersionKind,
    at: Option<usize>,
    before: &Value,
    after: Value,
    wanted: &str,
) -> Result<Value, ApiError> {
    let bad = |what: &str, why: String| failed(format!("conversion webhook for {gvk} returned invalid {what}: {why}"));
    let (ty, object, metadata) = match at {
        Some(at) => {
            let object = format!("converted object at index {at}");
            (object.clone(), object, format!("metadata in object at index {at}"))
        }
        None => ("object at index 0".to_owned(), "object".to_owned(), "metadata".to_owned()),
    };
    let (version, kind) = (object::text(&after, &["apiVersion"]), object::text(&after, &["kind"]));
    if version != wanted {
        return Err(bad(&ty, format!("invalid groupVersion (expected {wanted}, received {version})")));
    }
    if kind != gvk.kind {
        return Err(bad(&ty, format!("invalid kind (expected {}, received {kind})", gvk.kind)));
    }
    for (name, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let of = |o: &Value| object::text(o, &["metadata", field]).to_owned();
        let (was, is) = (of(before), of(&after));
        if was != is {
            return Err(bad(&object, format!("must have the same {name}: {was} != {is}")));
        }
    }
    restored(before, after).map_err(|why| bad(&metadata, why))
}

/// The object with the metadata that it had: only labels and annotations can be converted.
fn restored(before: &Value, mut after: Value) -> Result<Value, String> {
    let Some(Value::Object(given)) = after.get("metadata").cloned() else {
        return Err("missing metadata in converted object".to_owned());
    };
    let mut meta: Map = before["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match given.get(field) {
            None | Some(Value::Null) => drop(meta.remove(field)),
            Some(Value::Object(map)) if map.is_empty() => drop(meta.remove(field)),
            Some(Value::Object(map)) => {
                if let Some((key, value)) = map.iter().find(|(_, v)| !v.is_string()) {
                    let is = go_type(value);
                    return Err(format!("metadata.{field}[{key}] must be a string, but is {is} in converted object"));
                }
                if let Some(wrong) = misnamed(field, map) {
                    return Err(wrong.to_string());
                }
                meta.insert(field.to_owned(), Value::Object(map.clone()));
            }
            Some(other) => {
                let is = go_type(other);
                return Err(format!("invalid metadata.{field} of type {is} in converted object"));
            }
        }
    }
    after["metadata"] = Value::Object(meta);
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_webhook_may_not_change_is_refused_or_put_back() {
        let gvk = GroupVersionKind::new("a.b", "v1", "K");
        let before = json!({"apiVersion": "a.b/v1", "kind": "K", "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}, "generation": 2}});
        let convert = |after: Value| checked(&gvk, Some(0), &before, after, "a.b/v2").map_err(|e| e.message);
        let good = json!({"apiVersion": "a.b/v2", "kind": "K", "metadata": {"name": "n", "uid": "u", "labels": {"a": "c"}, "generation": 9}, "x": 1});
        let done = convert(good).unwrap();
        assert_eq!(done["metadata"], json!({"name": "n", "uid": "u", "labels": {"a": "c"}, "generation": 2}));
        let head = "conversion webhook for a.b/v1, Kind=K returned invalid";
        let table = [
            (
                json!({"apiVersion": "a.b/v1", "kind": "K"}),
                "converted object at index 0: invalid groupVersion (expected a.b/v2, received a.b/v1)",
            ),
            (
                json!({"apiVersion": "a.b/v2", "kind": "L"}),
                "converted object at index 0: invalid kind (expected K, received L)",
            ),
            (
                json!({"apiVersion": "a.b/v2", "kind": "K", "metadata": {"name": "m"}}),
                "converted object at index 0: must have the same name: n != m",
            ),
        ];
        for (after, why) in table {
            assert_eq!(convert(after).unwrap_err(), format!("{head} {why}"));
        }
        let kept = |field: &str, value: Value| {
            let mut after = json!({"apiVersion": "a.b/v2", "kind": "K", "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}}});
            after["metadata"][field] = value;
            convert(after).map(|done| done["metadata"]["labels"].clone())
        };
        let bad = format!("{head} metadata in object at index 0:");
        let table = [
            ("labels", json!("x"), "invalid metadata.labels of type string in converted object"),
            (
                "annotations",
                json!({"a": 1}),
                "metadata.annotations[a] must be a string, but is int64 in converted object",
            ),
        ];
        for (field, value, why) in table {
            assert_eq!(kept(field, value).unwrap_err(), format!("{bad} {why}"));
        }
        assert!(kept("labels", json!({"bad key!": "x"})).unwrap_err().contains("metadata.labels: Invalid value"));
        assert_eq!(kept("labels", json!({})).unwrap(), Value::Null);
        let alone = |after: Value| checked(&gvk, None, &before, after, "a.b/v2").unwrap_err().message;
        let renamed = json!({"apiVersion": "a.b/v2", "kind": "K", "metadata": {"name": "m"}});
        assert_eq!(alone(renamed), format!("{head} object: must have the same name: n != m"));
        let other = json!({"apiVersion": "a.b/v2", "kind": "L"});
        assert_eq!(alone(other), format!("{head} object at index 0: invalid kind (expected K, received L)"));
    }

    #[test]
    fn what_is_no_object_is_told_first() {
        let table = [
            (Value::Null, "unexpected end of JSON input"),
            (json!(7), "json: cannot unmarshal number into Go value of type map[string]interface {}"),
            (json!({}), "Object 'Kind' is missing in '{}'"),
        ];
        for (value, why) in table {
            assert_eq!(is_object(&value).unwrap_err(), why);
        }
        is_object(&json!({"kind": "K"})).unwrap();
    }

    #[test]
    fn answers_must_be_for_the_question() {
        let good = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "1", "result": {"status": "Success"}, "convertedObjects": [{}]}});
        assert_eq!(taken(&good, "v1", "1").unwrap().len(), 1);
        assert_eq!(taken(&good, "v1", "2").unwrap_err(), r#"expected response.uid="2", got "1""#);
        let mut bad = good.clone();
        bad["response"]["result"] = json!({"status": "Failed", "message": "no"});
        assert_eq!(taken(&bad, "v1", "1").unwrap_err(), "no");
        bad["response"] = Value::Null;
        assert_eq!(taken(&bad, "v1", "1").unwrap_err(), "no response provided");
    }
}
