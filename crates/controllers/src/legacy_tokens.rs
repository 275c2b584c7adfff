//! Tokens without end that the cluster once made by itself, of which nobody makes use any more: marked first, so that
//! they count no more, and removed when nobody missed them.
//!
//! Invariant: only what its account names as its own is touched, what no pod mounts, and nothing before a whole period
//! of watching has passed.

use crate::{Context, is_conflict, is_missing};
use ironclad_client::{Change, Informer, WorkQueue};
use ironclad_json::{Value, json};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// How long until something is looked at again whose end nobody can tell.
const DAY: Duration = Duration::from_hours(24);

type Key = (String, String);

/// What a Secret's neighbours say of it.
#[derive(Clone, Copy, Debug)]
struct Around {
    /// Its account names it as its own.
    listed: bool,
    /// A pod mounts it.
    mounted: bool,
    /// The day on which uses of tokens began to be noted.
    since: Option<Date>,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Later(Duration),
    Invalidate(String),
    Delete,
}

fn day(text: &str) -> Option<Date> {
    Date::strptime("%Y-%m-%d", text).ok()
}

/// When a day is over, and a period behind it.
fn over(day: Date, period: Duration) -> Option<Timestamp> {
    let next = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    next.checked_add(SignedDuration::try_from(period).ok()?).ok()
}

/// Waits until then, if that is to come.
fn until(end: Timestamp, now: Timestamp) -> Option<Step> {
    let left = end.as_second() - now.as_second();
    (left > 0).then(|| Step::Later(Duration::from_secs(left as u64)))
}

fn next(secret: &Secret, around: Around, period: Duration, now: Timestamp) -> Step {
    let meta = &secret.metadata;
    if secret.type_.as_deref() != Some(TYPE) || meta.deletion_timestamp.is_some() || !around.listed {
        return Step::Nothing;
    }
    let Some(tracked) = around.since.and_then(|since| over(since, period)) else { return Step::Nothing };
    let created = meta.creation_timestamp.as_ref().map(|t| t.0);
    let grown = created.and_then(|at| at.checked_add(SignedDuration::try_from(period).ok()?).ok());
    let Some(grown) = grown else { return Step::Nothing };
    let label = |key: &str| meta.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str);
    let unused = match label(LAST_USED).map(day) {
        None => Some(tracked),
        // What cannot be read says nothing.
        Some(None) => return Step::Nothing,
        Some(Some(last)) => over(last, period),
    };
    let Some(unused) = unused else { return Step::Nothing };
    if let Some(wait) = until(tracked.max(grown).max(unused), now) {
        return wait;
    }
    if around.mounted {
        return Step::Later(DAY);
    }
    match label(INVALID_SINCE).and_then(day).map(|since| over(since, period)) {
        None => Step::Invalidate(now.strftime("%Y-%m-%d").to_string()),
        Some(None) => Step::Nothing,
        Some(Some(end)) => until(end, now).unwrap_or(Step::Delete),
    }
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<Key>> = WorkQueue::new();
    let secrets = context.informers.get::<Secret>();
    let add = queue.clone();
    secrets.on_change(move |c| {
        let meta = &c.object().metadata;
        if c.object().type_.as_deref() == Some(TYPE) && !matches!(c, Change::Deleted(_)) {
            add.add((meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()));
        }
    });
    let accounts = context.informers.get::<ServiceAccount>();
    let add = queue.clone();
    accounts.on_change(move |c| {
        let namespace = c.object().metadata.namespace.clone().unwrap_or_default();
        for secret in c.object().secrets.iter().flatten().filter_map(|s| s.name.clone()) {
            add.add((namespace.clone(), secret));
        }
    });
    let maps = context.informers.get::<ConfigMap>();
    let pods = context.informers.get::<Pod>();
    secrets.synced().await;
    accounts.synced().await;
    maps.synced().await;
    pods.synced().await;
    let work = move |(namespace, name): Key| {
        let (context, secrets, accounts, maps, pods) =
            (context.clone(), secrets.clone(), accounts.clone(), maps.clone(), pods.clone());
        async move {
            let Some(secret) = secrets.get(&namespace, &name) else { return Ok(None) };
            let listed = is_listed(&secret, &accounts);
            let tracking = maps.get("kube-system", TRACKING);
            let around = Around {
                listed,
                mounted: listed && pods.list_namespace(&namespace).iter().any(|pod| mounts(pod, &name)),
                since: tracking.and_then(|m| day(m.data.as_ref()?.get("since")?)),
            };
            act(&context, &secret, next(&secret, around, context.token_clean_up_period, Timestamp::now())).await
        }
    };
    queue.run("legacy-service-account-token-cleaner", 1, token, work).await;
}

