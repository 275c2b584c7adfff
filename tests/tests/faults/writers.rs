//! Clients that create, patch and delete one ConfigMap each, over and over, at whichever server answers.
//!
//! Every write expects the state before it, so that it is clear what each acknowledgement stands for. Where no answer
//! came a writer looks what is there: its last acknowledged write, or one of those that were not answered.

use ironclad_tests::parts::Place;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longer than a server takes for an answer, whatever it is.
const PATIENCE: Duration = Duration::from_secs(45);
/// Patches between a create and a delete.
const PATCHES: u64 = 6;
/// Says that nothing more comes.
pub(crate) const END: &str = "end";

pub(crate) type Maps = [Api<ConfigMap>; 2];

pub(crate) async fn clients(place: &Place) -> Maps {
    let mut clients = Vec::new();
    for server in [0, 1] {
        let config = Kubeconfig::read_from(place.kubeconfig("admin", "system:masters", server)).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("a config");
        // A write that the client repeats could be refused for what it did the first time.
        config.default_retry = false;
        clients.push(Api::default_namespaced(Client::try_from(config).expect("a client")));
    }
    clients.try_into().unwrap_or_else(|_| unreachable!("there are two"))
}

/// The newest revision.
pub(crate) async fn newest(maps: &Maps) -> String {
    maps[0].list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("a revision")
}

pub(crate) async fn say_the_end(maps: &Maps) {
    maps[0].create(&PostParams::default(), &map(END, 0)).await.expect("the last write");
}

/// One acknowledged write: of the object with this number in it, at this revision; or its removal.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put { name: String, number: u64, revision: u64 },
    Removed { name: String, number: u64 },
}

/// What all writers did.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) writes: Vec<Write>,
    pub(crate) unanswered: usize,
}

impl Record {
    pub(crate) fn acknowledged(&self) -> usize {
        self.writes.len()
    }
}

pub(crate) struct Writers {
    tasks: JoinSet<Record>,
    stop: Arc<AtomicBool>,
    /// When each had its last acknowledgement.
    last: watch::Receiver<Vec<Instant>>,
}

impl Writers {
    pub(crate) fn start(maps: Maps, number: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, last) = watch::channel(vec![Instant::now(); number]);
        let mut tasks = JoinSet::new();
        for n in 0..number {
            let name = format!("w{n}");
            let (maps, told, stop) = (maps.clone(), told.clone(), stop.clone());
            let writer =
                Writer { name, maps, server: n % 2, state: None, unanswered: Vec::new(), record: Record::default() };
            tasks.spawn(async move {
                let tell = || told.send_modify(|last| last[n] = Instant::now());
                writer.write(&stop, tell).await
            });
        }
        Self { tasks, stop, last }
    }

    /// Waits until everybody has had an acknowledgement since then: when the first and when the last one came.
    pub(crate) async fn all_since(&self, then: Instant) -> (Instant, Instant) {
        let mut last = self.last.clone();
        let mut first = None;
        let all = async {
            loop {
                let (newest, oldest) = {
                    let last = last.borrow_and_update();
                    (last.iter().max().copied(), last.iter().min().copied())
                };
                first = first.or(newest.filter(|at| *at > then));
                if oldest.is_some_and(|at| at > then) {
                    return;
                }
                last.changed().await.expect("the writers write");
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("writing goes on");
        (first.unwrap_or(then), Instant::now())
    }

    pub(crate) async fn stop(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        let mut whole = Record::default();
        for record in self.tasks.join_all().await {
            whole.writes.extend(record.writes);
            whole.unanswered += record.unanswered;
        }
        whole
    }
}

/// The number that stands in an object, and its revision.
type State = Option<(u64, u64)>;

struct Writer {
    name: String,
    maps: Maps,
    server: usize,
    state: State,
    /// What may be there instead of `state`: what writes without an answer would have made.
    unanswered: Vec<Option<u64>>,
    record: Record,
}

impl Writer {
    async fn write(mut self, stop: &AtomicBool, tell: impl Fn()) -> Record {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let remove = self.state.is_some() && number % (PATCHES + 2) == 0;
            match tokio::time::timeout(PATIENCE, self.step(number, remove)).await {
                Ok(Ok(state)) => {
                    self.acknowledged(state);
                    tell();
                    continue;
                }
                // It was not carried out, for something else is there.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {}
                _ => {
                    self.record.unanswered += 1;
                    self.unanswered.push((!remove).then_some(number));
                    self.server = 1 - self.server;
                }
            }
            self.look().await;
        }
        self.look().await;
        self.record
    }

    /// One write on top of the state.
    async fn step(&self, number: u64, remove: bool) -> Result<State, kube::Error> {
        let maps = &self.maps[self.server];
        let Some((_, revision)) = self.state else {
            return Ok(state(&maps.create(&PostParams::default(), &map(&self.name, number)).await?));
        };
        let revision = revision.to_string();
        if remove {
            let preconditions = Some(Preconditions { resource_version: Some(revision), uid: None });
            maps.delete(&self.name, &DeleteParams { preconditions, ..DeleteParams::default() }).await?;
            return Ok(None);
        }
        let mut next = map(&self.name, number);
        next.metadata.resource_version = Some(revision);
        Ok(state(&maps.patch(&self.name, &PatchParams::default(), &Patch::Merge(&next)).await?))
    }

    fn acknowledged(&mut self, now: State) {
        let name = self.name.clone();
        self.record.writes.push(match (now, self.state) {
            (Some((number, revision)), _) => Write::Put { name, number, revision },
            (None, Some((number, _))) => Write::Removed { name, number },
            (None, None) => unreachable!("only what is there is removed"),
        });
        self.state = now;
        // Whatever expected an older state cannot be carried out any more.
        self.unanswered.clear();
    }

    /// Finds out what is there.
    async fn look(&mut self) {
        let found = loop {
            match tokio::time::timeout(PATIENCE, self.maps[self.server].get_opt(&self.name)).await {
                Ok(Ok(found)) => break found.as_ref().and_then(state),
                _ => self.server = 1 - self.server,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let possible = found == self.state || self.unanswered.contains(&found.map(|(number, _)| number));
        assert!(
            possible,
            "{}: {found:?} is there, acknowledged was {:?}, without answer {:?}",
            self.name, self.state, self.unanswered
        );
        self.state = found;
    }
}

fn map(name: &str, number: u64) -> ConfigMap {
    let mut map = ConfigMap { data: Some(BTreeMap::from([("n".into(), number.to_string())])), ..ConfigMap::default() };
    map.metadata.name = Some(name.to_owned());
    map
}

/// The number in an object and its revision.
pub(crate) fn state(map: &ConfigMap) -> State {
    let number = map.data.as_ref()?.get("n")?.parse().ok()?;
    Some((number, map.resource_version()?.parse().ok()?))
}
