//! One priority level: its queues and who is served from them next.
//!
//! Fairness is start-time fair queuing: each queue has a virtual time, which grows by the work of what it was served;
//! the queue whose time is least is next, and one that was empty begins with the least of the others.

use super::rules::Asked;
use super::seats::Turn;
use super::timing::Told;
use super::{Class, shuffle};
use ironclad_api::UserInfo;
use ironclad_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What a request is taken to last before it is known: 3 ms.
const GUESS: f64 = 0.003;
/// More queues than anybody needs.
const MOST_QUEUES: i64 = 4096;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
}

impl Why {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

/// A flow: its hash deals its queues.
pub(super) struct Flow {
    pub(super) hash: u64,
    pub(super) text: String,
}

/// What the dump says of a request that waits.
pub(super) struct Note {
    pub(super) schema: Arc<str>,
    pub(super) flow: String,
    pub(super) arrived: SystemTime,
    pub(super) user: String,
    pub(super) verb: String,
    pub(super) path: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) resource: String,
    pub(super) subresource: String,
}

impl Note {
    pub(super) fn of(class: &Class, user: &UserInfo, asked: &Asked<'_>, flow: String) -> Self {
        Self {
            schema: class.schema.clone(),
            flow,
            arrived: SystemTime::now(),
            user: user.name.clone(),
            verb: asked.verb.to_owned(),
            path: asked.path.to_owned(),
            namespace: asked.namespace.to_owned(),
            name: asked.name.to_owned(),
            version: ironclad_api::resource::api_version(asked.group, asked.version),
            resource: asked.resource.to_owned(),
            subresource: asked.subresource.to_owned(),
        }
    }
}

pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) hash: u64,
    pub(super) width: u32,
    pub(super) note: Note,
    pub(super) turn: Turn,
}

#[derive(Default)]
pub(super) struct Queue {
    /// Virtual time of the next start.
    pub(super) next: f64,
    /// Where it stands among those in which somebody waits.
    entry: (u64, u64, usize),
    pub(super) waiting: VecDeque<Waiter>,
    pub(super) executing: u32,
    pub(super) seats: u32,
}

/// What a level does with requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Reject,
    Queue { queues: usize, hand: usize, limit: usize },
}

/// What a PriorityLevelConfiguration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) exempt: bool,
    pub(super) shares: u32,
    pub(super) lendable: u32,
    /// Percent of the nominal seats; without it there is no limit.
    pub(super) borrowing: Option<u32>,
    pub(super) response: Response,
}

impl Plan {
    pub(super) fn parse(object: &Value) -> Self {
        let spec = &object["spec"];
        let exempt = spec["type"] == "Exempt";
        let body = if exempt { &spec["exempt"] } else { &spec["limited"] };
        let number = |key: &str, default: i64| body[key].as_i64().unwrap_or(default).clamp(0, 1 << 30) as u32;
        let queuing = &body["limitResponse"]["queuing"];
        let size =
            |key: &str, default: i64, most: i64| queuing[key].as_i64().unwrap_or(default).clamp(1, most) as usize;
        let response = match body["limitResponse"]["type"].as_str() {
            Some("Queue") => Response::Queue {
                queues: size("queues", 64, MOST_QUEUES),
                hand: size("handSize", 8, 64),
                limit: size("queueLengthLimit", 50, 1 << 30),
            },
            _ => Response::Reject,
        };
        Self {
            exempt,
            shares: number("nominalConcurrencyShares", if exempt { 0 } else { 30 }),
            lendable: number("lendablePercent", 0).min(100),
            borrowing: body["borrowingLimitPercent"].as_i64().map(|p| p.clamp(0, 1 << 20) as u32),
            response,
        }
    }
}

pub(super) struct Level {
    pub(super) plan: Plan,
    /// Deleted; goes away when nothing is left in it.
    pub(super) quiescing: bool,
    /// Seats: its share, what it always keeps, what it may come to.
    pub(super) nominal: u32,
    pub(super) least: u32,
    pub(super) most: u32,
    pub(super) seats: u32,
    pub(super) executing: u32,
    pub(super) waiting: usize,
    pub(super) queues: Vec<Queue>,
    /// Queues in which somebody waits, by virtual time; of equal ones whichever came first.
    order: BTreeSet<(u64, u64, usize)>,
    /// The number of the next entry.
    entries: u64,
    now: f64,
    /// Seats of what waits.
    pub(super) queued: u32,
    pub(super) told: Told,
}

