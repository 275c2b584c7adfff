//! API priority and fairness: which requests are served at once, which wait, and which are told to come back.
//!
//! Invariants: a request is classified by the FlowSchemas as they are now; what waits is woken by what ends, never by
//! a clock; seats that a level is guaranteed are there at once, whatever the others do; a level that borrows gives
//! way as its requests end.

mod control;
mod dump;
mod level;
mod objects;
mod rules;
mod seats;
mod shuffle;
mod timing;
mod work;

use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use ironclad_api::UserInfo;
use ironclad_json::Value;
use level::{Flow as Lane, Note};
use parking_lot::Mutex;
use rules::{Asked, Schema};
use seats::{Entered, Seats};
use std::borrow::Borrow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub(crate) use timing::{Demand, Timing};

pub(crate) use control::{run, settle};
pub(crate) use level::Why;
pub(crate) use rules::Asked as Question;
pub(crate) use work::Work;

/// Priority and fairness of one server.
pub(crate) struct Fairness {
    schemas: ArcSwap<Vec<Schema>>,
    seats: Mutex<Seats>,
    hasher: RandomState,
    /// How long a request may wait for its turn.
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// Under which FlowSchema and level a request goes.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) schema: Arc<str>,
    pub(crate) schema_uid: Arc<str>,
    pub(crate) level: Arc<str>,
    pub(crate) level_uid: Arc<str>,
}

/// How the seats of a level are used.
pub(crate) struct LevelUse {
    pub(crate) seats: Timing,
    /// Waiting, executing.
    pub(crate) requests: [Timing; 2],
    pub(crate) demand: Timing,
    pub(crate) demands: Demand,
    /// The least and the most seats.
    bounds: [f64; 2],
    /// Virtual time, and the time and the start at the last start.
    pub(crate) time: f64,
    pub(crate) dispatched: Option<(f64, f64)>,
    /// The first and the last start of what waits, and the same without what is guessed.
    pub(crate) starts: [[f64; 2]; 2],
}

impl LevelUse {
    /// How many seats the level should have: what it asked for, within its bounds.
    pub(crate) fn target(&self) -> f64 {
        self.demands.smoothed.clamp(self.bounds[0], self.bounds[1].max(self.bounds[0]))
    }
}

/// How all seats are used.
pub(crate) struct Use {
    pub(crate) levels: Vec<(Arc<str>, LevelUse)>,
    /// Waiting and executing, of both those that read and those that write.
    pub(crate) kinds: [[(usize, Timing); 2]; 2],
    total: f64,
}

impl Use {
    /// The part of its target that each level can have so that the seats suffice.
    pub(crate) fn fair(&self) -> f64 {
        let wanted: f64 = self.levels.iter().map(|(_, level)| level.target()).sum();
        if wanted > 0.0 { self.total / wanted } else { 0.0 }
    }
}

/// Whether a request writes.
fn mutating(asked: &Asked<'_>) -> bool {
    let reads: &[&str] = if asked.is_resource { &["get", "list", "watch"] } else { &["get", "head", "options"] };
    !reads.contains(&asked.verb)
}

/// A request's seats; given back when dropped.
pub(crate) struct Seat {
    fairness: Arc<Fairness>,
    place: seats::Place,
    class: Arc<Class>,
    since: Instant,
    work: Work,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.place.fmt(f)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        self.fairness.metrics.flow_executed(&self.class, took, self.work.seats);
        if self.work.after.is_zero() {
            return self.fairness.leave(&self.place, took);
        }
        // Its watchers still get the event: the seats are free only then. Without a runtime nobody waits for them.
        let (fairness, place, after) = (self.fairness.clone(), self.place.clone(), self.work.after);
        match tokio::runtime::Handle::try_current() {
            Err(_) => fairness.leave(&place, took),
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(after).await;
                fairness.leave(&place, took + after);
            })),
        }
    }
}

/// Takes a waiting request out of its queue when its client goes away.
struct Waiting<'a> {
    fairness: &'a Arc<Fairness>,
    place: seats::Place,
    done: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.fairness.seats.lock().give_up(&self.place);
        }
    }
}

impl Fairness {
    /// Fairness among so many seats, with the mandatory objects until the stored ones are known.
    pub(crate) fn new(seats: u32, patience: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        let fairness = Self {
            schemas: ArcSwap::default(),
            seats: Mutex::new(Seats::new(seats)),
            hasher: RandomState::new(),
            patience,
            metrics,
        };
        let (schemas, levels): (Vec<_>, Vec<_>) = objects::all().into_iter().partition(|o| o["kind"] == "FlowSchema");
        fairness.configure(&schemas, &levels);
        Arc::new(fairness)
    }

