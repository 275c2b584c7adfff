//! The objects that were written last, as values: who changes one again, or follows its changes in process, need not
//! decode it.
//!
//! Invariants: what is kept is bounded by its bytes; a value is given only for the very bytes that were made of it.

use ironclad_api::object::metadata_mut;
use ironclad_json::Value;
use ironclad_store::{Key, Template};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// Bytes of encoded objects whose values are kept.
const KEPT: usize = 512 << 10;
/// Writes of one key whose values are kept.
const FOLLOWED: usize = 4;

#[derive(Default)]
pub(crate) struct Written(Mutex<Inner>);

/// A write by its number.
struct Kept {
    number: u64,
    template: Template,
    object: Value,
}

#[derive(Default)]
struct Inner {
    /// The last writes of each key: who follows may be a few behind.
    by_key: HashMap<Key, Vec<Kept>>,
    /// Keys in the order in which they were written, with the number of that write.
    order: VecDeque<(u64, Key)>,
    next: u64,
    bytes: usize,
}

impl Written {
    /// Keeps a value that is about to be stored in this form.
    pub(crate) fn keep(&self, key: &Key, template: &Template, object: &Value) {
        if template.len() > KEPT / 8 {
            return;
        }
        let mut kept = self.0.lock();
        let number = kept.next;
        kept.next += 1;
        kept.bytes += template.len();
        let writes = kept.by_key.entry(key.clone()).or_default();
        writes.push(Kept { number, template: template.clone(), object: as_written(object) });
        let old = (writes.len() > FOLLOWED).then(|| writes.remove(0).template.len());
        kept.bytes -= old.unwrap_or(0);
        kept.order.push_back((number, key.clone()));
        kept.trim();
    }

    /// The object of these bytes, if it was written last under its key.
    pub(crate) fn find(&self, key: &str, bytes: &[u8]) -> Option<Value> {
        let kept = self.0.lock();
        let mut writes = kept.by_key.get(key)?.iter().rev();
        let (revision, kept) = writes.find_map(|kept| Some((kept.template.revision_in(bytes)?, kept)))?;
        let mut object = kept.object.clone();
        metadata_mut(&mut object).insert("resourceVersion", revision.into());
        Some(object)
    }
}

impl Inner {
    fn trim(&mut self) {
        // A key that is written again and again stands in the order once for each write.
        while self.bytes > KEPT || self.order.len() > 2 * FOLLOWED * self.by_key.len() + 64 {
            let Some((number, key)) = self.order.pop_front() else { return };
            let Some(writes) = self.by_key.get_mut(&key) else { continue };
            if let Some(at) = writes.iter().position(|kept| kept.number == number) {
                self.bytes -= writes.remove(at).template.len();
            }
            if writes.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }
}

/// The object as its bytes have it, which leave out nulls at the top and in the metadata.
fn as_written(object: &Value) -> Value {
    let mut object = object.clone();
    if object.get("metadata").and_then(Value::as_object).is_some_and(|m| m.values().any(Value::is_null)) {
        metadata_mut(&mut object).retain(|_, v| !v.is_null());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use ironclad_json::json;
    use ironclad_store::Revision;

    fn object(name: usize, size: usize) -> Value {
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": format!("m{name}"), "labels": null},
            "data": {"a": "x".repeat(size)}, "immutable": null})
    }

    #[test]
    fn a_value_is_given_for_its_own_bytes_alone() {
        let (written, key) = (Written::default(), Key::from("/registry/configmaps/a/m1"));
        let template = encode::template(&object(1, 10));
        written.keep(&key, &template, &object(1, 10));
        let bytes = template.render(Revision(42)).bytes().clone();
        assert_eq!(written.find(&key, &bytes), Some(encode::decode(&bytes)));
        let other = encode::template(&object(1, 11)).render(Revision(42)).bytes().clone();
        assert_eq!((written.find(&key, &other), written.find("/registry/x", &bytes)), (None, None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let written = Written::default();
        let template = encode::template(&object(0, 2000));
        for i in 0..10_000 {
            written.keep(&format!("/registry/configmaps/a/m{}", i % 5000).into(), &template, &object(0, 2000));
            written.keep(&Key::from("/registry/configmaps/a/hot"), &template, &object(0, 2000));
        }
        let kept = written.0.lock();
        let sum: usize = kept.by_key.values().flatten().map(|k| k.template.len()).sum();
        assert_eq!(sum, kept.bytes);
        assert!(kept.bytes <= KEPT && kept.order.len() <= 2 * FOLLOWED * kept.by_key.len() + 64);
    }
}
