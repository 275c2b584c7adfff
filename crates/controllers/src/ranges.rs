//! ServiceCIDRs: a range is ready once it has its finalizer, and goes when no address relies on it any more.

use crate::{Context, is_conflict, is_missing};
use ipnet::IpNet;
use ironclad_client::{Change, Informer, ObjectKey, WorkQueue};
use ironclad_json::{Value, json};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGER: &str = "service-cidr-controller";
/// How long a range that nobody uses is kept, so that everybody who gives out addresses knows that it goes.
const GRACE: Duration = Duration::from_secs(10);
const IN_USE: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

struct Controller {
    context: Context,
    ranges: Arc<Informer<ServiceCIDR>>,
    addresses: Arc<Informer<IPAddress>>,
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let (ranges, addresses) = (context.informers.get::<ServiceCIDR>(), context.informers.get::<IPAddress>());
    addresses.synced().await;
    let (add, known) = (queue.clone(), ranges.clone());
    let ask_deleting = move |queue: &WorkQueue<ObjectKey>| {
        let deleting = known.list().into_iter().filter(|r| r.metadata.deletion_timestamp.is_some());
        deleting.for_each(|r| queue.add(ObjectKey::of(&*r)));
    };
    let ask = ask_deleting.clone();
    ranges.on_change(move |change| match change {
        // A new range may take over the addresses of one that goes.
        Change::Added(range) => {
            add.add(ObjectKey::of(&**range));
            ask(&add);
        }
        Change::Modified { new: range, .. } => add.add(ObjectKey::of(&**range)),
        Change::Deleted(_) => {}
    });
    let add = queue.clone();
    addresses.on_change(move |change| {
        if matches!(change, Change::Deleted(_)) {
            ask_deleting(&add);
        }
    });
    let controller = Arc::new(Controller { context, ranges, addresses });
    let work = move |key: ObjectKey| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    };
    queue.run("service-cidrs", 1, token, work).await;
}

/// What is to be done about a range.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Protect,
    Ready,
    /// It goes, and addresses rely on it.
    Keep,
    /// Nobody relies on it; it goes after its time.
    Release(Duration),
}

fn nets(range: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let texts = range.spec.iter().flat_map(|s| s.cidrs.iter().flatten());
    texts.filter_map(|c| c.parse().ok())
}

fn name(range: &ServiceCIDR) -> &str {
    range.metadata.name.as_deref().unwrap_or_default()
}

/// Whether an address lies in the range and in no other that stays.
fn is_relied_on(range: &ServiceCIDR, others: &[Arc<ServiceCIDR>], addresses: &[IpAddr]) -> bool {
    let staying = others.iter().filter(|o| name(o) != name(range) && o.metadata.deletion_timestamp.is_none());
    let staying: Vec<IpNet> = staying.flat_map(|o| nets(o)).collect();
    let own: Vec<IpNet> = nets(range).collect();
    addresses.iter().any(|ip| own.iter().any(|n| n.contains(ip)) && !staying.iter().any(|n| n.contains(ip)))
}

fn condition<'a>(range: &'a ServiceCIDR, status: &str) -> Option<&'a str> {
    let conditions = range.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().find(|c| c.type_ == "Ready" && c.status == status).map(|c| c.reason.as_str())
}

