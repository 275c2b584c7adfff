//! The generic registry: what can be done with objects of every kind, over the store and the watch caches.

mod admit;
mod conversions;
mod convert;
mod create;
mod delete;
mod frame;
mod input;
mod list;
pub(crate) mod options;
mod owners;
mod patch;
mod scale;
mod token;
mod update;
pub(crate) mod versions;
mod watch;

use crate::cache::Caches;
use crate::custom::Webhooks;
use crate::encode;
use crate::limits::Load;
use crate::metrics::TimedChain;
use crate::request::{Info, Query};
use crate::special::allocate::{Addresses, Reservation};
use ironclad_admission::Operation;
use ironclad_api::{ApiError, ErrorList, FieldError, Path, Reason, UserInfo, object};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_schema::{Bundle, Shape, bundle};
use ironclad_store::{Change, Entry, Error, Expect, Key, Op, Revision, Store};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use conversions::Conversions;
pub(crate) use delete::Options as DeleteOptions;
pub(crate) use input::{Checked, Input, decode};
pub(crate) use input::{decode_as, in_go, told_type};
pub(crate) use list::{partial_object, same_version};
pub(crate) use owners::own;
pub(crate) use update::Changed;
pub(crate) use versions::no_initial_events;

/// How long Events are kept.
const EVENT_TTL: Duration = Duration::from_hours(1);

pub(crate) struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) admission: TimedChain,
    pub(crate) addresses: Addresses,
    pub(crate) load: Load,
    pub(crate) webhooks: Webhooks,
    /// Whether watches tell where what is there already ends.
    pub(crate) watch_lists: bool,
}

/// A request for objects of one kind.
pub(crate) struct Request<'a> {
    pub(crate) kind: &'a Arc<Kind>,
    /// The row of the version in which the kind is stored.
    pub(crate) stored: &'a Arc<Kind>,
    pub(crate) info: &'a Info,
    pub(crate) user: &'a UserInfo,
    pub(crate) user_agent: &'a str,
    pub(crate) accept: crate::accept::Accepted,
    /// What was served when the request came.
    pub(crate) table: &'a crate::catalog::Table,
    /// What a webhook has converted for it.
    pub(crate) conversions: &'a Conversions,
}

/// An object that is answered.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) object: Answered,
    pub(crate) warnings: Vec<String>,
}

pub(crate) enum Answered {
    /// Bytes in the stored version.
    Stored(bytes::Bytes),
    /// A value in the version of the request.
    Value(Value),
}

impl Answer {
    pub(crate) fn stored(entry: &Entry) -> Self {
        Self { code: 200, object: Answered::Stored(entry.value.bytes().clone()), warnings: Vec::new() }
    }

    pub(crate) fn value(code: u16, value: Value) -> Self {
        Self { code, object: Answered::Value(value), warnings: Vec::new() }
    }
}

impl Request<'_> {
    pub(crate) fn query(&self) -> &Query {
        &self.info.query
    }

    /// Whether nothing is to be stored. What else stands there was refused by [`options::check`].
    pub(crate) fn dry_run(&self) -> bool {
        !self.query().get("dryRun").is_empty()
    }

    /// The prefix of the keys that the request can reach.
    pub(crate) fn prefix(&self) -> String {
        match self.kind.namespaced && !self.info.namespace.is_empty() {
            true => format!("{}{}/", self.kind.prefix, self.info.namespace),
            false => self.kind.prefix.to_string(),
        }
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        format!("{}{name}", self.prefix()).into()
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.kind.group_resource(), &self.info.name)
    }

    /// A stored object in the version of the request.
    pub(crate) fn to_requested(&self, object: Value) -> Value {
        convert(self.stored, self.kind, object)
    }

    /// An object of the request in the stored version.
    pub(crate) fn to_stored(&self, object: Value) -> Value {
        convert(self.kind, self.stored, object)
    }

    /// The options of the request as `kind`, for example `CreateOptions`.
    pub(crate) fn options(&self, kind: &str) -> Value {
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.query().has("dryRun") {
            options["dryRun"] = json!([self.query().get("dryRun")]);
        }
        for field in ["fieldManager", "fieldValidation"] {
            if self.query().has(field) {
                options[field] = json!(self.query().get(field));
            }
        }
        options
    }

    pub(crate) fn admission(
        &self,
        operation: Operation,
        object: Option<Value>,
        old: Option<Arc<Value>>,
        options: Value,
    ) -> Result<ironclad_admission::Request, ApiError> {
        Ok(ironclad_admission::Request {
            operation,
            verb: self.info.verb.clone(),
            kind: self.kind.gvk(),
            resource: self.kind.gvr(),
            subresource: self.info.subresource.clone(),
            namespace: if self.kind.namespaced || &*self.kind.plural == "namespaces" {
                self.info.namespace.clone()
            } else {
                String::new()
            },
            name: self.info.name.clone(),
            user: self.user.clone(),
            object,
            old,
            options,
            dry_run: self.dry_run(),
            warnings: Vec::new(),
            annotations: self.info.annotations.clone(),
            reinvocation: ironclad_admission::Reinvocation::default(),
        })
    }
}

