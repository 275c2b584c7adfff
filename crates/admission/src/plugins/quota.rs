//! ResourceQuota: nothing is made beyond what a namespace's quotas allow.
//!
//! Invariant: what is granted is charged to the status of the quota by a compare-and-swap before the object is stored,
//! so that requests at the same time, also at several servers, cannot exceed a quota together. What was charged for
//! an object that was not stored after all, or is gone, the controller of quotas gives back.

mod limited;

use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::quantity::Quantity;
use ironclad_api::quota::{
    Amounts, Around, add, amounts, growth, in_scope, is_counted, show, to_value, unsaid, usage_among,
};
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::Value;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// How often a quota that others charge at the same time is tried again.
const ATTEMPTS: u32 = 8;
/// Namespaces are charged one request after the other; this many at a time.
const STRIPES: usize = 64;

/// The store itself, beside the caches: where quotas are charged, and where what no cache has yet is looked up.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// An object as it is stored now.
    async fn find(&self, resource: &GroupResource, namespace: &str, name: &str) -> Result<Option<Value>>;

    /// Makes a namespace, unless there is one of that name.
    async fn provide(&self, namespace: &str) -> Result<()>;

    /// A quota as it is stored now.
    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Value>>;

    /// Stores a quota, unless it was changed since it was read; says whether it was stored.
    async fn write(&self, quota: &Value) -> Result<bool>;
}

pub(super) struct ResourceQuota {
    source: Arc<dyn Source>,
    ledger: Arc<dyn Ledger>,
    limited: Vec<limited::Limited>,
    around: Read,
    stripes: [tokio::sync::Mutex<()>; STRIPES],
    /// Quotas as they were last written or read here, which can be newer than what the source shows.
    latest: Mutex<HashMap<(String, String), Arc<Value>>>,
}

/// What claims of devices are counted by.
struct Read(Arc<dyn Source>);

impl Around for Read {
    fn extended_resource(&self, class: &str) -> Option<String> {
        let class = self.0.get(&GroupResource::new("resource.k8s.io", "deviceclasses"), "", class)?;
        let name = object::text(&class, &["spec", "extendedResourceName"]);
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.0.get(&GroupResource::new("", "pods"), namespace, name).map(|pod| (*pod).clone())
    }

    fn claims(&self, namespace: &str) -> Vec<Value> {
        let claims = self.0.list(&GroupResource::new("resource.k8s.io", "resourceclaims"), namespace);
        claims.iter().map(|claim| (**claim).clone()).collect()
    }
}

/// Why a request is not granted.
enum Refusal {
    Exceeded(String),
    Failed(ApiError),
}

fn version(object: &Value) -> u64 {
    object::resource_version(object).parse().unwrap_or(0)
}

impl ResourceQuota {
    pub(super) fn new(
        source: Arc<dyn Source>,
        ledger: Arc<dyn Ledger>,
        config: Option<&Value>,
    ) -> std::result::Result<Self, String> {
        let stripes = std::array::from_fn(|_| tokio::sync::Mutex::new(()));
        let around = Read(source.clone());
        Ok(Self { source, ledger, limited: limited::read(config)?, around, stripes, latest: Mutex::default() })
    }

    /// The quotas of a namespace, each as new as it is known here.
    fn quotas(&self, namespace: &str) -> Vec<Arc<Value>> {
        let mut latest = self.latest.lock();
        let newest = |quota: Arc<Value>| {
            let key = (namespace.to_owned(), object::name(&quota).to_owned());
            match latest.get(&key) {
                Some(own) if object::uid(own) == object::uid(&quota) && version(own) > version(&quota) => own.clone(),
                Some(_) => {
                    latest.remove(&key);
                    quota
                }
                None => quota,
            }
        };
        self.source.list(&GroupResource::new("", "resourcequotas"), namespace).into_iter().map(newest).collect()
    }

