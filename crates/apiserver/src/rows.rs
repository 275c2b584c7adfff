//! Tables and partial objects made from an object's bytes: its metadata go out as they stand there, and for the cells
//! only that is decoded which cells are made of. Nothing of it is kept: cells hold ages.

use crate::Body;
use crate::accept::{Accepted, Media};
use crate::cache::Cached;
use crate::registry::Request;
use crate::{encode, respond};
use bytes::Bytes;
use http::Response;
use ironclad_api::ApiError;
use ironclad_api::table::{self, Column};
use ironclad_json::{Map, Text, Value, json};
use ironclad_kinds::Kind;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Objects that are written by one task.
const BATCH: usize = 500;

/// How rows are written for one client.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) kind: Arc<Kind>,
    /// What of its object a row has: `Metadata`, `None` or `Object`.
    pub(crate) include: String,
    pub(crate) accepted: Accepted,
}

impl Rows {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let include = request.query().get("includeObject").to_owned();
        Self { kind: request.kind.clone(), include, accepted: request.accept }
    }

    fn row(&self, object: &Cached, out: &mut Vec<u8>) {
        let shown = match self.kind.custom {
            // Their columns can be anywhere.
            Some(_) => object.value(),
            None => without_managers(&object.bytes),
        };
        out.extend_from_slice(b"{\"cells\":");
        // Writing JSON values to memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, &self.kind.strategy.cells(&shown));
        if let Some(conditions) = self.kind.strategy.row_conditions(&shown) {
            out.extend_from_slice(b",\"conditions\":");
            out.extend_from_slice(conditions.to_string().as_bytes());
        }
        match self.include.as_str() {
            "None" => out.extend_from_slice(b",\"object\":null"),
            "Object" => {
                out.extend_from_slice(b",\"object\":");
                out.extend_from_slice(&object.bytes);
            }
            _ => {
                out.extend_from_slice(b",\"object\":");
                self.partial(object, out);
            }
        }
        out.push(b'}');
    }

    /// Only the metadata of an object.
    pub(crate) fn partial(&self, object: &Cached, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
        out.extend_from_slice(self.accepted.meta_version().as_bytes());
        out.extend_from_slice(b"\",\"metadata\":");
        out.extend_from_slice(metadata(&object.bytes));
        out.push(b'}');
    }

    /// A table up to its rows.
    fn head(&self, meta: &Value, columns: bool) -> Vec<u8> {
        let definitions = definitions(&self.kind, columns);
        let version = self.accepted.meta_version();
        let head = json!({"kind": "Table", "apiVersion": version, "metadata": meta, "columnDefinitions": definitions});
        open(&head, "rows")
    }

    /// The table of one event; only the first of a watch has the columns.
    pub(crate) fn of_event(&self, object: &Cached, first: bool) -> Vec<u8> {
        let mut out = self.head(&json!({"resourceVersion": object.revision.to_string()}), first);
        self.row(object, &mut out);
        out.extend_from_slice(b"]}");
        out
    }
}

/// The columns of a kind's table; null in tables that go on with those that were told.
pub(crate) fn definitions(kind: &Kind, told: bool) -> Value {
    match told {
        true => kind.strategy.columns().iter().map(described).collect(),
        false => Value::Null,
    }
}

/// A column with what the API's types say of the metadata that it shows.
fn described(column: &Column) -> Value {
    static DOCS: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let mut docs = ironclad_schema::bundle().docs_of(meta, &["name", "creationTimestamp"])?.into_iter();
        Some((docs.next()?, docs.next()?))
    });
    let mut shown = column.to_value();
    let doc = DOCS.as_ref().and_then(|(name, created)| match &*column.description {
        table::NAME_DOC => Some(name),
        table::AGE_DOC => Some(created),
        _ => None,
    });
    if let Some(doc) = doc {
        shown["description"] = json!(doc);
    }
    shown
}

/// An object up to the items of its last field.
fn open(head: &Value, field: &str) -> Vec<u8> {
    let mut out = encode::ordered(head);
    out.pop();
    out.extend_from_slice(format!(",\"{field}\":[").as_bytes());
    out
}

