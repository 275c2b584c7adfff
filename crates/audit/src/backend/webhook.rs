//! The webhook: events in batches, as an `EventList`, to a server that a kubeconfig names.

use super::Sink;
use crate::Result;
use ironclad_json::{Value, json};
use ironclad_remote::Remote;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::Instant;

/// How events are gathered and sent.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// The kubeconfig.
    pub config: PathBuf,
    /// Events that may wait.
    pub buffer: usize,
    /// Events of one batch.
    pub batch: usize,
    /// How long the first of a batch waits for others.
    pub wait: Duration,
    /// How long to wait before the first new attempt.
    pub backoff: Duration,
    /// Whether requests wait until there is room for their events.
    pub blocking: bool,
}

/// How often a batch is tried.
const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(30);

impl Sink {
    /// A webhook; its task ends, with what it holds sent, when the last sender is gone.
    pub fn webhook(options: &WebhookOptions) -> Result<Self> {
        let remote = Remote::from_kubeconfig(&options.config)?;
        let (sender, receiver) = channel(options.buffer.max(1));
        tokio::spawn(run(receiver, remote, options.clone()));
        Ok(Self::new(sender, options.blocking))
    }
}

async fn run(mut events: Receiver<Value>, remote: Remote, options: WebhookOptions) {
    while let Some(first) = events.recv().await {
        let mut batch = vec![first];
        let end = Instant::now() + options.wait;
        while batch.len() < options.batch.max(1) {
            match tokio::time::timeout_at(end, events.recv()).await {
                Ok(Some(event)) => batch.push(event),
                Ok(None) | Err(_) => break,
            }
        }
        send(&remote, batch, options.backoff).await;
    }
}

async fn send(remote: &Remote, batch: Vec<Value>, backoff: Duration) {
    let count = batch.len();
    let list =
        json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": batch}).to_string();
    let mut pause = backoff;
    for attempt in 1..=ATTEMPTS {
        let why = match remote.post(list.clone(), PATIENCE).await {
            Ok(answer) if answer.status < 300 => return,
            // What is wrong with the events themselves stays wrong.
            Ok(answer) if answer.status < 500 && answer.status != 429 => {
                return tracing::error!(count, status = answer.status, "the audit webhook refused events");
            }
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => error.to_string(),
        };
        if attempt == ATTEMPTS {
            return tracing::error!(count, why, "audit events are lost: the webhook did not take them");
        }
        tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64() * 0.2)).await;
        pause = pause.mul_f64(1.5);
    }
}
