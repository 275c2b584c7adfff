//! Aggregation: group versions that other servers answer, as APIServices say.
//!
//! Invariants: a request reaches another server only after this one knows its user and has authorized it; the other
//! server learns the user from us alone; what costs something (connections, looks at servers' health, reading what they
//! say of themselves) exists only while an APIService names another server.

mod available;
mod backend;
mod dial;
mod documents;
mod headers;
mod merge;
mod openapi;
mod priorities;
mod proxy;
mod register;
mod remote;

pub(crate) use merge::Merged;
pub(crate) use openapi::Part;

use crate::cache::{Caches, Scope};
use crate::catalog::{Catalog, Document};
use crate::metrics::{head, sample};
use crate::request;
use crate::server::Inner;
use arc_swap::ArcSwap;
use futures::StreamExt;
use ironclad_api::labels::Labels;
use ironclad_api::source::{Change, Changes, Source};
use ironclad_api::{GroupResource, object};
use ironclad_auth::pki::Pair;
use ironclad_json::Value;
use ironclad_remote::Way;
use parking_lot::Mutex;
use remote::{Lookup, Remote, SERVICE_NAME};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The group versions that other servers answer. They are few.
pub(crate) struct Aggregator {
    remotes: ArcSwap<Vec<Arc<Remote>>>,
    identity: Option<Pair>,
    lookup: Lookup,
    /// OpenAPI of version 2 with what other servers add, as JSON and as protobuf.
    kept: [Mutex<Option<(String, Document)>>; 2],
}

/// What an APIService became.
enum Became {
    /// Another server is named, or it is reached otherwise than before.
    New(Arc<Remote>),
    Same,
    Local,
}

impl Aggregator {
    /// `identity` is the front proxy's certificate, by which other servers know this one.
    pub(crate) fn new(identity: Option<Pair>, caches: Arc<Caches>, catalog: Arc<Catalog>, way: Way) -> Self {
        Self {
            remotes: ArcSwap::default(),
            identity,
            lookup: Lookup { caches, catalog, way },
            kept: Default::default(),
        }
    }

    fn remotes(&self) -> Arc<Vec<Arc<Remote>>> {
        self.remotes.load_full()
    }

    /// Who answers a path, if it is another server: those of a group version, and its OpenAPI document.
    pub(crate) fn of_path(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).take(6).map(request::decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version) = match parts.as_slice() {
            ["apis", group, version, ..] | ["openapi", "v3", "apis", group, version] => (*group, *version),
            _ => return None,
        };
        remotes.iter().find(|r| r.group == group && r.version == version).cloned()
    }

    /// Where the OpenAPI documents of version 3 of other servers are: place and URL.
    pub(crate) fn openapi_places(&self) -> Vec<(String, String)> {
        let remotes = self.remotes();
        let place = |r: &Arc<Remote>| {
            let url = r.documents.load().v3.clone()?;
            Some((r.path().trim_start_matches('/').to_owned(), url))
        };
        remotes.iter().filter_map(place).collect()
    }

    /// A hash of what other servers add to the OpenAPI document of version 2.
    pub(crate) fn openapi_tag(&self) -> String {
        self.openapi_parts().iter().map(|part| part.tag.as_str()).collect()
    }

    /// What other servers add to the OpenAPI document of version 2.
    pub(crate) fn openapi_parts(&self) -> Vec<Arc<Part>> {
        self.remotes().iter().filter_map(|r| r.documents.load().v2.clone()).collect()
    }

    /// The document of version 2 that was made last, if it is still the right one.
    pub(crate) fn kept_openapi(&self, tag: &str, protobuf: bool) -> Option<Document> {
        self.kept[usize::from(protobuf)].lock().as_ref().filter(|kept| kept.0 == tag).map(|kept| kept.1.clone())
    }

    pub(crate) fn keep_openapi(&self, tag: String, protobuf: bool, document: Document) {
        *self.kept[usize::from(protobuf)].lock() = Some((tag, document));
    }

    /// Which APIServices are unavailable, for `/metrics`.
    pub(crate) fn render(&self, out: &mut String) {
        let name = "aggregator_unavailable_apiservice";
        let help = "Gauge of APIServices which are marked as unavailable broken down by APIService name.";
        head(out, name, "gauge", "ALPHA", help);
        for remote in self.remotes().iter() {
            sample(out, name, &[("name", &remote.name)], u8::from(!remote.is_available()));
        }
    }

    fn put(&self, object: &Value) -> Became {
        let name = object::name(object);
        let old = self.remotes().iter().find(|r| r.name == name).cloned();
        if let Some(old) = old.filter(|old| old.spec == object["spec"]) {
            old.set_available(object);
            return Became::Same;
        }
        self.remove(name);
        match Remote::new(object, self.identity.as_ref(), self.lookup.clone()) {
            Some(remote) => {
                let remote = Arc::new(remote);
                self.change(|all| all.push(remote.clone()));
                Became::New(remote)
            }
            None => Became::Local,
        }
    }

    fn remove(&self, name: &str) {
        self.change(|all| all.retain(|r| r.name != name));
    }

    fn change(&self, change: impl Fn(&mut Vec<Arc<Remote>>)) {
        self.remotes.rcu(|old| {
            let mut all = (**old).clone();
            change(&mut all);
            all
        });
    }
}