/// Times are never negative, so that their bits are in their order.
fn rank(time: f64) -> u64 {
    time.max(0.0).to_bits()
}

impl Level {
    pub(super) fn new(plan: Plan) -> Self {
        let mut level = Self {
            quiescing: false,
            nominal: 0,
            least: 0,
            most: 0,
            seats: 0,
            executing: 0,
            waiting: 0,
            queues: Vec::new(),
            order: BTreeSet::new(),
            entries: 0,
            now: 0.0,
            queued: 0,
            told: Told::new(),
            plan,
        };
        level.shape();
        level
    }

    /// Takes over a plan. What waits is dealt anew when the queues are others; returns what no longer has a place.
    pub(super) fn replan(&mut self, plan: Plan) -> Vec<Waiter> {
        let same = self.plan.response == plan.response && self.plan.exempt == plan.exempt;
        self.plan = plan;
        if same {
            return Vec::new();
        }
        let mut waiting: Vec<Waiter> = self.queues.iter_mut().flat_map(|q| q.waiting.drain(..)).collect();
        waiting.sort_by_key(|w| w.id);
        self.order.clear();
        (self.waiting, self.queued) = (0, 0);
        self.shape();
        waiting.into_iter().filter_map(|w| self.push(w).err()).collect()
    }

    fn shape(&mut self) {
        let queues = match self.plan.response {
            Response::Queue { queues, .. } if !self.plan.exempt => queues,
            _ => 0,
        };
        self.queues.resize_with(queues, Queue::default);
    }

    /// Notes how full it is from now on.
    pub(super) fn mark(&mut self, now: Instant) {
        let nominal = f64::from(self.nominal.max(1));
        let places = match self.plan.response {
            Response::Queue { queues, limit, .. } => (queues * limit) as f64,
            Response::Reject => 1.0,
        };
        let wanted = f64::from(self.seats + self.queued);
        self.told.seats.set(f64::from(self.seats) / nominal, now);
        self.told.waiting.set(self.waiting as f64 / places, now);
        self.told.executing.set(f64::from(self.executing) / nominal, now);
        self.told.demand.set(wanted / nominal, now);
        self.told.demands.set(wanted, now);
    }

    /// The virtual time now; the first and the last start of queues in which somebody waits, and the same without what is
    /// guessed of requests that are served.
    pub(super) fn virtual_times(&self) -> (f64, [f64; 2], [f64; 2]) {
        let waiting = || self.queues.iter().filter(|q| !q.waiting.is_empty());
        let ends = |of: &dyn Fn(&Queue) -> f64| {
            let least = waiting().map(of).min_by(f64::total_cmp).unwrap_or_default();
            [least, waiting().map(of).max_by(f64::total_cmp).unwrap_or_default()]
        };
        (self.present(), ends(&|q| q.next), ends(&|q| (q.next - GUESS * f64::from(q.seats)).max(0.0)))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.executing == 0 && self.waiting == 0
    }

    /// The queue in which a flow would wait: of its hand the one with the least seats asked for.
    pub(super) fn queue_of(&self, hash: u64) -> Option<usize> {
        let Response::Queue { queues, hand, .. } = self.plan.response else { return None };
        let asked = |q: &usize| {
            let queue = &self.queues[*q];
            queue.seats + queue.waiting.iter().map(|w| w.width).sum::<u32>()
        };
        shuffle::hand(hash, queues, hand).into_iter().filter(|q| *q < self.queues.len()).min_by_key(asked)
    }

    /// Puts a request into a queue of its flow's hand; gives it back when that is full.
    pub(super) fn push(&mut self, waiter: Waiter) -> Result<usize, Waiter> {
        let (Some(at), Response::Queue { limit, .. }) = (self.queue_of(waiter.hash), self.plan.response) else {
            return Err(waiter);
        };
        let present = self.present();
        let queue = &mut self.queues[at];
        if queue.waiting.len() >= limit {
            return Err(waiter);
        }
        if queue.waiting.is_empty() {
            queue.next = queue.next.max(present);
            self.enlist(at);
        }
        self.queued += waiter.width;
        self.queues[at].waiting.push_back(waiter);
        self.waiting += 1;
        Ok(at)
    }

