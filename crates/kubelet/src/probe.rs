//! Probes: a task for each probe of each running container, which tells the pod's worker when a result changes.

mod grpc;
pub(crate) mod http;

use crate::pod::{Plan, Unit};
use ironclad_client::events::{EventType, Recorder};
use ironclad_cri::Runtime;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Longest output that an event shows, in bytes.
const MAX_OUTPUT: usize = 10 * 1024;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// How a probe failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The container is not well.
    Bad(String),
    /// It could not be found out.
    Unknown(String),
}

/// Counts of probes by what they were about and how they ended: the metric `prober_probe_total`.
#[derive(Default)]
pub(crate) struct Counts(Mutex<BTreeMap<Count, u64>>);

/// What a probe was about, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Count {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) container: String,
    pub(crate) result: &'static str,
}

impl Counts {
    fn add(&self, count: Count) {
        *self.0.lock().entry(count).or_default() += 1;
    }

    pub(crate) fn all(&self) -> Vec<(Count, u64)> {
        self.0.lock().iter().map(|(k, n)| (k.clone(), *n)).collect()
    }

    fn forget(&self, uid: &str) {
        self.0.lock().retain(|k, _| k.uid != uid);
    }
}

type Results = Arc<Mutex<HashMap<(String, Kind), bool>>>;

/// The probes of a pod, and their results by container id.
pub(crate) struct Probes {
    uid: String,
    around: Surroundings,
    results: Results,
    tasks: HashMap<(String, Kind), AbortHandle>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
        self.around.counts.forget(&self.uid);
    }
}

/// What probes need of their surroundings.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) recorder: Recorder,
    pub(crate) wake: Arc<Notify>,
    pub(crate) counts: Arc<Counts>,
}

impl Probes {
    pub(crate) fn new(uid: &str, around: Surroundings) -> Self {
        Self { uid: uid.to_owned(), around, results: Results::default(), tasks: HashMap::new() }
    }

    /// The last settled result.
    pub(crate) fn result(&self, id: &str, kind: Kind) -> Option<bool> {
        self.results.lock().get(&(id.to_owned(), kind)).copied()
    }

    /// Starts the probes of a container that runs; fine to call again.
    pub(crate) fn watch(&mut self, plan: &Arc<Plan>, unit: &Unit, id: &str, since: i64, ip: &str) {
        let c = &unit.spec;
        let started = c.startup_probe.is_none() || self.result(id, Kind::Startup) == Some(true);
        let wanted = [
            (Kind::Startup, c.startup_probe.as_ref(), true),
            (Kind::Readiness, c.readiness_probe.as_ref(), started),
            (Kind::Liveness, c.liveness_probe.as_ref(), started),
        ];
        for (kind, probe, now) in wanted {
            let key = (id.to_owned(), kind);
            let Some(probe) = probe.filter(|_| now && !self.tasks.contains_key(&key)) else { continue };
            let task = Task {
                plan: plan.clone(),
                container: c.clone(),
                id: id.to_owned(),
                since,
                ip: ip.to_owned(),
                kind,
                probe: probe.clone(),
                around: self.around.clone(),
                results: self.results.clone(),
            };
            self.tasks.insert(key, tokio::spawn(task.run()).abort_handle());
        }
    }

    /// Ends the probes of containers that no longer run.
    pub(crate) fn keep(&mut self, running: &[&str]) {
        self.tasks.retain(|(id, _), task| {
            let keep = running.contains(&id.as_str());
            if !keep {
                task.abort();
            }
            keep
        });
        self.results.lock().retain(|(id, _), _| running.contains(&id.as_str()));
    }

    /// Ends liveness and startup probes: what is being ended need not be well.
    pub(crate) fn only_readiness(&mut self) {
        self.tasks.retain(|(_, kind), task| {
            if *kind != Kind::Readiness {
                task.abort();
            }
            *kind == Kind::Readiness
        });
    }
}

struct Task {
    plan: Arc<Plan>,
    container: Container,
    id: String,
    /// When the container started, in nanoseconds since the epoch.
    since: i64,
    ip: String,
    kind: Kind,
    probe: Probe,
    around: Surroundings,
    results: Results,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.map_or(default, |v| v.max(0) as u64))
}

