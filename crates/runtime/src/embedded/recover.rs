//! Finding everything again after a restart of this process, or of the machine.

use super::sandbox::release_mounts;
use super::{Container, Inner, Sandbox, ctl, remove_dir};
use crate::images::internal;
use crate::shim::wire::Request;
use crate::state::{self, ContainerRecord, SandboxRecord, State};
use ironclad_cri::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;

impl Inner {
    pub(super) async fn recover(self: &Arc<Self>) -> Result<()> {
        for id in names(&self.config.data_dir.join("sandboxes"))? {
            match state::load::<SandboxRecord>(&self.sandbox_data(&id).join("sandbox.json")) {
                Ok(record) => self.recover_sandbox(record).await,
                Err(e) => {
                    tracing::warn!(sandbox = %id, "its record cannot be read, it is removed: {e}");
                    self.discard(&id).await?;
                }
            }
        }
        for id in names(&self.config.data_dir.join("containers"))? {
            self.recover_container(&id)?;
        }
        let found: Vec<Arc<Sandbox>> = self.sandboxes.lock().values().cloned().collect();
        for sandbox in found {
            self.follow(sandbox).await;
        }
        for id in names(&self.config.run_dir)? {
            if !self.sandboxes.lock().contains_key(&id) {
                self.discard(&id).await?;
            }
        }
        let ids: Vec<String> = self.sandboxes.lock().keys().cloned().collect();
        self.config.network.retain(&ids).await?;
        let inner = self.clone();
        let collected = tokio::task::spawn_blocking(move || inner.images.collect()).await;
        collected.map_err(|e| Error::Internal(format!("collect layers: {e}")))?
    }

    async fn recover_sandbox(self: &Arc<Self>, record: SandboxRecord) {
        // A sandbox that was marked as stopped may still have its shim, which then writes how its containers end.
        let alive = ctl::call(&self.sandbox_run(&record.id), &Request::Hello, &[]).await.is_ok();
        self.sandboxes.lock().insert(record.id.clone(), Sandbox::new(record, alive));
    }

    fn recover_container(&self, id: &str) -> Result<()> {
        let dir = self.container_data(id);
        let record = match state::load::<ContainerRecord>(&dir.join("container.json")) {
            Ok(record) if self.sandboxes.lock().contains_key(&record.sandbox_id) => record,
            Ok(_) => return remove_dir(&dir),
            Err(e) => {
                tracing::warn!(container = %id, "its record cannot be read, it is removed: {e}");
                return remove_dir(&dir);
            }
        };
        let state = match state::load::<State>(&dir.join("state.json")) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => State::default(),
            other => other.map_err(internal("read a container's state"))?,
        };
        let phase = match (state.finished_at, state.started_at) {
            (1.., _) => ContainerState::Exited,
            (_, 1..) => ContainerState::Running,
            _ => ContainerState::Created,
        };
        self.containers.lock().insert(id.to_owned(), Container::new(record, state, phase));
        Ok(())
    }

    /// Watches a shim that lives; takes down what a dead one left.
    async fn follow(self: &Arc<Self>, sandbox: Arc<Sandbox>) {
        let alive = *sandbox.alive.borrow();
        if alive && self.watch(sandbox.clone()).await.is_ok() {
            // What ended between reading its state and watching is read again.
            for container in self.containers_of(&sandbox.id) {
                if *container.phase.borrow() == ContainerState::Running {
                    self.refresh(&container);
                }
            }
            return;
        }
        sandbox.alive.send_replace(false);
        for container in self.containers_of(&sandbox.id) {
            self.kill_group(&container.record.cgroup).await;
            if *container.phase.borrow() == ContainerState::Running {
                let state = self.lost(&container);
                if let Err(e) = self.finish(&container, state) {
                    tracing::warn!(container = %container.record.id, "record its end: {e}");
                }
            }
        }
    }

    /// Removes what belongs to no sandbox.
    async fn discard(&self, id: &str) -> Result<()> {
        let run = self.sandbox_run(id);
        self.end_shim(&run).await;
        release_mounts(&run)?;
        remove_dir(&run)?;
        remove_dir(&self.sandbox_data(id))
    }
}

/// Names in a directory that look like ids.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).map_err(internal(format!("list {}", dir.display())))?;
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|n| n.len() == 64 && n.bytes().all(|b| b.is_ascii_hexdigit())).collect())
}
