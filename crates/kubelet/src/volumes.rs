//! Volumes: what a pod's containers see besides their images.
//!
//! Invariant: what is written for a pod lies below the pod's directory, and is replaced as a whole or not at all.

mod certificate;
mod content;
mod directories;
mod files;
mod owner;
mod persistent;
mod token;
mod trust;

use crate::Config;
use crate::container::{Volume, release_subpaths};
use crate::env::Facts;
use crate::objects::{Objects, Used};
use crate::pod::Plan;
use crate::signers::Signers;
pub(crate) use directories::unmount_below;
use files::Files;
use k8s_openapi::api::core::v1::Volume as Wanted;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The volumes of one pod.
#[derive(Default)]
pub(crate) struct Volumes {
    /// What is ready, by the volume's name.
    pub(crate) ready: HashMap<String, Volume>,
    /// What the pod refers to.
    pub(crate) used: Used,
    tokens: token::Tokens,
    certificates: certificate::Certificates,
    /// What signers have, and who is woken when that changes.
    signers: Option<(Arc<Signers>, Arc<Notify>)>,
    /// Files of each volume as they were written last.
    written: BTreeMap<String, Files>,
}

/// What volumes are made with.
pub(crate) struct Around<'a> {
    pub(crate) config: &'a Config,
    pub(crate) plan: &'a Plan,
    pub(crate) facts: &'a Facts,
}

impl Volumes {
    /// Watches all that the pod refers to.
    pub(crate) fn new(objects: &Objects, plan: &Plan, wake: &Arc<Notify>) -> Self {
        let (config_maps, secrets) = references(plan);
        let used = objects.follow(&plan.namespace, config_maps, secrets, wake);
        Self { used, signers: Some((objects.signers.clone(), wake.clone())), ..Self::default() }
    }

    /// Watches what the pod refers to since it was changed.
    pub(crate) fn follow(&mut self, objects: &Objects, plan: &Plan, wake: &Arc<Notify>) {
        let (config_maps, secrets) = references(plan);
        if config_maps.iter().any(|n| !self.used.config_maps.contains_key(n))
            || secrets.iter().any(|n| !self.used.secrets.contains_key(n))
        {
            self.used = objects.follow(&plan.namespace, config_maps, secrets, wake);
        }
    }

    /// Prepares every volume, and renews those whose sources changed. The error says which cannot be mounted and why.
    pub(crate) async fn set_up(&mut self, around: &Around<'_>) -> Result<(), String> {
        for volume in around.plan.spec.volumes.iter().flatten() {
            self.one(around, volume)
                .await
                .map_err(|why| format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name))?;
        }
        Ok(())
    }

    /// When a token or a certificate must be renewed.
    pub(crate) fn due(&self, now: Instant) -> Option<Duration> {
        let first = self.tokens.due().into_iter().chain(self.certificates.due()).min();
        first.map(|at| at.saturating_duration_since(now))
    }

    async fn one(&mut self, around: &Around<'_>, volume: &Wanted) -> Result<(), String> {
        let plan = around.plan;
        let path = around.config.pod_dir(&plan.uid).join("volumes").join(&volume.name);
        if volume.image.is_some() {
            return Ok(()); // pulled with the images of the containers that mount it
        }
        let Some(kind) = files::Kind::of(volume) else {
            if !self.ready.contains_key(&volume.name) {
                let made = self.directory(around, volume, path).await?;
                self.ready.insert(volume.name.clone(), Volume::Path(made));
            }
            return Ok(());
        };
        let files = match content::files(self, around, volume).await {
            // What was there before a restart stays good while the server is away.
            Err(error) if error.away && path.join("..data").exists() => {
                self.ready.insert(volume.name.clone(), Volume::Path(path));
                return Ok(());
            }
            other => other.map_err(|e| e.text)?,
        };
        if self.written.get(&volume.name) != Some(&files) {
            let group = owner::group(plan);
            kind.prepare(&path).map_err(|e| e.to_string())?;
            files::write(&path, &files, group).map_err(|e| e.to_string())?;
            self.written.insert(volume.name.clone(), files);
        }
        self.ready.insert(volume.name.clone(), Volume::Path(path));
        Ok(())
    }

    async fn directory(&self, around: &Around<'_>, volume: &Wanted, path: PathBuf) -> Result<PathBuf, String> {
        if let Some(host) = &volume.host_path {
            return directories::host_path(&host.path, host.type_.as_deref().unwrap_or_default());
        }
        if let Some(empty) = &volume.empty_dir {
            directories::empty(around, empty, &path)?;
            return Ok(path);
        }
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => claim.claim_name.clone(),
            (None, Some(_)) => format!("{}-{}", around.plan.name, volume.name),
            (None, None) => {
                let why = format!(
                    "failed to get Plugin from volumeSpec for volume {:?} err=no volume plugin matched",
                    volume.name
                );
                return Err(why);
            }
        };
        persistent::path(around, &claim).await
    }
}

/// Names of ConfigMaps and Secrets that a pod's volumes and variables refer to.
fn references(plan: &Plan) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for volume in plan.spec.volumes.iter().flatten() {
        maps.extend(volume.config_map.iter().map(|s| s.name.clone()));
        secrets.extend(volume.secret.iter().filter_map(|s| s.secret_name.clone()));
        for part in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            maps.extend(part.config_map.iter().map(|s| s.name.clone()));
            secrets.extend(part.secret.iter().map(|s| s.name.clone()));
        }
    }
    for unit in &plan.units {
        for from in unit.spec.env_from.iter().flatten() {
            maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
            secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
        }
        for from in unit.spec.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            maps.extend(from.config_map_key_ref.iter().map(|r| r.name.clone()));
            secrets.extend(from.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }
    secrets.extend(plan.spec.image_pull_secrets.iter().flatten().map(|r| r.name.clone()));
    (maps, secrets)
}

/// Unmounts and removes the volumes of a pod; its other files stay.
pub(crate) fn tear_down(pod_dir: &Path) -> std::io::Result<()> {
    release_subpaths(pod_dir)?;
    unmount_below(pod_dir)?;
    for name in ["volumes", "volume-subpaths"] {
        remove_dir(&pod_dir.join(name))?;
    }
    Ok(())
}

/// Unmounts and removes everything of a pod.
pub(crate) fn remove(pod_dir: &Path) -> std::io::Result<()> {
    tear_down(pod_dir)?;
    remove_dir(pod_dir)
}

fn remove_dir(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
