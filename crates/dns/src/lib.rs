//! Cluster DNS: names of Services, their endpoints and pods; everything else goes to the node's resolvers.
//!
//! Invariants: a question is answered from memory, without a lock and without asking anybody, the common ones
//! (`quick.rs`) without an allocation; a change of one Service
//! copies one small shard of the names; what was learnt stays when the API server is away.

mod answer;
mod feed;
mod find;
mod forward;
mod http;
mod publish;
mod quick;
mod server;
#[cfg(test)]
mod tests;
mod zone;

use ironclad_client::Informers;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use answer::{Answer, Resolver};
pub use feed::record;
pub use forward::upstreams;
pub use server::{Listeners, Metrics};
pub use zone::{Endpoint, Port, Record, Zone};

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A domain that is none.
    #[error("invalid cluster domain {domain:?}: {source}")]
    Domain {
        /// The text.
        domain: String,
        /// Why not.
        source: hickory_proto::ProtoError,
    },
}

/// What the server is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the server; must be one that pods reach, for example the node's. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of metrics, health and readiness over HTTP, if wanted.
    pub metrics: Option<SocketAddr>,
    /// Usually `cluster.local`.
    pub domain: String,
    /// The cluster address of the `kube-dns` Service.
    pub cluster_ip: IpAddr,
    /// The node on which it runs; names its EndpointSlice.
    pub node_name: String,
    /// Where the node's resolvers stand, usually `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

/// Serves until the token is cancelled, and keeps the `kube-dns` Service leading here; tells `ready` when it first does.
pub async fn run(
    informers: Informers,
    config: Config,
    ready: Arc<Notify>,
    token: CancellationToken,
) -> Result<(), Error> {
    let zone = Arc::new(Zone::new(&config.domain)?);
    let listeners = server::Listeners::bind(config.listen).await?;
    let own = [config.listen.ip(), config.cluster_ip];
    let servers = forward::upstreams(&config.resolv_conf, &own);
    let resolver = Arc::new(Resolver::new(Arc::clone(&zone), servers));
    let metrics_at = match config.metrics {
        Some(address) => Some(http::bind(address).await?),
        None => None,
    };
    let place = publish::Place {
        dns: listeners.address(),
        metrics: metrics_at.as_ref().map(|(_, address)| *address),
        cluster_ip: config.cluster_ip,
        node_name: config.node_name.clone(),
    };
    let knows = feed::follow(&informers, &zone);
    let metrics = Arc::clone(resolver.metrics());
    let publishing = publish::run(informers, place, &ready, token.clone());
    let serving = listeners.serve(Arc::clone(&resolver), token.clone());
    let telling = async {
        if let Some((listener, _)) = metrics_at {
            http::serve(listener, metrics, knows, token.clone()).await;
        } else {
            token.cancelled().await;
        }
    };
    tokio::join!(serving, publishing, telling);
    Ok(())
}
