//! Where the cluster's objects are kept: the log engine in the data directory, or an etcd.

use super::{encryption, reloads};
use crate::cli::api::ApiFlags;
use crate::cluster::{Cluster, Etcd};
use crate::failure::{Failure, Id, Result};
use crate::files::Files;
use ironclad_apiserver::{Checks, StockCodec};
use ironclad_remote::Way;
use ironclad_store::{Error, EtcdOptions, EtcdStore, LogStore, Options, Store, Tls, Transform};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Opens the store that the cluster was laid out with; `files` tells when what it was opened with changes.
pub(super) async fn open(
    cluster: &Cluster,
    flags: &ApiFlags,
    way: &Way,
    files: &mut Files,
    token: &CancellationToken,
) -> Result<(Arc<dyn Store>, Option<Checks>)> {
    // Plug-ins of keys are counted by it from the start.
    reloads::name_server();
    let (patience, flags) = (flags.load.load().request_timeout, &flags.encryption);
    let Some(etcd) = &cluster.etcd else {
        let at_rest = encryption::open(cluster, flags)?;
        let store: Arc<dyn Store> = Arc::new(open_log(cluster, at_rest.encryption.clone())?);
        at_rest.follow(&store, files);
        return Ok((store, Some(at_rest.checks())));
    };
    // A key that one server makes for itself is unknown to the others on the same etcd.
    let at_rest = flags.encryption_provider_config.as_ref().map(|_| encryption::open(cluster, flags)).transpose()?;
    let transform = at_rest.as_ref().map(|a| -> Arc<dyn Transform> { a.encryption.clone() });
    let store: Arc<dyn Store> = Arc::new(open_etcd(etcd, transform, (patience, way), token).await?);
    if let Some(at_rest) = &at_rest {
        at_rest.follow(&store, files);
    }
    Ok((store, at_rest.map(|a| a.checks())))
}

fn open_log(cluster: &Cluster, transform: Arc<dyn Transform>) -> Result<LogStore> {
    let options = Options { transform: Some(transform), ..Options::default() };
    LogStore::open(&cluster.store_dir(), options).map_err(|error| {
        let (id, help) = match &error {
            Error::Locked(_) => (Id::DataDirInUse, "See `ironclad status`; stop it with `ironclad down`."),
            Error::Format { .. } => (Id::DataDirNewer, "Use the newer ironclad, or another --data-dir."),
            Error::Corrupt { .. } => {
                (Id::DataDirDamaged, "Restore the data directory from a copy; nothing was changed.")
            }
            Error::Sealed { .. } => {
                (Id::Encryption, "Start with the --encryption-provider-config that has the keys; nothing was changed.")
            }
            _ => (Id::DataDirUnusable, "Give a directory on a local disk that root can write, with --data-dir."),
        };
        Failure::new(id, error.to_string(), help)
    })
}

async fn open_etcd(
    etcd: &Etcd,
    transform: Option<Arc<dyn Transform>>,
    (patience, way): (Duration, &Way),
    token: &CancellationToken,
) -> Result<EtcdStore> {
    let read = |path: &Path| {
        let help = "See --etcd-cafile, --etcd-certfile and --etcd-keyfile.";
        std::fs::read(path).map_err(|e| Failure::new(Id::Etcd, format!("cannot read {}: {e}", path.display()), help))
    };
    let identity = match &etcd.identity {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    let options = EtcdOptions {
        servers: etcd.servers.clone(),
        tls: Tls { ca: etcd.ca.as_deref().map(read).transpose()?, identity },
        prefix: ("/registry".to_owned(), etcd.prefix.clone()),
        codec: Arc::new(StockCodec::default()),
        patience,
        transform,
        way: way.clone(),
    };
    let store = EtcdStore::open(options).await.map_err(|error| {
        let help = "Start it, or give its addresses with --etcd-servers.";
        Failure::new(Id::Etcd, format!("cannot use etcd at {}: {error}", etcd.servers.join(", ")), help)
    })?;
    if !etcd.compaction.is_zero() {
        // It ends with the token.
        drop(store.compact_every(etcd.compaction, token.clone()));
    }
    Ok(store)
}
