//! Containers from start to end.

use super::{Container, Inner, Sandbox, ctl};
use crate::images::internal;
use crate::shim::wire::{Event, Request};
use crate::spec::Spec;
use crate::state::{self, State};
use crate::sys;
use ironclad_cri::*;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

impl Inner {
    pub(super) async fn start_container(self: &Arc<Self>, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _one = container.change.lock().await;
        let phase = *container.phase.borrow();
        if phase != ContainerState::Created {
            return Err(Error::FailedPrecondition(format!("container {id:?} is in {phase:?} state, not Created")));
        }
        let started = self.start(&container).await;
        match started {
            Ok(pid) => {
                {
                    let mut state = container.state.lock();
                    state.pid = pid;
                    state.started_at = sys::now_nanos();
                }
                let _ordered = container.telling.lock();
                // It may have ended already; its end is told after its start.
                let ended = self.refresh(&container);
                if !ended {
                    container.phase.send_replace(ContainerState::Running);
                }
                self.tell(id, &container.record.sandbox_id, ContainerEventKind::Started);
                if ended {
                    self.tell(id, &container.record.sandbox_id, ContainerEventKind::Stopped);
                }
                Ok(())
            }
            Err(error) => {
                let message = format!(
                    "failed to create container task: OCI runtime create failed: unable to start container process: \
                     {error}: unknown"
                );
                let now = sys::now_nanos();
                let state = State {
                    finished_at: now,
                    exit_code: 128,
                    reason: "StartError".into(),
                    message: message.clone(),
                    ..State::default()
                };
                self.finish(&container, state)?;
                Err(Error::Internal(message))
            }
        }
    }

    async fn start(&self, container: &Container) -> Result<i32> {
        let record = &container.record;
        let bundle = self.container_data(&record.id);
        let spec: Spec = state::load(&bundle.join("config.json")).map_err(internal("read config.json"))?;
        self.layout.create(&record.cgroup).map_err(internal("create the container's cgroup"))?;
        self.layout.limit(&record.cgroup, &record.config.resources).map_err(internal("set limits"))?;
        self.layout.allow_devices(&record.cgroup, &spec.linux.resources.devices).map_err(internal("limit devices"))?;
        let bundle = bundle.to_string_lossy().into_owned();
        let request = Request::Start { id: record.id.clone(), bundle };
        Ok(ctl::call(&self.sandbox_run(&record.sandbox_id), &request, &[]).await?.pid)
    }

    /// Takes over what the shim wrote of a container. Whether it has ended.
    pub(super) fn refresh(&self, container: &Container) -> bool {
        match state::load::<State>(&self.container_data(&container.record.id).join("state.json")) {
            Ok(state) => {
                let ended = state.finished_at > 0;
                *container.state.lock() = state;
                if ended {
                    container.phase.send_replace(ContainerState::Exited);
                }
                ended
            }
            Err(e) => {
                tracing::warn!(container = %container.record.id, "read its state: {e}");
                false
            }
        }
    }

    /// Records an end that no shim recorded. It is known from now on even when it cannot be written.
    pub(super) fn finish(&self, container: &Container, state: State) -> Result<()> {
        let record = &container.record;
        let saved = state::save(&self.container_data(&record.id).join("state.json"), &state);
        *container.state.lock() = state;
        container.phase.send_replace(ContainerState::Exited);
        self.tell(&record.id, &record.sandbox_id, ContainerEventKind::Stopped);
        saved.map_err(internal("write state"))
    }

