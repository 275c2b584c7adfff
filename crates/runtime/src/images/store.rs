//! The images alone, for commands that work beside a running node.

use super::{Store, registry::RegistryConfig};
use ironclad_cri::{Error, Image, PullProgress, PullRequest, Result};
use std::path::Path;
use std::sync::Arc;

/// The images below a runtime's data directory. Opening it touches no sandbox and no container.
#[derive(Clone)]
pub struct ImageStore(Arc<Store>);

impl ImageStore {
    /// Opens the images of the runtime with this data directory.
    pub fn open(data_dir: &Path, registries: RegistryConfig) -> Result<Self> {
        // Already set when another part of the process came first.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        Ok(Self(Arc::new(Store::open(data_dir, registries)?)))
    }

    /// Imports an OCI layout or a docker archive as one tar; returns the images' names.
    pub async fn import(&self, archive: impl std::io::Read + Send + 'static) -> Result<Vec<String>> {
        let store = self.0.clone();
        let done = tokio::task::spawn_blocking(move || store.import(archive)).await;
        done.map_err(|e| Error::Internal(format!("import: {e}")))?
    }

    /// Pulls an image and returns its id.
    pub async fn pull_image(&self, request: PullRequest, progress: PullProgress) -> Result<String> {
        self.0.pull(request, progress).await
    }

    /// All images.
    pub async fn list_images(&self) -> Result<Vec<Image>> {
        self.0.list()
    }

    /// One image by id, tag or digest.
    pub async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        self.0.status(image)
    }

    /// Removes an image. Fine for a missing one.
    pub async fn remove_image(&self, image: &str) -> Result<()> {
        let (store, image) = (self.0.clone(), image.to_owned());
        let done = tokio::task::spawn_blocking(move || store.remove(&image)).await;
        done.map_err(|e| Error::Internal(format!("remove image: {e}")))?
    }
}
