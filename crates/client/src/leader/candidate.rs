//! A candidate of coordinated leader election (KEP-4355): an object that says which Lease a process wants and that it is
//! still there. An elector beside the API server gives the Lease to the best of them.
//!
//! Invariant: an elector that asks is answered at once; who is asked nothing says every few minutes that it is there.

use crate::{Change, Informers, WorkQueue};
use k8s_openapi::api::coordination::v1beta1::{LeaseCandidate, LeaseCandidateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{Api, PostParams};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a candidate says by itself that it is there.
const PERIOD: Duration = Duration::from_mins(5);
/// Between two tries when the API server does not answer.
const RETRY: Duration = Duration::from_secs(2);
const STRATEGY: &str = "OldestEmulationVersion";

/// A process that wants a Lease.
#[derive(Clone)]
pub struct Candidate {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) lease: String,
    pub(super) version: String,
}

/// What to do with the candidate's object as it is.
#[derive(Debug, PartialEq)]
enum Step {
    /// It says all that was asked.
    Nothing,
    Create(LeaseCandidateSpec),
    Replace(LeaseCandidate),
}

fn step(found: Option<LeaseCandidate>, lease: &str, version: &str, now: Timestamp) -> Step {
    let due = now - SignedDuration::try_from(PERIOD).unwrap_or_default();
    let wanted = |ping| LeaseCandidateSpec {
        lease_name: lease.to_owned(),
        binary_version: version.to_owned(),
        emulation_version: Some(version.to_owned()),
        strategy: STRATEGY.to_owned(),
        ping_time: ping,
        renew_time: Some(MicroTime(now)),
    };
    let Some(mut found) = found else { return Step::Create(wanted(None)) };
    let (pinged, renewed) = (&found.spec.ping_time, &found.spec.renew_time);
    let same = found.spec.lease_name == lease && found.spec.binary_version == version;
    let told = renewed.as_ref().is_some_and(|r| r.0 > due && pinged.as_ref().is_none_or(|p| p.0 <= r.0));
    if same && told {
        return Step::Nothing;
    }
    found.spec = wanted(pinged.clone());
    Step::Replace(found)
}

impl Candidate {
    /// Is a candidate until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let informers = Informers::new(self.client.clone(), token.clone());
        let candidates = informers.get::<LeaseCandidate>();
        let queue: Arc<WorkQueue<&'static str>> = WorkQueue::new();
        let (add, namespace, name) = (queue.clone(), self.namespace.clone(), self.name.clone());
        candidates.on_change(move |change: &Change<LeaseCandidate>| {
            let metadata = &change.object().metadata;
            if metadata.name.as_ref() == Some(&name) && metadata.namespace.as_ref() == Some(&namespace) {
                add.add("own");
            }
        });
        queue.add("own");
        loop {
            let asked = tokio::select! {
                () = token.cancelled() => return,
                asked = tokio::time::timeout(PERIOD, queue.next()) => asked,
            };
            match self.tell().await {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if status.code == 409 => queue.add("own"),
                Err(error) => {
                    tracing::warn!(%error, candidate = self.name, "cannot be a candidate");
                    tokio::time::sleep(RETRY).await;
                    queue.add("own");
                }
            }
            if let Ok(Some(key)) = asked {
                queue.done(&key);
            }
        }
    }

    /// Says that it is there, where that is asked or due.
    async fn tell(&self) -> Result<(), kube::Error> {
        let api: Api<LeaseCandidate> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get_opt(&self.name).await?;
        match step(found, &self.lease, &self.version, Timestamp::now()) {
            Step::Nothing => Ok(()),
            Step::Create(spec) => {
                let mut candidate = LeaseCandidate { spec, ..LeaseCandidate::default() };
                candidate.metadata.name = Some(self.name.clone());
                api.create(&PostParams::default(), &candidate).await.map(drop)
            }
            Step::Replace(candidate) => api.replace(&self.name, &PostParams::default(), &candidate).await.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_answers_and_who_is_not_says_nothing() {
        let now = Timestamp::now();
        let before = MicroTime(now - SignedDuration::from_secs(10));
        let Step::Create(spec) = step(None, "work", "1.37.0", now) else { panic!("it must be made") };
        assert_eq!((spec.lease_name.as_str(), spec.strategy.as_str()), ("work", STRATEGY));
        let with = |ping: Option<MicroTime>, renew| {
            let spec = LeaseCandidateSpec { ping_time: ping, renew_time: renew, ..spec.clone() };
            LeaseCandidate { spec, ..LeaseCandidate::default() }
        };
        let steps = |candidate| match step(Some(candidate), "work", "1.37.0", now) {
            Step::Replace(new) => new.spec.renew_time,
            _ => None,
        };
        let asked = Some(MicroTime(now));
        assert_eq!(steps(with(None, Some(before.clone()))), None);
        assert_eq!(steps(with(asked.clone(), Some(before.clone()))), asked);
        assert_eq!(steps(with(Some(before), asked.clone())), None);
        assert_eq!(steps(with(None, None)), asked);
    }
}
