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
/// Sizes of bodies of requests: from 50 kB on in steps of 100 kB.
const BODIES: [f64; 31] = bodies();
const CLIENT_SIZES: [f64; 11] =
    [64.0, 256.0, 512.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
const CLIENT: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

const fn bodies() -> [f64; 31] {
    let (mut out, mut at) = ([0.0; 31], 0);
    while at < out.len() {
        out[at] = 50_000.0 + 100_000.0 * at as f64;
        at += 1;
    }
    out
}

/// A version that goes: group, resource and version, subresource, the release without it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Deprecated([String; 3], String, String);

/// Labels of a request, borrowed.
#[derive(Clone, Copy)]
struct Labels<'a> {
    verb: &'static str,
    dry_run: &'static str,
    scope: &'static str,
    component: &'static str,
    texts: [&'a str; 4],
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    verb: &'static str,
    dry_run: &'static str,
    scope: &'static str,
    component: &'static str,
    texts: [String; 4],
}

impl Hash for Labels<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.verb, self.dry_run, self.scope, self.component, self.texts).hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.verb, self.dry_run, self.scope, self.component, &self.texts).hash(state);
    }
}

impl Equivalent<Key> for Labels<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.verb, self.dry_run, self.scope, self.component) == (key.verb, key.dry_run, key.scope, key.component)
            && self.texts.iter().zip(&key.texts).all(|(a, b)| a == b)
    }
}

impl<'a> Labels<'a> {
    /// The labels of a request that is counted: one for a resource that is `known`, or for one of a few pages.
    fn of(info: &'a Info, known: bool) -> Option<Self> {
        let dry_run = match info.query.0.get("dryRun").map(Vec::as_slice) {
            None | Some([]) => "",
            Some(all) if all.iter().all(|one| one == "All") => "All",
            Some(_) => "invalid",
        };
        if !info.is_resource {
            let (component, texts) = page(&info.path)?;
            return Some(Self { verb: plain_verb(&info.verb), dry_run, scope: "", component, texts });
        }
        let scope = match (info.name.is_empty() && info.verb != "create", info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let texts = [&*info.group, &*info.version, &*info.resource, &*info.subresource];
        known.then(|| Self { verb: verb(info), dry_run, scope, component: "apiserver", texts })
    }

    fn key(&self) -> Key {
        let Self { verb, dry_run, scope, component, texts } = *self;
        Key { verb, dry_run, scope, component, texts: texts.map(str::to_owned) }
    }
}

/// Component, group, version, resource and subresource of pages that are counted.
fn page(path: &str) -> Option<(&'static str, [&str; 4])> {
    Some(match path {
        "/healthz" | "/livez" | "/readyz" => ("", ["", "", "", path]),
        "/openapi/v3" => ("", ["", "", "", "openapi/v3"]),
        "/statusz" | "/flagz" => ("apiserver", ["", "", &path[1..], ""]),
        _ if path.starts_with("/openapi/v3/") => ("", ["", "", "", "openapi/v3/"]),
        _ => return None,
    })
}

impl Key {
    /// The labels without that of dry runs.
    fn undried(&self) -> String {
        self.text().replacen("dry_run=\"\",", "", 1)
    }

    fn text(&self) -> String {
        let [group, version, resource, subresource] = &self.texts;
        pairs(&[
            ("component", self.component),
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
fn verb(info: &Info) -> &'static str {
    if matches!(&*info.subresource, "exec" | "attach" | "portforward" | "proxy" | "log") {
        return "CONNECT";
    }
    match &*info.verb {
        "watch" => "WATCH",
        "get" if info.query.flag("watch") => "WATCH",
        "get" => "GET",
        "list" => "LIST",
        "create" => "POST",
        "update" => "PUT",
        "patch" if info.applies => "APPLY",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        _ => "other",
    }
}

/// The verb of a request for what is no resource.
fn plain_verb(method: &str) -> &'static str {
    match method {
        "get" | "head" => "GET",
        "post" => "POST",
        "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        _ => "other",
    }
}

/// The method of a request of a client in process.
fn method(info: &Info) -> &'static str {
    match &*info.verb {
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        _ => "GET",
    }
}

/// Group, resource and verb of what was sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sent([String; 3]);

struct SentRef<'a>([&'a str; 3]);

impl Hash for Sent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|text| text.hash(state));
    }
}

impl Hash for SentRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|text| text.hash(state));
    }
}

impl Equivalent<Sent> for SentRef<'_> {
    fn equivalent(&self, key: &Sent) -> bool {
        self.0.iter().zip(&key.0).all(|(a, b)| a == b)
    }
}

/// What clients in process sent and got, by method.
#[derive(Default)]
struct Client {
    took: Histogram,
    sent: Histogram,
    received: Histogram,
}

#[derive(Default)]
struct Series {
    took: Histogram,
    codes: Mutex<Vec<(u16, u64)>>,
    sizes: Histogram,
}

