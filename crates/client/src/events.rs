//! Events: what components tell people about objects.
//!
//! Invariant: recording never waits and never fails the caller; equal events become one with a count, and an object
//! cannot flood the API (the limits are those of client-go's event correlator).

mod correlator;

use correlator::{Correlator, Step};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use std::time::Instant;
use tokio::sync::mpsc;

/// Events wait in a queue of this length; what does not fit is dropped, as client-go drops it.
const QUEUE: usize = 1000;
const ATTEMPTS: u32 = 12;

/// Whether an event is news or a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Information.
    Normal,
    /// Something that may be wrong.
    Warning,
}

impl EventType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// A remark about an object, before it is an event.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) object: ObjectReference,
    pub(crate) kind: EventType,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) time: Timestamp,
}

/// Records events for one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
}

impl Recorder {
    /// A recorder that sends with `client` as `component` (for example `kubelet`) on `host` (may be empty).
    /// Must be called in a tokio runtime.
    pub fn new(client: Client, component: &str, host: &str) -> Self {
        let (notes, receiver) = mpsc::channel(QUEUE);
        let source =
            EventSource { component: Some(component.to_owned()), host: (!host.is_empty()).then(|| host.to_owned()) };
        tokio::spawn(send_all(client, source, receiver));
        Self { notes }
    }

    /// Records an event about a typed object.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event_on(reference(object), kind, reason, message);
    }

    /// Records an event about the object that `object` refers to.
    pub fn event_on(&self, object: ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let note = Note { object, kind, reason: reason.to_owned(), message: message.into(), time: Timestamp::now() };
        if self.notes.try_send(note).is_err() {
            tracing::warn!(reason, "too many events at once, one was dropped");
        }
    }
}

/// A reference to a typed object.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

async fn send_all(client: Client, source: EventSource, mut notes: mpsc::Receiver<Note>) {
    let mut correlator = Correlator::default();
    while let Some(note) = notes.recv().await {
        let Some(step) = correlator.next(note, Instant::now()) else { continue };
        let (step, count) = match step {
            Step::Create(note) => (new_event(&note, &source), None),
            Step::Repeat { note, mut event, count } => {
                event.count = Some(count);
                event.last_timestamp = Some(Time(note.time));
                event.message = Some(note.message);
                (*event, Some(count))
            }
        };
        if let Some(stored) = send(&client, step, count.is_some()).await {
            correlator.stored(stored);
        }
    }
}

/// Sends an event, trying again while the server is away; gives up when the server refuses it.
async fn send(client: &Client, event: Event, patch: bool) -> Option<Event> {
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let mut update = patch;
    for attempt in 0..ATTEMPTS {
        let result = if update {
            let name = event.metadata.name.clone().unwrap_or_default();
            let change = serde_json::json!({
                "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
            });
            api.patch(&name, &PatchParams::default(), &Patch::Strategic(change)).await
        } else {
            let mut fresh = event.clone();
            fresh.metadata.resource_version = None;
            api.create(&PostParams::default(), &fresh).await
        };
        match result {
            Ok(stored) => return Some(stored),
            // The earlier event expired: begin anew.
            Err(kube::Error::Api(status)) if status.code == 404 && update => update = false,
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                tracing::debug!(%status, "the server refused an event");
                return None;
            }
            Err(error) => {
                tracing::debug!(%error, "cannot send an event, will try again");
                tokio::time::sleep(std::time::Duration::from_secs(u64::from(attempt + 1).min(10))).await;
            }
        }
    }
    None
}

fn new_event(note: &Note, source: &EventSource) -> Event {
    let namespace = note.object.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
    let name = note.object.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", note.time.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: note.object.clone(),
        reason: Some(note.reason.clone()),
        message: Some(note.message.clone()),
        type_: Some(note.kind.as_str().to_owned()),
        source: Some(source.clone()),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone().or(Some(String::new())),
        first_timestamp: Some(Time(note.time)),
        last_timestamp: Some(Time(note.time)),
        count: Some(1),
        ..Event::default()
    }
}
