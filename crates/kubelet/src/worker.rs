//! One pod's life on this node: look, decide, act, report; again when something changed.

use crate::Config;
use crate::backoff::Backoff;
use crate::container::{self, Given};
use crate::decide::{self, Seen, Step};
use crate::env::{self, Sources};
use crate::probe::{Kind, Probes, Surroundings};
use crate::status::{Facts, status};
use crate::volumes;
use ironclad_client::Informer;
use ironclad_client::events::{EventType, Recorder};
use ironclad_cri::{AuthConfig, ContainerState, ContainerStatus, PullRequest, SandboxState, SandboxStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Container, LifecycleHandler, Pod, Secret, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) recorder: Recorder,
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) memory: i64,
}

pub(crate) struct Worker {
    shared: Shared,
    pods: watch::Receiver<Option<Arc<Pod>>>,
    wake: Arc<Notify>,
    probes: Probes,
    backoff: Backoff,
    waiting: HashMap<String, (String, String)>,
    volumes: Option<HashMap<String, PathBuf>>,
    reported: Option<serde_json::Value>,
}

/// What the runtime shows of a pod.
struct Observed {
    sandbox: Option<SandboxStatus>,
    sandboxes: Vec<SandboxStatus>,
    /// Newest first.
    containers: Vec<ContainerStatus>,
}

fn name_of(status: &ContainerStatus) -> &str {
    status.config.labels.get(container::CONTAINER).map_or(status.config.name.as_str(), String::as_str)
}

impl Worker {
    pub(crate) fn new(shared: Shared, pods: watch::Receiver<Option<Arc<Pod>>>, wake: Arc<Notify>) -> Self {
        Self {
            shared,
            pods,
            wake,
            probes: Probes::default(),
            backoff: Backoff::default(),
            waiting: HashMap::new(),
            volumes: None,
            reported: None,
        }
    }

    /// Looks after the pod until it is gone.
    pub(crate) async fn run(mut self, uid: String) {
        let mut last: Option<Arc<Pod>> = None;
        loop {
            let pod = self.pods.borrow_and_update().clone();
            match pod {
                Some(pod) if pod.metadata.deletion_timestamp.is_none() => {
                    last = Some(pod.clone());
                    let again = self.sync(&pod).await;
                    tokio::select! {
                        changed = self.pods.changed() => if changed.is_err() { return },
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(again.unwrap_or(Duration::MAX)) => {}
                    }
                }
                Some(pod) => {
                    self.terminate(&pod, true).await;
                    return;
                }
                None => {
                    // Gone from the API without a farewell: stop what is left of it.
                    if let Some(pod) = last {
                        self.terminate(&pod, false).await;
                    } else {
                        self.clean(&uid).await;
                    }
                    return;
                }
            }
        }
    }

