//! Deleting objects: preconditions, grace, finalizers, propagation.

use super::{Answer, Registry, Request, list, modified, store_error};
use crate::encode;
use crate::request::Query;
use ironclad_admission::Operation;
use ironclad_api::object::{self, metadata_mut};
use ironclad_api::{ApiError, FieldError, GroupResource, Path, time};
use ironclad_json::{Value, json};
use ironclad_kinds::Dependents;
use ironclad_store::{Change, Entry, Error, Expect, Op};
use std::sync::Arc;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const ATTEMPTS: u32 = 6;
/// Kinds of which the object that is gone is answered.
const RETURNED: &[&str] = &[
    "csidrivers",
    "csinodes",
    "deviceclasses",
    "devicetaintrules",
    "namespaces",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourceclaims",
    "resourceclaimtemplates",
    "resourcepoolstatusrequests",
    "resourcequotas",
    "resourceslices",
    "serviceaccounts",
    "services",
    "storageclasses",
    "volumeattachments",
    "volumeattributesclasses",
];
/// What may become of what an object owns.
const POLICIES: [&str; 3] = ["Foreground", "Background", "Orphan"];

/// `metav1.DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    grace: Option<i64>,
    propagation: Option<String>,
    /// Whether it was asked in the old way that dependents go too.
    cascades: bool,
    uid: Option<String>,
    version: Option<String>,
    /// Whether preconditions were spoken of, be it none.
    conditional: bool,
}

/// How admission sees a deletion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// By the name of the object.
    Named,
    /// Without a name, as one of many.
    Collected,
    /// Not at all: it saw what leads to it.
    Already,
}

impl Options {
    pub(crate) fn parse(request: &Request<'_>, body: &Value) -> Result<Self, ApiError> {
        let empty = Query::default();
        // Options come in the body or in the query, never in both.
        let query = if body.is_null() { request.query() } else { &empty };
        query.check_numbers(&["gracePeriodSeconds"])?;
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let from_query = |key: &str| query.has(key).then(|| query.get(key).to_owned());
        let orphan = body["orphanDependents"]
            .as_bool()
            .or_else(|| query.has("orphanDependents").then(|| query.flag("orphanDependents")));
        let propagation = text(&body["propagationPolicy"]).or_else(|| from_query("propagationPolicy"));
        let (path, mut errors) = (Path::new("propagationPolicy"), Vec::new());
        if orphan.is_some() && propagation.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(&path, &json!(propagation), why));
        }
        if let Some(other) = propagation.as_deref().filter(|p| !POLICIES.contains(p)) {
            errors.push(FieldError::not_supported(&path, &json!(other), &[&POLICIES[..], &["nil"]].concat()));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let propagation = propagation.or_else(|| orphan.map(|o| if o { "Orphan" } else { "Background" }.to_owned()));
        let grace = body["gracePeriodSeconds"].as_i64().or_else(|| query.number("gracePeriodSeconds"));
        // Less than nothing is one second.
        let grace = grace.map(|g| if g < 0 { 1 } else { g });
        let pre = &body["preconditions"];
        let uid = text(&pre["uid"]).or_else(|| from_query("uid"));
        let version = text(&pre["resourceVersion"]).or_else(|| from_query("resourceVersion"));
        let conditional = pre.is_object() || uid.is_some() || version.is_some();
        Ok(Self { grace, propagation, cascades: orphan == Some(false), uid, version, conditional })
    }

    /// As admission sees them in a deletion of `old`: with what the kind itself makes of them.
    fn to_value(&self, request: &Request<'_>, old: &Value) -> Value {
        let mut options = request.options("DeleteOptions");
        if let Some(grace) = self.seen_grace(request, old) {
            options["gracePeriodSeconds"] = json!(grace);
        }
        if self.conditional {
            options["preconditions"] = json!({});
        }
        // These two are deleted by a way of their own, which is sure of what it deletes.
        if matches!(&*request.kind.plural, "namespaces" | "customresourcedefinitions") && self.uid.is_none() {
            options["preconditions"]["uid"] = json!(object::uid(old));
        }
        if let Some(propagation) = &self.propagation {
            options["propagationPolicy"] = json!(propagation);
        }
        for (field, value) in [("uid", &self.uid), ("resourceVersion", &self.version)] {
            if let Some(value) = value {
                options["preconditions"][field] = json!(value);
            }
        }
        options
    }

    /// The grace that a deletion of `old` comes to: that of the kind, where it has one, and never a longer one than was
    /// given before.
    fn seen_grace(&self, request: &Request<'_>, old: &Value) -> Option<i64> {
        let meta = &old["metadata"];
        let Some(grace) = request.kind.strategy.grace_period(old, self.grace) else { return self.grace };
        if meta["deletionTimestamp"].is_null() {
            return Some(grace);
        }
        self.grace.or_else(|| meta["deletionGracePeriodSeconds"].as_i64().filter(|left| *left > 0))
    }

    /// What is to become of an object's dependents: `None` leaves that to the object's own finalizers.
    fn policy(&self, request: &Request<'_>, finalizers: &[Value]) -> Option<&str> {
        let told = finalizers.iter().any(|f| f == ORPHAN || f == FOREGROUND);
        match request.kind.dependents {
            Dependents::None => Some("Background"),
            Dependents::Orphaned(_) if self.propagation.is_none() && !told => Some("Orphan"),
            _ => self.propagation.as_deref(),
        }
    }

    /// What clients are warned of that leave it to the kind what becomes of dependents.
    fn warning(&self, request: &Request<'_>) -> Option<String> {
        match request.kind.dependents {
            Dependents::Orphaned(text) if self.propagation.is_none() && !text.is_empty() => Some(text.to_owned()),
            _ => None,
        }
    }

    /// Whether an object is the one that is meant.
    pub(crate) fn check(&self, request: &Request<'_>, name: &str, old: &Value) -> Result<(), ApiError> {
        let pairs =
            [("UID", &self.uid, object::uid(old)), ("ResourceVersion", &self.version, object::resource_version(old))];
        for (what, want, have) in pairs {
            if let Some(want) = want.as_deref().filter(|w| *w != have) {
                let end = match what {
                    "UID" => "The object might have been deleted and then recreated",
                    _ => "The object might have been modified",
                };
                let why = format!(
                    "the {what} in the precondition ({want}) does not match the {what} in record ({have}). {end}"
                );
                // Stock names the kind where else the resource stands.
                let kind = GroupResource::new(&request.kind.group, &request.kind.kind);
                return Err(ApiError::conflict(&kind, name, why));
            }
        }
        Ok(())
    }
}

