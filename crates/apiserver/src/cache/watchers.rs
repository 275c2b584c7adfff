//! Who watches a resource, found by what each of them can see, and a mailbox for each.
//!
//! Invariants: a change is offered to nobody whose scope it cannot be in, so that a pod's change costs nothing for the
//! watchers of other nodes; a mailbox holds only shared changes and never more than a bound; one that overflows is
//! emptied and its watch ends.

use super::object::Changed;
use futures::task::AtomicWaker;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Changes that a watcher may be behind.
const BEHIND: usize = 8192;

/// What a watcher can see at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    All,
    Namespace(Box<str>),
    Name(Box<str>),
    /// The value of a selectable field, by its place in the kind's row.
    Field(usize, Box<str>),
}

/// Why a watch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The cache was closed.
    Closed,
    /// The watcher was too slow.
    Lagged,
}

#[derive(Default)]
struct Inbox {
    changes: VecDeque<Arc<Changed>>,
    over: Option<Over>,
}

#[derive(Default)]
struct Mailbox {
    inbox: Mutex<Inbox>,
    waker: AtomicWaker,
}

impl Mailbox {
    fn offer(&self, change: &Arc<Changed>) {
        let mut inbox = self.inbox.lock();
        if inbox.over.is_some() {
            return;
        }
        if inbox.changes.len() >= BEHIND {
            inbox.changes = VecDeque::new();
            inbox.over = Some(Over::Lagged);
        } else {
            inbox.changes.push_back(change.clone());
            if inbox.changes.len() > 1 {
                // It was woken for the first one.
                return;
            }
        }
        drop(inbox);
        self.waker.wake();
    }

    fn end(&self) {
        self.inbox.lock().over.get_or_insert(Over::Closed);
        self.waker.wake();
    }
}

type List = Vec<(u64, Arc<Mailbox>)>;

/// All watchers of one resource.
#[derive(Default)]
pub(super) struct Watchers {
    all: List,
    by_namespace: HashMap<String, List>,
    by_name: HashMap<String, List>,
    by_field: Vec<(usize, HashMap<String, List>)>,
    next: u64,
}

impl Watchers {
    fn list(&mut self, scope: &Scope) -> &mut List {
        match scope {
            Scope::All => &mut self.all,
            Scope::Namespace(namespace) => self.by_namespace.entry_ref(&**namespace).or_default(),
            Scope::Name(name) => self.by_name.entry_ref(&**name).or_default(),
            Scope::Field(field, value) => {
                let at = self.by_field.iter().position(|(f, _)| f == field).unwrap_or_else(|| {
                    self.by_field.push((*field, HashMap::new()));
                    self.by_field.len() - 1
                });
                self.by_field[at].1.entry_ref(&**value).or_default()
            }
        }
    }

    fn add(&mut self, scope: &Scope, mailbox: Arc<Mailbox>) -> u64 {
        self.next += 1;
        let id = self.next;
        self.list(scope).push((id, mailbox));
        id
    }

    fn remove(&mut self, scope: &Scope, id: u64) {
        let list = self.list(scope);
        if let Some(at) = list.iter().position(|(i, _)| *i == id) {
            list.swap_remove(at);
        }
        match scope {
            Scope::Namespace(key) => tidy(&mut self.by_namespace, key),
            Scope::Name(key) => tidy(&mut self.by_name, key),
            Scope::Field(field, key) => {
                self.by_field.iter_mut().filter(|(f, _)| f == field).for_each(|(_, map)| tidy(map, key));
            }
            Scope::All => {}
        }
    }

    /// How many may see an object of a name in a namespace; an empty name is any.
    pub(super) fn interested(&self, namespace: &str, name: &str) -> usize {
        let of = |map: &HashMap<String, List>, key: &str| map.get(key).map_or(0, Vec::len);
        self.all.len() + of(&self.by_namespace, namespace) + of(&self.by_name, name)
    }

