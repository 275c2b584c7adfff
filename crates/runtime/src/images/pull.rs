//! Pulling: manifest and configuration first, then the missing layers at the same time, unpacked lowest first.

use super::registry::{self, credentials, explain};
use super::{Record, Store, chain, check_digest, digest_of, internal, parse_config, parse_name};
use futures::{StreamExt, TryStreamExt};
use ironclad_cri::{Error, PullProgress, PullRequest, Result};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;

/// Layers that are fetched at the same time.
const AT_ONCE: usize = 3;
/// Largest configuration of an image in bytes.
const MAX_CONFIG: usize = 8 << 20;

struct Resolved {
    client: Client,
    /// Where it comes from: the registry or a mirror of it.
    from: Reference,
    manifest: OciImageManifest,
    digest: String,
    config: String,
}

impl Store {
    /// Pulls an image and returns its id.
    pub(crate) async fn pull(self: &Arc<Self>, request: PullRequest, progress: PullProgress) -> Result<String> {
        let name = parse_name(&request.image)?;
        let whole = name.whole();
        let lock = self.lock(&format!("pull {whole}"));
        let _one = lock.lock().await;
        let found = self.resolve(&name, &request).await?;
        let (config, diff_ids) = parse_config(found.config.as_bytes(), found.manifest.layers.len())?;
        let id = digest_of(found.config.as_bytes());
        if id != found.manifest.config.digest {
            return Err(Error::Internal(format!(
                "failed to pull and unpack image {whole:?}: configuration is not {id}"
            )));
        }
        let layers = chain(&diff_ids);
        let _pin = self.pin()?;
        self.fetch_layers(&found, &diff_ids, &layers, &progress)
            .await
            .map_err(|e| Error::Internal(format!("failed to pull and unpack image {whole:?}: {e}")))?;
        self.keep_config(&id, found.config.as_bytes())?;
        let digest = name.digest().map_or_else(|| found.digest.clone(), str::to_owned);
        let digest = format!("{}/{}@{digest}", name.registry(), name.repository());
        let tags = if name.digest().is_some() { BTreeSet::new() } else { BTreeSet::from([whole]) };
        self.add(Record { id: id.clone(), tags, digests: BTreeSet::from([digest]), layers, config })?;
        Ok(id)
    }

    /// The manifest, from the first host and with the first credentials that give it.
    async fn resolve(&self, name: &Reference, request: &PullRequest) -> Result<Resolved> {
        let mut last = Error::Internal(format!("no registry to pull {} from", name.whole()));
        for host in self.registries.hosts(name.registry()) {
            let mut from = name.clone();
            if host != name.registry() {
                from.set_mirror_registry(host.clone());
            }
            for auth in credentials(&request.auth) {
                // A client keeps what it learned with its credentials, so others need another one.
                let client = self.registries.client(&host)?;
                match fetch_manifest(&client, &from, &auth).await {
                    Ok((manifest, digest, config)) => return Ok(Resolved { client, from, manifest, digest, config }),
                    Err(e) => last = explain(&request.image, &name.whole(), &e),
                }
            }
        }
        Err(last)
    }

    async fn fetch_layers(
        self: &Arc<Self>,
        found: &Resolved,
        diff_ids: &[String],
        layers: &[String],
        progress: &PullProgress,
    ) -> Result<()> {
        let wanted: Vec<usize> = (0..layers.len()).filter(|i| !self.has_layer(&layers[*i])).collect();
        let sizes = wanted.iter().map(|i| found.manifest.layers[*i].size.max(0) as u64);
        let counter = Counter { done: AtomicU64::new(0), total: sizes.sum(), progress: progress.clone() };
        let fetch = |i: usize| {
            let (counter, layer) = (&counter, &found.manifest.layers[i]);
            async move { Ok::<_, Error>((i, self.download(found, layer, counter).await?)) }
        };
        let mut packed = futures::stream::iter(wanted).map(fetch).buffered(AT_ONCE);
        while let Some((i, file)) = packed.try_next().await? {
            let (name, diff, lower) = (layers[i].clone(), diff_ids[i].clone(), layers[..i].to_vec());
            let lock = self.lock(&format!("layer {name}"));
            let _one = lock.lock().await;
            let store = self.clone();
            let unpacked = tokio::task::spawn_blocking(move || {
                if store.has_layer(&name) { Ok(()) } else { store.unpack_file(&name, &diff, &lower, &file.0) }
            });
            unpacked.await.map_err(|e| Error::Internal(format!("unpack a layer: {e}")))??;
        }
        Ok(())
    }

    fn unpack_file(&self, name: &str, diff: &str, lower: &[String], file: &PathBuf) -> Result<()> {
        let packed = std::fs::File::open(file).map_err(internal("open a layer"))?;
        self.unpack(name, diff, lower, packed)
    }

    /// Fetches a blob into a temporary file; the stream checks its digest.
    async fn download(&self, found: &Resolved, layer: &OciDescriptor, counter: &Counter) -> Result<Partial> {
        check_digest(&layer.digest)?;
        let failed = |e: String| Error::Internal(format!("failed to copy {}: {e}", layer.digest));
        let path = Partial(self.dir.join("tmp").join(format!("blob-{}", uuid::Uuid::new_v4())));
        let mut stream =
            found.client.pull_blob_stream(&found.from, layer).await.map_err(|e| failed(registry::chain(&e)))?;
        let mut file = tokio::fs::File::create(&path.0).await.map_err(internal("create a blob"))?;
        let mut size = 0_u64;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| failed(registry::chain(&e)))?;
            size += chunk.len() as u64;
            if layer.size >= 0 && size > layer.size as u64 {
                return Err(failed(format!("it is longer than {} bytes", layer.size)));
            }
            file.write_all(&chunk).await.map_err(internal("write a blob"))?;
            counter.add(chunk.len() as u64);
        }
        file.flush().await.map_err(internal("write a blob"))?;
        Ok(path)
    }
}

async fn fetch_manifest(
    client: &Client,
    name: &Reference,
    auth: &RegistryAuth,
) -> std::result::Result<(OciImageManifest, String, String), oci_client::errors::OciDistributionError> {
    let (manifest, digest, config) = client.pull_manifest_and_config(name, auth).await?;
    if config.len() > MAX_CONFIG {
        return Err(oci_client::errors::OciDistributionError::GenericError(Some(
            "the configuration is too long".into(),
        )));
    }
    Ok((manifest, digest, config))
}

/// A file of a pull. It goes with whoever has it: a pull may be given up at any point.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // What cannot be removed is garbage that the next start clears away.
        drop(std::fs::remove_file(&self.0));
    }
}

struct Counter {
    done: AtomicU64,
    total: u64,
    progress: PullProgress,
}

impl Counter {
    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(tell) = &self.progress {
            tell(done, self.total);
        }
    }
}