    /// Takes over schemas and levels as they are now. A schema whose level is missing takes no requests.
    fn configure<V: Borrow<Value>>(&self, schemas: &[V], levels: &[V]) {
        let level = |name: &Value| levels.iter().map(Borrow::borrow).find(|l| l["metadata"]["name"] == *name);
        let parse = |schema: &Value| {
            let level = level(&schema["spec"]["priorityLevelConfiguration"]["name"])?;
            Some(Schema::parse(schema, level))
        };
        let mut parsed: Vec<Schema> = schemas.iter().filter_map(|s| parse(s.borrow())).collect();
        parsed.sort_by(|a, b| (a.precedence, &a.class.schema).cmp(&(b.precedence, &b.class.schema)));
        let plans = levels.iter().map(Borrow::borrow);
        let woken = self.seats.lock().configure(plans);
        self.schemas.store(Arc::new(parsed));
        self.wake(woken);
    }

    /// Classifies a request and waits for its turn. `work` is what it takes, given the most seats that one may have.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        user: &UserInfo,
        asked: &Asked<'_>,
        work: impl FnOnce(u32) -> Work,
    ) -> (Arc<Class>, Result<Seat, Why>) {
        let arrived = Instant::now();
        let (class, lane) = self.classify(user, asked);
        let most = self.seats.lock().widest(&class.level);
        let work = work(most);
        if let Some(watchers) = work.watchers {
            self.metrics.flow_watched(&class, watchers);
        }
        let entered = {
            let note = || Note::of(&class, user, asked, lane.text.clone());
            self.seats.lock().enter(&class.level, (lane.hash, mutating(asked)), work.seats, note)
        };
        if let Entered::Now(place) | Entered::Wait(place, _) = &entered {
            self.metrics.flow_enqueued(&class, place.length, matches!(entered, Entered::Wait(..)));
        }
        let outcome = match entered {
            Entered::Now(place) => Ok(self.seat(place, &class, work)),
            Entered::Refused(why) => Err(why),
            Entered::Wait(place, turn) => {
                let mut waiting = Waiting { fairness: self, place, done: false };
                let _queued = self.metrics.flow_queued(&class, work.seats);
                match tokio::time::timeout(self.patience, turn).await {
                    Ok(Ok(place)) => {
                        waiting.done = true;
                        Ok(self.seat(place, &class, work))
                    }
                    _ => Err(Why::TimeOut),
                }
            }
        };
        self.metrics.flow_entered(&class, arrived.elapsed(), outcome.as_ref().err().copied(), work.seats);
        (class, outcome)
    }

    fn seat(self: &Arc<Self>, place: seats::Place, class: &Arc<Class>, work: Work) -> Seat {
        Seat { fairness: self.clone(), place, class: class.clone(), since: Instant::now(), work }
    }

    fn classify(&self, user: &UserInfo, asked: &Asked<'_>) -> (Arc<Class>, Lane) {
        let schemas = self.schemas.load();
        let Some(schema) = schemas.iter().find(|s| s.matches(user, asked)) else {
            // The last schema takes everything; only a request without any group comes here.
            let none = || Arc::<str>::from("");
            let class =
                Class { schema: none(), schema_uid: none(), level: objects::CATCH_ALL.into(), level_uid: none() };
            return (Arc::new(class), Lane { hash: 0, text: String::new() });
        };
        let text = schema.flow(user, asked).to_owned();
        let hash = self.hasher.hash_one((&*schema.class.schema, &text));
        (schema.class.clone(), Lane { hash, text })
    }

    /// What each level and the server as a whole tell of their seats.
    pub(crate) fn gauges_of_use(&self) -> Use {
        let (seats, now) = (self.seats.lock(), Instant::now());
        let of = |level: &level::Level| {
            let (time, starts, discounted) = level.virtual_times();
            LevelUse {
                seats: level.told.seats.until(now),
                requests: [level.told.waiting.until(now), level.told.executing.until(now)],
                demand: level.told.demand.until(now),
                demands: level.told.demands.until(now),
                bounds: [level.least, level.most].map(f64::from),
                time,
                dispatched: level.told.dispatched,
                starts: [starts, discounted],
            }
        };
        let levels = seats.levels().map(|(name, level)| (name.clone(), of(level))).collect();
        Use { levels, kinds: seats.kinds(now), total: f64::from(seats.total()) }
    }

    /// For each level: nominal, lower and upper limit, present limit.
    pub(crate) fn gauges(&self) -> Vec<(Arc<str>, [u64; 4])> {
        let seats = self.seats.lock();
        let of = |l: &level::Level| {
            let present = l.nominal.max(l.seats);
            [l.nominal, l.least, l.most, present].map(u64::from)
        };
        seats.levels().map(|(name, level)| (name.clone(), of(level))).collect()
    }

    fn leave(self: &Arc<Self>, place: &seats::Place, took: Duration) {
        let woken = self.seats.lock().leave(place, took);
        self.wake(woken);
    }

    /// Tells requests that it is their turn; the seats of those that are gone go to the next.
    fn wake(&self, mut woken: Vec<seats::Turn>) {
        while let Some(turn) = woken.pop() {
            if let Err(place) = turn.tell() {
                woken.extend(self.seats.lock().leave(&place, Duration::ZERO));
            }
        }
    }
}

#[cfg(test)]
mod tests;