#[derive(Default)]
pub(crate) struct Requests {
    series: Family<Key, Series>,
    running: Family<Key, Gauge>,
    dropped: [Counter; 2],
    terminated: Family<(u16,), Counter>,
    /// Clients in process.
    answers: Family<(&'static str, u16), Counter>,
    clients: Family<(&'static str,), Client>,
    own: Family<Key, Counter>,
    bodies: Family<Sent, Histogram>,
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
        let Some(labels) = Labels::of(info, known) else { return };
        let series = self.series.of(&labels, || labels.key());
        if !info.is_long() {
            series.took.record(&DURATIONS, took);
        }
        if size > 0 && matches!(labels.verb, "GET" | "LIST") && !info.is_long() {
            series.sizes.record_size(&SIZES, size);
        }
        let mut codes = series.codes.lock();
        match codes.iter_mut().find(|(c, _)| *c == code) {
            Some((_, count)) => *count += 1,
            None => codes.push((code, 1)),
        }
    }

    /// Notes a request of a client in process, and the size of its answer.
    pub(crate) fn inside(&self, info: &Info, known: bool, code: u16, took: Duration, size: u64) {
        let verb = method(info);
        let client = self.clients.of(&(verb,), || (verb,));
        client.took.record(&CLIENT, took);
        client.received.record_size(&CLIENT_SIZES, size);
        self.answers.of(&(verb, code), || (verb, code)).add(1);
        if let Some(labels) = Labels::of(info, known) {
            self.own.of(&labels, || labels.key()).add(1);
        }
    }

    /// Notes the size of what was sent: by the verb of the request.
    pub(crate) fn sent(&self, info: &Info, size: usize, inside: bool) {
        let verb = if info.verb == "deletecollection" { "delete_collection" } else { info.verb.as_str() };
        let of = [info.group.as_str(), info.resource.as_str(), verb];
        let made = || Sent(of.map(str::to_owned));
        self.bodies.of(&SentRef(of), made).record_size(&BODIES, size as u64);
        if inside {
            let verb = method(info);
            self.clients.of(&(verb,), || (verb,)).sent.record_size(&CLIENT_SIZES, size as u64);
        }
    }

    /// A request for a version that goes.
    pub(crate) fn deprecated(&self, kind: &Kind, subresource: &str, removed: &str) {
        let texts = [&kind.group, &kind.plural, &kind.version].map(ToString::to_string);
        let key = Deprecated(texts, subresource.to_owned(), removed.to_owned());
        self.deprecated.of(&key, || key.clone()).add(1);
    }

    /// A long request begins.
    pub(crate) fn begin(&self, info: &Info) -> Running {
        let gauge = match Labels::of(info, true) {
            Some(labels) => self.running.of(&labels, || labels.key()),
            // What is not counted.
            None => Arc::default(),
        };
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
            // The indicator does not tell the first two bounds apart from the third.
            series.took.write_from(out, name, &key.undried(), &DURATIONS, 2);
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
        self.render_clients(out);
    }

    fn render_clients(&self, out: &mut String) {
        let name = "rest_client_requests_total";
        head(out, name, "counter", "ALPHA", "Number of HTTP requests, partitioned by status code, method, and host.");
        for ((verb, code), counter) in self.answers.all() {
            let labels = [("code", &*code.to_string()), ("host", "in-process"), ("method", verb)];
            sample(out, name, &labels, counter.get());
        }
        let clients = self.clients.all();
        let labels = |verb| pairs(&[("host", "in-process"), ("verb", verb)]);
        let name = "rest_client_request_duration_seconds";
        head(out, name, "histogram", "ALPHA", "Request latency in seconds. Broken down by verb, and host.");
        clients.iter().for_each(|((verb,), client)| client.took.write(out, name, &labels(verb), &CLIENT));
        let name = "rest_client_request_size_bytes";
        head(out, name, "histogram", "ALPHA", "Request size in bytes. Broken down by verb and host.");
        clients.iter().for_each(|((verb,), client)| client.sent.write_sizes(out, name, &labels(verb), &CLIENT_SIZES));
        let name = "rest_client_response_size_bytes";
        head(out, name, "histogram", "ALPHA", "Response size in bytes. Broken down by verb and host.");
        clients.iter().for_each(|((v,), client)| client.received.write_sizes(out, name, &labels(v), &CLIENT_SIZES));
        let name = "apiserver_selfrequest_total";
        let help = "Counter of apiserver self-requests broken out for each verb, API resource and subresource.";
        head(out, name, "counter", "ALPHA", help);
        for (key, counter) in self.own.all() {
            let [group, _, resource, subresource] = &key.texts;
            let labels =
                [("group", &**group), ("resource", resource), ("subresource", subresource), ("verb", key.verb)];
            sample(out, name, &labels, counter.get());
        }
        let name = "apiserver_request_body_size_bytes";
        head(out, name, "histogram", "ALPHA", "Apiserver request body size in bytes broken out by resource and verb.");
        for (Sent([group, resource, verb]), histogram) in self.bodies.all() {
            let labels = pairs(&[("group", &group), ("resource", &resource), ("verb", &verb)]);
            histogram.write_sizes(out, name, &labels, &BODIES);
        }
    }
}
