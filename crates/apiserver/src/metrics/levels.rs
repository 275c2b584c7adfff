//! How the seats of priority levels are used: what stock tells with histograms over time and with gauges of demand.

use super::family::{head, pairs, sample};
use crate::flow::{LevelUse, Timing, Use};
use ironclad_api::metrics::go_float;
use std::fmt::Write;

const PREFIX: &str = "apiserver_flowcontrol_";
const LEVEL: &str = "priority_level";

/// A gauge of every level, where it has one.
type Gauge = (&'static str, &'static str, fn(&LevelUse) -> Option<f64>);

const GAUGES: [Gauge; 8] = [
    ("current_r", "R(time of last change)", |l| Some(l.time)),
    ("dispatch_r", "R(time of last dispatch)", |l| l.dispatched.map(|d| d.0)),
    ("latest_s", "S(most recently dispatched request)", |l| l.dispatched.map(|d| d.1)),
    ("demand_seats_high_watermark", "High watermark, over last adjustment period, of demand_seats", |l| {
        Some(l.demands.most)
    }),
    ("demand_seats_average", "Time-weighted average, over last adjustment period, of demand_seats", |l| {
        Some(l.demands.average)
    }),
    ("demand_seats_stdev", "Time-weighted standard deviation, over last adjustment period, of demand_seats", |l| {
        Some(l.demands.deviation)
    }),
    ("demand_seats_smoothed", "Smoothed seat demands", |l| Some(l.demands.smoothed)),
    ("target_seats", "Seat allocation targets", |l| Some(l.target())),
];

/// Writes a histogram over time; it counts nanoseconds.
fn write(out: &mut String, name: &str, labels: &str, timing: &Timing) {
    let mut count = 0;
    let ends = timing.bounds.iter().map(|b| go_float(*b)).chain(["+Inf".to_owned()]);
    for (end, nanos) in ends.zip(timing.counts) {
        count += nanos;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{end}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {count}", go_float(timing.sum));
}

fn timed<'a>(
    out: &mut String,
    (name, help): (&str, &str),
    all: impl Iterator<Item = (Vec<(&'static str, &'a str)>, &'a Timing)>,
) {
    let name = format!("{PREFIX}{name}");
    // The stability of these stands behind their own word.
    head(
        out,
        &name,
        "histogram",
        "",
        &format!("EXPERIMENTAL: [ALPHA] Observations, at the end of every nanosecond, of {help}"),
    );
    all.for_each(|(labels, timing)| write(out, &name, &pairs(&labels), timing));
}

const PHASES: [&str; 2] = ["waiting", "executing"];
const KINDS: [&str; 2] = ["readOnly", "mutating"];

/// Writes all of it.
pub(super) fn render(told: &Use, out: &mut String) {
    for (name, help, of) in GAUGES {
        let name = format!("{PREFIX}{name}");
        head(out, &name, "gauge", "ALPHA", help);
        for (level, value) in told.levels.iter().filter_map(|(name, level)| Some((name, of(level)?))) {
            sample(out, &name, &[(LEVEL, level)], go_float(value));
        }
    }
    let bounds = [
        ("next_s_bounds", "min and max, over queues, of S(oldest waiting request in queue)"),
        (
            "next_discounted_s_bounds",
            "min and max, over queues, of S(oldest waiting request in queue) - estimated work in progress",
        ),
    ];
    for (at, (name, help)) in bounds.into_iter().enumerate() {
        let name = format!("{PREFIX}{name}");
        head(out, &name, "gauge", "ALPHA", help);
        for (level, told) in told.levels.iter().filter(|(_, level)| level.dispatched.is_some()) {
            for (bound, value) in ["min", "max"].into_iter().zip(told.starts[at]) {
                sample(out, &name, &[("bound", bound), (LEVEL, level)], go_float(value));
            }
        }
    }
    let name = format!("{PREFIX}seat_fair_frac");
    head(
        out,
        &name,
        "gauge",
        "ALPHA",
        "Fair fraction of server's concurrency to allocate to each priority level that can use it",
    );
    sample(out, &name, &[], go_float(told.fair()));
    let name = "apiserver_current_inqueue_requests";
    let help = "Maximal number of queued requests in this apiserver per request kind in last second.";
    head(out, name, "gauge", "ALPHA", help);
    for (kind, (count, _)) in KINDS.into_iter().zip(&told.kinds[0]) {
        sample(out, name, &[("request_kind", kind)], count);
    }
    render_times(told, out);
}

fn render_times(told: &Use, out: &mut String) {
    let seats = (
        "priority_level_seat_utilization",
        "utilization of seats for any stage of execution (but only initial stage for WATCHes)",
    );
    let levels = || told.levels.iter();
    timed(out, seats, levels().map(|(name, level)| (vec![("phase", "executing"), (LEVEL, &**name)], &level.seats)));
    let requests = (
        "priority_level_request_utilization",
        "number of requests (as a fraction of the relevant limit) waiting or in any stage of execution (but only initial stage for WATCHes)",
    );
    let of = |(name, level): &'_ (std::sync::Arc<str>, LevelUse)| -> [(String, &'static str, Timing); 2] {
        [0, 1].map(|at| (name.to_string(), PHASES[at], level.requests[at].clone()))
    };
    let all: Vec<(String, &'static str, Timing)> = levels().flat_map(of).collect();
    timed(out, requests, all.iter().map(|(name, phase, t)| (vec![("phase", *phase), (LEVEL, &**name)], t)));
    let demand = (
        "demand_seats",
        "(the number of seats each priority level could use) / (nominal number of seats for that level)",
    );
    timed(out, demand, levels().map(|(name, level)| (vec![(LEVEL, &**name)], &level.demand)));
    let kinds = (
        "read_vs_write_current_requests",
        "the number of requests (as a fraction of the relevant limit) waiting or in regular stage of execution",
    );
    let all = PHASES.into_iter().zip(&told.kinds).flat_map(|(phase, kinds)| {
        let both = KINDS.into_iter().zip(kinds);
        both.map(move |(kind, counted)| (vec![("phase", phase), ("request_kind", kind)], &counted.1))
    });
    timed(out, kinds, all);
}