    /// Follows a shim's events until it is gone.
    pub(super) async fn watch(self: &Arc<Self>, sandbox: Arc<Sandbox>) -> Result<()> {
        let run = self.sandbox_run(&sandbox.id);
        let connection = ctl::Connection::open(&run).map_err(internal("reach the pod's shim"))?;
        connection.send(&Request::Watch, &[]).await.map_err(internal("reach the pod's shim"))?;
        connection.reply().await?;
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Ok(Some((text, _))) = connection.receive().await {
                let Some(inner) = weak.upgrade() else { return };
                if let Ok(event) = serde_json::from_slice::<Event>(&text) {
                    inner.exited(&event.exited);
                }
            }
            shim_gone(&weak, &sandbox).await;
        });
        Ok(())
    }

    fn exited(&self, id: &str) {
        let Ok(container) = self.container(id) else { return };
        let _ordered = container.telling.lock();
        let was = *container.phase.borrow();
        // One that is still starting is told by who starts it.
        if self.refresh(&container) && was == ContainerState::Running {
            self.tell(id, &container.record.sandbox_id, ContainerEventKind::Stopped);
        }
    }

    pub(super) async fn stop_container(self: &Arc<Self>, id: &str, timeout: Duration) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        let mut phase = container.phase.subscribe();
        if *phase.borrow_and_update() != ContainerState::Running {
            return Ok(());
        }
        let run = self.sandbox_run(&container.record.sandbox_id);
        let signal = |signal| Request::Kill { id: id.to_owned(), signal };
        let ended = |p: &ContainerState| *p == ContainerState::Exited;
        let mut obeyed = false;
        if !timeout.is_zero() {
            ctl::call(&run, &signal(container.record.stop_signal), &[]).await?;
            obeyed = matches!(tokio::time::timeout(timeout, phase.wait_for(ended)).await, Ok(Ok(_)));
        }
        if !obeyed {
            ctl::call(&run, &signal(libc::SIGKILL), &[]).await?;
        }
        // Without a process namespace of its own nothing ends with the first process.
        if container.record.config.security.pid != PidMode::Container {
            self.kill_group(&container.record.cgroup).await;
        }
        // The sender lives in the container that is held here, so this only ends with its end.
        drop(phase.wait_for(ended).await);
        Ok(())
    }

    pub(super) async fn remove_container(self: &Arc<Self>, id: &str) -> Result<()> {
        self.stop_container(id, Duration::ZERO).await?;
        let Ok(container) = self.container(id) else { return Ok(()) };
        let _one = container.change.lock().await;
        let record = &container.record;
        // A shim that is gone has nothing to forget.
        drop(ctl::call(&self.sandbox_run(&record.sandbox_id), &Request::Forget { id: id.to_owned() }, &[]).await);
        self.kill_group(&record.cgroup).await;
        self.layout.remove(&record.cgroup).map_err(internal("remove the container's cgroup"))?;
        self.discard_dir(&self.container_data(id))?;
        self.containers.lock().remove(id);
        self.tell(id, &record.sandbox_id, ContainerEventKind::Deleted);
        Ok(())
    }

    /// Kills all processes of a cgroup and waits until they are gone.
    pub(super) async fn kill_group(&self, cgroup: &str) {
        loop {
            let pids = self.layout.processes(cgroup);
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
                let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { continue };
                // It may have ended at this moment.
                let _ = rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL);
                wait_for_end(fd).await;
            }
        }
    }

    pub(super) async fn reopen_log(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        if *container.phase.borrow() != ContainerState::Running {
            return Err(Error::FailedPrecondition(format!("container {id:?} is not running")));
        }
        let run = self.sandbox_run(&container.record.sandbox_id);
        ctl::call(&run, &Request::ReopenLog { id: id.to_owned() }, &[]).await.map(drop)
    }

    /// The state of a container whose shim died.
    pub(super) fn lost(&self, container: &Container) -> State {
        let mut state = container.state.lock().clone();
        state.finished_at = sys::now_nanos();
        state.exit_code = 137;
        state.reason = "Unknown".into();
        state.message = "the container's shim is gone, and with it how the container ended".into();
        state
    }
}

async fn wait_for_end(pidfd: OwnedFd) {
    // SAFETY: the descriptor is owned and stays the same until it is dropped with this.
    if let Ok(fd) = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) } {
        // A pidfd becomes readable when its process ends, and never fails before.
        drop(fd.readable().await);
    }
}

/// A shim died without being told to: its containers are taken down, because nothing keeps their logs and ends.
async fn shim_gone(weak: &Weak<Inner>, sandbox: &Arc<Sandbox>) {
    let Some(inner) = weak.upgrade() else { return };
    if sandbox.record.lock().stopped || !inner.sandboxes.lock().contains_key(&sandbox.id) {
        return;
    }
    tracing::warn!(sandbox = %sandbox.id, "the shim is gone");
    sandbox.alive.send_replace(false);
    for container in inner.containers_of(&sandbox.id) {
        inner.kill_group(&container.record.cgroup).await;
        if *container.phase.borrow() == ContainerState::Running {
            let state = inner.lost(&container);
            if let Err(e) = inner.finish(&container, state) {
                tracing::warn!(container = %container.record.id, "record its end: {e}");
            }
        }
    }
    inner.tell(&sandbox.id, &sandbox.id, ContainerEventKind::Stopped);
}
