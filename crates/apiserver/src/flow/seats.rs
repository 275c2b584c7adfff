//! The server's seats and how the levels share them.
//!
//! Each level has a nominal share; of it a part may be lent while it is not needed. A level takes its own share when
//! seats are free; beyond it borrows only what leaves every other level the part that it never lends. Invariant: the
//! seats in use of all limited levels are never more than there are.

use super::level::{Level, Note, Plan, Waiter, Why};
use super::timing::{KINDS, Timing};
use ironclad_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The widest request takes at most this part of a level's seats.
const WIDEST: f64 = 0.15;

/// Where a request sits or waits.
#[derive(Clone, Debug)]
pub(super) struct Place {
    level: Arc<str>,
    queue: Option<usize>,
    width: u32,
    id: u64,
    mutating: bool,
    /// How many waited in its queue when it had come, itself included; 0 where there are no queues.
    pub(super) length: usize,
}

/// Tells a waiting request that it has seats.
pub(super) struct Turn {
    sender: oneshot::Sender<Place>,
    place: Place,
}

impl Turn {
    /// Gives the place back when nobody waits for it any more.
    pub(super) fn tell(self) -> Result<(), Place> {
        self.sender.send(self.place)
    }
}

/// What becomes of a request that comes.
pub(super) enum Entered {
    Now(Place),
    Wait(Place, oneshot::Receiver<Place>),
    Refused(Why),
}

pub(super) struct Seats {
    /// How many there are to share.
    total: u32,
    levels: BTreeMap<Arc<str>, Level>,
    next_id: u64,
    waiting: usize,
    /// Requests that wait and that are served: those that read, then those that write.
    kinds: [Kinds; 2],
}

/// How many requests there are in a phase, and were for how long.
struct Kinds([(usize, Timing); 2]);

impl Kinds {
    fn new() -> Self {
        Self([(); 2].map(|()| (0, Timing::new(KINDS, Instant::now()))))
    }

    fn add(&mut self, mutating: bool, now: Instant) {
        let (count, timing) = &mut self.0[usize::from(mutating)];
        *count += 1;
        timing.set(*count as f64, now);
    }

    fn less(&mut self, mutating: bool, now: Instant) {
        let (count, timing) = &mut self.0[usize::from(mutating)];
        *count = count.saturating_sub(1);
        timing.set(*count as f64, now);
    }
}

const WAITING: usize = 0;
const SERVED: usize = 1;

impl Seats {
    pub(super) fn new(total: u32) -> Self {
        let kinds = [Kinds::new(), Kinds::new()];
        Self { total, levels: BTreeMap::new(), next_id: 0, waiting: 0, kinds }
    }

    /// For requests that wait and that are served: how many of them read and write, and for how long so many did.
    pub(super) fn kinds(&self, now: Instant) -> [[(usize, Timing); 2]; 2] {
        let of = |kinds: &Kinds| [0, 1].map(|i| (kinds.0[i].0, kinds.0[i].1.until(now)));
        [of(&self.kinds[WAITING]), of(&self.kinds[SERVED])]
    }

    pub(super) fn total(&self) -> u32 {
        self.capacity()
    }

    pub(super) fn levels(&self) -> impl Iterator<Item = (&Arc<str>, &Level)> {
        self.levels.iter()
    }

    /// How many seats one request of a level may take.
    pub(super) fn widest(&self, level: &str) -> u32 {
        let nominal = self.levels.get(level).map_or(1, |l| l.nominal);
        ((f64::from(nominal) * WIDEST).ceil() as u32).clamp(1, 100)
    }