    async fn observe(&self, uid: &str) -> Result<Observed, ironclad_cri::Error> {
        let runtime = &self.shared.config.runtime;
        let mut sandboxes = runtime.list_pod_sandboxes(Some(uid)).await?;
        sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at));
        let mut containers = Vec::new();
        for sandbox in &sandboxes {
            containers.extend(runtime.list_containers(Some(&sandbox.id)).await?);
        }
        containers.sort_by_key(|c| std::cmp::Reverse(c.created_at));
        let sandbox = sandboxes.first().filter(|s| s.state == SandboxState::Ready).cloned();
        Ok(Observed { sandbox, sandboxes, containers })
    }

    fn newest(observed: &Observed) -> HashMap<&str, &ContainerStatus> {
        let mut newest: HashMap<&str, &ContainerStatus> = HashMap::new();
        for status in &observed.containers {
            newest.entry(name_of(status)).or_insert(status);
        }
        newest
    }

    /// One round: acts until nothing is left to do now; returns when to look again by itself.
    async fn sync(&mut self, pod: &Arc<Pod>) -> Option<Duration> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut again = None;
        for _ in 0..16 {
            let observed = match self.observe(&uid).await {
                Ok(observed) => observed,
                Err(error) => {
                    tracing::warn!(pod = pod.metadata.name, %error, "cannot look at the containers");
                    return Some(Duration::from_secs(2));
                }
            };
            self.probe(pod, &observed);
            self.report(pod, &observed).await;
            let spec = pod.spec.clone().unwrap_or_default();
            let newest = Self::newest(&observed);
            let unhealthy = self.unhealthy(&spec.containers, &newest);
            let started = newest.iter().filter(|(n, s)| self.is_started(&spec, n, s)).map(|(n, _)| *n).collect();
            let sandbox = observed.sandbox.is_some();
            let seen = Seen { sandbox, newest, unhealthy, started };
            let mut acted = false;
            again = None;
            for step in decide::steps(&spec, &seen) {
                match self.act(pod, &observed, &seen, step).await {
                    Ok(None) => acted = true,
                    Ok(Some(wait)) | Err(wait) => again = Some(again.map_or(wait, |a: Duration| a.min(wait))),
                }
            }
            if decide::is_over(&spec, &seen) && sandbox && !acted {
                self.stop_sandbox(&observed).await;
            }
            if !acted {
                break;
            }
        }
        if let Ok(observed) = self.observe(&uid).await {
            self.report(pod, &observed).await;
        }
        again
    }

    fn is_started(&self, spec: &k8s_openapi::api::core::v1::PodSpec, name: &str, status: &ContainerStatus) -> bool {
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let probe = all.into_iter().find(|c| c.name == name).is_some_and(|c| c.startup_probe.is_some());
        status.state == ContainerState::Running
            && (!probe || self.probes.result(&status.id, Kind::Startup) == Some(true))
    }

    fn unhealthy<'a>(
        &self,
        containers: &[Container],
        newest: &HashMap<&'a str, &'a ContainerStatus>,
    ) -> HashMap<&'a str, String> {
        let mut out = HashMap::new();
        for (name, status) in newest {
            for (kind, text) in [(Kind::Liveness, "liveness"), (Kind::Startup, "startup")] {
                if self.probes.result(&status.id, kind) == Some(false) && containers.iter().any(|c| c.name == *name) {
                    out.insert(*name, format!("Container {name} failed {text} probe, will be restarted"));
                }
            }
        }
        out
    }

    fn probe(&mut self, pod: &Arc<Pod>, observed: &Observed) {
        let ip = self.ips(pod, observed).into_iter().next().unwrap_or_default();
        let around = Surroundings {
            runtime: self.shared.config.runtime.clone(),
            recorder: self.shared.recorder.clone(),
            wake: self.wake.clone(),
        };
        let running: Vec<&ContainerStatus> =
            observed.containers.iter().filter(|c| c.state == ContainerState::Running).collect();
        let spec = pod.spec.clone().unwrap_or_default();
        for status in &running {
            let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            if let Some(container) = all.find(|c| c.name == name_of(status)) {
                self.probes.watch(pod, container, &status.id, &ip, &around);
            }
        }
        self.probes.keep(&running.iter().map(|s| s.id.as_str()).collect::<Vec<_>>());
    }

    fn ips(&self, pod: &Pod, observed: &Observed) -> Vec<String> {
        if pod.spec.as_ref().and_then(|s| s.host_network) == Some(true) {
            return vec![self.shared.config.node_ip.to_string()];
        }
        observed.sandbox.as_ref().map(|s| s.ips.clone()).unwrap_or_default()
    }

    /// Does one thing. `Ok(None)` says that something changed; a duration, when to try again.
    async fn act(
        &mut self,
        pod: &Arc<Pod>,
        observed: &Observed,
        seen: &Seen<'_>,
        step: Step,
    ) -> Result<Option<Duration>, Duration> {
        let spec = pod.spec.clone().unwrap_or_default();
        match step {
            Step::Sandbox => self.make_sandbox(pod, observed).await,
            Step::Kill(id, why) => {
                let event = if why.starts_with("Container") { why } else { format!("Stopping container: {why}") };
                self.shared.recorder.event(&**pod, EventType::Normal, "Killing", event);
                let grace = Duration::from_secs(spec.termination_grace_period_seconds.unwrap_or(30).max(0) as u64);
                match self.shared.config.runtime.stop_container(&id, grace).await {
                    Ok(()) => Ok(None),
                    Err(_) => Err(Duration::from_secs(2)),
                }
            }
            Step::Init(index) => {
                let Some(container) = spec.init_containers.iter().flatten().nth(index).cloned() else {
                    return Ok(None);
                };
                self.start(pod, observed, seen, &container).await
            }
            Step::Start(index) => {
                let Some(container) = spec.containers.get(index).cloned() else { return Ok(None) };
                self.start(pod, observed, seen, &container).await
            }
        }
    }

    async fn make_sandbox(&mut self, pod: &Arc<Pod>, observed: &Observed) -> Result<Option<Duration>, Duration> {
        if let Some(left) = self.backoff.left("sandbox", Instant::now()) {
            return Ok(Some(left));
        }
        for old in &observed.sandboxes {
            // An old one that cannot be removed now is removed with the pod.
            let _ = self.shared.config.runtime.stop_pod_sandbox(&old.id).await;
        }
        let config = container::sandbox(&self.shared.config, pod, observed.sandboxes.len() as u32);
        let logs = std::fs::create_dir_all(&config.log_directory);
        let made = match logs {
            Ok(()) => self.shared.config.runtime.run_pod_sandbox(config).await,
            Err(e) => Err(ironclad_cri::Error::Internal(format!("cannot make the log directory: {e}"))),
        };
        match made {
            Ok(_) => {
                self.backoff.forget("sandbox");
                Ok(None)
            }
            Err(error) => {
                self.backoff.failed("sandbox", Instant::now());
                let message = format!("Failed to create pod sandbox: {error}");
                self.shared.recorder.event(&**pod, EventType::Warning, "FailedCreatePodSandBox", message);
                Err(self.backoff.delay("sandbox"))
            }
        }
    }

    fn wait(&mut self, name: &str, reason: &str, message: &str) {
        self.waiting.insert(name.to_owned(), (reason.to_owned(), message.to_owned()));
    }

    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        observed: &Observed,
        seen: &Seen<'_>,
        c: &Container,
    ) -> Result<Option<Duration>, Duration> {
        let Some(sandbox) = observed.sandbox.as_ref() else { return Ok(None) };
        let before = seen.newest.get(c.name.as_str()).copied();
        let now = Instant::now();
        let key = format!("restart/{}", c.name);
        if let Some(ended) = before.filter(|b| b.state == ContainerState::Exited) {
            let marker = format!("{key}/{}", ended.id);
            if self.backoff.left(&marker, now).is_none() && !self.waiting.contains_key(&marker) {
                self.backoff.failed(&key, now);
                self.waiting.insert(marker, (String::new(), String::new()));
                let first = ended.config.attempt == 0 && ended.exit_code == 0;
                if first {
                    self.backoff.forget(&key);
                }
            }
            if let Some(left) = self.backoff.left(&key, now) {
                let delay = self.backoff.delay(&key);
                let pod_name = format!(
                    "{}_{}",
                    pod.metadata.name.clone().unwrap_or_default(),
                    pod.metadata.namespace.clone().unwrap_or_default()
                );
                let message = format!(
                    "back-off {}s restarting failed container={} pod={pod_name}({})",
                    delay.as_secs(),
                    c.name,
                    pod.metadata.uid.clone().unwrap_or_default()
                );
                if self.waiting.get(&c.name).map(|w| w.0.as_str()) != Some("CrashLoopBackOff") {
                    self.shared.recorder.event(
                        &**pod,
                        EventType::Warning,
                        "BackOff",
                        format!("Back-off restarting failed container {} in pod {pod_name}", c.name),
                    );
                }
                self.wait(&c.name, "CrashLoopBackOff", &message);
                return Ok(Some(left));
            }
        }
        let image = match self.image(pod, c).await {
            Ok(image) => image,
            Err(wait) => return Err(wait),
        };
        match self.create(pod, sandbox, before, c, &image).await {
            Ok(()) => {
                self.waiting.remove(&c.name);
                Ok(None)
            }
            Err((reason, message)) => {
                self.shared.recorder.event(
                    &**pod,
                    EventType::Warning,
                    if reason == "FailedMount" { "FailedMount" } else { "Failed" },
                    format!("Error: {message}"),
                );
                let shown = if reason == "FailedMount" { "ContainerCreating" } else { reason };
                self.wait(&c.name, shown, &message);
                self.backoff.failed(&format!("create/{}", c.name), now);
                Err(self.backoff.delay(&format!("create/{}", c.name)).min(Duration::from_secs(20)))
            }
        }
    }

    /// The image of a container, pulled if its policy says so.
    async fn image(&mut self, pod: &Arc<Pod>, c: &Container) -> Result<ironclad_cri::Image, Duration> {
        let runtime = self.shared.config.runtime.clone();
        let name = c.image.clone().unwrap_or_default();
        let policy = c.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let there = runtime.image_status(&name).await.ok().flatten();
        let quoted = format!("{name:?}");
        match (there, policy) {
            (Some(image), "IfNotPresent" | "Never") => {
                let message =
                    format!("Container image {quoted} already present on machine and can be accessed by the pod");
                self.shared.recorder.event(&**pod, EventType::Normal, "Pulled", message);
                return Ok(image);
            }
            (None, "Never") => {
                let message = format!("Container image {quoted} is not present with pull policy of Never");
                self.shared.recorder.event(&**pod, EventType::Warning, "ErrImageNeverPull", message.clone());
                self.wait(&c.name, "ErrImageNeverPull", &message);
                return Err(Duration::from_secs(10));
            }
            _ => {}
        }
        let key = format!("image/{name}");
        if let Some(left) = self.backoff.left(&key, Instant::now()) {
            let message = format!("Back-off pulling image {quoted}");
            self.shared.recorder.event(&**pod, EventType::Normal, "BackOff", message.clone());
            self.wait(&c.name, "ImagePullBackOff", &message);
            return Err(left);
        }
        self.shared.recorder.event(&**pod, EventType::Normal, "Pulling", format!("Pulling image {quoted}"));
        let began = Instant::now();
        let auth = self.credentials(pod, &name).await;
        let request = PullRequest { image: name.clone(), auth, ..PullRequest::default() };
        let pulled = runtime.pull_image(request, None).await;
        let found = match pulled {
            Ok(id) => runtime.image_status(&id).await.ok().flatten(),
            Err(error) => {
                let message = format!("Failed to pull image {quoted}: {error}");
                self.shared.recorder.event(&**pod, EventType::Warning, "Failed", message);
                self.shared.recorder.event(&**pod, EventType::Warning, "Failed", "Error: ErrImagePull");
                self.wait(&c.name, "ErrImagePull", &error.to_string());
                self.backoff.failed(&key, Instant::now());
                return Err(Duration::from_secs(1));
            }
        };
        self.backoff.forget(&key);
        let image = found.ok_or(Duration::from_secs(2))?;
        let took = began.elapsed().as_millis() as f64 / 1000.0;
        let message = format!(
            "Successfully pulled image {quoted} in {took}s ({took}s including waiting). Image size: {} bytes.",
            image.size
        );
        self.shared.recorder.event(&**pod, EventType::Normal, "Pulled", message);
        Ok(image)
    }

    /// Credentials for an image's registry from the pod's pull secrets.
    async fn credentials(&self, pod: &Pod, image: &str) -> Vec<AuthConfig> {
        let registry = image.split('/').next().unwrap_or_default().to_owned();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(self.shared.config.client.clone(), &namespace);
        let mut out = Vec::new();
        for reference in pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()) {
            let Ok(Some(secret)) = api.get_opt(&reference.name).await else { continue };
            let Some(data) = secret.data.as_ref().and_then(|d| d.get(".dockerconfigjson")) else { continue };
            let Ok(config) = serde_json::from_slice::<serde_json::Value>(&data.0) else { continue };
            for (host, entry) in config["auths"].as_object().into_iter().flatten() {
                let host = host.trim_start_matches("https://").trim_start_matches("http://");
                if host.split('/').next() == Some(&registry) {
                    out.extend(auth(entry));
                }
            }
        }
        out
    }

    /// Makes and starts a container. The error is a reason and a message.
    async fn create(
        &mut self,
        pod: &Arc<Pod>,
        sandbox: &SandboxStatus,
        before: Option<&ContainerStatus>,
        c: &Container,
        image: &ironclad_cri::Image,
    ) -> Result<(), (&'static str, String)> {
        let config = self.shared.config.clone();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let host_network = pod.spec.as_ref().and_then(|s| s.host_network) == Some(true);
        let pod_ip =
            if host_network { config.node_ip.to_string() } else { sandbox.ips.first().cloned().unwrap_or_default() };
        if self.volumes.is_none() {
            self.volumes = Some(volumes::prepare(&config, pod, &pod_ip).await.map_err(|e| ("FailedMount", e))?);
        }
        let (maps, secrets) = self.referenced(&namespace, c).await?;
        let host_ip = config.node_ip.to_string();
        let sources = Sources {
            config_maps: &|n| maps.get(n).cloned(),
            secrets: &|n| secrets.get(n).cloned(),
            host_ip: &host_ip,
            pod_ip: &pod_ip,
        };
        let links = pod.spec.as_ref().and_then(|s| s.enable_service_links) != Some(false);
        let services = env::services(&self.shared.services, &namespace, links);
        let bad = |message: String| ("CreateContainerConfigError", message);
        let envs = env::variables(pod, c, &services, &sources).map_err(bad)?;
        let hosts = self.hosts(pod, &uid, &pod_ip).map_err(|e| bad(e.to_string()))?;
        let attempt = before.map_or(0, |b| b.config.attempt + 1);
        let empty = HashMap::new();
        let given = Given {
            image: &image.id,
            image_user: (image.uid, &image.username),
            attempt,
            envs,
            volumes: self.volumes.as_ref().unwrap_or(&empty),
            hosts: &hosts,
            memory: self.shared.memory,
        };
        let wanted = container::configure(&config, pod, c, given).map_err(bad)?;
        let id = config
            .runtime
            .create_container(&sandbox.id, wanted)
            .await
            .map_err(|e| ("CreateContainerError", e.to_string()))?;
        let recorder = &self.shared.recorder;
        recorder.event(&**pod, EventType::Normal, "Created", format!("Container created: {}", c.name));
        config.runtime.start_container(&id).await.map_err(|e| ("RunContainerError", e.to_string()))?;
        recorder.event(&**pod, EventType::Normal, "Started", format!("Container started: {}", c.name));
        if let Some(hook) = c.lifecycle.as_ref().and_then(|l| l.post_start.as_ref())
            && let Err(why) = self.hook(hook, c, &id, &pod_ip, Duration::from_mins(2)).await
        {
            recorder.event(&**pod, EventType::Warning, "FailedPostStartHook", format!("PostStartHook failed: {why}"));
            // The container must not run on without what its hook should have done.
            config
                .runtime
                .stop_container(&id, Duration::from_secs(2))
                .await
                .map_err(|e| ("PostStartHookError", e.to_string()))?;
        }
        Ok(())
    }

    async fn hook(
        &self,
        hook: &LifecycleHandler,
        c: &Container,
        id: &str,
        ip: &str,
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let output =
                self.shared.config.runtime.exec_sync(id, &command, Some(limit)).await.map_err(|e| e.to_string())?;
            return if output.exit_code == 0 {
                Ok(())
            } else {
                Err(format!("command exited with {}", output.exit_code))
            };
        }
        if let Some(get) = &hook.http_get {
            return match tokio::time::timeout(limit, crate::probe::http(get, ip, c)).await {
                Ok(outcome) => outcome,
                Err(_) => Err("it took too long".to_owned()),
            };
        }
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0) as u64).min(limit)).await;
        }
        Ok(())
    }

    /// The ConfigMaps and Secrets that a container's variables come from.
    async fn referenced(
        &self,
        namespace: &str,
        c: &Container,
    ) -> Result<(HashMap<String, ConfigMap>, HashMap<String, Secret>), (&'static str, String)> {
        let (mut maps, mut secrets) = (HashSet::new(), HashSet::new());
        for from in c.env_from.iter().flatten() {
            maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
            secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
        }
        for from in c.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            maps.extend(from.config_map_key_ref.iter().map(|r| r.name.clone()));
            secrets.extend(from.secret_key_ref.iter().map(|r| r.name.clone()));
        }
        let client = &self.shared.config.client;
        let bad = |e: kube::Error| ("CreateContainerConfigError", e.to_string());
        let (mut found_maps, mut found_secrets) = (HashMap::new(), HashMap::new());
        for name in maps {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            found_maps.extend(api.get_opt(&name).await.map_err(bad)?.map(|m| (name, m)));
        }
        for name in secrets {
            let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
            found_secrets.extend(api.get_opt(&name).await.map_err(bad)?.map(|s| (name, s)));
        }
        Ok((found_maps, found_secrets))
    }

    /// Writes the pod's `/etc/hosts`.
    fn hosts(&self, pod: &Pod, uid: &str, ip: &str) -> std::io::Result<PathBuf> {
        let path = self.shared.config.pod_dir(uid).join("etc-hosts");
        let spec = pod.spec.clone().unwrap_or_default();
        let mut text = String::new();
        if spec.host_network == Some(true) {
            text.push_str("# Kubernetes-managed hosts file (host network).\n");
            text.push_str(&std::fs::read_to_string("/etc/hosts").unwrap_or_default());
        } else {
            text.push_str("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
            let host = container::hostname(pod);
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            match spec.subdomain.filter(|s| !s.is_empty()) {
                Some(sub) => text.push_str(&format!(
                    "{ip}\t{host}.{sub}.{namespace}.svc.{}\t{host}\n",
                    self.shared.config.cluster_domain
                )),
                None => text.push_str(&format!("{ip}\t{host}\n")),
            }
        }
        for alias in spec.host_aliases.iter().flatten() {
            let names = alias.hostnames.clone().unwrap_or_default().join("\t");
            text.push_str(&format!("\n# Entries added by HostAliases.\n{}\t{names}\n", alias.ip));
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }

    async fn report(&mut self, pod: &Arc<Pod>, observed: &Observed) {
        let mut containers: HashMap<&str, Vec<&ContainerStatus>> = HashMap::new();
        observed.containers.iter().for_each(|c| containers.entry(name_of(c)).or_default().push(c));
        let spec = pod.spec.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (mut ready, mut started, mut messages) = (HashSet::new(), HashSet::new(), HashMap::new());
        let all: Vec<&Container> = spec.containers.iter().chain(spec.init_containers.iter().flatten()).collect();
        for status in &observed.containers {
            let Some(c) = all.iter().find(|c| c.name == name_of(status)) else { continue };
            let result = |kind| self.probes.result(&status.id, kind);
            let begun = c.startup_probe.is_none() || result(Kind::Startup) == Some(true);
            if status.state == ContainerState::Running && begun {
                started.insert(c.name.as_str());
                if c.readiness_probe.is_none() || result(Kind::Readiness) == Some(true) {
                    ready.insert(c.name.as_str());
                }
            }
            if status.state == ContainerState::Exited {
                messages.insert(status.id.as_str(), self.last_words(&uid, c, status));
            }
        }
        let waiting =
            self.waiting.iter().filter(|(k, _)| !k.contains('/')).map(|(k, v)| (k.as_str(), v.clone())).collect();
        let facts = Facts {
            containers,
            sandbox: observed.sandbox.is_some(),
            ips: self.ips(pod, observed),
            host_ip: self.shared.config.node_ip.to_string(),
            waiting,
            ready,
            started,
            messages,
        };
        self.send(pod, &json!(status(pod, &facts))).await;
    }

    fn last_words(&self, uid: &str, c: &Container, status: &ContainerStatus) -> String {
        let file = container::termination_file(&self.shared.config, uid, &c.name, status.config.attempt);
        let text = std::fs::read(file)
            .map(|b| String::from_utf8_lossy(&b[..b.len().min(4096)]).into_owned())
            .unwrap_or_default();
        if !text.is_empty()
            || c.termination_message_policy.as_deref() != Some("FallbackToLogsOnError")
            || status.exit_code == 0
        {
            return text;
        }
        let log = std::fs::read_to_string(&status.log_path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(80).filter_map(|l| l.splitn(4, ' ').nth(3)).collect();
        let text = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        text.chars().rev().take(2048).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// Sends the status where it differs from what was sent before.
    async fn send(&mut self, pod: &Pod, status: &serde_json::Value) {
        if self.reported.as_ref() == Some(status) || *status == json!(pod.status) {
            return;
        }
        let meta = &pod.metadata;
        let api: Api<Pod> =
            Api::namespaced(self.shared.config.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let patch = json!({"metadata": {"uid": meta.uid}, "status": status});
        match api
            .patch_status(meta.name.as_deref().unwrap_or_default(), &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => self.reported = Some(status.clone()),
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => {}
            Err(error) => tracing::warn!(pod = meta.name, %error, "cannot report the status"),
        }
    }

    async fn stop_sandbox(&self, observed: &Observed) {
        for sandbox in observed.sandboxes.iter().filter(|s| s.state == SandboxState::Ready) {
            if let Err(error) = self.shared.config.runtime.stop_pod_sandbox(&sandbox.id).await {
                tracing::warn!(%error, "cannot stop a sandbox");
            }
        }
    }

    /// Ends the pod: hooks, signals, grace; then its last status, and its object.
    async fn terminate(&mut self, pod: &Arc<Pod>, farewell: bool) {
        let (meta, spec) = (pod.metadata.clone(), pod.spec.clone().unwrap_or_default());
        let uid = meta.uid.clone().unwrap_or_default();
        let grace = meta.deletion_grace_period_seconds.or(spec.termination_grace_period_seconds).unwrap_or(30).max(0);
        let grace = Duration::from_secs(grace as u64);
        if let Ok(observed) = self.observe(&uid).await {
            let ip = self.ips(pod, &observed).into_iter().next().unwrap_or_default();
            let running = observed.containers.iter().filter(|c| c.state == ContainerState::Running);
            let stops = running.map(|status| self.stop(pod, &spec, status, grace, &ip));
            futures::future::join_all(stops).await;
            if let Ok(observed) = self.observe(&uid).await {
                if farewell {
                    self.report(pod, &observed).await;
                }
                self.stop_sandbox(&observed).await;
            }
        }
        self.clean(&uid).await;
        if !farewell {
            return;
        }
        let api: Api<Pod> =
            Api::namespaced(self.shared.config.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let preconditions = Preconditions { uid: Some(uid), resource_version: None };
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let name = meta.name.unwrap_or_default();
        for attempt in 1..=30u64 {
            match api.delete(&name, &now).await {
                Ok(_) => return,
                Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => return,
                Err(error) => tracing::warn!(pod = name, %error, "cannot remove the pod's object, will try again"),
            }
            tokio::time::sleep(Duration::from_secs(attempt.min(10))).await;
        }
    }

    async fn stop(
        &self,
        pod: &Arc<Pod>,
        spec: &k8s_openapi::api::core::v1::PodSpec,
        status: &ContainerStatus,
        grace: Duration,
        ip: &str,
    ) {
        let name = name_of(status);
        self.shared.recorder.event(&**pod, EventType::Normal, "Killing", format!("Stopping container {name}"));
        let began = Instant::now();
        let container = spec.containers.iter().find(|c| c.name == name);
        if let Some((c, hook)) = container.and_then(|c| Some((c, c.lifecycle.as_ref()?.pre_stop.as_ref()?)))
            && let Err(why) = self.hook(hook, c, &status.id, ip, grace).await
        {
            self.shared.recorder.event(
                &**pod,
                EventType::Warning,
                "FailedPreStopHook",
                format!("PreStopHook failed: {why}"),
            );
        }
        let left = grace.saturating_sub(began.elapsed()).max(Duration::from_secs(u64::from(!grace.is_zero()) * 2));
        if let Err(error) = self.shared.config.runtime.stop_container(&status.id, left).await {
            tracing::warn!(container = name, %error, "cannot stop a container");
        }
    }

    /// Removes everything of a pod from this node.
    async fn clean(&self, uid: &str) {
        let runtime = &self.shared.config.runtime;
        for sandbox in runtime.list_pod_sandboxes(Some(uid)).await.unwrap_or_default() {
            let stopped = runtime.stop_pod_sandbox(&sandbox.id).await;
            if let Err(error) = stopped.and(runtime.remove_pod_sandbox(&sandbox.id).await) {
                tracing::warn!(%error, "cannot remove a sandbox");
            }
            if let Err(error) = std::fs::remove_dir_all(&sandbox.config.log_directory) {
                tracing::debug!(%error, "no logs to remove");
            }
        }
        if let Err(error) = volumes::remove(&self.shared.config.pod_dir(uid)) {
            tracing::warn!(%error, "cannot remove a pod's directory");
        }
    }
}

fn auth(entry: &serde_json::Value) -> Option<AuthConfig> {
    use base64::Engine;
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if let Some(encoded) = entry["auth"].as_str() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let pair = String::from_utf8(decoded).ok()?;
        (username, password) = pair.split_once(':').map(|(u, p)| (u.to_owned(), p.to_owned()))?;
    }
    Some(AuthConfig { username, password, identity_token: text("identitytoken"), ..AuthConfig::default() })
}
