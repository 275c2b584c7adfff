//! The webhook: events in batches, as an `EventList`, to a server that a kubeconfig names.

use super::batch::{self, Bucket};
use super::{Batch, Mode, Sink, Told, Truncate};
use crate::Result;
use ironclad_json::json;
use ironclad_remote::{Remote, Way};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::Instant;

/// How events are gathered and sent.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// The kubeconfig.
    pub config: PathBuf,
    /// How events get there.
    pub mode: Mode,
    /// How large they may be.
    pub truncate: Option<Truncate>,
    /// How long to wait before the first new attempt.
    pub backoff: Duration,
    /// How the server is reached.
    pub way: Way,
}

/// How often a batch is tried.
const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(30);
/// Batches that are on their way at once.
const AT_ONCE: usize = 100;
/// Events that wait for a place on the way where their requests wait for them.
const WAITING: usize = 1000;

impl Sink {
    /// A webhook; its task ends, with what it holds sent, when the last sender is gone.
    pub fn webhook(options: &WebhookOptions) -> Result<Self> {
        let remote = Remote::from_kubeconfig_by(&options.config, &options.way)?;
        let batch = match &options.mode {
            Mode::Batch(batch) => batch.clone(),
            _ => Batch { buffer: WAITING, size: 1, wait: Duration::ZERO, throttle: None },
        };
        let (sender, receiver) = channel(batch.buffer.max(1));
        tokio::spawn(run(receiver, remote, batch, options.clone()));
        Ok(Self::new("webhook", sender, &options.mode, options.truncate))
    }
}

async fn run(mut events: Receiver<Told>, remote: Remote, batch: Batch, options: WebhookOptions) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut bucket = batch.throttle.map(|t| Bucket::new(t, Instant::now()));
    while let Some(events) = batch::next(&mut events, &batch).await {
        batch::pass(&mut bucket).await;
        let parts = match &options.truncate {
            Some(truncate) => truncate.split(events, |told| &told.event),
            None => vec![events],
        };
        for part in parts {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (remote, backoff) = (remote.clone(), options.backoff);
            tokio::spawn(async move {
                let sent = send(&remote, &part, backoff).await;
                part.into_iter().for_each(|told| told.done(sent));
                drop(place);
            });
        }
    }
}

/// Whether the server took the events.
async fn send(remote: &Remote, batch: &[Told], backoff: Duration) -> bool {
    let (count, items) = (batch.len(), batch.iter().map(|told| &told.event).collect::<Vec<_>>());
    let list =
        json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}).to_string();
    let mut pause = backoff;
    for attempt in 1..=ATTEMPTS {
        let why = match remote.post(list.clone(), PATIENCE).await {
            Ok(answer) if answer.status < 300 => return true,
            // What is wrong with the events themselves stays wrong.
            Ok(answer) if answer.status < 500 && answer.status != 429 => {
                tracing::error!(count, status = answer.status, "the audit webhook refused events");
                return false;
            }
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => error.to_string(),
        };
        if attempt == ATTEMPTS {
            tracing::error!(count, why, "audit events are lost: the webhook did not take them");
            break;
        }
        tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64() * 0.2)).await;
        pause = pause.mul_f64(1.5);
    }
    false
}