impl Registry {
    pub(crate) async fn delete(&self, request: &Request<'_>, options: &Options) -> Result<Answer, ApiError> {
        let mut answer = self.delete_named(request, &request.info.name, options, Seen::Named).await?;
        answer.warnings.extend(options.warning(request));
        Ok(answer)
    }

    /// Deletes an object for the server itself: admission has seen why.
    pub(crate) async fn delete_admitted(&self, request: &Request<'_>, options: &Options) -> Result<Answer, ApiError> {
        self.delete_named(request, &request.info.name, options, Seen::Already).await
    }

    /// Deletes what a selection matches, one after the other, and answers with the list.
    pub(crate) async fn delete_collection(&self, request: &Request<'_>, options: &Options) -> Result<Answer, ApiError> {
        let page = self.page(request).await?;
        let meta = super::list::whole_meta(request.kind, &page);
        let mut items = Vec::with_capacity(page.objects.len());
        for cached in page.objects {
            let mut info = request.info.clone();
            info.namespace.replace_range(.., cached.namespace());
            let one = Request { info: &info, ..*request };
            match self.delete_named(&one, cached.name(), options, Seen::Collected).await {
                // What was listed, as stock servers answer, not what is left of it.
                Ok(_) => items.push(list::item(request.kind, request.to_requested(cached.value()))),
                // Somebody else was faster.
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let list = json!({
            "kind": request.kind.list_kind, "apiVersion": request.kind.api_version(),
            "metadata": meta, "items": items,
        });
        let warnings = options.warning(request).into_iter().collect();
        Ok(Answer { warnings, ..Answer::value(200, list) })
    }

    async fn delete_named(
        &self,
        request: &Request<'_>,
        name: &str,
        options: &Options,
        seen: Seen,
    ) -> Result<Answer, ApiError> {
        let key = request.key(name);
        for _ in 0..ATTEMPTS {
            let missing = || ApiError::not_found(&request.kind.group_resource(), name);
            let entry = self.entry(&key).await?.ok_or_else(missing)?;
            match self.delete_once(request, name, options, &entry, seen).await {
                Err(error) if error.message.contains("the object has been modified") && options.version.is_none() => {}
                other => return other,
            }
        }
        Err(modified(request, name))
    }

    /// What a deletion is answered with that others have to end: older clients that ask for all dependents to go are
    /// told that it is under way.
    fn under_way(options: &Options, answer: Answer) -> Answer {
        let code = if options.cascades { 202 } else { answer.code };
        Answer { code, ..answer }
    }

    async fn delete_once(
        &self,
        request: &Request<'_>,
        name: &str,
        options: &Options,
        entry: &Entry,
        seen: Seen,
    ) -> Result<Answer, ApiError> {
        let old = encode::decode(entry.value.bytes());
        options.check(request, name, &old)?;
        let warnings = self.admit_delete(request, options, entry, seen).await?;
        let mut new = old.clone();
        self.mark(request, options, &mut new);
        // What goes at once was never seen on its way, but where its kind ends gracefully.
        let deleting = !old["metadata"]["deletionTimestamp"].is_null();
        let graceful = request.kind.strategy.grace_period(&old, options.grace).is_some() && !deleting;
        let last = if graceful { &new } else { &old };
        if request.dry_run() && self.finished(request.kind, &new) {
            return Ok(Answer { warnings, ..self.gone(request, entry, last) });
        }
        if request.dry_run() {
            let shown = self.convert_one(request, new).await?;
            return Ok(Self::under_way(options, Answer { warnings, ..Answer::value(200, shown) }));
        }
        let answer = if self.finished(request.kind, &new) {
            let gone = self.remove(request, entry, last).await?;
            self.gone(request, &gone, last)
        } else if new == old {
            Self::under_way(options, self.show(request, entry).await?)
        } else {
            let inner = request.info.clone();
            let request = Request { info: &inner, ..*request };
            let entry = self.put(&request, &new, Expect::Modified(entry.modified)).await?;
            Self::under_way(options, self.show(&request, &entry).await?)
        };
        Ok(Answer { warnings, ..answer })
    }

    /// Lets admission see a deletion; returns its warnings.
    async fn admit_delete(
        &self,
        request: &Request<'_>,
        options: &Options,
        entry: &Entry,
        seen: Seen,
    ) -> Result<Vec<String>, ApiError> {
        if seen == Seen::Already {
            return Ok(Vec::new());
        }
        let old = Arc::new(self.load(request, entry).await?);
        let seen_options = options.to_value(request, &old);
        let mut admission = request.admission(Operation::Delete, None, Some(old), seen_options)?;
        if seen == Seen::Collected {
            admission.name.clear();
        }
        self.admission.admit(&mut admission).await?;
        self.admission.validate(&mut admission).await?;
        Ok(admission.warnings)
    }

    /// What clients get for an object that is gone: the object where its kind ends gracefully, else a success.
    fn gone(&self, request: &Request<'_>, entry: &Entry, object: &Value) -> Answer {
        if request.kind.custom.is_none() && RETURNED.contains(&&*request.kind.plural) {
            return match request.dry_run() {
                true => Answer::value(200, object.clone()),
                false => Answer::stored(entry),
            };
        }
        let details = json!({
            "name": object::name(object), "group": request.kind.group, "kind": request.kind.plural, "uid": object::uid(object),
        });
        let details: ironclad_json::Map = details
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, v)| *v != "")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        Answer::value(
            200,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
        )
    }

