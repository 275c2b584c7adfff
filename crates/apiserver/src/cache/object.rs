//! An object as the cache holds it: the shared bytes, and beside them only what selection needs, packed.

use super::pick::Pick;
use bytes::Bytes;
use ironclad_api::labels::Labels;
use ironclad_json::Value;
use ironclad_kinds::Kind;
use ironclad_schema::proto::{self, MessageId};
use ironclad_store::{Entry, Revision};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock, Weak};

/// An object as the cache holds it.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) key: Arc<str>,
    pub(crate) bytes: Bytes,
    pub(crate) revision: Revision,
    /// Where in the key the namespace and the name begin.
    place: (u32, u32),
    /// Keys and values of the labels, then the values of the kind's selectable fields in the order of its row.
    texts: Box<str>,
    ends: Box<[u32]>,
    labels: u32,
    /// The object as a protobuf message, made when somebody first asks for it.
    message: OnceLock<Result<Bytes, String>>,
    /// The object decoded, for as long as somebody in process holds it.
    decoded: Mutex<Weak<Value>>,
}

impl Cached {
    pub(crate) fn of(kind: &Kind, pick: &Pick, entry: &Entry) -> Self {
        Self::new(kind, pick, entry.key.clone(), entry.modified, settled(kind, entry))
    }

    /// An object that nobody stored.
    pub(crate) fn told(kind: &Kind, pick: &Pick, key: Arc<str>, bytes: Bytes) -> Self {
        Self::new(kind, pick, key, Revision(0), bytes)
    }

    /// The same object as of a later revision.
    pub(crate) fn at(&self, kind: &Kind, revision: Revision) -> Self {
        let bytes = crate::encode::template(&crate::encode::decode(&self.bytes)).render(revision).bytes().clone();
        Self::new(kind, &Pick::of(kind), self.key.clone(), revision, bytes)
    }

    /// The same object in the version and form of another row.
    pub(crate) fn remade(&self, kind: &Kind, object: &Value) -> Self {
        let bytes = crate::encode::template(object).render(self.revision).bytes().clone();
        Self::new(kind, &Pick::of(kind), self.key.clone(), self.revision, bytes)
    }

    /// Whether the bytes are of an `apiVersion`; they begin with kind and version.
    pub(crate) fn is_version(&self, api_version: &str) -> bool {
        const KEY: &[u8] = br#"","apiVersion":""#;
        let head = &self.bytes[..self.bytes.len().min(512)];
        let Some(at) = head.windows(KEY.len()).position(|w| w == KEY) else { return false };
        let version = &head[at + KEY.len()..];
        version.starts_with(api_version.as_bytes()) && version.get(api_version.len()) == Some(&b'"')
    }

    fn new(kind: &Kind, pick: &Pick, key: Arc<str>, revision: Revision, bytes: Bytes) -> Self {
        let picked = pick.from(&bytes);
        let (mut texts, mut ends) = (String::new(), Vec::new());
        let mut add = |text: &str| {
            texts.push_str(text);
            ends.push(texts.len() as u32);
        };
        let labels = picked["metadata"]["labels"].as_object();
        for (key, value) in labels.into_iter().flatten() {
            add(key);
            add(value.as_str().unwrap_or_default());
        }
        kind.selectable.iter().for_each(|f| add(&kind.strategy.field(&picked, f)));
        let name = key.rfind('/').map_or(0, |at| at + 1);
        let namespace = if kind.namespaced { kind.prefix.len().min(name) } else { name };
        Self {
            key,
            bytes,
            revision,
            place: (namespace as u32, name as u32),
            texts: texts.into(),
            ends: ends.into(),
            labels: labels.map_or(0, |l| l.len() as u32),
            message: OnceLock::new(),
            decoded: Mutex::new(Weak::new()),
        }
    }

    /// The object decoded, once for all in process who look at it at the same time.
    pub(crate) fn shared(&self, caches: &super::Caches) -> Arc<Value> {
        let mut decoded = self.decoded.lock();
        decoded.upgrade().unwrap_or_else(|| {
            let value = Arc::new(caches.decoded(&self.key, &self.bytes));
            *decoded = Arc::downgrade(&value);
            caches.recent.hold(&value, self.bytes.len());
            value
        })
    }

