//! Who owns which fields: what server-side apply needs to know of a request.

use super::{Request, convert, types};
use crate::catalog::Table;
use ironclad_api::{ApiError, GroupVersionKind, object, time};
use ironclad_kinds::Kind;
use ironclad_schema::apply::{self, Manager, Operation, Schema, Set, Versions};
use ironclad_schema::{Bundle, Shape};
use serde_json::Value;

/// Longest manager name that is made from a user agent.
const LONGEST: usize = 128;

/// The versions of a resource in the table.
struct Served<'a> {
    table: &'a Table,
    kind: &'a Kind,
}

impl Versions for Served<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, &Bundle, Shape)> {
        let row = |version: &str| {
            let gvk = GroupVersionKind::parse(version, &self.kind.kind);
            self.table.find(&gvk.group, &gvk.version, &self.kind.plural)
        };
        let to = row(api_version)?;
        let from = match object::text(object, &["apiVersion"]) {
            "" => self.kind,
            version => row(version)?,
        };
        let (bundle, shape) = types(to)?;
        Some((convert(from, to, object.clone()), bundle, shape))
    }
}

/// Fields that a door does not change, whatever is sent through it.
fn ignored(kind: &Kind, subresource: &str) -> Set {
    match subresource {
        "status" if kind.group == "apps" => Set::of(&[&["spec"], &["metadata", "labels"]]),
        "status" => Set::of(&[&["spec"]]),
        "scale" => Set::default(),
        _ if kind.subresource("status").is_some() => Set::of(&[&["status"]]),
        _ => Set::default(),
    }
}

impl Request<'_> {
    /// Whose write this is.
    pub(super) fn manager(&self, operation: Operation) -> Manager {
        let name = match self.query().get("fieldManager") {
            "" => {
                let agent = self.user_agent.split('/').next().unwrap_or_default();
                if agent.is_empty() { "unknown".to_owned() } else { agent.chars().take(LONGEST).collect() }
            }
            given => given.to_owned(),
        };
        let subresource = self.info.subresource.clone();
        Manager { name, operation, api_version: self.kind.api_version(), subresource, time: time::now() }
    }

    /// Does something with the schema of the request's kind; `None` for kinds without one.
    pub(super) fn with_schema<T>(&self, act: impl FnOnce(&Schema<'_>) -> T) -> Option<T> {
        let (bundle, shape) = types(self.kind)?;
        let versions = Served { table: self.table, kind: self.kind };
        let ignored = ignored(self.kind, &self.info.subresource);
        Some(act(&Schema { bundle, shape, versions: &versions, ignored }))
    }

    /// Notes in `new` what this write changed from `old`, which is null for a new object.
    pub(super) fn track(&self, old: &Value, new: &mut Value) {
        // A binding changes what the server itself decided.
        if self.info.subresource != "binding" {
            let manager = self.manager(Operation::Update);
            self.with_schema(|schema| apply::track(schema, old, new, &manager));
        }
    }

    /// Lays a configuration over an object; `live` is null for a new one.
    pub(super) fn apply_over(&self, live: &Value, config: &Value) -> Result<Value, ApiError> {
        let (manager, force) = (self.manager(Operation::Apply), self.query().flag("force"));
        let applied = self.with_schema(|schema| apply::apply(schema, live, config, &manager, force));
        applied.unwrap_or_else(|| Err(ApiError::internal("the kind has no type")))
    }
}