    /// Sets the time of deletion, the grace and the finalizers that the propagation needs.
    fn mark(&self, request: &Request<'_>, options: &Options, object: &mut Value) {
        let strategy = &request.kind.strategy;
        let grace = strategy.grace_period(object, options.grace);
        let deleting = !object["metadata"]["deletionTimestamp"].is_null();
        let spec_terminating = &*request.kind.plural == "namespaces";
        let meta = metadata_mut(object);
        let mut finalizers: Vec<Value> = meta.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(policy) = options.policy(request, &finalizers) {
            finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
            match policy {
                "Orphan" => finalizers.push(json!(ORPHAN)),
                "Foreground" => finalizers.push(json!(FOREGROUND)),
                _ => {}
            }
        }
        match finalizers.is_empty() {
            true => drop(meta.remove("finalizers")),
            false => drop(meta.insert("finalizers", Value::Array(finalizers.into()))),
        }
        let seconds = grace.unwrap_or(0);
        let now = jiff::Timestamp::now();
        let after = |s: i64| time::rfc3339(now.saturating_add(jiff::Span::new().seconds(s)).unwrap_or(now));
        if !deleting {
            meta.insert("deletionTimestamp", json!(after(seconds)));
            // Namespaces and definitions are deleted by a way of their own, which says less.
            let whole = !spec_terminating && &*request.kind.plural != "customresourcedefinitions";
            if whole {
                meta.insert("deletionGracePeriodSeconds", json!(seconds));
            }
            if let Some(generation) = meta.get("generation").and_then(Value::as_i64).filter(|_| whole) {
                meta.insert("generation", json!(generation + 1));
            }
        } else {
            // A shorter grace shortens what is left; a longer one changes nothing.
            let left = meta.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
            let shorter = options.grace.map_or_else(|| left.min(seconds), |g| if grace.is_some() { g } else { 0 });
            if shorter < left {
                meta.insert("deletionTimestamp", json!(after(shorter)));
                meta.insert("deletionGracePeriodSeconds", json!(shorter));
            }
        }
        if !deleting {
            strategy.prepare_delete(object);
        }
        if spec_terminating {
            object["status"]["phase"] = json!("Terminating");
        }
    }

    /// Removes an object for good; watchers see `last`.
    pub(crate) async fn remove(&self, request: &Request<'_>, entry: &Entry, last: &Value) -> Result<Entry, ApiError> {
        let change = Change::Delete { last: Some(encode::template(last)) };
        let op = Op { key: entry.key.clone(), expect: Expect::Modified(entry.modified), change };
        let name = object::name(last);
        let mut ops = vec![op];
        ops.extend(self.addresses.leaving(request.kind, last));
        match self.store.commit(ops).await {
            Ok(done) => {
                self.addresses.release(request.kind, last).await;
                done.entries.into_iter().next().flatten().ok_or_else(|| request.not_found())
            }
            Err(Error::Conflict { current: None, .. }) => {
                Err(ApiError::not_found(&request.kind.group_resource(), name))
            }
            Err(Error::Conflict { .. }) => Err(modified(request, name)),
            Err(error) => Err(store_error(&error)),
        }
    }
}
