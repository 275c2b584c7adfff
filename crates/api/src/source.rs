//! Reading objects from inside the server: admission plugins, RBAC and token checks look at other objects this way.
//!
//! Invariant: a read through [`Source`] never costs a request; it is answered from the server's watch caches.

use crate::resource::GroupResource;
use ironclad_json::Value;
use std::pin::Pin;
use std::sync::Arc;

/// One change to an object, in the order in which they were committed.
#[derive(Clone, Debug)]
pub enum Change {
    /// Added or modified: the new object.
    Put(Arc<Value>),
    /// Deleted: the last state.
    Delete(Arc<Value>),
    /// Everything that existed when the subscription began was delivered.
    Synced,
}

/// A stream of [`Change`]s that begins with what exists now.
pub type Changes = Pin<Box<dyn futures_core::Stream<Item = Change> + Send>>;

/// Reads of current objects of any kind, in the storage version.
pub trait Source: Send + Sync {
    /// One object; `namespace` is empty for cluster-scoped kinds.
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// All objects of a namespace, or of all namespaces when it is empty.
    fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Value>>;

    /// Every object now, then every change; for indexes that are kept rather than read again.
    fn subscribe(&self, resource: &GroupResource) -> Changes;
}