/// A list as a table.
pub(crate) async fn table(
    request: &Request<'_>,
    objects: &[Arc<Cached>],
    meta: &Value,
) -> Result<Response<Body>, ApiError> {
    let rows = Rows::of(request);
    list(rows.head(meta, true), objects, move |object, out| rows.row(object, out)).await
}

/// A list of which only the metadata are wanted.
pub(crate) async fn partial(
    request: &Request<'_>,
    objects: &[Arc<Cached>],
    meta: &Value,
) -> Result<Response<Body>, ApiError> {
    let rows = Rows::of(request);
    let version = rows.accepted.meta_version();
    let head = json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": meta});
    list(open(&head, "items"), objects, move |object, out| rows.partial(object, out)).await
}

/// Writes many objects off the threads that serve, some at once.
async fn list(
    head: Vec<u8>,
    objects: &[Arc<Cached>],
    write: impl Fn(&Cached, &mut Vec<u8>) + Clone + Send + 'static,
) -> Result<Response<Body>, ApiError> {
    let batch = |objects: &[Arc<Cached>], write: &dyn Fn(&Cached, &mut Vec<u8>)| {
        let mut out = Vec::with_capacity(objects.iter().map(|o| o.bytes.len()).sum());
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(object, &mut out);
        }
        Bytes::from(out)
    };
    let mut pieces = vec![Bytes::from(head)];
    if objects.len() <= BATCH {
        pieces.push(batch(objects, &write));
    } else {
        let written = objects.chunks(BATCH).map(|objects| {
            let (objects, write) = (objects.to_vec(), write.clone());
            tokio::task::spawn_blocking(move || batch(&objects, &write))
        });
        for (index, written) in written.collect::<Vec<_>>().into_iter().enumerate() {
            if index > 0 {
                pieces.push(Bytes::from_static(b","));
            }
            pieces.push(written.await.map_err(ApiError::internal)?);
        }
    }
    pieces.push(Bytes::from_static(b"]}\n"));
    Ok(respond::pieces(Media::Json, pieces))
}

/// The metadata in the bytes of an object, which begin with kind, version and metadata.
fn metadata(object: &[u8]) -> &[u8] {
    const FIELD: &[u8] = b",\"metadata\":";
    let Some(at) = object.windows(FIELD.len()).position(|w| w == FIELD) else { return b"{}" };
    let rest = &object[at + FIELD.len()..];
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' if !text => depth += 1,
            b'}' if !text => {
                depth -= 1;
                if depth == 0 {
                    return &rest[..=at];
                }
            }
            _ => {}
        }
    }
    b"{}"
}

/// An object without its managed fields, which can be as long as all the rest.
fn without_managers(bytes: &[u8]) -> Value {
    let mut deserializer = sonic_rs::Deserializer::from_slice(bytes);
    // The cache holds only JSON that the server wrote.
    Without { below: "metadata", skipped: "managedFields" }.deserialize(&mut deserializer).unwrap_or_default()
}

/// Reads an object but for one member of one of its members.
#[derive(Clone, Copy)]
struct Without {
    below: &'static str,
    skipped: &'static str,
}

impl<'de> DeserializeSeed<'de> for Without {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Without {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members: Vec<(Text, Value)> = Vec::new();
        while let Some(name) = map.next_key::<Text>()? {
            if name == self.below {
                members.push((name, map.next_value_seed(Self { below: "", ..self })?));
            } else if self.below.is_empty() && name == self.skipped {
                map.next_value::<IgnoredAny>()?;
            } else {
                members.push((name, map.next_value_seed(Whole)?));
            }
        }
        Ok(Value::Object(Map::of(members)))
    }
}

/// Reads a value as it is.
struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_store::Revision;

    #[test]
    fn metadata_are_found_in_the_bytes_whatever_stands_in_them() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"x": ",\"metadata\":{}"},
            "metadata": {"name": "a", "annotations": {"q": "\"}\\", "e": "{{\"\\u0007"}, "managedFields": [{"f": {}}]}});
        let bytes = encode::template(&object).render(Revision(7)).bytes().clone();
        let mut want = object.clone();
        want["metadata"]["resourceVersion"] = json!("7");
        let found: Value = serde_json::from_slice(metadata(&bytes)).unwrap();
        assert_eq!(found, want["metadata"]);
        if let Some(metadata) = want["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        assert_eq!(without_managers(&bytes), want);
    }
}
