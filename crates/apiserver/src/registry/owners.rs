//! Who owns which fields: what server-side apply needs to know of a request.

use super::{Conversions, Request, convert, types};
use crate::catalog::Table;
use ironclad_api::{ApiError, GroupVersionKind, object, time};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_schema::apply::{self, Manager, OneVersion, Operation, Schema, Set, Versions};
use ironclad_schema::{Bundle, Empties, Shape, Which, bundle};

/// Longest manager name that is made from a user agent.
const LONGEST: usize = 128;

/// The versions of a resource in the table.
struct Served<'a> {
    table: &'a Table,
    kind: &'a Kind,
    conversions: &'a Conversions,
}

impl Served<'_> {
    fn row(&self, version: &str) -> Option<&Kind> {
        let gvk = GroupVersionKind::parse(version, &self.kind.kind);
        self.table.find(&gvk.group, &gvk.version, &self.kind.plural).map(|kind| &**kind)
    }
}

impl Versions for Served<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, &Bundle, Shape)> {
        let to = self.row(api_version)?;
        let from = match object::text(object, &["apiVersion"]) {
            "" => self.kind,
            version => self.row(version)?,
        };
        let (bundle, shape) = types(to)?;
        let webhook = to.custom.as_ref().and_then(|c| c.webhook.as_ref());
        // Of what is not there yet nothing is to be converted.
        let webhook = webhook.filter(|_| from.version != to.version && !object["metadata"].is_null());
        let converted = match webhook {
            Some(webhook) => {
                let mut object = object.clone();
                object["apiVersion"] = from.api_version().into();
                object["kind"] = from.kind.to_string().into();
                self.conversions.get(webhook, &object, api_version)?
            }
            None => convert(from, to, object.clone()),
        };
        Some((converted, bundle, shape))
    }

    fn shape(&self, api_version: &str) -> Option<(&Bundle, Shape)> {
        types(self.row(api_version)?)
    }
}

/// Fields that a door does not change, whatever is sent through it.
fn ignored(kind: &Kind, subresource: &str) -> Set {
    match subresource {
        "status" if kind.custom.is_some() || &*kind.kind == "VolumeAttachment" => Set::of(&[&["metadata"], &["spec"]]),
        "status" if &*kind.kind == "Pod" => {
            Set::of(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        "approval" => Set::of(&[&["spec"], &["status", "certificate"]]),
        "status" if &*kind.kind == "CertificateSigningRequest" => Set::of(&[&["spec"], &["status", "conditions"]]),
        "" if &*kind.kind == "CertificateSigningRequest" => Set::of(&[&["spec"], &["status"]]),
        "status" if &*kind.kind == "Deployment" => Set::of(&[&["spec"], &["metadata", "labels"]]),
        "status" => Set::of(&[&["spec"]]),
        "scale" => Set::default(),
        _ if kind.subresource("status").is_some() => Set::of(&[&["status"]]),
        _ => Set::default(),
    }
}

/// Notes in a new object that the server itself made it.
pub(crate) fn own(table: &Table, kind: &Kind, object: &mut Value) {
    let Some((bundle, shape)) = types(kind) else { return };
    let conversions = Conversions::default();
    let versions = Served { table, kind, conversions: &conversions };
    // What is found out only when it is stored, or later by controllers, is nobody's.
    let ignored = match &*kind.kind {
        "ClusterRole" if !object["aggregationRule"].is_null() => Set::of(&[&["rules"]]),
        "Service" => Set::of(&[&["status"], &["spec", "clusterIPs"], &["spec", "ipFamilies"]]),
        "Namespace" => Set::of(&[&["status"], &["spec"]]),
        _ => ignored(kind, ""),
    };
    let schema = Schema { bundle, shape, versions: &versions, ignored };
    let manager = Manager {
        name: "kube-apiserver".to_owned(),
        operation: Operation::Update,
        api_version: kind.api_version(),
        subresource: String::new(),
        time: time::now(),
    };
    apply::track(&schema, &Value::Null, object, &manager);
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
        let versions = Served { table: self.table, kind: self.kind, conversions: self.conversions };
        let ignored = ignored(self.kind, &self.info.subresource);
        Some(act(&Schema { bundle, shape, versions: &versions, ignored }))
    }

    /// Notes in `new` what this write changed from `old`, which is null for a new object.
    pub(crate) fn track(&self, old: &Value, new: &mut Value) {
        // A binding changes what the server itself decided.
        if self.info.subresource != "binding" {
            let manager = self.manager(Operation::Update);
            self.with_schema(|schema| apply::track(schema, old, new, &manager));
        }
    }

    /// An object with what was sent empty; `None` where nothing comes in.
    pub(super) fn laid(&self, empties: &Empties, object: &Value, which: Which) -> Option<Value> {
        if empties.is_none() {
            return None;
        }
        let (bundle, shape) = types(self.kind)?;
        empties.laid(bundle, &shape, object, which)
    }

    /// An object with what was sent empty where the old one has something; `None` where nothing comes in.
    pub(super) fn laid_unlike(&self, empties: &Empties, object: &Value, old: &Value) -> Option<Value> {
        if empties.is_none() {
            return None;
        }
        let (bundle, shape) = types(self.kind)?;
        empties.laid_unlike(bundle, &shape, object, old)
    }

    /// Notes the fields of an object of another kind that is sent below one of the request's.
    pub(super) fn track_below(&self, kind: &GroupVersionKind, new: &mut Value) {
        let Some(id) = bundle().kind(kind) else { return };
        let shape = Shape::Object(id);
        let schema = Schema { bundle: bundle(), shape, versions: &OneVersion, ignored: Set::default() };
        let api_version = ironclad_api::resource::api_version(&kind.group, &kind.version);
        let manager = Manager { api_version, ..self.manager(Operation::Update) };
        // What stock begins with: an object whose fields are there and empty.
        let mut empty = json!({"apiVersion": manager.api_version, "kind": kind.kind, "metadata": {}});
        if kind.kind == "TokenRequest" {
            empty["spec"] = json!({"audiences": null, "boundObjectRef": null});
        }
        apply::begin(&schema, &empty, new, &manager);
    }

    /// Lays a configuration over an object; `live` is null for a new one.
    pub(super) fn apply_over(&self, live: &Value, config: &Value) -> Result<(Value, Empties), ApiError> {
        let (manager, force) = (self.manager(Operation::Apply), self.query().flag("force"));
        let applied = self.with_schema(|schema| apply::apply_sent(schema, live, config, &manager, force));
        applied.unwrap_or_else(|| Err(ApiError::internal("the kind has no type")))
    }
}
