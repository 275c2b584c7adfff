//! Which objects of a list or watch a client wants.

use crate::cache::{Cached, Scope};
use crate::request::Query;
use ironclad_api::ApiError;
use ironclad_api::selector::{FieldSelector, LabelSelector};
use ironclad_kinds::Kind;

#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

/// What stock says of a field that cannot be selected: kinds that can select some have words of their own.
fn unknown_field(kind: &Kind, field: &str) -> String {
    match (&*kind.group, &*kind.kind) {
        ("resource.k8s.io", "ResourceSlice") => {
            format!("field label not supported for {}, Kind={}: {field}", kind.api_version(), kind.kind)
        }
        ("batch", "Job") => format!("field label {field:?} not supported for Job"),
        _ if kind.custom.is_some() || !kind.selectable.is_empty() => format!("field label not supported: {field}"),
        _ => format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    }
}

/// Whether the namespace of a kind's objects cannot be selected.
fn without_namespace(kind: &Kind) -> bool {
    kind.group == "certificates.k8s.io" || (&*kind.group, &*kind.kind) == ("resource.k8s.io", "ResourceSlice")
}

impl Selection {
    pub(crate) fn parse(kind: &Kind, namespace: &str, name: &str, query: &Query) -> Result<Self, ApiError> {
        let labels = LabelSelector::parse(query.get("labelSelector")).map_err(ApiError::bad_request)?;
        let fields = FieldSelector::parse(query.get("fieldSelector")).map_err(ApiError::bad_request)?;
        for (field, _, _) in &fields.terms {
            let known = field == "metadata.name"
                || field == "metadata.namespace" && !without_namespace(kind)
                || kind.selectable.iter().any(|f| f == field);
            if !known {
                return Err(ApiError::bad_request(unknown_field(kind, field)));
            }
        }
        let pinned = fields.exact("metadata.name").unwrap_or(name).to_owned();
        // A namespace itself is in none, although its name stands in the place of one.
        let namespace = if kind.namespaced { namespace.to_owned() } else { String::new() };
        Ok(Self { namespace, name: pinned, labels, fields })
    }

    /// Where the objects are found at once; `kind` is the row that the cache was made with.
    pub(crate) fn scope(&self, kind: &Kind) -> Scope {
        if !self.name.is_empty() {
            return Scope::Name(self.name.as_str().into());
        }
        let pinned = |(at, field): (usize, &ironclad_kinds::Text)| {
            self.fields.exact(field).map(|value| Scope::Field(at, value.into()))
        };
        // Versions of custom resources have fields of their own, which the cache does not know.
        let fields = kind.selectable.iter().enumerate().filter(|_| kind.custom.is_none());
        let field = fields.into_iter().find_map(pinned);
        let namespace =
            || Some(Scope::Namespace(self.namespace.as_str().into())).filter(|_| !self.namespace.is_empty());
        field.or_else(namespace).unwrap_or(Scope::All)
    }

    pub(crate) fn matches(&self, kind: &Kind, object: &Cached) -> bool {
        if !self.namespace.is_empty() && object.namespace() != self.namespace {
            return false;
        }
        if !self.name.is_empty() && object.name() != self.name {
            return false;
        }
        if !self.labels.is_everything() && !self.labels.matches(object) {
            return false;
        }
        self.fields.is_everything() || self.fields.matches(|field| object.field(kind, field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_cannot_be_selected_are_refused_in_the_words_of_their_kind() {
        let refused = |name: &str, field: &str| {
            let kind = ironclad_kinds::all().iter().find(|k| k.plural == name).unwrap();
            (field == "metadata.namespace" && !without_namespace(kind))
                .then(String::new)
                .unwrap_or(unknown_field(kind, field))
        };
        let table = [
            ("certificatesigningrequests", "metadata.namespace", "field label not supported: metadata.namespace"),
            (
                "resourceslices",
                "metadata.namespace",
                "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: metadata.namespace",
            ),
            ("deviceclasses", "metadata.namespace", ""),
            ("jobs", "a.b", "field label \"a.b\" not supported for Job"),
        ];
        for (kind, field, want) in table {
            assert_eq!(refused(kind, field), want, "{kind}");
        }
    }
}
