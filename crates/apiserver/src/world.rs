//! What admission has of the server: the kinds that are served, and the door to the quotas that it charges.

use crate::custom::Webhooks;
use crate::reader::Reader;
use crate::{encode, registry};
use async_trait::async_trait;
use ironclad_admission::{Ledger, Version, World};
use ironclad_api::{ApiError, GroupResource, GroupVersionKind, GroupVersionResource, object, time};
use ironclad_json::{Value, json};
use ironclad_kinds::{Kind, Served};
use ironclad_schema::{apply, bundle, check};
use ironclad_store::{Change, Error, Expect, Op, Revision, Store};
use std::sync::Arc;

fn version(kind: &Kind) -> Version {
    Version { resource: kind.gvr(), kind: kind.gvk(), namespaced: kind.namespaced }
}

impl Reader {
    fn kind(&self, wanted: &GroupVersionKind) -> Option<Arc<Kind>> {
        let table = self.table();
        let versions = table.group(&wanted.group)?.versions();
        let version = versions.iter().find(|v| v.name() == wanted.version)?;
        version.kinds().iter().find(|k| k.kind == wanted.kind).cloned()
    }
}

#[async_trait]
impl World for Reader {
    fn versions(&self, resource: &GroupVersionResource) -> Vec<Version> {
        let table = self.table();
        let Some(own) = table.find(&resource.group, &resource.version, &resource.resource) else { return Vec::new() };
        let same = |k: &&Arc<Kind>| k.prefix == own.prefix && k.plural == own.plural && k.served != Served::Stored;
        // Objects of one kind are in one group, but for the events, which are in two.
        let other = match (&*own.group, &*own.plural) {
            ("", "events") => Some("events.k8s.io"),
            _ if own.group != own.storage_group => Some(&*own.storage_group),
            _ => None,
        };
        let groups = [Some(&*own.group), other].into_iter().flatten().filter_map(|group| table.group(group));
        groups.flat_map(|g| g.versions()).flat_map(|v| v.kinds()).filter(same).map(|k| version(k)).collect()
    }

    fn of_kind(&self, kind: &GroupVersionKind) -> Option<Version> {
        self.kind(kind).map(|k| version(&k))
    }

    fn of_lower_kind(&self, wanted: &GroupVersionKind) -> Option<Version> {
        let table = self.table();
        let versions = table.group(&wanted.group)?.versions();
        let kinds = versions.iter().find(|v| v.name() == wanted.version)?.kinds();
        kinds.iter().find(|k| k.kind.to_lowercase() == wanted.kind).map(|k| version(k))
    }

    fn is_typed(&self, wanted: &GroupVersionKind) -> bool {
        self.kind(wanted).is_none_or(|k| k.custom.is_none())
    }

    async fn convert(&self, object: Value, to: &GroupVersionKind) -> Result<Value, ApiError> {
        let missing = |k: &GroupVersionKind| ApiError::internal(format!("no kind {k} is served"));
        let from = object::gvk(&object);
        let (from, to) = (self.kind(&from).ok_or_else(|| missing(&from))?, self.kind(to).ok_or_else(|| missing(to))?);
        if let (Some(custom), true) = (&to.custom, from.version != to.version)
            && let Some(webhook) = &custom.webhook
        {
            let converted = Webhooks::new(self.clone()).convert(webhook, vec![object], &to.api_version()).await?;
            return converted.into_iter().next().ok_or_else(|| missing(&to.gvk()));
        }
        Ok(registry::convert(&from, &to, object))
    }

    fn asked(&self, name: &str, step: &'static str, operation: &'static str, refused: bool, took: std::time::Duration) {
        self.metrics().webhook(name, step, operation, refused, took);
    }

    fn settle(&self, wanted: &GroupVersionKind, mut object: Value) -> Result<Value, String> {
        let Some(kind) = self.kind(wanted) else { return Ok(object) };
        if let Some(id) = bundle().kind(wanted) {
            check::object(bundle(), id, &mut object)?;
        }
        if let Some(custom) = &kind.custom {
            custom.check(&mut object).map_err(|wrong| wrong.to_string())?;
        }
        kind.strategy.default(&mut object);
        Ok(object)
    }