    /// Takes over the levels as they are configured now.
    pub(super) fn configure<'a>(&mut self, objects: impl Iterator<Item = &'a Value>) -> Vec<Turn> {
        for level in self.levels.values_mut() {
            level.quiescing = true;
        }
        for object in objects {
            let name: Arc<str> = object["metadata"]["name"].as_str().unwrap_or_default().into();
            let plan = Plan::parse(object);
            let level = self.levels.entry(name).or_insert_with(|| Level::new(plan.clone()));
            level.quiescing = false;
            // Whoever finds no place in the new queues sees its channel closed and is refused.
            drop(level.replan(plan));
        }
        self.levels.retain(|_, l| !l.quiescing || !l.is_idle());
        self.share();
        self.waiting = self.levels.values().map(|l| l.waiting).sum();
        self.dispatch()
    }

    fn share(&mut self) {
        let shares: u64 = self.levels.values().filter(|l| !l.quiescing).map(|l| u64::from(l.plan.shares)).sum();
        for level in self.levels.values_mut().filter(|l| !l.quiescing) {
            let part = u64::from(self.total) * u64::from(level.plan.shares);
            level.nominal = part.div_ceil(shares.max(1)) as u32;
            let percent = |p: u32| (f64::from(level.nominal) * f64::from(p) / 100.0).round() as u32;
            level.least = level.nominal - percent(level.plan.lendable).min(level.nominal);
            level.most = level.plan.borrowing.map_or(self.total.max(level.nominal), |p| level.nominal + percent(p));
        }
    }

    /// Seats that are there: the shares, rounded up, may be a few more than were given.
    fn capacity(&self) -> u32 {
        self.limited().map(|l| l.nominal).sum::<u32>().max(self.total)
    }

    fn limited(&self) -> impl Iterator<Item = &Level> {
        self.levels.values().filter(|l| !l.plan.exempt)
    }

    /// Whether a level may take so many seats more, of its own or borrowed.
    fn may(&self, level: &Level, width: u32, borrow: bool) -> bool {
        if level.plan.exempt {
            return true;
        }
        let used: u32 = self.limited().map(|l| l.seats).sum();
        let wanted = level.seats + width;
        if wanted <= level.nominal {
            return used + width <= self.capacity();
        }
        // Kept free is what the others never lend and do not use now; this level's own minimum is used already.
        let kept: u32 = self.limited().map(|l| l.least.saturating_sub(l.seats)).sum::<u32>()
            - level.least.saturating_sub(level.seats);
        borrow && wanted <= level.most && used + width + kept <= self.capacity()
    }

    pub(super) fn enter(
        &mut self,
        level: &Arc<str>,
        (hash, mutating): (u64, bool),
        width: u32,
        note: impl FnOnce() -> Note,
    ) -> Entered {
        self.next_id += 1;
        let now = Instant::now();
        let (width, id) = (width.max(1), self.next_id);
        let mut place = Place { level: level.clone(), queue: None, width, id, mutating, length: 0 };
        let Some(found) = self.levels.get(level) else {
            // A schema whose level is missing: its requests are refused until the level is there.
            return Entered::Refused(Why::ConcurrencyLimit);
        };
        let first = found.waiting == 0;
        if first && self.may(found, place.width, true) {
            let Some(level) = self.levels.get_mut(level) else { return Entered::Refused(Why::ConcurrencyLimit) };
            place.queue = if level.plan.exempt { None } else { level.queue_of(hash) };
            level.start(place.queue, place.width);
            level.mark(now);
            place.length = usize::from(place.queue.is_some());
            self.kinds[SERVED].add(mutating, now);
            return Entered::Now(place);
        }
        let Some(level) = self.levels.get_mut(level) else { return Entered::Refused(Why::ConcurrencyLimit) };
        if level.queues.is_empty() {
            return Entered::Refused(Why::ConcurrencyLimit);
        }
        let (sender, receiver) = oneshot::channel();
        let turn = Turn { sender, place: place.clone() };
        match level.push(Waiter { id: place.id, hash, width: place.width, note: note(), turn }) {
            Ok(queue) => {
                place.queue = Some(queue);
                place.length = level.queues[queue].waiting.len();
                level.mark(now);
                self.kinds[WAITING].add(mutating, now);
                self.waiting += 1;
                Entered::Wait(place, receiver)
            }
            Err(_) => Entered::Refused(Why::QueueFull),
        }
    }

    /// A request ends; the turns of those that can begin now.
    pub(super) fn leave(&mut self, place: &Place, took: Duration) -> Vec<Turn> {
        if let Some(level) = self.levels.get_mut(&place.level) {
            let now = Instant::now();
            level.end(place.queue, place.width, took);
            level.mark(now);
            self.kinds[SERVED].less(place.mutating, now);
            if level.quiescing && level.is_idle() {
                self.levels.remove(&place.level);
                self.share();
            }
        }
        self.dispatch()
    }

    /// A request no longer waits.
    pub(super) fn give_up(&mut self, place: &Place) {
        let Some(level) = self.levels.get_mut(&place.level) else { return };
        let before = level.waiting;
        if let Some(queue) = place.queue {
            level.remove(queue, place.id);
        }
        if before > level.waiting {
            let now = Instant::now();
            level.mark(now);
            self.kinds[WAITING].less(place.mutating, now);
        }
        self.waiting -= before - level.waiting;
    }

    /// Serves what waits as long as there are seats: first levels within their share, then those that borrow.
    fn dispatch(&mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        for borrow in [false, true] {
            while self.waiting > 0 {
                let ready = |(_, level): &(&Arc<str>, &Level)| {
                    level.next_width().is_some_and(|width| self.may(level, width, borrow))
                };
                // Of those that can, the one that uses the least of its share.
                let use_of = |level: &Level| f64::from(level.seats) / f64::from(level.nominal.max(1));
                let next = self.levels.iter().filter(ready).min_by(|a, b| use_of(a.1).total_cmp(&use_of(b.1)));
                let Some(name) = next.map(|(name, _)| name.clone()) else { break };
                let Some(level) = self.levels.get_mut(&name) else { break };
                let Some((queue, waiter)) = level.pop() else { break };
                let now = Instant::now();
                level.mark(now);
                self.kinds[WAITING].less(waiter.turn.place.mutating, now);
                self.kinds[SERVED].add(waiter.turn.place.mutating, now);
                self.waiting -= 1;
                let mut turn = waiter.turn;
                turn.place.queue = Some(queue);
                turns.push(turn);
            }
        }
        turns
    }
}
