//! Which remarks become events, which repeat an earlier one, and which are too many. Pure: time is an argument.

use super::{EventType, Note};
use k8s_openapi::api::core::v1::Event;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Distinct messages of one sort within [`WINDOW`] before they are combined.
const SIMILAR_MAX: usize = 10;
const WINDOW: Duration = Duration::from_mins(10);
/// Events that one object may have at once; one more every [`REFILL`].
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_mins(5);
/// How many events are remembered.
const REMEMBERED: usize = 4096;

type Sort = (String, EventType, String);
type Same = (String, EventType, String, String);

/// What to do about a remark.
#[derive(Debug)]
pub(super) enum Step {
    /// Make a new event.
    Create(Note),
    /// Raise the count of an event.
    Repeat { note: Note, event: Box<Event>, count: i32 },
}

#[derive(Default)]
pub(super) struct Correlator {
    known: HashMap<Same, Known>,
    order: VecDeque<Same>,
    similar: HashMap<Sort, Similar>,
    budget: HashMap<String, (f64, Instant)>,
    pending: Option<Same>,
}

struct Known {
    event: Option<Event>,
    count: i32,
}

struct Similar {
    messages: HashSet<String>,
    last: Instant,
}

impl Correlator {
    /// What to do about `note`; `None` drops it.
    pub(super) fn next(&mut self, mut note: Note, now: Instant) -> Option<Step> {
        let object = identity(&note);
        if !self.spend(&object, now) {
            return None;
        }
        if self.too_similar(&note, &object, now) {
            note.message = format!("(combined from similar events): {}", note.message);
        }
        let combined = note.message.starts_with("(combined");
        let message = if combined { String::new() } else { note.message.clone() };
        let same: Same = (object, note.kind, note.reason.clone(), message);
        let known = self.known.entry(same.clone()).or_insert_with(|| {
            self.order.push_back(same.clone());
            Known { event: None, count: 0 }
        });
        known.count += 1;
        let step = match &known.event {
            Some(event) => Step::Repeat { note, event: Box::new(event.clone()), count: known.count },
            None => Step::Create(note),
        };
        self.pending = Some(same);
        self.trim();
        Some(step)
    }

    /// Remembers the event that the server stored for the last step.
    pub(super) fn stored(&mut self, event: Event) {
        if let Some(known) = self.pending.take().and_then(|same| self.known.get_mut(&same)) {
            known.count = event.count.unwrap_or(known.count);
            known.event = Some(event);
        }
    }

    fn spend(&mut self, object: &str, now: Instant) -> bool {
        let (tokens, last) = self.budget.entry(object.to_owned()).or_insert((BURST, now));
        let refill = now.duration_since(*last).as_secs_f64() / REFILL.as_secs_f64();
        *tokens = (*tokens + refill).min(BURST);
        *last = now;
        let enough = *tokens >= 1.0;
        if enough {
            *tokens -= 1.0;
        }
        enough
    }

    fn too_similar(&mut self, note: &Note, object: &str, now: Instant) -> bool {
        let sort = (object.to_owned(), note.kind, note.reason.clone());
        let similar = self.similar.entry(sort).or_insert_with(|| Similar { messages: HashSet::new(), last: now });
        if now.duration_since(similar.last) > WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() >= SIMILAR_MAX && !similar.messages.contains(&note.message) {
            return true;
        }
        similar.messages.insert(note.message.clone());
        false
    }

    fn trim(&mut self) {
        while self.order.len() > REMEMBERED {
            if let Some((object, kind, reason, message)) = self.order.pop_front() {
                self.similar.remove(&(object.clone(), kind, reason.clone()));
                self.budget.remove(&object);
                self.known.remove(&(object, kind, reason, message));
            }
        }
    }
}

fn identity(note: &Note) -> String {
    let o = &note.object;
    let part = |p: &Option<String>| p.clone().unwrap_or_default();
    let ids = [&o.kind, &o.namespace, &o.name, &o.uid, &o.api_version, &o.field_path];
    ids.map(part).join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;
    use k8s_openapi::jiff::Timestamp;

    fn note(message: &str) -> Note {
        let object = ObjectReference { name: Some("web".into()), ..ObjectReference::default() };
        Note {
            object,
            kind: EventType::Normal,
            reason: "Pulled".into(),
            message: message.into(),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let (mut c, now) = (Correlator::default(), Instant::now());
        assert!(matches!(c.next(note("a"), now), Some(Step::Create(_))));
        c.stored(Event { count: Some(1), ..Event::default() });
        assert!(matches!(c.next(note("a"), now), Some(Step::Repeat { count: 2, .. })));
        assert!(matches!(c.next(note("b"), now), Some(Step::Create(_))));
    }

    #[test]
    fn many_similar_events_are_combined_and_floods_dropped() {
        let (mut c, now) = (Correlator::default(), Instant::now());
        let steps: Vec<_> = (0..40).filter_map(|i| c.next(note(&i.to_string()), now)).collect();
        assert_eq!(steps.len(), 25);
        let Step::Create(last) = steps.last().unwrap() else { panic!("{steps:?}") };
        assert!(last.message.starts_with("(combined from similar events): "), "{}", last.message);
        assert!(c.next(note("later"), now + REFILL).is_some());
    }
}
