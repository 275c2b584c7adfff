//! Requests: how many, how long, how many now.

use super::family::{Counter, Family, Gauge, Histogram, head, pairs, sample};
use crate::request::Info;
use hashbrown::Equivalent;
use ironclad_kinds::Kind;
use parking_lot::Mutex;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// Sizes of answers, in bytes.
const SIZES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const CLIENT: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// A version that goes: group, resource and version, subresource, the release without it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Deprecated([String; 3], String, String);

/// Labels of a request, borrowed.
#[derive(Clone, Copy)]
struct Labels<'a> {
    verb: &'static str,
    dry_run: &'static str,
    scope: &'static str,
    texts: [&'a str; 4],
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    verb: &'static str,
    dry_run: &'static str,
    scope: &'static str,
    texts: [String; 4],
}

impl Hash for Labels<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.verb, self.dry_run, self.scope, self.texts).hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.verb, self.dry_run, self.scope, &self.texts).hash(state);
    }
}

impl Equivalent<Key> for Labels<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.verb, self.dry_run, self.scope) == (key.verb, key.dry_run, key.scope)
            && self.texts.iter().zip(&key.texts).all(|(a, b)| a == b)
    }
}

impl<'a> Labels<'a> {
    fn of(info: &'a Info, known: bool) -> Self {
        let verb = verb(&info.verb, info.query.flag("watch"));
        let dry_run = if info.query.get("dryRun") == "All" { "All" } else { "" };
        if !info.is_resource || !known {
            let path = match &*info.path {
                "/healthz" | "/livez" | "/readyz" | "/metrics" | "/version" | "/openapi/v2" | "/openapi/v3" => {
                    &info.path
                }
                _ => "",
            };
            return Self { verb, dry_run, scope: "", texts: ["", "", "", path] };
        }
        let scope = match (info.name.is_empty(), info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        Self { verb, dry_run, scope, texts: [&info.group, &info.version, &info.resource, &info.subresource] }
    }

    fn key(&self) -> Key {
        let Self { verb, dry_run, scope, texts } = *self;
        Key { verb, dry_run, scope, texts: texts.map(str::to_owned) }
    }
}

impl Key {
    /// The labels without that of dry runs.
    fn undried(&self) -> String {
        self.text().replacen("dry_run=\"\",", "", 1)
    }

    fn text(&self) -> String {
        let [group, version, resource, subresource] = &self.texts;
        pairs(&[
            ("component", "apiserver"),
            ("dry_run", self.dry_run),
            ("group", group),
            ("resource", resource),
            ("scope", self.scope),
            ("subresource", subresource),
            ("verb", self.verb),
            ("version", version),
        ])
    }
}

/// The verb as stock reports it.
fn verb(verb: &str, watching: bool) -> &'static str {
    match verb {
        "get" if watching => "WATCH",
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "connect" => "CONNECT",
        "head" | "options" | "proxy" => "GET",
        _ => "OTHER",
    }
}

#[derive(Default)]
struct Series {
    took: Histogram,
    codes: Mutex<Vec<(u16, u64)>>,
    bytes: Counter,
    sizes: Histogram,
}

