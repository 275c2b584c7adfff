//! What the scheduler counts, under stock's names.

use ironclad_client::metrics::{Kind, Metric, doubling};

/// From one millisecond on, as stock's histograms of times.
static TIMES: [f64; 15] = doubling(0.001);
/// From ten milliseconds on: how long pods waited in all.
static WAITS: [f64; 20] = doubling(0.01);

const fn metric(name: &'static str, stability: &'static str, help: &'static str, kind: Kind) -> Metric {
    Metric { name, stability, help, kind }
}

pub(crate) static PENDING: Metric = metric(
    "scheduler_pending_pods",
    "STABLE",
    "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
    Kind::Gauge,
);

pub(crate) static INCOMING: Metric = metric(
    "scheduler_queue_incoming_pods_total",
    "STABLE",
    "Number of pods added to scheduling queues by event and queue type.",
    Kind::Counter,
);

pub(crate) static ATTEMPTS: Metric = metric(
    "scheduler_schedule_attempts_total",
    "STABLE",
    "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
    Kind::Counter,
);

pub(crate) static ATTEMPT_TIMES: Metric = metric(
    "scheduler_scheduling_attempt_duration_seconds",
    "STABLE",
    "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
    Kind::Histogram(&TIMES),
);

pub(crate) static ALGORITHM: Metric = metric(
    "scheduler_scheduling_algorithm_duration_seconds",
    "ALPHA",
    "Scheduling algorithm latency in seconds",
    Kind::Histogram(&TIMES),
);

pub(crate) static POD_ATTEMPTS: Metric = metric(
    "scheduler_pod_scheduling_attempts",
    "STABLE",
    "Number of attempts to successfully schedule a pod.",
    Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0]),
);

pub(crate) static POD_TIMES: Metric = metric(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "BETA",
    "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.",
    Kind::Histogram(&WAITS),
);

pub(crate) static CACHE: Metric = metric(
    "scheduler_scheduler_cache_size",
    "ALPHA",
    "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
    Kind::Gauge,
);