/// Begins to follow APIServices, and registers what this server answers itself.
pub(crate) async fn start(inner: &Arc<Inner>, source: &dyn Source, token: &CancellationToken) {
    let tables = inner.catalog.follow();
    let registered = register::begin(inner).await;
    let changes = source.subscribe(&GroupResource::new("apiregistration.k8s.io", "apiservices"));
    drop(tokio::spawn(follow(inner.clone(), changes, token.clone())));
    drop(tokio::spawn(register::run(inner.clone(), registered, tables, token.clone())));
}

/// Keeps the table of other servers, with a keeper for each.
async fn follow(inner: Arc<Inner>, mut changes: Changes, token: CancellationToken) {
    let mut keepers: HashMap<String, CancellationToken> = HashMap::new();
    let mut watching = false;
    loop {
        let change = tokio::select! {
            () = token.cancelled() => return,
            change = changes.next() => match change {
                Some(change) => change,
                None => return,
            },
        };
        let (name, became) = match &change {
            Change::Put(object) => (object::name(object).to_owned(), inner.aggregator.put(object)),
            Change::Delete(object) => {
                inner.aggregator.remove(object::name(object));
                register::restore(&inner, object).await;
                (object::name(object).to_owned(), Became::Local)
            }
            Change::Synced => continue,
        };
        if !matches!(became, Became::Same)
            && let Some(old) = keepers.remove(&name)
        {
            old.cancel();
        }
        if let Became::New(remote) = became {
            if !std::mem::replace(&mut watching, true) {
                for (group, plural) in [("", "services"), ("discovery.k8s.io", "endpointslices")] {
                    drop(tokio::spawn(backends(inner.clone(), group, plural, token.clone())));
                }
            }
            let stop = token.child_token();
            keepers.insert(name, stop.clone());
            drop(tokio::spawn(available::keep(inner.clone(), remote, stop)));
        }
    }
}

/// Wakes keepers when something happens to their Services.
async fn backends(inner: Arc<Inner>, group: &'static str, plural: &'static str, token: CancellationToken) {
    let caches = &inner.registry.caches;
    loop {
        let cache = inner.kind_of(group, plural).and_then(|kind| caches.of(&kind));
        // Built-in kinds have their caches from the start.
        let Some(cache) = cache else { return };
        let Ok((_, mut changes)) = cache.watch(caches.revision(), Scope::All) else {
            // It was read anew just now, at a newer revision.
            tokio::task::yield_now().await;
            continue;
        };
        // What happened while nobody listened is looked at.
        inner.aggregator.remotes().iter().for_each(|r| r.wake.notify_one());
        loop {
            let change = tokio::select! {
                () = token.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(change) => change,
                    Err(_) => break,
                },
            };
            let object = &change.object;
            let service = match plural {
                "services" => Some(object.name()),
                _ => object.get_label(SERVICE_NAME),
            };
            let concerns = |r: &&Arc<Remote>| r.namespace == object.namespace() && Some(r.service.as_str()) == service;
            inner.aggregator.remotes().iter().filter(concerns).for_each(|r| r.wake.notify_one());
        }
    }
}