    fn remember(&self, namespace: &str, name: &str, quota: Option<Value>) {
        let key = (namespace.to_owned(), name.to_owned());
        match quota {
            Some(quota) => drop(self.latest.lock().insert(key, Arc::new(quota))),
            None => drop(self.latest.lock().remove(&key)),
        }
    }

    /// What is used already: the status says so, or where nobody counted yet the objects themselves.
    fn used(&self, quota: &Value, hard: &Amounts, request: &Request, resource: &GroupResource) -> Amounts {
        let mut used = amounts(&quota["status"]["used"]);
        if hard.keys().all(|k| used.contains_key(k)) {
            return used;
        }
        let mut counted = Amounts::new();
        for object in self.source.list(resource, &request.namespace) {
            if in_scope(quota, resource, &object) && object::name(&object) != request.name {
                add(&mut counted, usage_among(resource, &object, &self.around));
            }
        }
        if let Some(old) = request.old.as_deref().filter(|o| in_scope(quota, resource, o)) {
            add(&mut counted, usage_among(resource, old, &self.around));
        }
        for name in hard.keys() {
            let count = counted.get(name).copied().unwrap_or(Quantity::ZERO);
            used.entry(name.clone()).or_insert(count);
        }
        used
    }

    /// A quota with a request charged to it; nothing where the request costs it nothing.
    fn charge(&self, quota: &Value, request: &Request, cost: &Cost<'_>) -> std::result::Result<Option<Value>, String> {
        let (resource, name) = (&cost.resource, object::name(quota));
        let hard = amounts(&quota["spec"]["hard"]);
        let before = cost.before(quota);
        let mut delta = before.map_or_else(|| cost.usage.clone(), |before| growth(&before, &cost.usage));
        delta.retain(|k, amount| hard.contains_key(k) && !amount.is_zero());
        if delta.is_empty() {
            return Ok(None);
        }
        // Only what this kind counts for is looked at, and perhaps counted.
        let concerned: Amounts =
            hard.iter().filter(|(k, _)| delta.contains_key(*k)).map(|(k, q)| (k.clone(), *q)).collect();
        let used = self.used(quota, &concerned, request, resource);
        // What has happened already is only counted.
        if request.subresource != "status" {
            check(name, &concerned, &used, &delta)?;
        }
        let mut total = used;
        add(&mut total, delta);
        let mut charged = quota.clone();
        charged["status"]["used"] = to_value(&total);
        if charged["status"]["hard"].is_null() {
            charged["status"]["hard"] = quota["spec"]["hard"].clone();
        }
        Ok(Some(charged))
    }

    /// What all these quotas are charged for a request.
    fn charge_all<'q>(
        &self,
        quotas: impl Iterator<Item = &'q Arc<Value>>,
        request: &Request,
        cost: &Cost<'_>,
    ) -> std::result::Result<Vec<Value>, Refusal> {
        let mut charged = Vec::new();
        for quota in quotas.filter(|q| cost.concerns(q)) {
            if cost.creates_pod {
                let unsaid = unsaid(&amounts(&quota["spec"]["hard"]), cost.new);
                if !unsaid.is_empty() {
                    let why = format!("failed quota: {}: must specify {unsaid}", object::name(quota));
                    return Err(Refusal::Exceeded(why));
                }
            }
            charged.extend(self.charge(quota, request, cost).map_err(Refusal::Exceeded)?);
        }
        Ok(charged)
    }

    async fn grant(&self, request: &Request, new: &Value) -> std::result::Result<(), Refusal> {
        let namespace = &request.namespace;
        let known = self.quotas(namespace);
        if known.is_empty() && self.limited.is_empty() {
            return Ok(());
        }
        let cost = Cost::of(request, new, &self.around);
        if let Some(why) = cost.negative() {
            return Err(Refusal::Exceeded(why));
        }
        limited::check(&self.limited, &known, &cost)?;
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let _turn = self.stripes[hasher.finish() as usize % STRIPES].lock().await;
        let mut done: Vec<String> = Vec::new();
        for _ in 0..ATTEMPTS {
            let quotas = self.quotas(namespace);
            let open = quotas.iter().filter(|q| !done.iter().any(|d| d == object::name(q)));
            let charged = self.charge_all(open, request, &cost)?;
            if request.dry_run {
                return Ok(());
            }
            let mut beaten = false;
            for quota in charged {
                let name = object::name(&quota).to_owned();
                if self.ledger.write(&quota).await.map_err(Refusal::Failed)? {
                    done.push(name.clone());
                } else {
                    beaten = true;
                }
                let now = self.ledger.read(namespace, &name).await.map_err(Refusal::Failed)?;
                self.remember(namespace, &name, now);
            }
            if !beaten {
                return Ok(());
            }
        }
        let quotas = GroupResource::new("", "resourcequotas");
        Err(Refusal::Failed(ApiError::conflict(&quotas, "", "the quota is being changed by others; please try again")))
    }
}