    /// The namespace; empty for what lives in none.
    pub(crate) fn namespace(&self) -> &str {
        self.key[self.place.0 as usize..self.place.1 as usize].trim_end_matches('/')
    }

    pub(crate) fn name(&self) -> &str {
        &self.key[self.place.1 as usize..]
    }

    fn text(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)?;
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        self.texts.get(begin as usize..end as usize)
    }

    /// The value of a selectable field, by its place in the kind's row.
    pub(crate) fn selectable(&self, at: usize) -> &str {
        self.text(self.labels as usize * 2 + at).unwrap_or_default()
    }

    pub(crate) fn field(&self, kind: &Kind, field: &str) -> Option<&str> {
        match field {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => kind.selectable.iter().position(|f| f == field).map(|at| self.selectable(at)),
        }
    }

    /// The object as a protobuf message of its kind, without an envelope.
    pub(crate) fn message(&self, id: MessageId) -> Result<Bytes, String> {
        self.message.get_or_init(|| proto::encode_message(id, &self.value()).map(Bytes::from)).clone()
    }

    /// Whether [`Self::message`] costs nothing.
    pub(crate) fn has_message(&self) -> bool {
        self.message.get().is_some()
    }

    pub(crate) fn value(&self) -> Value {
        crate::encode::decode(&self.bytes)
    }
}

impl Labels for Cached {
    fn get_label(&self, key: &str) -> Option<&str> {
        (0..self.labels as usize).find(|at| self.text(at * 2) == Some(key)).and_then(|at| self.text(at * 2 + 1))
    }
}

/// The bytes of an entry. Defaults may have come to the schema of a custom resource since it was stored.
fn settled(kind: &Kind, entry: &Entry) -> Bytes {
    let bytes = entry.value.bytes().clone();
    let Some(custom) = &kind.custom else { return bytes };
    let stored = crate::encode::decode(&bytes);
    if stored["apiVersion"] != kind.api_version() {
        return bytes;
    }
    let mut object = stored.clone();
    custom.settle(&mut object);
    if object == stored { bytes } else { crate::encode::template(&object).render(entry.modified).bytes().clone() }
}

/// A change to an object.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) revision: Revision,
    /// Its place among the changes of its resource.
    pub(super) number: u64,
    pub(crate) object: Arc<Cached>,
    pub(crate) deleted: bool,
    pub(crate) previous: Option<Arc<Cached>>,
}

impl Changed {
    /// The same change of other forms of the objects.
    pub(crate) fn with(&self, object: Arc<Cached>, previous: Option<Arc<Cached>>) -> Self {
        Self { revision: self.revision, number: self.number, object, deleted: self.deleted, previous }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use ironclad_json::json;

    #[test]
    fn what_selection_needs_is_found_and_nothing_else_is_kept() {
        let kind = ironclad_kinds::all().iter().find(|k| &*k.plural == "pods").unwrap();
        let pod = json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "tier": "a\"b"}},
            "spec": {"nodeName": "n1", "hostNetwork": true, "containers": [{"name": "c", "image": "nodeName"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd::1"}]}});
        let key: Arc<str> = format!("{}shop/web", kind.prefix).into();
        let value = encode::template(&pod).render(Revision(7));
        let entry = Entry { key, value, modified: Revision(7), created: Revision(7) };
        let cached = Cached::of(kind, &Pick::of(kind), &entry);
        assert_eq!((cached.namespace(), cached.name()), ("shop", "web"));
        assert_eq!((cached.get_label("app"), cached.get_label("tier")), (Some("web"), Some("a\"b")));
        assert_eq!(cached.get_label("web"), None);
        let table = [
            ("metadata.name", Some("web")),
            ("spec.nodeName", Some("n1")),
            ("spec.hostNetwork", Some("true")),
            ("status.phase", Some("Running")),
            ("status.podIP", Some("")),
            ("spec.nothing", None),
        ];
        for (field, want) in table {
            assert_eq!(cached.field(kind, field), want, "{field}");
        }
    }
}
