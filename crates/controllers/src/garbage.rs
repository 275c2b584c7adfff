//! The garbage collector: what belongs to something that is gone goes too.
//!
//! It keeps the graph of owners from the metadata of every object that can be deleted. The graph is fed by events; a
//! new object is looked at once, and the objects that belong to one that went are looked at then.

use crate::resources::Resources;
use crate::{Context, is_missing};
use ironclad_client::{Change, WorkQueue};
use ironclad_json::json;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What the graph knows of an object.
#[derive(Clone)]
struct Node {
    resource: Arc<ApiResource>,
    namespace: String,
    name: String,
    owners: Vec<OwnerReference>,
    finalizers: Vec<String>,
    deleting: bool,
}

impl Node {
    /// The owners that may not go before this object.
    fn blocks(&self) -> impl Iterator<Item = &str> {
        self.owners.iter().filter(|o| o.block_owner_deletion == Some(true)).map(|o| o.uid.as_str())
    }

    fn waits_for_dependents(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|f| f == FOREGROUND)
    }
}

#[derive(Default)]
struct Graph {
    nodes: HashMap<String, Node>,
    /// Dependents by the uid of their owner.
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    /// Returns the uids of owners that the object blocked before and blocks no longer.
    fn put(&mut self, uid: &str, node: Node) -> Vec<String> {
        let before = self.unlink(uid);
        let freed = before.iter().flat_map(Node::blocks).filter(|o| !node.blocks().any(|b| b == *o));
        let freed = freed.map(str::to_owned).collect();
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        self.nodes.insert(uid.to_owned(), node);
        freed
    }

    fn unlink(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(node)
    }

    fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }
}

struct Collector {
    context: Context,
    graph: Mutex<Graph>,
    queue: Arc<WorkQueue<String>>,
    /// For owners that are not in the graph.
    resources: Arc<Resources>,
}

pub(crate) async fn run(context: Context, resources: Arc<Resources>, token: CancellationToken) {
    let (graph, queue) = (Mutex::default(), WorkQueue::new());
    let collector = Arc::new(Collector { context, graph, queue, resources: resources.clone() });
    let watching = Arc::downgrade(&collector);
    resources.on_served(move |served, metadata| {
        let Some(metadata) = metadata else { return };
        let (collector, resource) = (watching.clone(), Arc::new(served.api.clone()));
        metadata.on_change(move |change| {
            if let Some(collector) = collector.upgrade() {
                let gone = matches!(change, Change::Deleted(_));
                collector.observe(&resource, &change.object().metadata, gone);
            }
        });
    });
    let mourning = Arc::downgrade(&collector);
    resources.on_gone(move |served| {
        if let Some(collector) = mourning.upgrade() {
            collector.gone(&served.api);
        }
    });
    let working = collector.clone();
    let work = move |uid: String| {
        let collector = working.clone();
        async move { collector.attend(&uid).await }
    };
    collector.queue.clone().run("garbage", 10, token, work).await;
}

