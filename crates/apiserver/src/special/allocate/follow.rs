//! Keeps what is given out in step with the Services that other servers write, of which some know nothing of the objects
//! of addresses: a Service gets the object of its address, and one that is gone leaves none.
//!
//! Invariant: an object is taken away only in a commit that finds its Service gone.

use super::{Addresses, ip_of, is_service, objects, ports_of};
use crate::reader::Reader;
use crate::server::Inner;
use futures::StreamExt;
use ironclad_api::source::{Change, Source};
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::Value;
use ironclad_store::{Expect, Op};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often ports are looked for that nobody has: stock's interval.
const LOOK: Duration = Duration::from_mins(3);

/// Follows the Services of a shared store until `token` is cancelled.
pub(crate) async fn run(inner: Arc<Inner>, reader: Reader, token: CancellationToken) {
    let services = GroupResource::new("", "services");
    let mut changes = reader.subscribe(&services);
    let mut looks = tokio::time::interval(LOOK);
    let mut idle = BTreeMap::new();
    loop {
        let done = tokio::select! {
            () = token.cancelled() => return,
            change = changes.next() => match change {
                Some(Change::Put(service)) => inner.give_object(&service).await,
                Some(Change::Delete(service)) => inner.take_object(&service).await,
                Some(Change::Synced) => Ok(()),
                None => return,
            },
            _ = looks.tick() => {
                let used = reader.list(&services, "").iter().flat_map(|s| ports_of(s)).collect();
                inner.registry.addresses.ports.tidy(&used, &mut idle).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "what Services have and what is given out may differ");
        }
    }
}

impl Inner {
    /// Makes the object of a Service's address where its writer made none.
    async fn give_object(&self, service: &Value) -> Result<(), ApiError> {
        match ip_of(service).filter(|ip| !objects::is_taken(&self.registry.caches, *ip)) {
            Some(ip) => self.ensure("networking.k8s.io", "ipaddresses", objects::ip_address(ip, service)).await,
            None => Ok(()),
        }
    }

    /// Takes the object of an address away whose Service is gone, where whoever removed that left it.
    async fn take_object(&self, service: &Value) -> Result<(), ApiError> {
        let Some(kind) = self.kind_of("", "services").filter(|k| is_service(k)) else { return Ok(()) };
        let Some(op) = ip_of(service).and_then(|ip| objects::orphan(&self.registry.caches, ip, service)) else {
            return Ok(());
        };
        let key = format!("{}{}/{}", kind.prefix, object::namespace(service), object::name(service));
        let gone = Op { key: key.into(), expect: Expect::Absent, change: ironclad_store::Change::Check };
        match self.registry.store.commit(vec![op, gone]).await {
            Ok(_) | Err(ironclad_store::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(crate::registry::store_error(&error)),
        }
    }
}

impl Addresses {
    /// Whether other servers give out addresses and ports of the same store.
    pub(crate) fn are_shared(&self) -> bool {
        matches!(*self.ports, super::Ports::Shared { .. })
    }
}
