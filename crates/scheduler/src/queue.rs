//! Pods that wait for a node: those to try now by priority, those in back-off, those that wait for a change.
//!
//! Plain data with time as an argument; the driver locks it.

use crate::metrics::INCOMING;
use crate::pod::PodInfo;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);

/// What changed in the cluster, as far as it can help a waiting pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// A node came or changed: every rejection may be void.
    Node,
    /// A pod left its node: resources and ports are free.
    PodGone,
}

impl Hint {
    fn helps(self, rejected_by: &BTreeSet<&'static str>) -> bool {
        match self {
            Self::Node => true,
            // A pod that failed for another reason than a plugin has no names here and may be tried again.
            Self::PodGone => {
                rejected_by.is_empty() || rejected_by.iter().any(|p| matches!(*p, "NodeResourcesFit" | "NodePorts"))
            }
        }
    }
}

#[derive(Debug)]
enum Place {
    Active(Reverse<i32>, u64),
    Backoff(Instant, u64),
    Waiting(BTreeSet<&'static str>),
    Gated,
}

struct Entry {
    pod: Arc<PodInfo>,
    attempts: u32,
    last: Option<Instant>,
    /// When it came into the queue.
    since: Instant,
    place: Place,
}

#[derive(Default)]
pub(crate) struct Queue {
    entries: HashMap<String, Entry>,
    active: BTreeMap<(Reverse<i32>, u64), String>,
    backoff: BTreeMap<(Instant, u64), String>,
    serial: u64,
    /// How many are gated.
    gated: usize,
}

/// How many pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) active: usize,
    pub(crate) backoff: usize,
    pub(crate) gated: usize,
    /// Tried and not placed; those that are on their way to a node too.
    pub(crate) rest: usize,
}

fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(LAST_BACKOFF)
}

impl Queue {
    /// Adds a pod, or tries a known one again because it changed.
    pub(crate) fn put(&mut self, pod: Arc<PodInfo>, now: Instant) {
        let uid = pod.uid.clone();
        let before = self.take(&uid);
        let event = if before.is_some() { "UnschedulablePodUpdate" } else { "UnscheduledPodAdd" };
        let (attempts, last, since) = before.map_or((0, None, now), |e| (e.attempts, e.last, e.since));
        let entry = Entry { place: Place::Gated, pod, attempts, last, since };
        let gated = entry.pod.is_gated();
        self.gated += usize::from(gated);
        INCOMING.add(&[("event", event), ("queue", if gated { "unschedulable" } else { "active" })], 1);
        self.entries.insert(uid.clone(), entry);
        if !gated {
            self.ready(&uid, now);
        }
    }

    /// Replaces what is known of a waiting pod without trying it.
    pub(crate) fn refresh(&mut self, pod: Arc<PodInfo>) {
        if let Some(entry) = self.entries.get_mut(&pod.uid) {
            entry.pod = pod;
        }
    }