    fn settle_strictly(&self, wanted: &GroupVersionKind, mut object: Value) -> Result<Value, String> {
        if let Some(id) = bundle().kind(wanted) {
            let found = check::object(bundle(), id, &mut object)?;
            if !found.unknown.is_empty() {
                let unknown: Vec<String> = found.unknown.iter().map(|f| format!("unknown field {f:?}")).collect();
                return Err(format!("strict decoding error: {}", unknown.join(", ")));
            }
        }
        self.settle(wanted, object)
    }

    fn valid(&self, wanted: &GroupVersionKind, mut object: Value) -> Result<Value, String> {
        let known = self.kind(wanted).zip(bundle().kind(wanted));
        let (kind, id) = known.ok_or_else(|| format!("no kind {:?} is registered", wanted.kind))?;
        let found = check::object(bundle(), id, &mut object)?;
        if !found.unknown.is_empty() {
            let unknown: Vec<String> = found.unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
            return Err(format!("strict decoding error: {}", unknown.join(", ")));
        }
        kind.strategy.default(&mut object);
        let errors = kind.strategy.validate(&object);
        match errors.is_empty() {
            true => Ok(object),
            false => Err(ironclad_api::field::aggregate(&errors)),
        }
    }

    fn merge(&self, wanted: &GroupVersionKind, object: &Value, config: &Value) -> Result<Value, String> {
        let kind = self.kind(wanted).ok_or_else(|| format!("no kind {wanted} is served"))?;
        let (bundle, shape) = registry::types(&kind).ok_or_else(|| format!("{wanted} has no type"))?;
        let schema = apply::Schema::new(bundle, shape);
        let problems = apply::problems(&schema, config);
        if !problems.is_empty() {
            return Err(format!("failed to convert patch object to typed object: {}", problems.join("\n")));
        }
        let atomics = apply::atomics(&schema, config);
        if !atomics.is_empty() {
            let list = atomics.join(", ");
            return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {list}"));
        }
        Ok(apply::merge(&schema, object, config))
    }
}

/// The store as admission sees it.
pub struct StoreLedger {
    store: Arc<dyn Store>,
    reader: Reader,
}

impl StoreLedger {
    pub(crate) fn new(store: Arc<dyn Store>, reader: Reader) -> Self {
        Self { store, reader }
    }

    async fn at(&self, key: &str) -> Result<Option<Value>, ApiError> {
        let entry = self.store.get(key, None).await.map_err(|e| registry::store_error(&e))?;
        Ok(entry.map(|e| encode::decode(e.value.bytes())))
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("/registry/resourcequotas/{namespace}/{name}")
}

#[async_trait]
impl Ledger for StoreLedger {
    async fn find(&self, resource: &GroupResource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let table = self.reader.table();
        let Some(kind) = table.stored(&resource.group, &resource.resource) else { return Ok(None) };
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let found = self.at(&format!("{}{place}{name}", kind.prefix)).await?;
        if found.is_some() {
            // What judges the request next looks into the caches, and must find it there too.
            self.reader.current().await?;
        }
        Ok(found)
    }

    async fn provide(&self, namespace: &str) -> Result<(), ApiError> {
        let table = self.reader.table();
        let kind = table.stored("", "namespaces").ok_or_else(|| ApiError::internal("namespaces are not served"))?;
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": namespace, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": time::now()}});
        kind.strategy.default(&mut object);
        kind.strategy.prepare_create(&mut object);
        let mut errors = ironclad_kinds::validate_metadata(kind, &object);
        errors.extend(kind.strategy.validate(&object));
        if !errors.is_empty() {
            return Err(ApiError::invalid("", "Namespace", namespace, &errors));
        }
        let change = Change::Put { value: encode::template(&object), ttl: None };
        let key = format!("{}{namespace}", kind.prefix).into();
        match self.store.commit(vec![Op { key, expect: Expect::Absent, change }]).await {
            // Who looks next looks into the caches.
            Ok(_) | Err(Error::Conflict { .. }) => self.reader.current().await,
            Err(error) => Err(registry::store_error(&error)),
        }
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.at(&key(namespace, name)).await
    }

    async fn write(&self, quota: &Value) -> Result<bool, ApiError> {
        let seen = object::resource_version(quota).parse().map_err(ApiError::internal)?;
        let op = Op {
            key: key(object::namespace(quota), object::name(quota)).into(),
            expect: Expect::Modified(Revision(seen)),
            change: Change::Put { value: encode::template(quota), ttl: None },
        };
        match self.store.commit(vec![op]).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(registry::store_error(&error)),
        }
    }
}
