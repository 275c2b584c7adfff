//! Work queues: keys that wait for their turn, each at most once, with delays and back-off.
//!
//! Invariant: a key is never worked on by two workers at once; a key that is added meanwhile comes again afterwards.

pub mod metrics;

use metrics::{Done, Look, Now};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(1000);

/// A queue of keys.
pub struct WorkQueue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Waiting for a worker, in `ready` or after the present run, with the time since when.
    dirty: HashMap<T, Instant>,
    /// With the time since when.
    working: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
    delayed: BTreeMap<(Instant, u64), T>,
    serial: u64,
    closed: bool,
    done: Done,
}

impl<T: Clone + Eq + Hash> Default for WorkQueue<T> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            working: HashMap::new(),
            failures: HashMap::new(),
            delayed: BTreeMap::new(),
            serial: 0,
            closed: false,
            done: Done::default(),
        };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, item: T) {
        if self.closed || self.dirty.contains_key(&item) {
            return;
        }
        self.done.added();
        self.dirty.insert(item.clone(), Instant::now());
        if !self.working.contains_key(&item) {
            self.ready.push_back(item);
        }
    }

    /// Moves what is due from `delayed` to `ready` and returns the next deadline.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            let item = entry.remove();
            self.add(item);
        }
        None
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Adds a key; nothing happens if it waits already.
    pub fn add(&self, item: T) {
        self.state.lock().add(item);
        self.wake.notify_one();
    }

    /// Adds a key after a delay.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let mut state = self.state.lock();
        state.serial += 1;
        let key = (Instant::now() + delay, state.serial);
        if !state.closed {
            state.delayed.insert(key, item);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Adds a key after the back-off that its failures earned: 5 ms, doubled each time, at most 1,000 s.
    pub fn add_rate_limited(&self, item: T) {
        let mut state = self.state.lock();
        let failures = state.failures.entry(item.clone()).or_insert(0);
        let delay = FIRST_RETRY.saturating_mul(1 << (*failures).min(20)).min(LAST_RETRY);
        *failures += 1;
        state.done.retried();
        drop(state);
        self.add_after(item, delay);
    }

    /// How often in a row a key failed.
    pub fn failures(&self, item: &T) -> u32 {
        self.state.lock().failures.get(item).copied().unwrap_or(0)
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, item: &T) {
        self.state.lock().failures.remove(item);
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets every worker end once it is done with its key.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// The next key; `None` when the queue is closed. Each key must be given back with [`WorkQueue::done`].
    pub async fn next(&self) -> Option<T> {
        loop {
            let deadline = {
                let mut state = self.state.lock();
                let deadline = state.promote(Instant::now());
                if let Some(item) = state.ready.pop_front() {
                    let now = Instant::now();
                    if let Some(since) = state.dirty.remove(&item) {
                        state.done.waited(now - since);
                    }
                    state.working.insert(item.clone(), now);
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(item);
                }
                if state.closed {
                    self.wake.notify_one();
                    return None;
                }
                deadline
            };
            match deadline {
                // Either the deadline passes or something was added: both lead back to the look above.
                Some(at) => drop(tokio::time::timeout_at(at, self.wake.notified()).await),
                None => self.wake.notified().await,
            }
        }
    }

    /// Gives a key back; it comes again at once if it was added meanwhile.
    pub fn done(&self, item: &T) {
        let mut state = self.state.lock();
        if let Some(since) = state.working.remove(item) {
            state.done.worked(since.elapsed());
        }
        if state.dirty.contains_key(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.wake.notify_one();
        }
    }
}

impl<T: Clone + Eq + Hash + Send + Sync> Look for WorkQueue<T> {
    fn now(&self) -> Now {
        let state = self.state.lock();
        let times = || state.working.values().map(|since| since.elapsed().as_secs_f64());
        Now {
            depth: state.ready.len(),
            unfinished: times().sum(),
            longest: times().fold(0.0, f64::max),
            done: state.done.clone(),
        }
    }
}

impl<T: Clone + Eq + Hash + Debug + Send + Sync + 'static> WorkQueue<T> {
    /// Works on the keys with `workers` tasks until `token` is cancelled. `reconcile` returns when the key should come
    /// again, if it should; an error brings it back after its back-off.
    pub async fn run<F, Fut, E>(
        self: Arc<Self>,
        name: &'static str,
        workers: usize,
        token: CancellationToken,
        reconcile: F,
    ) where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Duration>, E>> + Send,
        E: Display + Send,
    {
        metrics::show(name, &self);
        let reconcile = Arc::new(reconcile);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers {
            let (queue, reconcile) = (self.clone(), reconcile.clone());
            tasks.spawn(async move {
                while let Some(item) = queue.next().await {
                    match reconcile(item.clone()).await {
                        Ok(again) => {
                            queue.forget(&item);
                            if let Some(delay) = again {
                                queue.add_after(item.clone(), delay);
                            }
                        }
                        Err(error) => {
                            tracing::debug!(queue = name, ?item, %error, "will try again");
                            queue.add_rate_limited(item.clone());
                        }
                    }
                    queue.done(&item);
                }
            });
        }
        token.cancelled().await;
        self.close();
        while tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_added_while_it_is_worked_on_comes_again_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        queue.add("a");
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn delays_and_back_off_order_the_keys() {
        let queue = WorkQueue::new();
        queue.add_after("late", Duration::from_secs(2));
        queue.add_after("soon", Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(queue.next().await, Some("soon"));
        assert_eq!(start.elapsed().as_secs(), 1);
        assert_eq!(queue.next().await, Some("late"));
        for _ in 0..3 {
            queue.add_rate_limited("x");
        }
        assert_eq!(queue.failures(&"x"), 3);
        queue.forget(&"x");
        assert_eq!(queue.failures(&"x"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_key_is_tried_again_until_it_succeeds() {
        let queue = WorkQueue::new();
        queue.add(1u32);
        let token = CancellationToken::new();
        let (stop, seen) = (token.clone(), Arc::new(Mutex::new(0)));
        let count = seen.clone();
        let run = queue.run("test", 2, token, move |_| {
            *count.lock() += 1;
            let n = *count.lock();
            let stop = stop.clone();
            async move {
                if n < 4 {
                    return Err("not yet");
                }
                stop.cancel();
                Ok(None)
            }
        });
        tokio::time::timeout(Duration::from_secs(60), run).await.unwrap();
        assert_eq!(*seen.lock(), 4);
    }
}