    /// Forgets a pod.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.take(uid);
    }

    /// The pod to try now, with its attempts so far; it stays known until [`Queue::remove`].
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        while let Some(entry) = self.backoff.first_entry().filter(|e| e.key().0 <= now) {
            let uid = entry.remove();
            self.activate(&uid);
        }
        let (_, uid) = self.active.pop_first()?;
        let entry = self.entries.get_mut(&uid)?;
        entry.attempts += 1;
        entry.last = Some(now);
        entry.place = Place::Waiting(BTreeSet::new());
        Some(entry.pod.clone())
    }

    /// How often a pod was tried, and since when it waits.
    pub(crate) fn history(&self, uid: &str) -> Option<(u32, Instant)> {
        self.entries.get(uid).map(|e| (e.attempts, e.since))
    }

    /// How many pods are where.
    pub(crate) fn counts(&self) -> Counts {
        let (active, backoff, gated) = (self.active.len(), self.backoff.len(), self.gated);
        Counts { active, backoff, gated, rest: self.entries.len().saturating_sub(active + backoff + gated) }
    }

    /// When the next back-off ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.backoff.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets a pod wait for a change that concerns one of these plugins.
    pub(crate) fn wait(&mut self, uid: &str, rejected_by: BTreeSet<&'static str>) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.place = Place::Waiting(rejected_by);
            INCOMING.add(&[("event", "ScheduleAttemptFailure"), ("queue", "unschedulable")], 1);
        }
    }

    /// Tries a pod again after its back-off, because something went wrong.
    pub(crate) fn retry(&mut self, uid: &str, now: Instant) {
        self.ready(uid, now);
    }

    /// Wakes the pods that a change may help.
    pub(crate) fn hint(&mut self, hint: Hint, now: Instant) -> bool {
        let helped = |e: &Entry| matches!(&e.place, Place::Waiting(by) if e.last.is_some() && hint.helps(by));
        let uids: Vec<String> = self.entries.iter().filter(|(_, e)| helped(e)).map(|(uid, _)| uid.clone()).collect();
        uids.iter().for_each(|uid| self.ready(uid, now));
        if !uids.is_empty() {
            let event = if hint == Hint::Node { "NodeUpdate" } else { "AssignedPodDelete" };
            INCOMING.add(&[("event", event), ("queue", "backoff")], uids.len() as u64);
        }
        !uids.is_empty()
    }

    /// Into back-off while it lasts, else to the active ones.
    fn ready(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let due = entry.last.map(|last| last + backoff(entry.attempts)).filter(|due| *due > now);
        match due {
            Some(due) => {
                self.serial += 1;
                entry.place = Place::Backoff(due, self.serial);
                self.backoff.insert((due, self.serial), uid.to_owned());
            }
            None => self.activate(uid),
        }
    }

    fn activate(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        self.serial += 1;
        let key = (Reverse(entry.pod.priority), self.serial);
        entry.place = Place::Active(key.0, key.1);
        self.active.insert(key, uid.to_owned());
    }

    fn take(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.entries.remove(uid)?;
        match &entry.place {
            Place::Active(priority, serial) => drop(self.active.remove(&(*priority, *serial))),
            Place::Backoff(due, serial) => drop(self.backoff.remove(&(*due, *serial))),
            Place::Gated => self.gated = self.gated.saturating_sub(1),
            Place::Waiting(_) => {}
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Pod, PodSchedulingGate, PodSpec};

    fn pod(uid: &str, priority: i32, gated: bool) -> Arc<PodInfo> {
        let gates = gated.then(|| vec![PodSchedulingGate { name: "g".into() }]);
        let spec = PodSpec { priority: Some(priority), scheduling_gates: gates, ..PodSpec::default() };
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        pod.metadata.uid = Some(uid.into());
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    fn pop(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|p| p.uid.clone())
    }

    #[test]
    fn priority_then_age_decides() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (uid, priority) in [("low", 0), ("old", 5), ("new", 5)] {
            queue.put(pod(uid, priority, false), now);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
        assert_eq!(order, ["old", "new", "low"]);
    }

    #[test]
    fn a_rejected_pod_waits_for_a_change_that_helps_and_for_its_backoff() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0, false), now);
        assert!(pop(&mut queue, now).is_some());
        queue.wait("a", BTreeSet::from(["NodeAffinity"]));
        assert!(!queue.hint(Hint::PodGone, now));
        assert!(queue.hint(Hint::Node, now));
        assert_eq!(pop(&mut queue, now), None);
        assert_eq!(queue.deadline(), Some(now + FIRST_BACKOFF));
        assert_eq!(pop(&mut queue, now + FIRST_BACKOFF).as_deref(), Some("a"));
    }

    #[test]
    fn a_gated_pod_waits_until_it_changes() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0, true), now);
        queue.put(pod("a", 0, true), now);
        assert_eq!(queue.counts(), Counts { gated: 1, ..Counts::default() });
        assert!(!queue.hint(Hint::Node, now));
        assert_eq!(pop(&mut queue, now), None);
        queue.put(pod("a", 0, false), now);
        assert_eq!(queue.counts(), Counts { active: 1, ..Counts::default() });
        assert_eq!(pop(&mut queue, now).as_deref(), Some("a"));
        assert_eq!(queue.history("a"), Some((1, now)));
    }
}
