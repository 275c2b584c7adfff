//! Objects as stock servers store them in etcd: built-in kinds as protobuf in an envelope, definitions of resources and
//! of APIs and custom resources as JSON; never with a resource version. Both forms are read everywhere.

mod older;

use crate::encode;
use crate::special::allocate::ports;
use crate::special::endpoints::LEASES;
use bytes::Bytes;
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_schema::{bundle, proto};
use ironclad_store::{Codec, Template};
use std::collections::HashMap;
use std::sync::Arc;

/// With what every object in the API server's own form begins its metadata.
const PLACE: &[u8] = br#"{"resourceVersion":""#;
/// Groups whose objects stock servers write as JSON.
const JSON_GROUPS: [&str; 2] = ["apiextensions.k8s.io", "apiregistration.k8s.io"];

/// Writes and reads stored objects as stock servers do.
pub struct StockCodec {
    by_prefix: HashMap<String, Arc<Kind>>,
}

impl Default for StockCodec {
    fn default() -> Self {
        let stored = ironclad_kinds::all().iter().filter(|k| k.version == k.storage_version);
        let mut by_prefix: HashMap<String, Arc<Kind>> = HashMap::new();
        for kind in stored {
            by_prefix.entry(kind.prefix.to_string()).or_insert_with(|| kind.clone());
        }
        // The leases of API servers are written as Endpoints.
        if let Some(endpoints) = by_prefix.get("/registry/services/endpoints/").cloned() {
            by_prefix.insert(LEASES.to_owned(), endpoints);
        }
        Self { by_prefix }
    }
}

impl StockCodec {
    /// The built-in kind of a key.
    fn kind(&self, key: &str) -> Option<&Arc<Kind>> {
        let mut slashes = key.match_indices('/').map(|(i, _)| i).skip(2);
        let two = slashes.next()?;
        let three = slashes.next();
        self.by_prefix.get(&key[..=two]).or_else(|| self.by_prefix.get(&key[..=three?]))
    }
}

impl Codec for StockCodec {
    fn encode(&self, key: &str, value: &Template) -> Result<Vec<u8>, String> {
        let json = without_revision(value)?;
        if key == ports::KEY {
            return proto::encode(bundle(), &encode::decode(&json)).unwrap_or(Ok(json));
        }
        match self.kind(key) {
            Some(kind) if !JSON_GROUPS.contains(&&*kind.group) => {
                let object = encode::decode(&json);
                match proto::encode(bundle(), &object) {
                    Some(Ok(bytes)) => Ok(bytes),
                    // Stock servers read JSON as well.
                    Some(Err(why)) => {
                        tracing::warn!(key, why, "an object is stored as JSON");
                        Ok(json)
                    }
                    None => Ok(json),
                }
            }
            _ => Ok(json),
        }
    }

    fn decode(&self, key: &str, stored: &[u8]) -> Result<Option<Template>, String> {
        if key == ports::KEY && proto::is_envelope(stored) {
            return proto::decode(bundle(), stored).map(|object| Some(encode::template(&object)));
        }
        let kind = self.kind(key);
        if proto::is_envelope(stored) {
            // Some keys hold what is no object of the API, such as the addresses that a stock server has given out.
            let Some(kind) = kind else { return Ok(None) };
            return Ok(Some(encode::template(&current(kind, proto::decode(bundle(), stored)?))));
        }
        let own = kind.is_none_or(|kind| is_current(kind, stored));
        if own && let Some(template) = spliced(stored) {
            return Ok(Some(template));
        }
        let object: Value = match serde_json::from_slice(stored) {
            Ok(object) => object,
            Err(_) if kind.is_none() => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        match kind {
            Some(kind) => Ok(Some(encode::template(&current(kind, object)))),
            None if object["kind"].is_string() && object["metadata"].is_object() => Ok(Some(encode::template(&object))),
            None => Ok(None),
        }
    }
}

/// An object that somebody else stored, in the version in which the kind is stored here, with today's defaults.
fn current(kind: &Kind, object: Value) -> Value {
    let mut object = object;
    let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    let version = api_version.rsplit('/').next().unwrap_or_default();
    if version != &*kind.storage_version {
        match row(kind, version) {
            Some(from) => object = from.strategy.convert(object, &kind.storage_version),
            None => older::upgrade(&kind.kind, version, &mut object),
        }
    }
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    kind.strategy.default(&mut object);
    object
}

/// The row of another version of a kind, if that is served or can be.
fn row(kind: &Kind, version: &str) -> Option<&'static Arc<Kind>> {
    ironclad_kinds::all().iter().find(|k| k.kind == kind.kind && k.group == kind.group && &*k.version == version)
}

