//! What the caches count of their own work, and how it is told under the names of the stock server.

use super::{Caches, ResourceCache, resource};
use crate::metrics::{Counter, Histogram, head, pairs, sample};
use ironclad_kinds::Kind;
use std::sync::Arc;
use std::time::Duration;

/// Sizes of objects in events, in bytes.
const EVENTS: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0];
const WAITS: [f64; 13] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0];

/// Lists that were answered, and the objects that were looked at and answered.
#[derive(Default)]
pub(crate) struct Lists {
    total: Counter,
    fetched: Counter,
    returned: Counter,
}

impl Lists {
    pub(crate) fn add(&self, fetched: usize, returned: usize) {
        self.total.add(1);
        self.fetched.add(fetched as u64);
        self.returned.add(returned as u64);
    }
}

/// What is counted of one resource, for as long as it is cached, whichever cache it is in.
#[derive(Default)]
pub(crate) struct Counts {
    /// How often its cache was filled.
    pub(super) fillings: Counter,
    /// Changes that came from the store.
    pub(super) received: Counter,
    /// Changes that were offered to watchers, once for each.
    delivered: Counter,
    /// The bytes of those objects.
    sizes: Histogram,
    /// Lists from the cache, without and with its index.
    pub(crate) lists: [Lists; 2],
    /// Lists from the store.
    pub(crate) stored: Lists,
    waits: Histogram,
    /// Reads of what is newest.
    consistent: Counter,
}

impl Counts {
    /// A change of so many bytes was offered to so many watchers.
    pub(super) fn offered(&self, bytes: usize, watchers: u64) {
        self.delivered.add(watchers);
        self.sizes.record_sizes(&EVENTS, bytes as u64, watchers);
    }

    /// A read waited until the cache showed what it asked for; `newest` if that is whatever there is.
    pub(crate) fn waited(&self, took: Duration, newest: bool) {
        self.waits.record(&WAITS, took);
        self.consistent.add(u64::from(newest));
    }
}

type All = [Arc<ResourceCache>];
type Value = fn(&Counts) -> u64;