impl Collector {
    /// Takes the objects of a resource that is gone for gone too.
    fn gone(&self, resource: &ApiResource) {
        let mut graph = self.graph.lock();
        let of = |(_, node): &(&String, &Node)| {
            node.resource.group == resource.group && node.resource.plural == resource.plural
        };
        let uids: Vec<String> = graph.nodes.iter().filter(of).map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            graph.unlink(&uid);
            graph.dependents(&uid).into_iter().for_each(|d| self.queue.add(d));
        }
    }

    fn observe(&self, resource: &Arc<ApiResource>, meta: &ObjectMeta, gone: bool) {
        let uid = meta.uid.clone().unwrap_or_default();
        let mut graph = self.graph.lock();
        if gone {
            let node = graph.unlink(&uid);
            graph.dependents(&uid).into_iter().for_each(|d| self.queue.add(d));
            // An owner that waits for its dependents looks again.
            node.iter().flat_map(|n| &n.owners).for_each(|o| self.queue.add(o.uid.clone()));
            return;
        }
        let node = Node {
            resource: resource.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        };
        let waiting = node.deleting && node.finalizers.iter().any(|f| f == FOREGROUND || f == ORPHAN);
        if !node.owners.is_empty() || waiting {
            self.queue.add(uid.clone());
        }
        if waiting {
            graph.dependents(&uid).into_iter().for_each(|d| self.queue.add(d));
        }
        graph.put(&uid, node).into_iter().for_each(|owner| self.queue.add(owner));
    }

    fn api(&self, node: &Node) -> Api<DynamicObject> {
        let client = self.context.client.clone();
        match node.namespace.is_empty() {
            true => Api::all_with(client, &*node.resource),
            false => Api::namespaced_with(client, &node.namespace, &*node.resource),
        }
    }

    async fn attend(&self, uid: &str) -> Result<Option<Duration>, kube::Error> {
        let Some(node) = self.graph.lock().nodes.get(uid).cloned() else { return Ok(None) };
        if node.deleting {
            if node.finalizers.iter().any(|f| f == ORPHAN) {
                self.orphan(uid, &node).await?;
            } else if node.finalizers.iter().any(|f| f == FOREGROUND) {
                self.finish_foreground(uid, &node).await?;
            }
            return Ok(None);
        }
        if node.owners.is_empty() {
            return Ok(None);
        }
        let (mut solid, mut dangling, mut waiting) = (0, Vec::new(), Vec::new());
        for owner in &node.owners {
            match self.owner_state(owner, &node).await? {
                Owner::Solid => solid += 1,
                Owner::Gone => dangling.push(owner.uid.clone()),
                Owner::Waiting => waiting.push(owner.uid.clone()),
            }
        }
        if solid > 0 {
            if dangling.is_empty() && waiting.is_empty() {
                return Ok(None);
            }
            let drop: Vec<String> = dangling.into_iter().chain(waiting).collect();
            return self.drop_owners(uid, &node, &drop).await.map(|()| None);
        }
        let dependents = self.graph.lock().dependents(uid);
        if waiting.is_empty() || dependents.is_empty() {
            return self.delete(uid, &node, DeleteParams::background()).await.map(|()| None);
        }
        let circle = {
            let graph = self.graph.lock();
            dependents.iter().any(|d| graph.nodes.get(d).is_some_and(Node::waits_for_dependents))
        };
        if circle {
            self.unblock(uid, &node).await?;
        }
        self.delete(uid, &node, DeleteParams::foreground()).await.map(|()| None)
    }

    /// Lets the owners of an object go before it does. In a circle each would wait for the next for ever.
    async fn unblock(&self, uid: &str, node: &Node) -> Result<(), kube::Error> {
        let free = |o: &OwnerReference| OwnerReference { block_owner_deletion: Some(false), ..o.clone() };
        let owners: Vec<OwnerReference> = node.owners.iter().map(free).collect();
        self.patch(uid, node, &json!({"metadata": {"uid": uid, "ownerReferences": owners}})).await
    }

    /// Whether an owner is there. One that the graph does not know is asked for: the graph may be behind.
    async fn owner_state(&self, owner: &OwnerReference, of: &Node) -> Result<Owner, kube::Error> {
        let known = self.graph.lock().nodes.get(&owner.uid).cloned();
        if let Some(node) = known {
            return Ok(if node.waits_for_dependents() { Owner::Waiting } else { Owner::Solid });
        }
        // A kind that is not known cannot be judged.
        let Some(served) = self.resources.of_kind(&owner.api_version, &owner.kind) else { return Ok(Owner::Solid) };
        let (resource, namespaced) = (served.api, served.namespaced);
        let namespace = if namespaced { of.namespace.clone() } else { String::new() };
        let node = Node {
            resource: Arc::new(resource),
            namespace,
            name: owner.name.clone(),
            owners: Vec::new(),
            finalizers: Vec::new(),
            deleting: false,
        };
        if namespaced && of.namespace.is_empty() {
            return Ok(Owner::Gone);
        }
        match self.api(&node).get_metadata(&owner.name).await {
            Ok(found) if found.metadata.uid.as_deref() == Some(&owner.uid) => Ok(Owner::Solid),
            Ok(_) => Ok(Owner::Gone),
            Err(error) if is_missing(&error) => Ok(Owner::Gone),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, uid: &str, node: &Node, params: DeleteParams) -> Result<(), kube::Error> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..params };
        match self.api(node).delete(&node.name, &params).await {
            Err(error) if !is_missing(&error) && !crate::is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn drop_owners(&self, uid: &str, node: &Node, drop: &[String]) -> Result<(), kube::Error> {
        let keep: Vec<&OwnerReference> = node.owners.iter().filter(|o| !drop.contains(&o.uid)).collect();
        let patch = json!({"metadata": {"uid": uid, "ownerReferences": keep}});
        self.patch(uid, node, &patch).await
    }

    /// Patches an object if it is still there. A conflict is tried again, unless another one has its name by now.
    async fn patch(&self, uid: &str, node: &Node, patch: &ironclad_json::Value) -> Result<(), kube::Error> {
        let api = self.api(node);
        match api.patch_metadata(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) if crate::is_conflict(&error) => match api.get_metadata_opt(&node.name).await? {
                Some(found) if found.metadata.uid.as_deref() == Some(uid) => Err(error),
                _ => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    async fn drop_finalizer(&self, uid: &str, node: &Node, finalizer: &str) -> Result<(), kube::Error> {
        let keep: Vec<&String> = node.finalizers.iter().filter(|f| *f != finalizer).collect();
        self.patch(uid, node, &json!({"metadata": {"uid": uid, "finalizers": keep}})).await
    }

    /// Frees the dependents of an object that goes without them.
    async fn orphan(&self, uid: &str, node: &Node) -> Result<(), kube::Error> {
        let dependents = self.graph.lock().dependents(uid);
        for dependent in dependents {
            let found = self.graph.lock().nodes.get(&dependent).cloned();
            if let Some(found) = found {
                self.drop_owners(&dependent, &found, &[uid.to_owned()]).await?;
            }
        }
        self.drop_finalizer(uid, node, ORPHAN).await
    }

    /// Lets an object go once no dependent that blocks it is left.
    async fn finish_foreground(&self, uid: &str, node: &Node) -> Result<(), kube::Error> {
        let blocking = {
            let graph = self.graph.lock();
            let blocks = |d: &String| graph.nodes.get(d).is_some_and(|n| n.blocks().any(|o| o == uid));
            graph.dependents(uid).iter().any(blocks)
        };
        if blocking {
            self.graph.lock().dependents(uid).into_iter().for_each(|d| self.queue.add(d));
            return Ok(());
        }
        self.drop_finalizer(uid, node, FOREGROUND).await
    }
}

enum Owner {
    /// It is there and stays.
    Solid,
    /// It is gone.
    Gone,
    /// It goes once its dependents have gone.
    Waiting,
}