/// The bytes of a template with no place for a resource version.
fn without_revision(value: &Template) -> Result<Vec<u8>, String> {
    let (head, tail) = value.parts();
    let (Some(head), Some(tail)) = (head.strip_suffix(&PLACE[1..]), tail.strip_prefix(b"\"")) else {
        return Err("its metadata does not begin with a resource version".to_owned());
    };
    let tail = tail.strip_prefix(b",").unwrap_or(tail);
    Ok([head, tail, b"\n"].concat())
}

/// The place behind the beginning of an object's metadata, for objects that begin as the API server's do.
fn metadata(stored: &[u8]) -> Option<usize> {
    let mut at = 0;
    for (before, last) in [("{\"kind\":\"", false), ("\",\"apiVersion\":\"", false), ("\",\"metadata\":{", true)] {
        at += stored[at..].strip_prefix(before.as_bytes()).map(|_| before.len())?;
        if !last {
            at += stored[at..].iter().position(|b| matches!(b, b'"' | b'\\'))?;
        }
    }
    Some(at)
}

/// A stored object with the place of its resource version put in, without reading the rest.
fn spliced(stored: &[u8]) -> Option<Template> {
    let stored = stored.strip_suffix(b"\n").unwrap_or(stored);
    let at = metadata(stored)?;
    let (head, tail) = stored.split_at(at);
    if tail.starts_with(PLACE.get(1..PLACE.len() - 1)?) {
        return None;
    }
    let comma: &[u8] = if tail.starts_with(b"}") { b"\"" } else { b"\"," };
    let bytes = [head, &PLACE[1..], comma, tail].concat();
    Some(Template::new(Bytes::from(bytes), at + PLACE.len() - 1))
}

