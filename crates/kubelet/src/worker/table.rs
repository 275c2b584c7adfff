//! The pods of this node and their workers, as the rest of the kubelet sees them.

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// That the node ends a pod, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) grace: Duration,
    /// Whether an event tells of it.
    pub(crate) event: bool,
}

struct Entry {
    pods: watch::Sender<Option<Arc<Pod>>>,
    orders: watch::Sender<Option<Order>>,
    wake: Arc<Notify>,
}

/// A worker's end of its entry.
pub(crate) struct Seat {
    pub(crate) pods: watch::Receiver<Option<Arc<Pod>>>,
    pub(crate) orders: watch::Receiver<Option<Order>>,
    pub(crate) wake: Arc<Notify>,
}

/// Entries by the pod's uid.
#[derive(Default)]
pub(crate) struct Table(Mutex<HashMap<String, Entry>>);

impl Table {
    /// Tells a worker of its pod's new state; returns a seat when a worker has to be started for it.
    pub(crate) fn put(&self, uid: &str, pod: Option<Arc<Pod>>) -> Option<Seat> {
        let mut table = self.0.lock();
        if let Some(entry) = table.get(uid) {
            entry.pods.send_replace(pod);
            return None;
        }
        let (pods, receiver) = watch::channel(pod);
        let (orders, order) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        table.insert(uid.to_owned(), Entry { pods, orders, wake: wake.clone() });
        Some(Seat { pods: receiver, orders: order, wake })
    }

    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.0.lock().contains_key(uid)
    }

    /// The worker has ended. A static pod that came again meanwhile is returned: it must have another worker.
    pub(crate) fn leave(&self, uid: &str) -> Option<Arc<Pod>> {
        let entry = self.0.lock().remove(uid)?;
        entry.pods.borrow().clone().filter(|p| crate::pod::is_static(p))
    }

    pub(crate) fn wake(&self, uid: &str) {
        if let Some(entry) = self.0.lock().get(uid) {
            entry.wake.notify_one();
        }
    }

    pub(crate) fn wake_all(&self) {
        self.0.lock().values().for_each(|e| e.wake.notify_one());
    }

    /// Has the node end a pod. Whether there is such a pod.
    pub(crate) fn order(&self, uid: &str, order: Order) -> bool {
        let table = self.0.lock();
        let entry = table.get(uid);
        entry.is_some_and(|e| e.orders.send_replace(Some(order)).is_none())
    }

    /// All pods that are there.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.0.lock().values().filter_map(|e| e.pods.borrow().clone()).collect()
    }

    /// The newest pod of this name.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let is = |p: &Arc<Pod>| {
            p.metadata.namespace.as_deref() == Some(namespace) && p.metadata.name.as_deref() == Some(name)
        };
        let table = self.0.lock();
        let named = table.values().filter_map(|e| e.pods.borrow().clone().filter(is));
        named.max_by_key(|p| p.metadata.creation_timestamp.clone().map(|t| t.0))
    }
}
