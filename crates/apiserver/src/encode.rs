//! Objects to bytes, once: kind, apiVersion and metadata first, the resource version's place first in metadata.

use bytes::Bytes;
use ironclad_json::Value;
use ironclad_store::Template;
use std::cell::RefCell;

/// As much of a buffer as a thread keeps.
const LARGE: usize = 64 << 10;

/// Encodes an object. The resource version that stands in it is left out: the commit puts the right one in.
pub(crate) fn template(object: &Value) -> Template {
    thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    // What is kept takes no more room than it needs, and its size is known only when it is written.
    BUFFER.with_borrow_mut(|buffer| {
        let at = write(buffer, object);
        let template = Template::new(Bytes::copy_from_slice(buffer), at);
        buffer.clear();
        buffer.shrink_to(LARGE);
        template
    })
}

/// Writes the object and says where its resource version comes.
fn write(out: &mut Vec<u8>, object: &Value) -> usize {
    out.push(b'{');
    for field in ["kind", "apiVersion"] {
        member(out, field, &object[field]);
        out.push(b',');
    }
    out.extend_from_slice(br#""metadata":{"resourceVersion":""#);
    let at = out.len();
    out.push(b'"');
    for (key, value) in object["metadata"].as_object().into_iter().flatten() {
        if key != "resourceVersion" && !value.is_null() {
            out.push(b',');
            member(out, key, value);
        }
    }
    out.push(b'}');
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            out.push(b',');
            member(out, key, value);
        }
    }
    out.push(b'}');
    at
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