/// An object of one version of a kind in another.
pub(crate) fn convert(from: &Kind, to: &Kind, object: Value) -> Value {
    if from.version == to.version && from.group == to.group {
        return object;
    }
    let mut object = from.strategy.convert(object, &to.version);
    object["apiVersion"] = json!(to.api_version());
    if let Some(id) = bundle().kind(&to.gvk()) {
        // What one version leaves out another one always has.
        bundle().complete_all(id, &mut object);
    }
    object
}

/// That an object is not valid. Values are shown as stock's own types show them; the core group is where events are
/// validated, whatever group they were sent to.
fn invalid(kind: &Kind, name: &str, errors: ErrorList) -> ApiError {
    invalid_as(kind, &kind.kind, name, errors)
}

/// [`invalid`] with another name of the kind.
pub(crate) fn invalid_as(kind: &Kind, called: &str, name: &str, mut errors: ErrorList) -> ApiError {
    for error in errors.iter_mut().filter(|e| !e.as_is && e.value.starts_with(['{', '['])) {
        let value = serde_json::from_str(&error.value).ok();
        // Declared rules look at what clients send, the others at what is stored.
        let sent = error.covered;
        let mut gvk = kind.gvk();
        if !sent && kind.custom.is_none() {
            gvk.version = kind.storage_version.to_string();
        }
        if let Some(shown) = value.and_then(|v: Value| ironclad_schema::shown(&gvk, &error.path, &v, sent)) {
            error.value = shown;
        }
    }
    let group = if kind.group == "events.k8s.io" { "" } else { &*kind.group };
    ApiError::invalid(group, called, name, &errors)
}

/// Kinds that stock stores as JSON, in which an empty list is no missing one.
fn keeps_empties(kind: &Kind) -> bool {
    matches!(&*kind.plural, "apiservices" | "customresourcedefinitions")
}

/// How the fields of a kind are told apart.
pub(crate) fn types(kind: &Kind) -> Option<(&Bundle, Shape)> {
    if let Some(custom) = &kind.custom {
        let (bundle, shape) = custom.types();
        return Some((bundle, shape.clone()));
    }
    bundle().kind(&kind.gvk()).map(|id| (bundle(), Shape::Object(id)))
}

impl Registry {
    /// The entry under a key.
    pub(crate) async fn entry(&self, key: &str) -> Result<Option<Entry>, ApiError> {
        self.store.get(key, None).await.map_err(|e| store_error(&e))
    }

    pub(crate) async fn get(&self, request: &Request<'_>) -> Result<Answer, ApiError> {
        if request.query().flag("export") {
            let why = "the export parameter, deprecated since v1.14, is no longer supported";
            return Err(ApiError::bad_request(why));
        }
        match versions::of_get(request.query())? {
            Revision(0) => {}
            revision => drop(self.not_older(revision).await?),
        }
        let entry = self.entry(&request.key(&request.info.name)).await?.ok_or_else(|| request.not_found())?;
        self.show(request, &entry).await
    }

    /// Stores an object under its key; the answer is what was stored.
    pub(crate) async fn put(&self, request: &Request<'_>, object: &Value, expect: Expect) -> Result<Entry, ApiError> {
        self.put_with(request, object, expect, Vec::new()).await.map_err(|refused| match refused {
            Refused::Lost(_, error) | Refused::Because(error) => error,
        })
    }

