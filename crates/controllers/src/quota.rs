//! ResourceQuotas: their status says what is used, counted from what exists.
//!
//! Invariants: what one changed object means is added and taken away, a namespace is counted as a whole only when its
//! quota is new or changed; what admission charged for an object that cannot be seen yet is left alone for a while.

mod tally;

use crate::Context;
use ironclad_api::quota::Around;
use ironclad_api::{GroupResource, quota};
use ironclad_client::{Change, Informer, Informers, ObjectKey, WorkQueue};
use ironclad_json::Value;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim};
use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta, PostParams};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tally::{Tallies, Verdict, judge, needed};
use tokio_util::sync::CancellationToken;

/// How long an object may take to be seen after it was charged.
const PATIENCE: Duration = Duration::from_secs(1);
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

type Metadata = PartialObjectMeta<DynamicObject>;

/// Objects of one kind, as they are counted.
enum Counted {
    Pods(Arc<Informer<Pod>>),
    Services(Arc<Informer<Service>>),
    Claims(Arc<Informer<PersistentVolumeClaim>>),
    Devices(Arc<Informer<ResourceClaim>>),
    /// Kinds of which only the number counts.
    Others(Arc<Informer<Metadata>>),
}

struct Controller {
    context: Context,
    quotas: Arc<Informer<ResourceQuota>>,
    queue: Arc<WorkQueue<ObjectKey>>,
    tallies: Mutex<Tallies>,
    counted: tokio::sync::Mutex<HashMap<GroupResource, Arc<Counted>>>,
    /// Quotas that count kinds which are not served.
    waiting: Mutex<HashSet<ObjectKey>>,
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let quotas = context.informers.get::<ResourceQuota>();
    let add = queue.clone();
    quotas.on_change(move |change| add.add(ObjectKey::of(&**change.object())));
    quotas.synced().await;
    let informers = context.informers.clone();
    let controller = Arc::new(Controller {
        context,
        quotas,
        queue: queue.clone(),
        tallies: Mutex::new(Tallies::among(Arc::new(Cached(informers)))),
        counted: tokio::sync::Mutex::default(),
        waiting: Mutex::default(),
    });
    controller.follow_definitions();
    let work = move |key: ObjectKey| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    };
    queue.run("resource-quota", 4, token, work).await;
}

/// What claims of devices are counted by, from the shared caches.
struct Cached(Informers);

impl Around for Cached {
    fn extended_resource(&self, class: &str) -> Option<String> {
        let class = self.0.get::<DeviceClass>().get("", class)?;
        class.spec.as_ref()?.extended_resource_name.clone().filter(|name| !name.is_empty())
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.0.get::<Pod>().get(namespace, name).map(|pod| json_of(&*pod))
    }

    fn claims(&self, namespace: &str) -> Vec<Value> {
        self.0.get::<ResourceClaim>().list_namespace(namespace).iter().map(|claim| json_of(&**claim)).collect()
    }
}

fn json_of<K: Serialize>(object: &K) -> Value {
    ironclad_json::to_value(object).unwrap_or_default()
}

impl Controller {
    /// A kind that comes to be served may be one that a quota counts.
    fn follow_definitions(self: &Arc<Self>) {
        let gvk = kube::core::GroupVersionKind::gvk(DEFINITIONS.0, "v1", "CustomResourceDefinition");
        let definitions = self.context.informers.metadata(&ApiResource::from_gvk_with_plural(&gvk, DEFINITIONS.1));
        let this = Arc::downgrade(self);
        definitions.on_change(move |_| {
            if let Some(this) = this.upgrade() {
                // The definition is served a little later than it is stored.
                this.waiting.lock().drain().for_each(|key| this.queue.add_after(key, PATIENCE));
            }
        });
    }

    /// The objects of a kind, followed from the first time on that somebody asks; none where the kind is not served.
    async fn counted(self: &Arc<Self>, resource: &GroupResource) -> Result<Option<Arc<Counted>>, kube::Error> {
        let mut counted = self.counted.lock().await;
        if let Some(known) = counted.get(resource) {
            return Ok(Some(known.clone()));
        }
        let informers = &self.context.informers;
        let new = match (resource.group.as_str(), resource.resource.as_str()) {
            ("", "pods") => Counted::Pods(self.follow(resource, informers.get())),
            ("", "services") => Counted::Services(self.follow(resource, informers.get())),
            ("", "persistentvolumeclaims") => Counted::Claims(self.follow(resource, informers.get())),
            ("resource.k8s.io", "resourceclaims") => {
                // What is known of their classes comes before they are counted.
                informers.get::<DeviceClass>().synced().await;
                Counted::Devices(self.follow(resource, informers.get()))
            }
            _ => match self.discover(resource).await? {
                Some(api) => Counted::Others(self.follow(resource, informers.metadata(&api))),
                None => return Ok(None),
            },
        };
        let new = Arc::new(new);
        counted.insert(resource.clone(), new.clone());
        Ok(Some(new))
    }