impl Task {
    async fn run(self) {
        let runs = Duration::from_nanos(crate::backoff::now().saturating_sub(self.since).max(0) as u64);
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0).saturating_sub(runs)).await;
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut streak, mut last) = (0, None);
        loop {
            ticks.tick().await;
            let outcome = self.once().await;
            self.tell(&outcome);
            let good = match outcome {
                Ok(()) => true,
                Err(Failure::Bad(_)) => false,
                Err(Failure::Unknown(_)) => continue,
            };
            streak = if last == Some(good) { streak + 1 } else { 1 };
            last = Some(good);
            let threshold = if good {
                self.probe.success_threshold.unwrap_or(1)
            } else {
                self.probe.failure_threshold.unwrap_or(3)
            };
            if streak < threshold {
                continue;
            }
            let before = self.results.lock().insert((self.id.clone(), self.kind), good);
            if before != Some(good) {
                self.around.wake.notify_one();
            }
            // The container is killed, or it has started: another probe begins with what follows.
            if self.kind == Kind::Startup || (self.kind == Kind::Liveness && !good) {
                return;
            }
        }
    }

    fn tell(&self, outcome: &Result<(), Failure>) {
        let plan = &self.plan;
        let (result, message) = match outcome {
            Ok(()) => ("successful", None),
            Err(Failure::Bad(why)) => ("failed", Some(format!("{} probe failed: {why}", self.kind.name()))),
            Err(Failure::Unknown(why)) => {
                ("unknown", Some(format!("{} probe errored and resulted in unknown state: {why}", self.kind.name())))
            }
        };
        self.around.counts.add(Count {
            kind: self.kind,
            namespace: plan.namespace.clone(),
            pod: plan.name.clone(),
            uid: plan.uid.clone(),
            container: self.container.name.clone(),
            result,
        });
        if let Some(message) = message {
            let object = plan.reference(Some(&self.container.name));
            self.around.recorder.event_on(object, EventType::Warning, "Unhealthy", message);
        }
    }

    async fn once(&self) -> Result<(), Failure> {
        let timeout = seconds(self.probe.timeout_seconds, 1).max(Duration::from_secs(1));
        if let Some(exec) = &self.probe.exec {
            return self.exec(exec.command.clone().unwrap_or_default(), timeout).await;
        }
        if let Some(get) = &self.probe.http_get {
            let request = http::Get::new(get, &self.ip, &self.container).map_err(Failure::Unknown)?;
            let answer = request.send(timeout, "kube-probe/1.37").await.map_err(Failure::Bad)?;
            if let Some(place) = &answer.redirected_away {
                let text =
                    format!("{} probe warning: Probe terminated redirects, Response body: {place}", self.kind.name());
                let object = self.plan.reference(Some(&self.container.name));
                self.around.recorder.event_on(object, EventType::Warning, "ProbeWarning", text);
            }
            return answer.verdict().map_err(Failure::Bad);
        }
        if let Some(tcp) = &self.probe.tcp_socket {
            let host = tcp.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| self.ip.clone());
            let port = port(&tcp.port, &self.container).map_err(Failure::Unknown)?;
            return dial(&host, port, timeout).await.map(drop).map_err(Failure::Bad);
        }
        if let Some(grpc) = &self.probe.grpc {
            let service = grpc.service.clone().unwrap_or_default();
            return grpc::check(&self.ip, grpc.port as u16, &service, timeout).await.map_err(Failure::Bad);
        }
        Err(Failure::Unknown(format!("missing probe handler for {}:{}", self.plan.name, self.container.name)))
    }

    async fn exec(&self, command: Vec<String>, timeout: Duration) -> Result<(), Failure> {
        match self.around.runtime.exec_sync(&self.id, &command, Some(timeout)).await {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => {
                let mut text = [output.stdout, output.stderr].concat();
                text.truncate(MAX_OUTPUT);
                Err(Failure::Bad(String::from_utf8_lossy(&text).into_owned()))
            }
            Err(ironclad_cri::Error::DeadlineExceeded(_)) => Err(Failure::Bad(format!(
                "command timed out: {:?} timed out after {}",
                command.join(" "),
                crate::backoff::go(timeout)
            ))),
            Err(error) => Err(Failure::Bad(error.to_string())),
        }
    }
}

/// A connection, or why there is none as Go words it.
pub(crate) async fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let text = error.to_string().to_lowercase();
            let text = text.split(" (os error").next().unwrap_or_default();
            Err(format!("dial tcp {shown}: connect: {text}"))
        }
        Err(_) => Err(format!("dial tcp {shown}: i/o timeout")),
    }
}

/// The number of a port that is given by number or by the container's name for it.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = |n: i32| u16::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {n}"));
    match port {
        IntOrString::Int(n) => number(*n),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            match (named, name.parse()) {
                (Some(port), _) => number(port.container_port),
                (None, Ok(n)) => number(n),
                (None, Err(_)) => Err(format!("couldn't find port: {name:?}")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