/// What a request costs.
struct Cost<'a> {
    resource: GroupResource,
    new: &'a Value,
    /// The stored object, where there is one.
    old: Option<&'a Value>,
    usage: Amounts,
    creates_pod: bool,
    around: &'a dyn Around,
}

impl<'a> Cost<'a> {
    fn of(request: &'a Request, new: &'a Value, around: &'a dyn Around) -> Self {
        let resource = request.resource.group_resource();
        let usage = usage_among(&resource, new, around);
        let creates_pod = resource == GroupResource::new("", "pods") && request.operation == Operation::Create;
        let old = request.old.as_deref();
        Self { resource, new, old, usage, creates_pod, around }
    }

    /// Whether a quota counts anything of this kind, and this object.
    fn concerns(&self, quota: &Value) -> bool {
        in_scope(quota, &self.resource, self.new)
    }

    /// What a quota counts for the object already.
    fn before(&self, quota: &Value) -> Option<Amounts> {
        let old = self.old.filter(|old| in_scope(quota, &self.resource, old))?;
        Some(usage_among(&self.resource, old, self.around))
    }

    /// What the object needs more than before, whichever quota counts it.
    fn growth(&self) -> Amounts {
        let mut more = match self.old {
            Some(old) => growth(&usage_among(&self.resource, old, self.around), &self.usage),
            None => self.usage.clone(),
        };
        more.retain(|_, amount| !amount.is_zero());
        more
    }

    fn negative(&self) -> Option<String> {
        let names: Vec<&str> =
            self.usage.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| format!("quota usage is negative for resource(s): {}", names.join(",")))
    }
}

/// Whether there is room for `delta`.
fn check(name: &str, hard: &Amounts, used: &Amounts, delta: &Amounts) -> std::result::Result<(), String> {
    let zero = Quantity::ZERO;
    let beyond: Vec<&String> = delta
        .iter()
        .filter(|(k, more)| hard.get(*k).is_some_and(|h| used.get(*k).copied().unwrap_or(zero) + **more > *h))
        .map(|(k, _)| k)
        .collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let only = |of: &Amounts| beyond.iter().map(|k| ((*k).clone(), of.get(*k).copied().unwrap_or(zero))).collect();
    let (requested, used, limited) = (show(&only(delta)), show(&only(used)), show(&only(hard)));
    Err(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"))
}

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for ResourceQuota {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let resource = request.resource.group_resource();
        let creates = request.operation == Operation::Create;
        if request.namespace.is_empty() || !is_counted(&resource, &request.subresource, creates) {
            return Ok(());
        }
        // Namespaces come with their own name as the namespace.
        let Some(new) = request.object.as_ref().filter(|_| resource.resource != "namespaces") else { return Ok(()) };
        match self.grant(request, new).await {
            Ok(()) => Ok(()),
            Err(Refusal::Failed(error)) => Err(error),
            Err(Refusal::Exceeded(why)) => Err(request.forbidden(why)),
        }
    }
}

#[cfg(test)]
mod tests;