    /// Stores an object together with what was reserved for it. Addresses that somebody else was faster to take are
    /// replaced by others, where any will do.
    pub(crate) async fn put_reserved(
        &self,
        request: &Request<'_>,
        mut object: Value,
        expect: Expect,
        mut reserved: Reservation,
    ) -> Result<Entry, ApiError> {
        loop {
            let with = reserved.ops(&object);
            let (lost, error) = match self.put_with(request, &object, expect, with).await {
                Ok(entry) => {
                    reserved.keep().await;
                    return Ok(entry);
                }
                Err(Refused::Lost(lost, error)) => (lost, error),
                Err(Refused::Because(error)) => return Err(error),
            };
            if !reserved.other(lost, &mut object) {
                return Err(error);
            }
        }
    }

    /// Stores an object together with what else must hold for it.
    async fn put_with(
        &self,
        request: &Request<'_>,
        object: &Value,
        expect: Expect,
        with: Vec<Op>,
    ) -> Result<Entry, Refused> {
        let name = object::name(object);
        let ttl = (&*request.kind.plural == "events").then_some(EVENT_TTL);
        let key = request.key(name);
        let value = encode::template(object);
        self.caches.written.keep(&key, &value, object);
        let change = Change::Put { value, ttl };
        let mut ops = vec![Op { key: key.clone(), expect, change }];
        ops.extend(with);
        let committed = self.store.commit(ops).await;
        let resource = request.kind.group_resource();
        let why = match committed {
            Ok(done) => {
                let entry = done.entries.into_iter().next().flatten();
                return entry.ok_or_else(|| Refused::Because(ApiError::internal("nothing was stored")));
            }
            Err(Error::Conflict { key: other, .. }) if other != key => {
                // Of what is stored with an object only addresses can be somebody else's.
                let Some(ip) = Addresses::lost(&other) else {
                    return Err(Refused::Because(ApiError::internal(format!("{other} is not as expected"))));
                };
                let why = format!("failed to allocate IP {ip}: provided IP is already allocated");
                let at = Path::new("spec").child("clusterIPs");
                let error = FieldError::invalid(&at, &json!([ip.to_string()]), why);
                return Err(Refused::Lost(ip, ApiError::invalid("", "Service", name, &[error])));
            }
            Err(Error::Conflict { .. }) if expect == Expect::Absent => ApiError::already_exists(&resource, name),
            Err(Error::Conflict { current: None, .. }) => ApiError::not_found(&resource, name),
            Err(Error::Conflict { .. }) => modified(request, name),
            Err(error) => store_error(&error),
        };
        Err(Refused::Because(why))
    }
}

/// Why a write was not stored.
enum Refused {
    /// Somebody else has the address.
    Lost(std::net::Ipv4Addr, ApiError),
    Because(ApiError),
}

/// 409: somebody else was faster.
pub(crate) fn modified(request: &Request<'_>, name: &str) -> ApiError {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    ApiError::conflict(&request.kind.group_resource(), name, why)
}

/// A failure of the store as the client sees it.
pub(crate) fn store_error(error: &Error) -> ApiError {
    match error {
        Error::Compacted { .. } => ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        ),
        Error::Future { requested, newest } => {
            let what = "Too large resource version";
            ApiError::new(Reason::Timeout, format!("Timeout: {what}: {requested}, current: {newest}"))
                .with_cause("ResourceVersionTooLarge", what, "")
                .retry_after(1)
        }
        // What etcd says stock passes on as it is.
        Error::Full(why) | Error::Refused(why) | Error::Unavailable(why) if why.starts_with("etcdserver: ") => {
            let mut error = ApiError::new(Reason::Unknown, why.clone());
            error.code = 500;
            error
        }
        Error::Unavailable(why) => {
            tracing::warn!(why, "the store does not answer");
            crate::limits::unanswered()
        }
        other => ApiError::internal(other),
    }
}

#[cfg(test)]
mod store_errors {
    use super::*;

    #[test]
    fn what_etcd_says_is_passed_on_and_its_silence_is_a_timeout() {
        let full = store_error(&Error::Full("etcdserver: mvcc: database space exceeded".to_owned()));
        assert_eq!((full.code, full.message.as_str()), (500, "etcdserver: mvcc: database space exceeded"));
        assert_eq!(full.reason, Reason::Unknown);
        let slow = store_error(&Error::Unavailable("etcdserver: request timed out".to_owned()));
        assert_eq!((slow.code, slow.message.as_str()), (500, "etcdserver: request timed out"));
        assert_eq!(store_error(&Error::Unavailable("refused".to_owned())).code, 504);
        assert_eq!(store_error(&Error::Full("disk".to_owned())).reason, Reason::InternalError);
    }
}