fn step(range: &ServiceCIDR, others: &[Arc<ServiceCIDR>], addresses: &[IpAddr], now: Timestamp) -> Step {
    let protected = range.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    let Some(deleted) = &range.metadata.deletion_timestamp else {
        return match (protected, condition(range, "True")) {
            (false, _) => Step::Protect,
            (true, None) => Step::Ready,
            (true, Some(_)) => Step::Nothing,
        };
    };
    if !protected {
        return Step::Nothing;
    }
    if is_relied_on(range, others, addresses) {
        return if condition(range, "False") == Some("Terminating") { Step::Nothing } else { Step::Keep };
    }
    let since = Duration::try_from(now.duration_since(deleted.0)).unwrap_or_default();
    Step::Release(GRACE.saturating_sub(since))
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Option<Duration>, kube::Error> {
        let Some(range) = self.ranges.get_key(key) else { return Ok(None) };
        let names = self.addresses.list().into_iter().filter_map(|a| a.metadata.name.as_deref()?.parse().ok());
        let addresses: Vec<IpAddr> = names.collect();
        let mut finalizers = range.metadata.finalizers.clone().unwrap_or_default();
        match step(&range, &self.ranges.list(), &addresses, Timestamp::now()) {
            Step::Nothing => return Ok(None),
            Step::Ready => return self.say(&range, "True", "", "Kubernetes Service CIDR is ready").await,
            Step::Keep => return self.say(&range, "False", "Terminating", IN_USE).await,
            Step::Protect => finalizers.push(FINALIZER.to_owned()),
            Step::Release(wait) if !wait.is_zero() => return Ok(Some(wait)),
            Step::Release(_) => finalizers.retain(|f| f != FINALIZER),
        }
        let patch = json!({"metadata": {
            "uid": range.metadata.uid, "resourceVersion": range.metadata.resource_version, "finalizers": finalizers,
        }});
        let api: Api<ServiceCIDR> = Api::all(self.context.client.clone());
        settled(api.patch(name(&range), &PatchParams::default(), &Patch::Merge(patch)).await)
    }

    async fn say(
        &self,
        range: &ServiceCIDR,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Result<Option<Duration>, kube::Error> {
        let condition: Value = json!({"type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": ironclad_api::time::now()});
        let apply = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": name(range)}, "status": {"conditions": [condition]}});
        let api: Api<ServiceCIDR> = Api::all(self.context.client.clone());
        settled(api.patch_status(name(range), &PatchParams::apply(MANAGER).force(), &Patch::Apply(apply)).await)
    }
}

/// Who was faster, or took the range away, brings the change here.
fn settled(result: Result<ServiceCIDR, kube::Error>) -> Result<Option<Duration>, kube::Error> {
    match result {
        Err(error) if is_missing(&error) || is_conflict(&error) => Ok(None),
        other => other.map(|_| None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidr: &str, deleted: Option<&str>, ready: &str) -> ServiceCIDR {
        let mut object = json!({"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [cidr]},
            "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "Terminating", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        if let Some(deleted) = deleted {
            object["metadata"]["deletionTimestamp"] = json!(deleted);
        }
        ironclad_json::from_value(object).unwrap()
    }

    #[test]
    fn a_range_gets_ready_and_goes_when_no_address_relies_on_it() {
        let now: Timestamp = "2026-01-01T00:00:04Z".parse().unwrap();
        let deleted = Some("2026-01-01T00:00:00Z");
        let at = |range: &ServiceCIDR, others: &[Arc<ServiceCIDR>], ips: &[&str]| {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            step(range, others, &ips, now)
        };
        let mut fresh = range("a", "10.0.0.0/24", None, "False");
        assert_eq!(at(&fresh, &[], &[]), Step::Ready);
        fresh.metadata.finalizers = None;
        assert_eq!(at(&fresh, &[], &[]), Step::Protect);
        assert_eq!(at(&range("a", "10.0.0.0/24", None, "True"), &[], &[]), Step::Nothing);
        let going = range("a", "10.0.0.0/24", deleted, "True");
        assert_eq!(at(&going, &[], &["10.0.0.5"]), Step::Keep);
        assert_eq!(at(&range("a", "10.0.0.0/24", deleted, "False"), &[], &["10.0.0.5"]), Step::Nothing);
        let other = Arc::new(range("b", "10.0.0.0/16", None, "True"));
        assert_eq!(at(&going, &[other], &["10.0.0.5"]), Step::Release(Duration::from_secs(6)));
        assert_eq!(at(&going, &[], &["10.0.1.5"]), Step::Release(Duration::from_secs(6)));
    }
}