fn labels(kind: &Kind) -> [(&'static str, &str); 2] {
    [("group", &kind.storage_group), ("resource", &kind.plural)]
}

fn versioned(kind: &Kind) -> [(&'static str, &str); 3] {
    [("group", &kind.group), ("resource", &kind.plural), ("version", &kind.version)]
}

fn counter(out: &mut String, all: &All, (name, stability, help): (&str, &str, &str), value: Value) {
    head(out, name, "counter", stability, help);
    for cache in all.iter().filter(|c| value(&c.counts) > 0) {
        sample(out, name, &labels(&cache.kind), value(&cache.counts));
    }
}

impl Caches {
    pub(crate) fn render(&self, out: &mut String) {
        let mut all: Vec<Arc<ResourceCache>> = self.by_prefix.read().values().cloned().collect();
        all.sort_by(|a, b| (&a.kind.group, &a.kind.plural).cmp(&(&b.kind.group, &b.kind.plural)));
        counters(out, &all);
        lists(out, &all);
        watches(out, &all);
        let name = "apiserver_watch_cache_read_wait_seconds";
        let help = "Histogram of time spent waiting for a watch cache to become fresh.";
        head(out, name, "histogram", "ALPHA", help);
        for cache in all.iter().filter(|c| c.counts.waits.count() > 0) {
            cache.counts.waits.write(out, name, &pairs(&labels(&cache.kind)), &WAITS);
        }
        let name = "apiserver_watch_cache_resource_version";
        let help = "Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.";
        head(out, name, "gauge", "ALPHA", help);
        let revision = self.revision().0 % 1_000_000_000_000_000;
        all.iter().for_each(|cache| sample(out, name, &labels(&cache.kind), revision));
        let name = "watch_cache_capacity";
        head(out, name, "gauge", "ALPHA", "Total capacity of watch cache broken by resource type.");
        all.iter().for_each(|cache| sample(out, name, &labels(&cache.kind), resource::HISTORY));
        let name = "apiserver_resource_size_estimate_bytes";
        let help = "Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized objects. In case of a fetching error, the value will be -1.";
        head(out, name, "gauge", "ALPHA", help);
        all.iter().for_each(|cache| sample(out, name, &labels(&cache.kind), cache.size().1));
    }
}

fn counters(out: &mut String, all: &All) {
    let received = "Counter of events received in watch cache broken by resource type.";
    counter(out, all, ("apiserver_watch_cache_events_received_total", "ALPHA", received), |c| c.received.get());
    let dispatched = "Counter of events dispatched in watch cache broken by resource type.";
    counter(out, all, ("apiserver_watch_cache_events_dispatched_total", "ALPHA", dispatched), |c| c.received.get());
    let stored = "Number of etcd events received split by kind.";
    counter(out, all, ("apiserver_storage_events_received_total", "BETA", stored), |c| c.received.get());
    let filled = "Counter of watch cache initializations broken by resource type.";
    counter(out, all, ("apiserver_watch_cache_initializations_total", "ALPHA", filled), |c| c.fillings.get());
    let name = "apiserver_watch_cache_consistent_read_total";
    head(out, name, "counter", "ALPHA", "Counter for consistent reads from cache.");
    for cache in all.iter().filter(|c| c.counts.consistent.get() > 0) {
        let [group, resource] = labels(&cache.kind);
        let labels = [("fallback", "false"), group, resource, ("success", "true")];
        sample(out, name, &labels, cache.counts.consistent.get());
    }
}

fn lists(out: &mut String, all: &All) {
    let of_lists: [(&str, &str, fn(&Lists) -> u64); 3] = [
        ("total", "LIST requests served", |l| l.total.get()),
        ("fetched_objects_total", "objects read", |l| l.fetched.get()),
        ("returned_objects_total", "objects returned for a LIST request", |l| l.returned.get()),
    ];
    for (what, text, value) in of_lists {
        let name = format!("apiserver_cache_list_{what}");
        let rest = if what.starts_with("fetched") { " in the course of serving a LIST request" } else { "" };
        head(out, &name, "counter", "ALPHA", &format!("Number of {text} from watch cache{rest}"));
        for cache in all {
            let [group, resource] = labels(&cache.kind);
            let counted = cache.counts.lists.iter().zip(["", "f:spec.nodeName"]);
            if what.starts_with("returned") {
                let sum: u64 = cache.counts.lists.iter().map(value).sum();
                if cache.counts.lists.iter().any(|l| l.total.get() > 0) {
                    sample(out, &name, &[group, resource], sum);
                }
                continue;
            }
            for (lists, index) in counted.filter(|(l, _)| l.total.get() > 0) {
                sample(out, &name, &[group, ("index", index), resource], value(lists));
            }
        }
    }
    let told = [
        ("total", "Number of LIST requests served from storage"),
        ("fetched_objects_total", "Number of objects read from storage in the course of serving a LIST request"),
        ("evaluated_objects_total", "Number of objects tested in the course of serving a LIST request from storage"),
        ("returned_objects_total", "Number of objects returned for a LIST request from storage"),
    ];
    for (what, help) in told {
        let name = format!("apiserver_storage_list_{what}");
        head(out, &name, "counter", "ALPHA", help);
        for cache in all.iter().filter(|c| c.counts.stored.total.get() > 0) {
            let lists = &cache.counts.stored;
            let value = match what {
                "total" => lists.total.get(),
                "returned_objects_total" => lists.returned.get(),
                // What is read is tested.
                _ => lists.fetched.get(),
            };
            sample(out, &name, &labels(&cache.kind), value);
        }
    }
}

fn watches(out: &mut String, all: &All) {
    let name = "apiserver_watch_events_total";
    head(out, name, "counter", "BETA", "Number of events sent in watch clients");
    for cache in all.iter().filter(|c| c.counts.delivered.get() > 0) {
        sample(out, name, &versioned(&cache.kind), cache.counts.delivered.get());
    }
    let name = "apiserver_watch_events_sizes";
    head(out, name, "histogram", "BETA", "Watch event size distribution in bytes");
    for cache in all.iter().filter(|c| c.counts.sizes.count() > 0) {
        cache.counts.sizes.write_sizes(out, name, &pairs(&versioned(&cache.kind)), &EVENTS);
    }
}
