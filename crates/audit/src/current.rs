//! The request that is being served: whatever serves it can add to what is kept of it.
//!
//! Invariant: each stage is told once, and nothing behind the last one.

use crate::backend::Backends;
use crate::event::{self, Facts, Learned, Stage};
use crate::policy::{Decision, Level};
use ironclad_api::{UserInfo, object};
use ironclad_json::{Value, json};
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

tokio::task_local! {
    static CURRENT: Option<Arc<Current>>;
}

/// A request of which something is kept.
pub struct Current {
    facts: Facts,
    decision: Decision,
    learned: Mutex<Learned>,
    backends: Arc<Backends>,
    told: AtomicU8,
}

/// Serves a request within which [`annotate`] and [`note`] speak of it.
pub fn scope<F: Future>(current: Option<Arc<Current>>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(current, work)
}

/// Adds an annotation to the request that is being served; the first value under a key stays.
pub fn annotate(key: &str, value: &str) {
    note(|current| current.annotate(key, value));
}

/// Lets `act` add to what is kept of the request that is being served, if anything is.
pub fn note(act: impl FnOnce(&Arc<Current>)) {
    // Without a scope nothing is kept of this request.
    let _ = CURRENT.try_with(|current| current.as_ref().map(act));
}

impl Current {
    /// Begins to keep a request; tells its first stage. `None` when nothing is kept.
    pub fn begin(facts: Facts, decision: Decision, backends: &Arc<Backends>) -> Option<Arc<Self>> {
        if decision.level == Level::None {
            return None;
        }
        let told = AtomicU8::new(0);
        let learned = Mutex::default();
        Some(Arc::new(Self { facts, decision, learned, backends: backends.clone(), told }))
    }

    /// How much is kept.
    pub fn level(&self) -> Level {
        self.decision.level
    }

    /// The request's id.
    pub fn id(&self) -> &str {
        &self.facts.audit_id
    }

    /// See [`annotate`].
    pub fn annotate(&self, key: &str, value: &str) {
        self.learned.lock().annotations.entry(key.to_owned()).or_insert_with(|| json!(value));
    }

    /// Whose name the user has taken, and the verb that allowed it where the way to do so was constrained.
    pub fn impersonated(&self, user: &UserInfo, constraint: &str) {
        let mut learned = self.learned.lock();
        learned.impersonated = Some(user.clone());
        constraint.clone_into(&mut learned.constraint);
    }

    /// What was sent, in the version of the request.
    pub fn request(&self, sent: impl FnOnce() -> Option<Value>) {
        let kept = self.decision.level >= Level::Request;
        // The name of what is made stands only in what was sent.
        if !kept && !self.facts.name.is_empty() {
            return;
        }
        let sent = sent();
        let mut learned = self.learned.lock();
        if let Some(sent) = &sent {
            object::name(sent).clone_into(&mut learned.name);
            object::uid(sent).clone_into(&mut learned.uid);
            object::resource_version(sent).clone_into(&mut learned.resource_version);
        }
        learned.request = sent.filter(|_| kept);
    }

    /// The code of the answer, and its body where that is JSON; a `Status` is told in full.
    pub fn response(&self, code: u16, body: Option<Value>) {
        let mut learned = self.learned.lock();
        let mut status = json!({"metadata": {}, "code": code});
        if let Some(body) = body.as_ref().filter(|b| b["kind"] == "Status") {
            for field in ["status", "message", "reason", "details"] {
                if !body[field].is_null() {
                    status[field] = body[field].clone();
                }
            }
        }
        learned.status = Some(status);
        if self.decision.level >= Level::RequestResponse && body.is_some() {
            learned.response = body;
        }
    }

    /// The code of an answer of which nothing more is kept than what was noted before.
    pub fn answered(&self, code: u16) {
        self.learned.lock().status.get_or_insert_with(|| json!({"metadata": {}, "code": code}));
    }

    /// Tells a stage, unless the policy leaves it out or a later one was told.
    /// Whether the event is where it must be.
    pub async fn tell(&self, stage: Stage) -> bool {
        match self.event(stage) {
            Some(event) => self.backends.send(event).await,
            None => true,
        }
    }

    /// The same where nobody can wait: an event that finds no place is counted as lost.
    pub fn tell_now(&self, stage: Stage) {
        if let Some(event) = self.event(stage) {
            self.backends.send_now(event);
        }
    }

    fn event(&self, stage: Stage) -> Option<Value> {
        let order = match stage {
            Stage::RequestReceived => 1,
            Stage::ResponseStarted => 2,
            Stage::ResponseComplete | Stage::Panic => 3,
        };
        if self.told.fetch_max(order, Ordering::AcqRel) >= order || self.decision.omit_stages.contains(&stage) {
            return None;
        }
        Some(event::event(&self.facts, &self.decision, &self.learned.lock(), stage))
    }
}
