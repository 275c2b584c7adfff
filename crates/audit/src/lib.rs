//! What is kept of requests: the audit policy decides how much, events hold it, a log or a webhook takes them.
//!
//! Invariants: a rule is chosen once for a request, by who asked (before impersonation) and for what; the log misses
//! nothing while the server runs (a full queue makes requests wait), the webhook may lose events and counts them.

mod backend;
mod current;
mod event;
mod policy;

pub use backend::log::LogOptions;
pub use backend::webhook::WebhookOptions;
pub use backend::{Backends, Batch, Counts, Mode, Sink, Throttle, Truncate};
pub use current::{Current, annotate, note, scope};
pub use event::{Facts, Stage};
pub use policy::{Decision, Level, Policy, Subject};

use std::path::PathBuf;

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The policy says something that cannot be done.
    #[error("{0}")]
    Policy(String),
    /// The webhook cannot be called.
    #[error("{0}")]
    Webhook(#[from] ironclad_remote::Error),
}

/// A result whose error is an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