fn is_listed(secret: &Secret, accounts: &Informer<ServiceAccount>) -> bool {
    let of = |key: &str| secret.metadata.annotations.as_ref().and_then(|a| a.get(key)).map(String::as_str);
    let Some(account) = of(ACCOUNT) else { return false };
    let Some(account) = accounts.get(secret.metadata.namespace.as_deref().unwrap_or_default(), account) else {
        return false;
    };
    let same = of(ACCOUNT_UID).is_none_or(|uid| uid.is_empty() || account.metadata.uid.as_deref() == Some(uid));
    same && account.secrets.iter().flatten().any(|s| s.name == secret.metadata.name)
}

/// Whether a pod refers to a Secret anywhere.
fn mounts(pod: &Pod, secret: &str) -> bool {
    let spec = ironclad_json::to_value(&pod.spec).unwrap_or_default();
    let pulls = spec["imagePullSecrets"].as_array().into_iter().flatten().any(|s| s["name"] == secret);
    pulls || refers(&spec, secret)
}

fn refers(value: &Value, secret: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|i| refers(i, secret)),
        Value::Object(map) => map.iter().any(|(key, inner)| {
            let named = match key.as_str() {
                "secretName" => inner == secret,
                "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => inner["name"] == secret,
                _ => false,
            };
            named || refers(inner, secret)
        }),
        _ => false,
    }
}

async fn act(context: &Context, secret: &Secret, step: Step) -> Result<Option<Duration>, kube::Error> {
    let meta = &secret.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let outcome = match step {
        Step::Nothing => return Ok(None),
        Step::Later(wait) => return Ok(Some(wait)),
        Step::Invalidate(today) => {
            tracing::info!(namespace, name, "a token of a Secret is marked invalid: nobody uses it");
            let patch = json!({"metadata": {"uid": meta.uid, "labels": {INVALID_SINCE: today}}});
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        }
        Step::Delete => {
            tracing::info!(namespace, name, "a token of a Secret that nobody missed is removed");
            let preconditions =
                Preconditions { resource_version: meta.resource_version.clone(), uid: meta.uid.clone() };
            let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            api.delete(name, &options).await.map(drop)
        }
    };
    match outcome {
        Err(error) if !is_missing(&error) && !is_conflict(&error) => Err(error),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_hours(365 * 24);

    fn secret(labels: Value) -> Secret {
        ironclad_json::from_value(json!({
            "type": TYPE, "metadata": {"name": "t", "namespace": "a", "creationTimestamp": "2024-01-01T00:00:00Z", "labels": labels},
        }))
        .unwrap()
    }

    fn step(labels: Value, now: &str, change: impl Fn(&mut Around)) -> Step {
        let mut around = Around { listed: true, mounted: false, since: day("2024-06-01") };
        change(&mut around);
        next(&secret(labels), around, YEAR, now.parse().unwrap())
    }

    #[test]
    fn a_token_goes_in_two_steps_of_a_period_each() {
        let none = json!({});
        let plain = |labels: Value, now: &str| step(labels, now, |_| {});
        assert_eq!(plain(none.clone(), "2025-06-01T23:00:00Z"), Step::Later(Duration::from_hours(1)));
        assert_eq!(plain(none.clone(), "2025-06-02T00:00:00Z"), Step::Invalidate("2025-06-02".into()));
        let used = json!({LAST_USED: "2025-05-01"});
        assert!(matches!(plain(used.clone(), "2025-07-01T00:00:00Z"), Step::Later(_)), "it was used");
        assert_eq!(plain(used, "2026-05-02T00:00:00Z"), Step::Invalidate("2026-05-02".into()));
        let marked = json!({INVALID_SINCE: "2025-06-02"});
        assert!(matches!(plain(marked.clone(), "2026-06-01T00:00:00Z"), Step::Later(_)));
        assert_eq!(plain(marked, "2026-06-04T00:00:00Z"), Step::Delete);
        assert_eq!(
            plain(json!({INVALID_SINCE: "soon"}), "2026-06-04T00:00:00Z"),
            Step::Invalidate("2026-06-04".into())
        );
        assert_eq!(plain(json!({LAST_USED: "never"}), "2030-01-01T00:00:00Z"), Step::Nothing);
    }

    #[test]
    fn what_somebody_made_or_mounts_stays() {
        let late = "2030-01-01T00:00:00Z";
        assert_eq!(step(json!({}), late, |a| a.listed = false), Step::Nothing);
        assert_eq!(step(json!({}), late, |a| a.mounted = true), Step::Later(DAY));
        assert_eq!(step(json!({}), late, |a| a.since = None), Step::Nothing);
        let pod = |spec: Value| ironclad_json::from_value::<Pod>(json!({"metadata": {}, "spec": spec})).unwrap();
        let volume = json!({"containers": [], "volumes": [{"name": "v", "secret": {"secretName": "t"}}]});
        let env = json!({"containers": [{"name": "c", "env": [{"name": "e", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}]}]});
        assert!(mounts(&pod(volume), "t") && mounts(&pod(env), "t"));
        let other = json!({"containers": [], "volumes": [{"name": "t", "secret": {"secretName": "u"}}]});
        assert!(!mounts(&pod(other), "t"));
    }
}
