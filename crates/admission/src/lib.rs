//! What may enter: admission plugins change and check objects before they are stored.
//!
//! Invariant: a plugin sees every write through the API, our own components' included, and reads other objects only
//! through [`ironclad_api::source::Source`].

mod config;
mod expressions;
mod follow;
mod manifests;
mod matching;
pub mod metrics;
mod plugins;
mod policy;
mod reinvocation;
mod webhooks;
mod world;

pub use manifests::{Act, Manifests, Reload};
pub use plugins::quota::Ledger;
pub use plugins::{Choice, Parts, chain, default_chain};
pub use reinvocation::Reinvocation;
pub use webhooks::Caller;
pub use world::{Nowhere, Version, World};

use async_trait::async_trait;
use ironclad_api::{
    ApiError, ErrorList, GroupResource, GroupVersionKind, GroupVersionResource, UserInfo, error::Result,
};
use ironclad_json::Value;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of admission.k8s.io/v1")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// The name in reviews and rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What plugins note about a request for the audit log; clones share their notes, so that they outlive a refusal.
#[derive(Clone, Debug, Default)]
pub struct Annotations(Arc<Mutex<Vec<Note>>>);

/// A note for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Such as `pod-security.kubernetes.io/enforce-policy`.
    pub key: String,
    /// What is noted.
    pub value: String,
    /// It shows what was sent, and is kept only where that is kept.
    pub shows_request: bool,
}

impl Annotations {
    /// Notes `value` under `key`, such as `pod-security.kubernetes.io/enforce-policy`. The first note of a key stays.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        self.note(key.into(), value.into(), false);
    }

    /// Notes what shows parts of the request.
    pub fn add_request(&self, key: impl Into<String>, value: impl Into<String>) {
        self.note(key.into(), value.into(), true);
    }

    fn note(&self, key: String, value: String, shows_request: bool) {
        let mut notes = self.0.lock();
        if !notes.iter().any(|n| n.key == key) {
            notes.push(Note { key, value, shows_request });
        }
    }

    /// Everything that was noted so far.
    pub fn list(&self) -> Vec<Note> {
        self.0.lock().clone()
    }
}

impl PartialEq for Annotations {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.list() == other.list()
    }
}

impl Eq for Annotations {}

/// A write on its way in.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is being done.
    pub operation: Operation,
    /// The verb of the request, such as `patch`.
    pub verb: String,
    /// The kind of `object`.
    pub kind: GroupVersionKind,
    /// The resource of the request.
    pub resource: GroupVersionResource,
    /// The subresource, or empty.
    pub subresource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The name; empty while `generateName` was not resolved.
    pub name: String,
    /// Who asks.
    pub user: UserInfo,
    /// The new object; mutating plugins change it. `None` for a delete.
    pub object: Option<Value>,
    /// The stored object; `None` for a create.
    pub old: Option<Arc<Value>>,
    /// The options of the request, for example `CreateOptions`.
    pub options: Value,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// Warnings for the client.
    pub warnings: Vec<String>,
    /// Notes for the audit log.
    pub annotations: Annotations,
    /// How far mutation has come.
    pub reinvocation: Reinvocation,
}

impl Request {
    /// The name that a refusal shows: while none was generated yet, what it is to begin with.
    pub fn shown(&self) -> &str {
        let meta = |field: &str| {
            let object = self.object.as_ref().or(self.old.as_deref());
            object.and_then(|o| o["metadata"][field].as_str()).filter(|name| !name.is_empty())
        };
        match self.name.as_str() {
            "" => meta("name").or_else(|| meta("generateName")).unwrap_or("Unknown"),
            name => name,
        }
    }

    /// A refusal of the request.
    pub fn forbidden(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::forbidden(&self.resource.group_resource(), self.shown(), why)
    }
}

/// One check or change.
pub trait Plugin: Send + Sync {
    /// The name in `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// Whether the plugin looks at this operation at all.
    fn handles(&self, operation: Operation) -> bool;

    /// Itself, if it changes objects.
    fn mutates(&self) -> Option<&dyn Mutate> {
        None
    }

    /// Itself, if it checks final objects.
    fn validates(&self) -> Option<&dyn Validate> {
        None
    }

    /// What is wrong with an object that only other objects show. It is told with what its kind finds.
    fn mistakes(&self, _written: &Written<'_>) -> ErrorList {
        ErrorList::new()
    }
}

/// A plugin that changes objects.
#[async_trait]
pub trait Mutate: Send + Sync {
    /// Changes the object or refuses it. Called in the chain's order, before validation.
    async fn admit(&self, request: &mut Request) -> Result<()>;
}

/// A plugin that checks final objects.
#[async_trait]
pub trait Validate: Send + Sync {
    /// Refuses the final object or lets it pass; must not change it.
    async fn validate(&self, request: &mut Request) -> Result<()>;
}

/// An object that is about to be written.
pub struct Written<'a> {
    /// Its group and resource.
    pub resource: GroupResource,
    /// The door through which it comes, empty for its own.
    pub subresource: &'a str,
    /// The object.
    pub object: &'a Value,
    /// What it was before.
    pub old: Option<&'a Value>,
}

/// Plugins in their order.
#[derive(Default)]
pub struct Chain {
    plugins: Vec<Arc<dyn Plugin>>,
    timer: Option<Timer>,
}

/// What plugins do one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of metrics")]
pub enum Step {
    Admit,
    Validate,
}

impl Step {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }
}

/// Is told how long a plugin took: its place in the chain, what it did for which operation, whether it refused, and the
/// time.
pub type Timer = Box<dyn Fn(usize, Step, Operation, bool, Duration) + Send + Sync>;

impl Chain {
    /// A chain of these plugins.
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self { plugins, timer: None }
    }

    /// Tells how long each plugin takes.
    #[must_use]
    pub fn timed(self, timer: Timer) -> Self {
        Self { timer: Some(timer), ..self }
    }

    /// The names of the plugins, by their places.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.iter().map(|plugin| plugin.name())
    }

    /// Tells of a step that ends now, where the next begins.
    fn tell(&self, at: usize, step: Step, operation: Operation, refused: bool, began: &mut Instant) {
        if let Some(timer) = &self.timer {
            let now = Instant::now();
            timer(at, step, operation, refused, now - *began);
            *began = now;
        }
    }

    /// Lets every plugin change the object, again where a later one changed what an earlier one saw.
    pub async fn admit(&self, request: &mut Request) -> Result<()> {
        let operation = request.operation;
        let mut began = Instant::now();
        loop {
            for (at, plugin) in self.plugins.iter().enumerate() {
                let Some(plugin) = plugin.mutates().filter(|_| plugin.handles(operation)) else { continue };
                let done = plugin.admit(request).await;
                self.tell(at, Step::Admit, operation, done.is_err(), &mut began);
                done?;
            }
            if !request.reinvocation.again() {
                return Ok(());
            }
        }
    }

    /// What is wrong with an object that only other objects show.
    pub fn mistakes(&self, written: &Written<'_>) -> ErrorList {
        self.plugins.iter().flat_map(|p| p.mistakes(written)).collect()
    }

    /// Lets every plugin check the final object.
    pub async fn validate(&self, request: &mut Request) -> Result<()> {
        let operation = request.operation;
        let mut began = Instant::now();
        for (at, plugin) in self.plugins.iter().enumerate() {
            let Some(plugin) = plugin.validates().filter(|_| plugin.handles(operation)) else { continue };
            let done = plugin.validate(request).await;
            self.tell(at, Step::Validate, operation, done.is_err(), &mut began);
            done?;
        }
        Ok(())
    }
}
