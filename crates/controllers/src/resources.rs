//! Which resources there are: the built-in ones once, custom and aggregated ones as they come and go.
//!
//! Invariant: nobody asks again and again: discovery is read at the start and when an aggregated API changes; custom
//! resources follow from their definitions.

use crate::Context;
use ironclad_client::{Change, Informer};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition as Definition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long discovery waits for its next try when it fails.
const AGAIN: Duration = Duration::from_secs(1);

/// A resource, in the version that is best to use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) deletable: bool,
    pub(crate) watchable: bool,
    /// Every version that it is served in.
    pub(crate) versions: Vec<String>,
}

impl Served {
    /// Whether its objects are followed: they can be deleted, and last.
    pub(crate) fn is_followed(&self) -> bool {
        self.deletable && self.watchable && self.api.kind != "Event"
    }
}

/// The metadata of the objects of one resource.
pub(crate) type Metadata = Arc<Informer<PartialObjectMeta<DynamicObject>>>;

/// Called with each resource that comes, and with its objects where they are followed.
type Listener = Box<dyn Fn(&Served, Option<&Metadata>) + Send + Sync>;
/// Called with each resource that goes.
type Mourner = Box<dyn Fn(&Served) + Send + Sync>;

/// The resources that there are.
pub(crate) struct Resources {
    context: Context,
    /// By group and plural.
    known: Mutex<HashMap<(String, String), Served>>,
    listeners: Mutex<Vec<Listener>>,
    mourners: Mutex<Vec<Mourner>>,
    changed: Notify,
}

impl Resources {
    /// Follows what there is from now on; nothing is known before the first discovery.
    pub(crate) fn new(context: Context) -> Arc<Self> {
        let changed = Notify::new();
        Arc::new(Self {
            context,
            known: Mutex::default(),
            listeners: Mutex::default(),
            mourners: Mutex::default(),
            changed,
        })
    }