    /// Offers a change to all who may see the object as it is or as it was; how many those are.
    pub(super) fn offer(&self, change: &Arc<Changed>) -> usize {
        let (object, previous) = (&change.object, change.previous.as_ref());
        let mut offered = self.all.len();
        let mut give = |list: Option<&List>| {
            let list = list.map(Vec::as_slice).unwrap_or_default();
            list.iter().for_each(|(_, mailbox)| mailbox.offer(change));
            offered += list.len();
        };
        self.all.iter().for_each(|(_, mailbox)| mailbox.offer(change));
        if !self.by_namespace.is_empty() {
            give(self.by_namespace.get(object.namespace()));
        }
        if !self.by_name.is_empty() {
            give(self.by_name.get(object.name()));
        }
        for (field, map) in self.by_field.iter().filter(|(_, map)| !map.is_empty()) {
            let now = object.selectable(*field);
            give(map.get(now));
            if let Some(before) = previous.map(|p| p.selectable(*field)).filter(|b| *b != now) {
                give(map.get(before));
            }
        }
        offered
    }

    fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        let fields = self.by_field.iter().flat_map(|(_, map)| map.values());
        let lists = std::iter::once(&self.all).chain(self.by_namespace.values()).chain(self.by_name.values());
        lists.chain(fields).flatten().map(|(_, mailbox)| mailbox)
    }

    /// Ends every watch.
    pub(super) fn end(&self) {
        self.mailboxes().for_each(|m| m.end());
    }
}

fn tidy(map: &mut HashMap<String, List>, key: &str) {
    if map.get(key).is_some_and(Vec::is_empty) {
        map.remove(key);
    }
}

/// The changes of a resource that follow a certain one, in their order and without a gap.
pub(crate) struct Subscription {
    watchers: Arc<Mutex<Watchers>>,
    mailbox: Arc<Mailbox>,
    scope: Scope,
    id: u64,
    /// Changes before this number were seen otherwise.
    from: u64,
    /// What was taken out of the mailbox.
    taken: VecDeque<Arc<Changed>>,
}

impl Subscription {
    /// Subscribes to the changes from number `from` on, which must be the next or one that is not offered yet.
    pub(super) fn new(watchers: &Arc<Mutex<Watchers>>, scope: Scope, from: u64) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let id = watchers.lock().add(&scope, mailbox.clone());
        Self { watchers: watchers.clone(), mailbox, scope, id, from, taken: VecDeque::new() }
    }

    /// One that is over from the start.
    pub(super) fn over(watchers: &Arc<Mutex<Watchers>>, scope: Scope) -> Self {
        let subscription = Self::new(watchers, scope, 0);
        subscription.mailbox.end();
        subscription
    }

    /// The next change, or why there are no more.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Changed>, Over>> {
        loop {
            while let Some(change) = self.taken.pop_front() {
                if change.number >= self.from {
                    return Poll::Ready(Ok(change));
                }
            }
            if !self.take()? {
                self.mailbox.waker.register(context.waker());
                // What came between the look and the registration.
                if !self.take()? {
                    return Poll::Pending;
                }
            }
        }
    }

    fn take(&mut self) -> Result<bool, Over> {
        let mut inbox = self.mailbox.inbox.lock();
        if inbox.changes.is_empty() {
            return inbox.over.map_or(Ok(false), Err);
        }
        // The buffer goes with what is in it: a quiet watcher holds none.
        self.taken = std::mem::take(&mut inbox.changes);
        Ok(true)
    }

    /// The next change, or why there are no more.
    pub(crate) async fn recv(&mut self) -> Result<Arc<Changed>, Over> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Whether nothing waits to be taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.mailbox.inbox.lock().changes.is_empty()
    }

    /// Whether the cache was closed and nothing is left.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_empty() && self.mailbox.inbox.lock().over == Some(Over::Closed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.watchers.lock().remove(&self.scope, self.id);
    }
}
