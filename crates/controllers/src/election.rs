//! Coordinated leader election (KEP-4355): gives the Leases that LeaseCandidates ask for to the best of them, and
//! removes candidates that are over. It runs beside the API server, on one server at a time.
//!
//! Invariant: all that is known of an election stands in the Lease and its candidates, so that anybody can go on with it.

mod choice;

use crate::{is_conflict, is_missing};
use choice::{ELECTION, Step};
use ironclad_client::{Change, Client, Informer, Informers, ObjectKey, WorkQueue};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::coordination::v1beta1::LeaseCandidate;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BY_LEASE: &str = "lease";
/// When a Lease is looked at again: nobody tells that one is over, or that an answer did not come.
const AGAIN: Duration = ELECTION.unsigned_abs();
/// How often candidates that are over are looked for.
const SWEEP: Duration = Duration::from_mins(30);

#[derive(Clone)]
struct Elector {
    client: Client,
    leases: Arc<Informer<Lease>>,
    candidates: Arc<Informer<LeaseCandidate>>,
}

fn wanted(candidate: &LeaseCandidate) -> ObjectKey {
    ObjectKey::new(candidate.metadata.namespace.as_deref().unwrap_or_default(), &candidate.spec.lease_name)
}

/// Elects until `token` is cancelled.
pub async fn run(client: Client, informers: Informers, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let (leases, candidates) = (informers.get::<Lease>(), informers.get::<LeaseCandidate>());
    candidates.add_index(BY_LEASE, |c| vec![wanted(c).to_string()]);
    let add = queue.clone();
    candidates.on_change(move |change| {
        // Who was just asked is in an election already.
        if !choice::pending(change.object()) || matches!(change, Change::Deleted(_)) {
            add.add(wanted(change.object()));
        }
    });
    let (add, known) = (queue.clone(), candidates.clone());
    leases.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        if !known.by_index(BY_LEASE, &key.to_string()).is_empty() {
            add.add(key);
        }
    });
    leases.synced().await;
    candidates.synced().await;
    let elector = Elector { client, leases, candidates };
    let sweeper = elector.clone();
    let work = move |key: ObjectKey| {
        let elector = elector.clone();
        async move { elector.step(&key).await }
    };
    tokio::select! {
        () = queue.run("leader-election-controller", 1, token.clone(), work) => {}
        () = sweeper.sweep() => {}
    }
}

impl Elector {
    async fn step(&self, key: &ObjectKey) -> Result<Option<Duration>, kube::Error> {
        let candidates = self.candidates.by_index(BY_LEASE, &key.to_string());
        let lease = self.leases.get_key(key);
        let done = match choice::next(lease.as_deref(), &candidates, Timestamp::now()) {
            Step::Nothing => return Ok(None),
            Step::Wait => Ok(()),
            Step::Ask(names) => {
                let asked = candidates.iter().filter(|c| c.metadata.name.as_ref().is_some_and(|n| names.contains(n)));
                futures::future::try_join_all(asked.map(|c| self.ask(c))).await.map(drop)
            }
            Step::Elect { strategy, holder } => self.elect(key, &strategy, holder.as_deref()).await,
            Step::Stuck(why) => {
                tracing::warn!(lease = %key, why, "nobody can be elected");
                Ok(())
            }
        };
        match done {
            // Somebody was faster: what it is now comes with the watch.
            Err(error) if !is_conflict(&error) && !is_missing(&error) => Err(error),
            _ => Ok(Some(AGAIN)),
        }
    }

    async fn ask(&self, candidate: &LeaseCandidate) -> Result<(), kube::Error> {
        let mut asked = candidate.clone();
        let name = asked.metadata.name.clone().unwrap_or_default();
        asked.spec.ping_time = Some(MicroTime(Timestamp::now()));
        let api: Api<LeaseCandidate> = self.api(candidate);
        api.replace(&name, &PostParams::default(), &asked).await.map(drop)
    }

    async fn elect(&self, key: &ObjectKey, strategy: &str, holder: Option<&str>) -> Result<(), kube::Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = api.get_opt(&key.name).await?;
        let exists = found.is_some();
        let mut lease = choice::led(found.clone(), strategy, holder, Timestamp::now());
        if found.as_ref() == Some(&lease) {
            return Ok(());
        }
        tracing::info!(lease = %key, holder, strategy, "a leader is elected");
        if exists {
            return api.replace(&key.name, &PostParams::default(), &lease).await.map(drop);
        }
        lease.metadata.name = Some(key.name.clone());
        api.create(&PostParams::default(), &lease).await.map(drop)
    }

    fn api(&self, candidate: &LeaseCandidate) -> Api<LeaseCandidate> {
        Api::namespaced(self.client.clone(), candidate.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// Removes candidates that are over, from time to time.
    async fn sweep(&self) {
        loop {
            for candidate in self.candidates.list() {
                if !choice::candidate_over(&candidate, Timestamp::now()) {
                    continue;
                }
                let meta = &candidate.metadata;
                let preconditions =
                    Preconditions { resource_version: meta.resource_version.clone(), uid: meta.uid.clone() };
                let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                let name = meta.name.as_deref().unwrap_or_default();
                match self.api(&candidate).delete(name, &options).await {
                    Err(error) if !is_missing(&error) && !is_conflict(&error) => {
                        tracing::warn!(%error, name, "cannot remove a candidate that is over");
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(SWEEP).await;
        }
    }
}