    /// Runs until `token` is cancelled.
    pub(crate) async fn run(self: Arc<Self>, token: CancellationToken) {
        let definitions = self.context.informers.get::<Definition>();
        let this = Arc::downgrade(&self);
        definitions.on_change(move |change| {
            let Some(this) = this.upgrade() else { return };
            match change {
                Change::Deleted(d) => this.forget(&d.spec.group, &d.spec.names.plural),
                Change::Added(d) | Change::Modified { new: d, .. } => {
                    if let Some(served) = of_definition(d) {
                        this.put(served);
                    }
                }
            }
        });
        let services = self.context.informers.get::<APIService>();
        let this = Arc::downgrade(&self);
        services.on_change(move |change| {
            let aggregated = change.object().spec.as_ref().is_some_and(|s| s.service.is_some());
            if let Some(this) = this.upgrade().filter(|_| aggregated && matters(change)) {
                this.changed.notify_one();
            }
        });
        self.changed.notify_one();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = self.changed.notified() => {}
            }
            if let Err(error) = self.discover().await {
                tracing::debug!(%error, "cannot discover what there is, will try again");
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => self.changed.notify_one(),
                }
            }
        }
    }

    /// Calls `listener` with every resource that is there and with each that comes.
    pub(crate) fn on_served(&self, listener: impl Fn(&Served, Option<&Metadata>) + Send + Sync + 'static) {
        let mut listeners = self.listeners.lock();
        let known: Vec<Served> = self.known.lock().values().cloned().collect();
        for served in known {
            listener(&served, self.metadata(&served).as_ref());
        }
        listeners.push(Box::new(listener));
    }

    /// Calls `mourner` with each resource that goes; its objects went before it, seen or not.
    pub(crate) fn on_gone(&self, mourner: impl Fn(&Served) + Send + Sync + 'static) {
        self.mourners.lock().push(Box::new(mourner));
    }

    /// The resource of a kind in a version.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<Served> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let fits = |s: &&Served| s.api.group == group && s.api.kind == kind && s.versions.iter().any(|v| v == version);
        self.known.lock().values().find(fits).cloned()
    }

    /// Every resource whose objects live in namespaces and can be deleted.
    pub(crate) fn in_namespaces(&self) -> Vec<Served> {
        let fits = |s: &&Served| s.namespaced && s.deletable && s.api.group != "events.k8s.io";
        self.known.lock().values().filter(fits).cloned().collect()
    }

    fn metadata(&self, served: &Served) -> Option<Metadata> {
        served.is_followed().then(|| self.context.informers.metadata(&served.api))
    }

    fn put(&self, served: Served) {
        let key = (served.api.group.clone(), served.api.plural.clone());
        let listeners = self.listeners.lock();
        let old = self.known.lock().insert(key, served.clone());
        if old.as_ref() == Some(&served) {
            return;
        }
        if let Some(old) = old.filter(|o| o.api != served.api) {
            self.context.informers.forget_metadata(&old.api);
        }
        let metadata = self.metadata(&served);
        listeners.iter().for_each(|l| l(&served, metadata.as_ref()));
    }

    fn forget(&self, group: &str, plural: &str) {
        let _listeners = self.listeners.lock();
        let old = self.known.lock().remove(&(group.to_owned(), plural.to_owned()));
        if let Some(old) = old {
            self.context.informers.forget_metadata(&old.api);
            self.mourners.lock().iter().for_each(|m| m(&old));
        }
    }

    async fn discover(&self) -> Result<(), kube::Error> {
        let discovery = Discovery::new(self.context.client.clone()).run_aggregated().await?;
        let custom: Vec<(String, String)> = self
            .context
            .informers
            .get::<Definition>()
            .list()
            .iter()
            .map(|d| (d.spec.group.clone(), d.spec.names.plural.clone()))
            .collect();
        let mut seen = Vec::new();
        for group in discovery.groups() {
            let versions: Vec<String> = group.versions().map(str::to_owned).collect();
            for (api, capabilities) in group.recommended_resources() {
                let key = (api.group.clone(), api.plural.clone());
                seen.push(key.clone());
                let can = |verb| capabilities.supports_operation(verb);
                // What a definition says comes with the definition.
                if !custom.contains(&key) {
                    self.put(Served {
                        namespaced: capabilities.scope == Scope::Namespaced,
                        deletable: can(verbs::LIST) && can(verbs::DELETE),
                        watchable: can(verbs::WATCH),
                        versions: versions.clone(),
                        api,
                    });
                }
            }
        }
        let gone: Vec<(String, String)> =
            self.known.lock().keys().filter(|k| !seen.contains(k) && !custom.contains(k)).cloned().collect();
        gone.iter().for_each(|(group, plural)| self.forget(group, plural));
        Ok(())
    }
}

/// Whether a change of an APIService may change what is served.
fn matters(change: &Change<APIService>) -> bool {
    let available = |s: &APIService| {
        let conditions = s.status.iter().flat_map(|s| s.conditions.iter().flatten());
        conditions.filter(|c| c.type_ == "Available").any(|c| c.status == "True")
    };
    match change {
        Change::Modified { old, new } => old.spec != new.spec || available(old) != available(new),
        Change::Added(_) | Change::Deleted(_) => true,
    }
}

/// What an established definition serves, in the version that is stored if that is served.
fn of_definition(definition: &Definition) -> Option<Served> {
    let status = definition.status.as_ref()?;
    let established = status.conditions.iter().flatten().any(|c| c.type_ == "Established" && c.status == "True");
    let spec = &definition.spec;
    let served: Vec<_> = spec.versions.iter().filter(|v| v.served).collect();
    let version = served.iter().find(|v| v.storage).or(served.first()).filter(|_| established)?;
    let api_version = format!("{}/{}", spec.group, version.name);
    Some(Served {
        api: ApiResource {
            group: spec.group.clone(),
            version: version.name.clone(),
            api_version,
            kind: spec.names.kind.clone(),
            plural: spec.names.plural.clone(),
        },
        namespaced: spec.scope == "Namespaced",
        deletable: true,
        watchable: true,
        versions: served.iter().map(|v| v.name.clone()).collect(),
    })
}