/// Whether stored JSON is in the version in which the kind is stored here.
fn is_current(kind: &Kind, stored: &[u8]) -> bool {
    let head = format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version());
    stored.starts_with(head.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_store::Revision;

    fn both(key: &str, object: &Value) -> (Vec<u8>, Value) {
        let codec = StockCodec::default();
        let stored = codec.encode(key, &encode::template(object)).unwrap();
        let back = codec.decode(key, &stored).unwrap().unwrap();
        (stored, encode::decode(back.render(Revision(7)).bytes()))
    }

    #[test]
    fn a_custom_resource_is_stored_as_json_without_a_resource_version() {
        let mut object =
            json!({"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": "a"}, "spec": {"b": [1]}});
        let (stored, back) = both("/registry/example.com/widgets/default/a", &object);
        assert!(stored.starts_with(br#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"#));
        assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), object);
        object["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(back, object);
        let empty = json!({"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {}});
        assert_eq!(
            both("/registry/example.com/widgets/default/a", &empty).1["metadata"],
            json!({"resourceVersion": "7"})
        );
    }

    #[test]
    fn a_built_in_object_is_stored_in_its_envelope() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "b"}, "data": {"x": "y"}});
        let (stored, back) = both("/registry/configmaps/b/a", &object);
        assert!(stored.starts_with(b"k8s\0"), "{}", String::from_utf8_lossy(&stored));
        assert!(!stored.windows(15).any(|w| w == b"resourceVersion"));
        assert_eq!((&back["data"], &back["metadata"]["resourceVersion"]), (&object["data"], &json!("7")));
        let (stored, _) = both(
            "/registry/apiregistration.k8s.io/apiservices/v1.apps",
            &json!({"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": "v1.apps"}, "spec": {}}),
        );
        assert!(stored.starts_with(b"{"));
    }

    #[test]
    fn the_map_of_ports_has_the_form_of_stock_servers() {
        let object = json!({
            "kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
            "range": "30000-32767", "data": "CAAAAAAA",
        });
        let (stored, back) = both(ports::KEY, &object);
        assert!(stored.starts_with(b"k8s\0\n\x15\n\x02v1\x12\x0fRangeAllocation\x12"));
        assert_eq!((&back["range"], &back["data"]), (&object["range"], &object["data"]));
        // As a stock server of version 1.20 wrote it.
        let stock = b"k8s\0\n\x15\n\x02v1\x12\x0fRangeAllocation\x12)\n\x12\n\0\x12\0\x1a\0\"\0*\x002\x008\0B\0z\0\
            \x12\x0b30000-32767\x1a\x06\x08\0\0\0\0\0\x1a\0\"\0";
        let read = StockCodec::default().decode(ports::KEY, stock);
        let read = encode::decode(read.unwrap().unwrap().render(Revision(7)).bytes());
        assert_eq!((&read["range"], &read["data"]), (&object["range"], &object["data"]));
    }

    #[test]
    fn json_of_others_is_read_whatever_its_order() {
        let codec = StockCodec::default();
        let stored =
            br#"{"apiVersion":"v1","data":{"x":"y"},"kind":"ConfigMap","metadata":{"name":"a","namespace":"b"}}"#;
        let back = codec.decode("/registry/configmaps/b/a", stored).unwrap().unwrap().render(Revision(9));
        let back = encode::decode(back.bytes());
        assert_eq!((&back["data"]["x"], &back["metadata"]["resourceVersion"]), (&json!("y"), &json!("9")));
    }

    #[test]
    fn objects_in_other_versions_keep_what_they_say() {
        let codec = StockCodec::default();
        let read = |key: &str, object: &Value| {
            let stored = proto::encode(bundle(), object).unwrap().unwrap();
            encode::decode(codec.decode(key, &stored).unwrap().unwrap().render(Revision(9)).bytes())
        };
        let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "w"}, "targetCPUUtilizationPercentage": 50}});
        let read_scaler = read("/registry/horizontalpodautoscalers/b/a", &scaler);
        assert_eq!(read_scaler["apiVersion"], "autoscaling/v2");
        assert_eq!(read_scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        let backend = json!({"serviceName": "s", "servicePort": 80});
        let ingress = json!({"apiVersion": "networking.k8s.io/v1beta1", "kind": "Ingress", "metadata": {"name": "a"},
            "spec": {"backend": backend}});
        let read_ingress = read("/registry/ingress/b/a", &ingress);
        assert_eq!(read_ingress["apiVersion"], "networking.k8s.io/v1");
        assert_eq!(read_ingress["spec"]["defaultBackend"], json!({"service": {"name": "s", "port": {"number": 80}}}));
        let job = json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": {"name": "a"},
            "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}});
        let read_job = read("/registry/cronjobs/b/a", &job);
        assert_eq!((&read_job["apiVersion"], &read_job["spec"]["schedule"]), (&json!("batch/v1"), &json!("@daily")));
    }

    #[test]
    fn what_is_no_object_is_left_alone_and_what_is_broken_is_told() {
        let codec = StockCodec::default();
        assert_eq!(codec.decode("/registry/ranges/serviceips", b"k8s\0\n\x00").unwrap(), None);
        assert_eq!(codec.decode("/registry/health", b"ok").unwrap(), None);
        assert!(codec.decode("/registry/configmaps/b/a", b"rubbish").is_err());
    }
}
