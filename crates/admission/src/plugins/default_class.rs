//! DefaultStorageClass and DefaultIngressClass: a new object that names no class gets the one that is marked as the
//! default; the newest of several, and of those as old the first by name.

use super::is;
use crate::{Mutate, Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::entry;
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, object};
use ironclad_json::{Value, json};
use std::cmp::Reverse;
use std::sync::Arc;

/// Which objects have a class, and where both say so.
pub(super) struct Sort {
    plugin: &'static str,
    /// Group and resource of the objects.
    objects: (&'static str, &'static str),
    /// Group and resource of the classes.
    classes: (&'static str, &'static str),
    /// The field below `spec` that names the class.
    field: &'static str,
    /// The annotation that named it before there was the field.
    annotation: &'static str,
    /// The annotations that mark a class as the default.
    marks: &'static [&'static str],
}

pub(super) static CLAIMS: Sort = Sort {
    plugin: "DefaultStorageClass",
    objects: ("", "persistentvolumeclaims"),
    classes: ("storage.k8s.io", "storageclasses"),
    field: "storageClassName",
    annotation: "volume.beta.kubernetes.io/storage-class",
    marks: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
};

pub(super) static INGRESSES: Sort = Sort {
    plugin: "DefaultIngressClass",
    objects: ("networking.k8s.io", "ingresses"),
    classes: ("networking.k8s.io", "ingressclasses"),
    field: "ingressClassName",
    annotation: "kubernetes.io/ingress.class",
    marks: &["ingressclass.kubernetes.io/is-default-class"],
};

/// Gives new objects of a sort their default class.
pub(super) struct DefaultClass {
    sort: &'static Sort,
    source: Arc<dyn Source>,
}

impl DefaultClass {
    pub(super) fn new(sort: &'static Sort, source: Arc<dyn Source>) -> Self {
        Self { sort, source }
    }
}

impl Plugin for DefaultClass {
    fn name(&self) -> &'static str {
        self.sort.plugin
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for DefaultClass {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        let sort = self.sort;
        if !is(request, sort.objects.0, sort.objects.1) {
            return Ok(());
        }
        let Some(new) = request.object.as_mut() else { return Ok(()) };
        if new["metadata"]["annotations"].get(sort.annotation).is_some() || new["spec"][sort.field].is_string() {
            return Ok(());
        }
        let classes = self.source.list(&GroupResource::new(sort.classes.0, sort.classes.1), "");
        if let Some(class) = default_of(sort, &classes) {
            entry(new, "spec").insert(sort.field, json!(class));
        }
        Ok(())
    }
}

/// The name of the default class.
fn default_of<'c>(sort: &Sort, classes: &'c [Arc<Value>]) -> Option<&'c str> {
    let marked = |c: &&Arc<Value>| sort.marks.iter().any(|mark| c["metadata"]["annotations"][*mark] == "true");
    let newest = |c: &&'c Arc<Value>| (object::text(c, &["metadata", "creationTimestamp"]), Reverse(object::name(c)));
    classes.iter().filter(marked).max_by_key(newest).map(|c| object::name(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_default_wins_and_of_equals_the_first_by_name() {
        let class = |name: &str, made: &str, mark: &str| {
            let annotations = json!({mark: "true"});
            Arc::new(json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": annotations}}))
        };
        for sort in [&CLAIMS, &INGRESSES] {
            let mark = sort.marks[0];
            let classes = [
                class("old", "2026-01-01T00:00:00Z", mark),
                class("b", "2026-01-02T00:00:00Z", mark),
                class("a", "2026-01-02T00:00:00Z", mark),
                class("c", "2026-01-02T00:00:00Z", mark),
                class("plain", "2026-01-03T00:00:00Z", "other"),
            ];
            assert_eq!(default_of(sort, &classes), Some("a"), "{}", sort.plugin);
            assert_eq!(default_of(sort, &classes[4..]), None, "{}", sort.plugin);
        }
    }
}
