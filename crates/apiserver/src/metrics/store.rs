//! Requests to the store, by what they do and the resource that they are about.

use super::family::{Family, Histogram, head, pairs};
use crate::cache::Caches;
use hashbrown::Equivalent;
use std::hash::{Hash, Hasher};
use std::time::Duration;

const BOUNDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// An operation and the part of the key that names a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(&'static str, String);

struct Ref<'a>(&'static str, &'a str);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, &*self.1).hash(state);
    }
}

impl Hash for Ref<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
    }
}

impl Equivalent<Key> for Ref<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

#[derive(Default)]
pub(crate) struct Requests {
    series: Family<Key, Histogram>,
}

/// The part of a key that names the resource: `/registry/pods/`, or with a group `/registry/example.com/widgets/`.
fn place(key: &str) -> &str {
    let mut slashes = key.match_indices('/').map(|(i, _)| i).skip(2);
    let Some(two) = slashes.next() else { return key };
    let grouped = key["/registry/".len().min(two)..two].contains('.') || key.starts_with("/registry/services/");
    let end = if grouped { slashes.next().unwrap_or(two) } else { two };
    &key[..=end]
}

impl Requests {
    /// A request was done: `get`, `list`, `create`, `update` or `delete`.
    pub(crate) fn done(&self, operation: &'static str, key: &str, took: Duration) {
        let place = place(key);
        self.series.of(&Ref(operation, place), || Key(operation, place.to_owned())).record(&BOUNDS, took);
    }

    pub(super) fn render(&self, out: &mut String, caches: &Caches) {
        let all = self.series.all();
        let labels = |Key(operation, place): &Key| {
            let (group, resource) = caches.name_of(place).unwrap_or_else(|| (String::new(), last(place).to_owned()));
            pairs(&[("group", &group), ("operation", operation), ("resource", &resource)])
        };
        let name = "etcd_requests_total";
        head(out, name, "counter", "ALPHA", "Etcd request counts for each operation and object type.");
        for (key, histogram) in &all {
            out.push_str(&format!("{name}{{{}}} {}\n", labels(key), histogram.count()));
        }
        let name = "etcd_request_duration_seconds";
        head(out, name, "histogram", "ALPHA", "Etcd request latency in seconds for each operation and object type.");
        all.iter().for_each(|(key, histogram)| histogram.write(out, name, &labels(key), &BOUNDS));
    }
}

/// The last part of a place, for keys that are no resource's.
fn last(place: &str) -> &str {
    place.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_resource() {
        let table = [
            ("/registry/pods/a/b", "/registry/pods/"),
            ("/registry/services/specs/a/b", "/registry/services/specs/"),
            ("/registry/example.com/widgets/a/b", "/registry/example.com/widgets/"),
            ("/registry/ranges/servicenodeports", "/registry/ranges/"),
            ("/registry/", "/registry/"),
            ("x", "x"),
        ];
        for (key, want) in table {
            assert_eq!(place(key), want, "{key}");
        }
    }
}
