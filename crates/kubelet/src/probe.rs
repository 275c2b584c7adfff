//! Probes: a task for each probe of each running container, which tells the pod's worker when a result changes.

use ironclad_client::events::{EventType, Recorder};
use ironclad_cri::Runtime;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// The results of a pod's probes, by container id.
#[derive(Default)]
pub(crate) struct Probes {
    results: Arc<Mutex<HashMap<(String, Kind), bool>>>,
    tasks: HashMap<(String, Kind), AbortHandle>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

/// What probes need of their surroundings.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) recorder: Recorder,
    pub(crate) wake: Arc<Notify>,
}

impl Probes {
    /// The last settled result.
    pub(crate) fn result(&self, id: &str, kind: Kind) -> Option<bool> {
        self.results.lock().get(&(id.to_owned(), kind)).copied()
    }

    /// Starts the probes of a container that runs; fine to call again.
    pub(crate) fn watch(&mut self, pod: &Arc<Pod>, container: &Container, id: &str, ip: &str, around: &Surroundings) {
        let started = container.startup_probe.is_none() || self.result(id, Kind::Startup) == Some(true);
        let wanted = [
            (Kind::Startup, container.startup_probe.as_ref(), true),
            (Kind::Readiness, container.readiness_probe.as_ref(), started),
            (Kind::Liveness, container.liveness_probe.as_ref(), started),
        ];
        for (kind, probe, now) in wanted {
            let key = (id.to_owned(), kind);
            let Some(probe) = probe.filter(|_| now && !self.tasks.contains_key(&key)) else { continue };
            let task = Task {
                pod: pod.clone(),
                container: container.clone(),
                id: id.to_owned(),
                ip: ip.to_owned(),
                kind,
                probe: probe.clone(),
                around: around.clone(),
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
}

struct Task {
    pod: Arc<Pod>,
    container: Container,
    id: String,
    ip: String,
    kind: Kind,
    probe: Probe,
    around: Surroundings,
    results: Arc<Mutex<HashMap<(String, Kind), bool>>>,
}

impl Task {
    async fn run(self) {
        let seconds =
            |value: Option<i32>, default: u64| Duration::from_secs(value.map_or(default, |v| v.max(0) as u64));
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0)).await;
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut streak, mut last) = (0, None);
        loop {
            ticks.tick().await;
            let timeout = seconds(self.probe.timeout_seconds, 1).max(Duration::from_secs(1));
            let outcome = match tokio::time::timeout(timeout, self.once(timeout)).await {
                Ok(outcome) => outcome,
                Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()),
            };
            if let Err(why) = &outcome {
                let message = format!("{} probe failed: {why}", self.kind.name());
                self.around.recorder.event(&*self.pod, EventType::Warning, "Unhealthy", message);
            }
            let good = outcome.is_ok();
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
            if self.kind == Kind::Startup && good {
                return;
            }
        }
    }

    async fn once(&self, timeout: Duration) -> Result<(), String> {
        if let Some(exec) = &self.probe.exec {
            return self.exec(exec, timeout).await;
        }
        if let Some(get) = &self.probe.http_get {
            return http(get, &self.ip, &self.container).await;
        }
        if let Some(tcp) = &self.probe.tcp_socket {
            let host = tcp.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| self.ip.clone());
            let port = port(&tcp.port, &self.container)?;
            return TcpStream::connect((host.as_str(), port))
                .await
                .map(drop)
                .map_err(|e| format!("dial tcp {host}:{port}: {e}"));
        }
        Err("this sort of probe is not supported yet".to_owned())
    }

    async fn exec(&self, exec: &ExecAction, timeout: Duration) -> Result<(), String> {
        let command = exec.command.clone().unwrap_or_default();
        let output =
            self.around.runtime.exec_sync(&self.id, &command, Some(timeout)).await.map_err(|e| e.to_string())?;
        if output.exit_code == 0 {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    match port {
        IntOrString::Int(n) => u16::try_from(*n).map_err(|_| format!("invalid port number: {n}")),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            named.map(|p| p.container_port as u16).ok_or_else(|| format!("couldn't find port: {name}"))
        }
    }
}

/// One plain request; only the status line counts.
pub(crate) async fn http(get: &HTTPGetAction, ip: &str, container: &Container) -> Result<(), String> {
    if get.scheme.as_deref() == Some("HTTPS") {
        return Err("HTTPS probes are not supported yet".to_owned());
    }
    let host = get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_owned());
    let port = port(&get.port, container)?;
    let path = get.path.clone().unwrap_or_else(|| "/".to_owned());
    let url = format!("http://{host}:{port}{path}");
    let failed = |e: &dyn std::fmt::Display| format!("Get \"{url}\": {e}");
    let mut stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|e| failed(&format!("dial tcp {host}:{port}: connect: {e}")))?;
    let given = get.http_headers.clone().unwrap_or_default();
    let named = given.iter().find(|h| h.name.eq_ignore_ascii_case("host")).map(|h| h.value.clone());
    let shown = host.parse::<IpAddr>().map_or(host.clone(), |ip| ip.to_string());
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n",
        named.unwrap_or(format!("{shown}:{port}"))
    );
    for header in given.iter().filter(|h| !h.name.eq_ignore_ascii_case("host")) {
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| failed(&e))?;
    let mut head = Vec::new();
    let mut buffer = [0; 256];
    while !head.contains(&b'\n') && head.len() < 4096 {
        match stream.read(&mut buffer).await.map_err(|e| failed(&e))? {
            0 => break,
            n => head.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let code: u16 =
        text.split(' ').nth(1).and_then(|c| c.parse().ok()).ok_or_else(|| failed(&"malformed HTTP response"))?;
    if (200..400).contains(&code) { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {code}")) }
}