    /// Seats of the request that is next.
    pub(super) fn next_width(&self) -> Option<u32> {
        let (_, _, at) = self.order.first()?;
        self.queues[*at].waiting.front().map(|w| w.width)
    }

    /// Takes the request that is next out of its queue and serves it.
    pub(super) fn pop(&mut self) -> Option<(usize, Waiter)> {
        let (_, _, at) = self.order.pop_first()?;
        let queue = &mut self.queues[at];
        let waiter = queue.waiting.pop_front()?;
        self.told.dispatched = Some((self.now, queue.next));
        self.now = self.now.max(queue.next);
        self.waiting -= 1;
        self.queued -= waiter.width;
        self.begin(Some(at), waiter.width, 0.0);
        if !self.queues[at].waiting.is_empty() {
            self.enlist(at);
        }
        Some((at, waiter))
    }

    /// Puts a queue among those in which somebody waits.
    fn enlist(&mut self, at: usize) {
        self.entries += 1;
        let queue = &mut self.queues[at];
        queue.entry = (rank(queue.next), self.entries, at);
        self.order.insert(queue.entry);
    }

    /// Takes a queue out from among them; whether it was there.
    fn delist(&mut self, at: usize) -> bool {
        self.order.remove(&self.queues[at].entry)
    }

    /// The virtual time at which a queue begins that was empty: that of the queue that was served least of those that
    /// are not. Times go back when requests take less than was thought, so the greatest that was seen says nothing.
    fn present(&self) -> f64 {
        let active = self.queues.iter().filter(|q| q.executing > 0 || !q.waiting.is_empty());
        // What is guessed of requests that are served is not spent yet.
        let spent = |q: &Queue| (q.next - GUESS * f64::from(q.seats)).max(0.0);
        active.map(spent).min_by(f64::total_cmp).unwrap_or(self.now)
    }

    /// A request begins past the queues; it counts for the one in which it would have waited.
    pub(super) fn start(&mut self, queue: Option<usize>, width: u32) {
        let present = self.present();
        if let Some(queue) = queue.and_then(|q| self.queues.get(q)) {
            self.told.dispatched = Some((present, queue.next.max(present)));
        }
        self.begin(queue, width, present);
    }

    fn begin(&mut self, queue: Option<usize>, width: u32, least: f64) {
        self.executing += 1;
        self.seats += width;
        if let Some(queue) = queue.and_then(|q| self.queues.get_mut(q)) {
            queue.executing += 1;
            queue.seats += width;
            queue.next = queue.next.max(least) + GUESS * f64::from(width);
        }
    }

    /// A request ends; its queue pays for what it really took.
    pub(super) fn end(&mut self, queue: Option<usize>, width: u32, took: Duration) {
        self.executing = self.executing.saturating_sub(1);
        self.seats = self.seats.saturating_sub(width);
        let Some((at, queue)) = queue.and_then(|at| Some((at, self.queues.get_mut(at)?))) else { return };
        queue.executing = queue.executing.saturating_sub(1);
        queue.seats = queue.seats.saturating_sub(width);
        queue.next = (queue.next + (took.as_secs_f64() - GUESS) * f64::from(width)).max(0.0);
        if self.delist(at) {
            self.enlist(at);
        }
    }

    /// Takes out a request that no longer waits.
    pub(super) fn remove(&mut self, at: usize, id: u64) {
        // It may have been dealt into another queue since.
        let places = std::iter::once(at).chain(0..self.queues.len());
        for at in places {
            let Some(queue) = self.queues.get_mut(at) else { continue };
            let Some(found) = queue.waiting.iter().position(|w| w.id == id) else { continue };
            if let Some(gone) = queue.waiting.remove(found) {
                self.queued -= gone.width;
            }
            self.waiting -= 1;
            if queue.waiting.is_empty() {
                self.delist(at);
            }
            return;
        }
    }
}
