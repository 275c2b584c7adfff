//! Leader election: of several processes with one purpose the one that holds a Lease works (KEP-2887, client-go's rules).
//!
//! Invariants: work goes on only while the Lease was renewed within the renew deadline, and has ended before the Lease is
//! given back; whose Lease is over is told by this machine's clock alone, from when the Lease was seen to change last.

pub mod candidate;
mod record;

use crate::events::{EventType, Recorder, reference};
use crate::metrics;
use candidate::Candidate;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use record::Step;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// When a Lease is over, how long its holder tries to renew it, and how often everybody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// So long others wait after they saw the Lease change.
    pub lease: Duration,
    /// The holder stops working when it could not renew for so long; shorter than `lease`.
    pub renew: Duration,
    /// Between two tries.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// How the leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The token was cancelled.
    Stopped,
    /// The work came to its end by itself.
    Finished,
    /// The Lease could not be renewed, or somebody else has it.
    Lost,
}

/// An election about one Lease.
#[derive(Clone)]
pub struct Election {
    client: Client,
    namespace: String,
    name: String,
    identity: String,
    component: String,
    times: Times,
    /// Somebody else says who holds the Lease.
    coordinated: bool,
}

impl Election {
    /// An election about the Lease `namespace/name` for `component`; every candidate needs an identity of its own.
    pub fn new(client: Client, namespace: &str, name: &str, component: &str, identity: &str, times: Times) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            component: component.to_owned(),
            times,
            coordinated: false,
        }
    }

    /// The same where an elector chooses among candidates (KEP-4355): the Lease is only renewed, and only as long as the
    /// elector prefers nobody else.
    #[must_use]
    pub fn coordinated(self) -> Self {
        Self { coordinated: true, ..self }
    }

    /// The candidate that an elector chooses for this election, a program of this version.
    pub fn candidate(&self, version: &str) -> Candidate {
        Candidate {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            name: self.identity.clone(),
            lease: self.name.clone(),
            version: version.to_owned(),
        }
    }

    /// Waits until this process leads, then works until the token is cancelled or the lead is lost. The token that
    /// `work` gets is cancelled at its end; the Lease is given back once the work has ended.
    pub async fn lead<F, W>(&self, token: &CancellationToken, work: F) -> Ended
    where
        F: FnOnce(CancellationToken) -> W,
        W: Future<Output = ()>,
    {
        let mut holding = Holding { election: self, seen: None };
        metrics::LEADS.set(&[("name", &self.name)], 0.0);
        tokio::select! {
            () = token.cancelled() => return Ended::Stopped,
            () = holding.acquire() => {}
        }
        metrics::LEADS.set(&[("name", &self.name)], 1.0);
        tracing::info!(lease = self.name, identity = self.identity, "leads now");
        self.tell(&holding, "became leader");
        let working = token.child_token();
        let mut work = std::pin::pin!(work(working.clone()));
        let ended = tokio::select! {
            () = &mut work => return self.end(&mut holding, if token.is_cancelled() { Ended::Stopped } else { Ended::Finished }).await,
            () = token.cancelled() => Ended::Stopped,
            () = holding.renew() => Ended::Lost,
        };
        working.cancel();
        work.await;
        self.end(&mut holding, ended).await
    }

    async fn end(&self, holding: &mut Holding<'_>, ended: Ended) -> Ended {
        metrics::LEADS.set(&[("name", &self.name)], 0.0);
        if ended == Ended::Lost {
            tracing::error!(lease = self.name, identity = self.identity, "leads no longer");
        } else {
            holding.release().await;
        }
        self.tell(holding, "stopped leading");
        ended
    }

    fn tell(&self, holding: &Holding<'_>, what: &str) {
        if let Some((lease, _)) = &holding.seen {
            let recorder = Recorder::new(self.client.clone(), &self.component, "");
            let message = format!("{} {what}", self.identity);
            recorder.event_on(reference(lease), EventType::Normal, "LeaderElection", message);
        }
    }
}

/// The Lease as it was seen last, and when it was seen to have changed.
struct Holding<'a> {
    election: &'a Election,
    seen: Option<(Lease, Instant)>,
}

impl Holding<'_> {
    /// Tries until the Lease is held.
    async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, lease = self.election.name, "cannot take the lease"),
            }
            // Candidates that began together do not stay together.
            tokio::time::sleep(self.election.times.retry.mul_f64(1.0 + fastrand::f64() * 1.2)).await;
        }
    }

    /// Renews until that fails for too long, or somebody else has the Lease.
    async fn renew(&mut self) {
        let times = self.election.times;
        let mut last = Instant::now();
        loop {
            tokio::time::sleep(times.retry).await;
            let left = (last + times.renew).saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Ok(true)) => last = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, lease = self.election.name, "cannot renew the lease"),
                Err(_) => return,
            }
        }
    }

    /// Takes or renews the Lease if that may be done now; says whether it is held.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let election = self.election;
        let api: Api<Lease> = Api::namespaced(election.client.clone(), &election.namespace);
        let found = api.get_opt(&election.name).await?;
        if let Some(found) = &found {
            let changed = self.seen.as_ref().is_none_or(|(seen, _)| seen.spec != found.spec);
            let since = self.seen.as_ref().filter(|_| !changed).map_or_else(Instant::now, |(_, since)| *since);
            self.seen = Some((found.clone(), since));
        }
        let since = self.seen.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        let identity = &election.identity;
        let (lease, now) = (election.times.lease, Timestamp::now());
        let step = match election.coordinated {
            true => record::renewal(found, identity, since.elapsed(), lease, now),
            false => record::step(found, identity, since.elapsed(), lease, now),
        };
        let done = match step {
            Step::Wait => return Ok(false),
            Step::Create(spec) => {
                let mut lease = Lease { spec: Some(spec), ..Lease::default() };
                lease.metadata.name = Some(election.name.clone());
                api.create(&PostParams::default(), &lease).await
            }
            Step::Replace(lease) => api.replace(&election.name, &PostParams::default(), &lease).await,
        };
        match done {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(true)
            }
            // Somebody was faster; who it was shows the next time.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the Lease back, so that nobody has to wait for its end.
    async fn release(&mut self) {
        let election = self.election;
        let given = async {
            loop {
                match self.give_back().await {
                    // A renewal that was broken off may still have come in between.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    done => return done,
                }
            }
        };
        match tokio::time::timeout(election.times.renew, given).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, lease = election.name, "cannot give the lease back"),
            Err(_) => tracing::warn!(lease = election.name, "cannot give the lease back in time"),
        }
    }

    async fn give_back(&mut self) -> Result<(), kube::Error> {
        let election = self.election;
        let api: Api<Lease> = Api::namespaced(election.client.clone(), &election.namespace);
        let Some(found) = api.get_opt(&election.name).await? else { return Ok(()) };
        let holder = found.spec.as_ref().and_then(|s| s.holder_identity.as_ref());
        if holder != Some(&election.identity) {
            return Ok(());
        }
        let given = record::given_back(found, Timestamp::now());
        let lease = api.replace(&election.name, &PostParams::default(), &given).await?;
        self.seen = Some((lease, Instant::now()));
        Ok(())
    }
}
