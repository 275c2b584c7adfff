//! The addresses of the API servers themselves, behind the Service `kubernetes`. Servers that share a store each hold a
//! lease there, as stock servers do: the addresses are those of the leases, so that a server which is gone leaves them.

use crate::server::Inner;
use crate::{encode, registry};
use ironclad_api::{ApiError, object};
use ironclad_json::{Value, json};
use ironclad_store::{Change, Expect, Op, RangeQuery};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where the leases are: the stock servers' place.
pub(crate) const LEASES: &str = "/registry/masterleases/";
/// How long a lease lasts, and how often it is renewed: the stock servers' times.
const TTL: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(10);

impl Inner {
    /// Puts this server's address behind the Service, with those of the servers that share the store.
    pub(crate) async fn publish_address(&self, address: Ipv4Addr, port: u16) -> Result<(), ApiError> {
        let mut addresses = BTreeSet::from([address]);
        if self.registry.store.is_shared() {
            self.hold_lease(address).await?;
            addresses.extend(self.leased().await?);
        }
        self.publish_addresses(&addresses, port).await
    }

    /// Keeps the lease and the addresses current until `token` is cancelled; then takes this server's address back.
    pub(crate) async fn keep_address(self: Arc<Self>, address: Ipv4Addr, port: u16, token: CancellationToken) {
        loop {
            let over = tokio::select! {
                () = token.cancelled() => true,
                () = tokio::time::sleep(RENEWAL) => false,
            };
            let done =
                if over { self.withdraw(address, port).await } else { self.publish_address(address, port).await };
            if let Err(error) = done {
                tracing::warn!(%error, "the addresses of the API servers are not current");
            }
            if over {
                return;
            }
        }
    }

    async fn withdraw(&self, address: Ipv4Addr, port: u16) -> Result<(), ApiError> {
        let key = format!("{LEASES}{address}").into();
        self.write(Op { key, expect: Expect::Any, change: Change::Delete { last: None } }).await?;
        let left = self.leased().await?;
        // The last one leaves its address: there is nobody who could be reached instead.
        if left.is_empty() { Ok(()) } else { self.publish_addresses(&left, port).await }
    }

    async fn hold_lease(&self, address: Ipv4Addr) -> Result<(), ApiError> {
        let subsets = json!([{"addresses": [{"ip": address.to_string()}]}]);
        let lease = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {}, "subsets": subsets});
        let change = Change::Put { value: encode::template(&lease), ttl: Some(TTL) };
        self.write(Op { key: format!("{LEASES}{address}").into(), expect: Expect::Any, change }).await
    }

    async fn write(&self, op: Op) -> Result<(), ApiError> {
        self.registry.store.commit(vec![op]).await.map(drop).map_err(|e| registry::store_error(&e))
    }

    /// The addresses of the servers that hold a lease.
    async fn leased(&self) -> Result<BTreeSet<Ipv4Addr>, ApiError> {
        let query = RangeQuery { prefix: LEASES.to_owned(), ..RangeQuery::default() };
        let page = self.registry.store.range(&query).await.map_err(|e| registry::store_error(&e))?;
        Ok(page.entries.iter().filter_map(|e| e.key.strip_prefix(LEASES)?.parse().ok()).collect())
    }

    async fn publish_addresses(&self, addresses: &BTreeSet<Ipv4Addr>, port: u16) -> Result<(), ApiError> {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
        let metadata = |labels: Value| json!({"name": "kubernetes", "namespace": "default", "labels": labels});
        let endpoint = |ip: &String| json!({"addresses": [ip], "conditions": {"ready": true}});
        let slice = json!({
            "metadata": metadata(json!({"kubernetes.io/service-name": "kubernetes"})), "addressType": "IPv4",
            "endpoints": texts.iter().map(endpoint).collect::<Vec<Value>>(), "ports": ports,
        });
        self.replace("discovery.k8s.io", "endpointslices", slice).await?;
        let ips: Vec<Value> = texts.iter().map(|ip| json!({"ip": ip})).collect();
        let endpoints = json!({
            "metadata": metadata(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
            "subsets": [{"addresses": ips, "ports": ports}],
        });
        self.replace("", "endpoints", endpoints).await
    }

    /// Makes an object, or gives the one that is there this content.
    async fn replace(&self, group: &str, plural: &str, object: Value) -> Result<(), ApiError> {
        self.ensure(group, plural, object.clone()).await?;
        let kind = self.kind_of(group, plural).ok_or_else(|| ApiError::internal(format!("no kind {plural}")))?;
        let key = format!("{}{}/{}", kind.prefix, object::namespace(&object), object::name(&object));
        let Some(entry) = self.registry.entry(&key).await? else { return Ok(()) };
        let stored = encode::decode(entry.value.bytes());
        let mut wanted = stored.clone();
        for (field, value) in object.as_object().into_iter().flatten().filter(|(k, _)| *k != "metadata") {
            wanted[field] = value.clone();
        }
        if wanted == stored {
            return Ok(());
        }
        let change = Change::Put { value: encode::template(&wanted), ttl: None };
        let op = Op { key: key.into(), expect: Expect::Modified(entry.modified), change };
        match self.registry.store.commit(vec![op]).await {
            // Another server was faster; the next round looks again.
            Ok(_) | Err(ironclad_store::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(registry::store_error(&error)),
        }
    }
}
