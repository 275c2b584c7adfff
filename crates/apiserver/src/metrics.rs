//! Metrics with the names of the stock API server.

use crate::cache::Caches;
use crate::request::Info;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

const BUCKETS: [f64; 13] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 5.0];

/// verb, group, version, resource, subresource, scope
type Labels = (String, String, String, String, String, &'static str);

#[derive(Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(Labels, u16), u64>>,
    durations: Mutex<BTreeMap<Labels, Histogram>>,
}

impl Metrics {
    pub(crate) fn request(&self, info: &Info, code: u16, took: Duration) {
        if !info.is_resource {
            return;
        }
        let scope = match (info.name.is_empty(), info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let verb = info.verb.to_uppercase();
        let labels: Labels =
            (verb, info.group.clone(), info.version.clone(), info.resource.clone(), info.subresource.clone(), scope);
        *self.requests.lock().entry((labels.clone(), code)).or_default() += 1;
        if info.is_long() {
            return;
        }
        let mut durations = self.durations.lock();
        let histogram = durations.entry(labels).or_default();
        let seconds = took.as_secs_f64();
        histogram.count += 1;
        histogram.sum += seconds;
        for (bound, bucket) in BUCKETS.iter().zip(&mut histogram.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
    }

    pub(crate) fn render(&self, caches: &Caches, (reads, writes): (usize, usize)) -> String {
        let mut out = String::from(
            "# HELP apiserver_request_total Requests by verb, resource and code.\n# TYPE apiserver_request_total counter\n",
        );
        for ((labels, code), count) in &*self.requests.lock() {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(out, "apiserver_request_total{{code=\"{code}\",{}}} {count}", text(labels));
        }
        out.push_str("# HELP apiserver_request_duration_seconds Seconds until requests were answered.\n# TYPE apiserver_request_duration_seconds histogram\n");
        for (labels, histogram) in &*self.durations.lock() {
            let labels = text(labels);
            for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
                let _ = writeln!(out, "apiserver_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ =
                writeln!(out, "apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}", histogram.count);
            let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{labels}}} {}", histogram.sum);
            let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{labels}}} {}", histogram.count);
        }
        out.push_str("# HELP apiserver_current_inflight_requests Requests being served.\n# TYPE apiserver_current_inflight_requests gauge\n");
        for (sort, count) in [("readOnly", reads), ("mutating", writes)] {
            let _ = writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"{sort}\"}} {count}");
        }
        out.push_str("# HELP apiserver_storage_objects Objects by resource.\n# TYPE apiserver_storage_objects gauge\n");
        for (resource, count) in caches.counts() {
            let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
        }
        out
    }
}

fn text((verb, group, version, resource, subresource, scope): &Labels) -> String {
    format!(
        "verb=\"{verb}\",group=\"{group}\",version=\"{version}\",resource=\"{resource}\",subresource=\"{subresource}\",scope=\"{scope}\""
    )
}
