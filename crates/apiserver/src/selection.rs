//! Which objects of a list or watch a client wants.

use crate::cache::Cached;
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

impl Selection {
    pub(crate) fn parse(kind: &Kind, namespace: &str, name: &str, query: &Query) -> Result<Self, ApiError> {
        let labels = LabelSelector::parse(query.get("labelSelector")).map_err(ApiError::bad_request)?;
        let fields = FieldSelector::parse(query.get("fieldSelector")).map_err(ApiError::bad_request)?;
        for (field, _, _) in &fields.terms {
            let known = matches!(field.as_str(), "metadata.name" | "metadata.namespace")
                || kind.selectable.iter().any(|f| f == field);
            if !known {
                let why = format!("field label not supported: {field}");
                return Err(ApiError::bad_request(why));
            }
        }
        let pinned = fields.exact("metadata.name").unwrap_or(name).to_owned();
        Ok(Self { namespace: namespace.to_owned(), name: pinned, labels, fields })
    }

    pub(crate) fn matches(&self, kind: &Kind, object: &Cached) -> bool {
        if !self.namespace.is_empty() && object.namespace != self.namespace {
            return false;
        }
        if !self.name.is_empty() && object.name != self.name {
            return false;
        }
        if !self.labels.is_everything() && !self.labels.matches(object.labels.as_slice()) {
            return false;
        }
        self.fields.is_everything() || self.fields.matches(|field| object.field(kind, field))
    }
}
