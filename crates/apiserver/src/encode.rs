//! Objects to bytes, once: kind, apiVersion and metadata first, the resource version's place first in metadata.

use bytes::Bytes;
use ironclad_json::Value;
use ironclad_store::Template;

/// Encodes an object. The resource version that stands in it is left out: the commit puts the right one in.
pub(crate) fn template(object: &Value) -> Template {
    let mut out = Vec::with_capacity(size(object));
    out.push(b'{');
    for field in ["kind", "apiVersion"] {
        member(&mut out, field, &object[field]);
        out.push(b',');
    }
    out.extend_from_slice(br#""metadata":{"resourceVersion":""#);
    let at = out.len();
    out.push(b'"');
    for (key, value) in object["metadata"].as_object().into_iter().flatten() {
        if key != "resourceVersion" && !value.is_null() {
            out.push(b',');
            member(&mut out, key, value);
        }
    }
    out.push(b'}');
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") && !value.is_null() {
            out.push(b',');
            member(&mut out, key, value);
        }
    }
    out.push(b'}');
    Template::new(Bytes::from(out), at)
}

/// About how many bytes an object takes, a little more rather than less.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(n) => {
            if n.is_f64() {
                24
            } else {
                12
            }
        }
        Value::String(text) => text.len() + 2 + text.bytes().filter(|b| matches!(b, b'"' | b'\\' | b'\n')).count(),
        Value::Array(items) => 2 + items.iter().map(|i| size(i) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + size(v)).sum::<usize>(),
    }
}

/// Fields that come first, in this order; what else there is follows by name.
const FIRST: &[&str] = &["kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"];
/// [`FIRST`] for all but a `Status`, whose status is a word.
const HEAD: usize = 3;

/// A value as JSON with its fields in the order in which people know them.
pub(crate) fn ordered(object: &Value) -> Vec<u8> {
    let Value::Object(map) = object else { return object.to_string().into_bytes() };
    let first = if object["kind"] == "Status" { FIRST } else { &FIRST[..HEAD] };
    let mut out = vec![b'{'];
    let known = first.iter().filter_map(|f| map.get_key_value(f));
    let rest = map.iter().filter(|(k, _)| !first.contains(&k.as_str()));
    for (key, value) in known.chain(rest) {
        if out.len() > 1 {
            out.push(b',');
        }
        member(&mut out, key, value);
    }
    out.push(b'}');
    out
}

fn member(out: &mut Vec<u8>, key: &str, value: &Value) {
    // Writing JSON values to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, key);
    out.push(b':');
    let _ = serde_json::to_writer(out, value);
}

/// Bytes of the store as an object.
pub(crate) fn decode(bytes: &[u8]) -> Value {
    // The store holds only what `template` wrote.
    sonic_rs::from_slice(bytes).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;
    use ironclad_store::Revision;

    #[test]
    fn answers_begin_with_what_they_are() {
        let list = json!({"items": [], "apiVersion": "v1", "metadata": {}, "kind": "PodList"});
        assert_eq!(ordered(&list), br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#);
        let status = json!({"code": 404, "kind": "Status", "status": "Failure", "reason": "NotFound", "message": "m"});
        let want = br#"{"kind":"Status","status":"Failure","message":"m","reason":"NotFound","code":404}"#;
        assert_eq!(ordered(&status), want);
    }

    #[test]
    fn the_resource_version_is_spliced_in_whatever_the_object_says() {
        let object = json!({"data": {"a": "\"metadata\":{"}, "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "a", "resourceVersion": "7"}});
        let value = template(&object).render(Revision(42));
        let mut want = object;
        want["metadata"]["resourceVersion"] = json!("42");
        assert_eq!(decode(value.bytes()), want);
        assert!(
            value.bytes().starts_with(br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"42","#)
        );
    }
}