#[derive(Default)]
pub(crate) struct Requests {
    series: Family<Key, Series>,
    running: Family<Key, Gauge>,
    dropped: [Counter; 2],
    terminated: Family<(u16,), Counter>,
    in_process: Family<(&'static str, u16), Counter>,
    in_process_took: Family<(&'static str,), Histogram>,
    deprecated: Family<Deprecated, Counter>,
    /// Read-only, then mutating.
    pub(crate) in_flight: [Gauge; 2],
}

/// A long request that is being served.
pub(crate) struct Running(Arc<Gauge>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Requests {
    /// Notes a request that was answered; `known` says that its resource exists.
    pub(crate) fn done(&self, info: &Info, known: bool, code: u16, took: Duration, size: u64) {
        let labels = Labels::of(info, known);
        let series = self.series.of(&labels, || labels.key());
        if !info.is_long() {
            series.took.record(&DURATIONS, took);
        }
        series.bytes.add(size);
        if size > 0 && matches!(labels.verb, "GET" | "LIST") && !info.is_long() {
            series.sizes.record_size(&SIZES, size);
        }
        let mut codes = series.codes.lock();
        match codes.iter_mut().find(|(c, _)| *c == code) {
            Some((_, count)) => *count += 1,
            None => codes.push((code, 1)),
        }
    }

    /// Notes a request of a client in process.
    pub(crate) fn inside(&self, info: &Info, code: u16, took: Duration) {
        let key = (verb(&info.verb, false), code);
        self.in_process_took.of(&(key.0,), || (key.0,)).record(&CLIENT, took);
        self.in_process.of(&key, || key).add(1);
    }

    /// A request for a version that goes.
    pub(crate) fn deprecated(&self, kind: &Kind, subresource: &str, removed: &str) {
        let texts = [&kind.group, &kind.plural, &kind.version].map(ToString::to_string);
        let key = Deprecated(texts, subresource.to_owned(), removed.to_owned());
        self.deprecated.of(&key, || key.clone()).add(1);
    }

    /// A long request begins.
    pub(crate) fn begin(&self, info: &Info) -> Running {
        let labels = Labels::of(info, true);
        let gauge = self.running.of(&labels, || labels.key());
        gauge.add(1);
        Running(gauge)
    }

    /// A request was refused because there were too many.
    pub(crate) fn refused(&self, mutating: bool) {
        self.dropped[usize::from(mutating)].add(1);
        self.terminated.of(&(429,), || (429,)).add(1);
    }

    /// A request was ended because it took too long.
    pub(crate) fn timed_out(&self) {
        self.terminated.of(&(504,), || (504,)).add(1);
    }

    pub(crate) fn render(&self, out: &mut String) {
        let series = self.series.all();
        let name = "apiserver_request_total";
        head(
            out,
            name,
            "counter",
            "STABLE",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
        );
        for (key, series) in &series {
            for (code, count) in &*series.codes.lock() {
                let line = format!("{name}{{code=\"{code}\",{}}} {count}\n", key.text());
                out.push_str(&line);
            }
        }
        let name = "apiserver_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "STABLE",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        );
        series.iter().for_each(|(key, series)| series.took.write(out, name, &key.text(), &DURATIONS));
        self.render_indicators(&series, out);
        let name = "apiserver_longrunning_requests";
        head(
            out,
            name,
            "gauge",
            "STABLE",
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
        );
        for (key, gauge) in self.running.all() {
            out.push_str(&format!("{name}{{{}}} {}\n", key.undried(), gauge.get()));
        }
        let name = "apiserver_current_inflight_requests";
        head(
            out,
            name,
            "gauge",
            "STABLE",
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        );
        for (kind, gauge) in ["readOnly", "mutating"].into_iter().zip(&self.in_flight) {
            sample(out, name, &[("request_kind", kind)], gauge.get());
        }
        self.render_ends(out);
    }

    /// The same without what waits for others, and the sizes of what was read.
    fn render_indicators(&self, series: &[(Key, Arc<Series>)], out: &mut String) {
        let name = "apiserver_request_sli_duration_seconds";
        let help = "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.";
        head(out, name, "histogram", "ALPHA", help);
        let real = || series.iter().filter(|(key, _)| key.dry_run.is_empty());
        for (key, series) in real().filter(|(key, _)| !matches!(key.verb, "WATCH" | "CONNECT")) {
            series.took.write(out, name, &key.undried(), &DURATIONS);
        }
        let name = "apiserver_response_sizes";
        let help = "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.";
        head(out, name, "histogram", "STABLE", help);
        for (key, series) in real().filter(|(_, series)| series.sizes.count() > 0) {
            series.sizes.write_sizes(out, name, &key.undried(), &SIZES);
        }
        let name = "apiserver_requested_deprecated_apis";
        let help = "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.";
        head(out, name, "gauge", "STABLE", help);
        for (Deprecated([group, resource, version], subresource, removed), _) in self.deprecated.all() {
            let labels = [
                ("group", &*group),
                ("removed_release", &*removed),
                ("resource", &*resource),
                ("subresource", &*subresource),
                ("version", &*version),
            ];
            sample(out, name, &labels, 1);
        }
    }

    fn render_ends(&self, out: &mut String) {
        let name = "apiserver_dropped_requests_total";
        head(out, name, "counter", "ALPHA", "Number of requests dropped with 'Try again later' response");
        for (kind, counter) in ["readOnly", "mutating"].into_iter().zip(&self.dropped) {
            sample(out, name, &[("request_kind", kind)], counter.get());
        }
        let name = "apiserver_request_terminations_total";
        head(out, name, "counter", "ALPHA", "Number of requests which apiserver terminated in self-defense.");
        for ((code,), counter) in self.terminated.all() {
            sample(out, name, &[("code", &code.to_string()), ("component", "apiserver")], counter.get());
        }
        let name = "rest_client_requests_total";
        head(out, name, "counter", "ALPHA", "Number of HTTP requests, partitioned by status code, method, and host.");
        for ((verb, code), counter) in self.in_process.all() {
            let labels = [("code", &*code.to_string()), ("host", "in-process"), ("method", verb)];
            sample(out, name, &labels, counter.get());
        }
        let name = "rest_client_request_duration_seconds";
        head(out, name, "histogram", "ALPHA", "Request latency in seconds. Broken down by verb, and host.");
        for ((verb,), histogram) in self.in_process_took.all() {
            histogram.write(out, name, &pairs(&[("host", "in-process"), ("verb", verb)]), &CLIENT);
        }
    }

    /// The latency that service level indicators are made of: only of requests that served.
    pub(crate) fn render_sizes(&self, out: &mut String) {
        let name = "apiserver_response_sizes_total";
        head(
            out,
            name,
            "counter",
            "ALPHA",
            "Response bytes for each verb, group, version, resource, subresource, scope and component.",
        );
        for (key, series) in self.series.all() {
            out.push_str(&format!("{name}{{{}}} {}\n", key.text(), series.bytes.get()));
        }
    }
}