    async fn discover(&self, resource: &GroupResource) -> Result<Option<ApiResource>, kube::Error> {
        let group = match kube::discovery::group(&self.context.client, &resource.group).await {
            Ok(group) => group,
            Err(kube::Error::Discovery(_)) => return Ok(None),
            Err(error) if crate::is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = group.recommended_resources().into_iter().find(|(r, _)| r.plural == resource.resource);
        Ok(found.filter(|(_, c)| c.scope == kube::discovery::Scope::Namespaced).map(|(r, _)| r))
    }

    fn follow<K>(self: &Arc<Self>, resource: &GroupResource, informer: Arc<Informer<K>>) -> Arc<Informer<K>>
    where
        K: Resource + Serialize + Send + Sync + 'static,
    {
        let (this, resource) = (Arc::downgrade(self), resource.clone());
        informer.on_change(move |change| {
            let Some(this) = this.upgrade() else { return };
            let object = change.object();
            let key = ObjectKey::of(&**object);
            let mut tallies = this.tallies.lock();
            if !tallies.has(&key.namespace) {
                return;
            }
            let now = (!matches!(change, Change::Deleted(_))).then(|| json_of(&**object));
            for quota in tallies.observe(&key.namespace, &resource, &key.name, now.as_ref()) {
                this.queue.add(ObjectKey::new(&key.namespace, &quota));
            }
        });
        informer
    }

    /// Brings one quota's status up to date.
    async fn reconcile(self: &Arc<Self>, key: &ObjectKey) -> Result<Option<Duration>, kube::Error> {
        let Some(quota) = self.quotas.get_key(key) else {
            self.tallies.lock().forget(key);
            return Ok(None);
        };
        let object = json_of(&*quota);
        let mut kinds = Vec::new();
        for resource in needed(&quota::amounts(&object["spec"]["hard"])) {
            match self.counted(&resource).await? {
                Some(counted) => {
                    counted.synced().await;
                    kinds.push((resource, counted));
                }
                None => drop(self.waiting.lock().insert(key.clone())),
            }
        }
        let verdict = {
            let mut tallies = self.tallies.lock();
            let tally = tallies.of(key, &object, || {
                let all = |(resource, counted): &(GroupResource, Arc<Counted>)| {
                    let list = counted.list(&key.namespace);
                    list.into_iter().map(|o| (resource.clone(), o)).collect::<Vec<_>>()
                };
                kinds.iter().flat_map(all).collect()
            });
            judge(tally, &object, PATIENCE)
        };
        match verdict {
            Verdict::Right => Ok(None),
            Verdict::Wait(time) => Ok(Some(time)),
            Verdict::Write(status) => self.write(key, &quota, status).await,
        }
    }

    async fn write(
        &self,
        key: &ObjectKey,
        quota: &ResourceQuota,
        status: Value,
    ) -> Result<Option<Duration>, kube::Error> {
        let api: Api<ResourceQuota> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let status = ironclad_json::from_value(status).map_err(kube::Error::SerdeError)?;
        let new = ResourceQuota { status: Some(status), ..quota.clone() };
        match api.replace_status(&key.name, &PostParams::default(), &new).await {
            // Admission charged it at the same time; the change comes here as well.
            Err(error) if crate::is_missing(&error) || crate::is_conflict(&error) => Ok(None),
            other => other.map(|_| None),
        }
    }
}

impl Counted {
    async fn synced(&self) {
        match self {
            Self::Pods(i) => i.synced().await,
            Self::Services(i) => i.synced().await,
            Self::Claims(i) => i.synced().await,
            Self::Devices(i) => i.synced().await,
            Self::Others(i) => i.synced().await,
        }
    }

    fn list(&self, namespace: &str) -> Vec<Value> {
        match self {
            Self::Pods(i) => i.list_namespace(namespace).iter().map(|o| json_of(&**o)).collect(),
            Self::Services(i) => i.list_namespace(namespace).iter().map(|o| json_of(&**o)).collect(),
            Self::Claims(i) => i.list_namespace(namespace).iter().map(|o| json_of(&**o)).collect(),
            Self::Devices(i) => i.list_namespace(namespace).iter().map(|o| json_of(&**o)).collect(),
            Self::Others(i) => i.list_namespace(namespace).iter().map(|o| json_of(&**o)).collect(),
        }
    }
}
