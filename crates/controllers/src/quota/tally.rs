//! What is used of each quota, kept by adding and taking away, and what its status should say.

use ironclad_api::quantity::Quantity;
use ironclad_api::quota::{Alone, Amounts, Around, amounts, in_scope, to_value, usage_among};
use ironclad_api::{GroupResource, object};
use ironclad_client::ObjectKey;
use ironclad_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kinds that count under their plain names, and only by their number.
const PLAIN: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// The kinds that the names of a quota count.
pub(super) fn needed(hard: &Amounts) -> BTreeSet<GroupResource> {
    let core = |name: &str| GroupResource::new("", name);
    hard.keys()
        .map(|name| match name.as_str() {
            counted if counted.starts_with("count/") => {
                let (resource, group) = counted[6..].split_once('.').unwrap_or((&counted[6..], ""));
                GroupResource::new(group, resource)
            }
            plain if PLAIN.contains(&plain) => core(plain),
            class if class.starts_with("requests.deviceclass.resource.kubernetes.io/") => {
                GroupResource::new("resource.k8s.io", "resourceclaims")
            }
            services if services == "services" || services.starts_with("services.") => core("services"),
            claims
                if matches!(claims, "persistentvolumeclaims" | "requests.storage")
                    || claims.contains(".storageclass.storage.k8s.io/") =>
            {
                core("persistentvolumeclaims")
            }
            devices if devices.ends_with(".deviceclass.resource.k8s.io/devices") => {
                GroupResource::new("resource.k8s.io", "resourceclaims")
            }
            _ => core("pods"),
        })
        // What pods ask for by names with a domain claims of devices can be made for.
        .chain(
            hard.keys()
                .filter(|name| is_foreign(name))
                .flat_map(|_| [core("pods"), GroupResource::new("resource.k8s.io", "resourceclaims")]),
        )
        .collect()
}

/// Whether a name of a quota is that of an extended resource, which devices may stand behind.
fn is_foreign(name: &str) -> bool {
    name.strip_prefix("requests.").is_some_and(|rest| rest.contains('/'))
}

/// One quota, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What it was counted for: another uid or specification is counted anew.
    uid: String,
    spec: Value,
    /// What each object uses.
    objects: HashMap<(GroupResource, String), Amounts>,
    used: Amounts,
    /// The resource version at which the status was right.
    agreed: String,
    /// The resource version at which it was found wrong, and when.
    doubted: Option<(String, Instant)>,
}

impl Tally {
    fn set(&mut self, resource: &GroupResource, name: &str, now: Option<&Value>, around: &dyn Around) -> bool {
        let quota = json!({"spec": self.spec});
        let new =
            now.filter(|o| in_scope(&quota, resource, o)).map(|o| usage_among(resource, o, around)).unwrap_or_default();
        let key = (resource.clone(), name.to_owned());
        let old = match new.is_empty() {
            true => self.objects.remove(&key),
            false => self.objects.insert(key, new.clone()),
        }
        .unwrap_or_default();
        if old == new {
            return false;
        }
        for (name, amount) in old {
            let have = self.used.entry(name).or_insert(Quantity::ZERO);
            *have -= amount;
        }
        for (name, amount) in new {
            let have = self.used.entry(name).or_insert(Quantity::ZERO);
            *have += amount;
        }
        true
    }
}

/// All quotas, by their namespaces and names.
pub(super) struct Tallies(HashMap<String, HashMap<String, Tally>>, Arc<dyn Around>);

impl Default for Tallies {
    fn default() -> Self {
        Self::among(Arc::new(Alone))
    }
}

impl Tallies {
    /// None yet, among what has to be known besides.
    pub(super) fn among(around: Arc<dyn Around>) -> Self {
        Self(HashMap::new(), around)
    }

    /// Whether a namespace has a quota.
    pub(super) fn has(&self, namespace: &str) -> bool {
        self.0.contains_key(namespace)
    }

    pub(super) fn forget(&mut self, key: &ObjectKey) {
        if let Some(quotas) = self.0.get_mut(&key.namespace) {
            quotas.remove(&key.name);
            if quotas.is_empty() {
                self.0.remove(&key.namespace);
            }
        }
    }

    /// An object changed, or is gone; returns the quotas of which more or less is used now.
    pub(super) fn observe(
        &mut self,
        namespace: &str,
        resource: &GroupResource,
        name: &str,
        now: Option<&Value>,
    ) -> Vec<String> {
        let quotas = self.0.get_mut(namespace).into_iter().flatten();
        quotas.filter_map(|(quota, tally)| tally.set(resource, name, now, &*self.1).then(|| quota.clone())).collect()
    }

    /// The tally of a quota; counted anew where the quota is new or says something else.
    pub(super) fn of(
        &mut self,
        key: &ObjectKey,
        quota: &Value,
        all: impl FnOnce() -> Vec<(GroupResource, Value)>,
    ) -> &mut Tally {
        let tally = self.0.entry(key.namespace.clone()).or_default().entry(key.name.clone()).or_default();
        if tally.uid != object::uid(quota) || tally.spec != quota["spec"] {
            *tally = Tally { uid: object::uid(quota).to_owned(), spec: quota["spec"].clone(), ..Tally::default() };
            for (resource, object) in all() {
                tally.set(&resource, object::name(&object), Some(&object), &*self.1);
            }
        }
        tally
    }
}

/// What is to be done about a quota's status.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Right,
    /// Nothing yet: admission may have charged what cannot be seen yet.
    Wait(Duration),
    /// This is right.
    Write(Value),
}

/// Compares what a quota says with what was counted.
pub(super) fn judge(tally: &mut Tally, quota: &Value, patience: Duration) -> Verdict {
    let hard = amounts(&quota["spec"]["hard"]);
    let count = |name: &String| tally.used.get(name).copied().unwrap_or(Quantity::ZERO);
    let used: Amounts = hard.keys().map(|k| (k.clone(), count(k))).collect();
    let version = object::resource_version(quota).to_owned();
    let said = amounts(&quota["status"]["used"]);
    let limits = amounts(&quota["status"]["hard"]);
    if said == used && limits == hard {
        tally.agreed = version;
        tally.doubted = None;
        return Verdict::Right;
    }
    // Where more is charged than can be seen, and nobody agreed to that state, the object may still come.
    let more = used.iter().any(|(k, n)| said.get(k).is_some_and(|s| s > n));
    if more && limits == hard && tally.agreed != version {
        let since = match &tally.doubted {
            Some((at, since)) if *at == version => *since,
            _ => Instant::now(),
        };
        tally.doubted = Some((version, since));
        let left = patience.saturating_sub(since.elapsed());
        if !left.is_zero() {
            return Verdict::Wait(left);
        }
    }
    Verdict::Write(json!({"hard": quota["spec"]["hard"], "used": to_value(&used)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(version: &str, used: Option<&str>) -> Value {
        let hard = json!({"pods": "5"});
        let status = used.map_or(Value::Null, |u| json!({"hard": hard, "used": {"pods": u}}));
        json!({"metadata": {"name": "q", "uid": "u", "resourceVersion": version}, "spec": {"hard": hard}, "status": status})
    }

    fn pod(name: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"containers": []}})
    }

    #[test]
    fn objects_are_counted_once_and_taken_away_when_they_go() {
        let (pods, key) = (GroupResource::new("", "pods"), ObjectKey::new("a", "q"));
        let mut tallies = Tallies::default();
        let patience = Duration::from_secs(5);
        let tally = tallies.of(&key, &quota("1", None), || vec![(pods.clone(), pod("x"))]);
        let want = json!({"hard": {"pods": "5"}, "used": {"pods": "1"}});
        assert_eq!(judge(tally, &quota("1", None), patience), Verdict::Write(want));
        assert_eq!(tallies.observe("a", &pods, "x", Some(&pod("x"))), Vec::<String>::new());
        assert_eq!(tallies.observe("a", &pods, "y", Some(&pod("y"))), ["q"]);
        let tally = tallies.of(&key, &quota("2", Some("2")), Vec::new);
        assert_eq!(judge(tally, &quota("2", Some("2")), patience), Verdict::Right);
        // A pod that is gone is given back at once: nobody charged anything since.
        assert_eq!(tallies.observe("a", &pods, "y", None), ["q"]);
        let tally = tallies.of(&key, &quota("2", Some("2")), Vec::new);
        assert!(matches!(judge(tally, &quota("2", Some("2")), patience), Verdict::Write(_)));
    }

    #[test]
    fn what_was_just_charged_is_left_alone_for_a_while() {
        let key = ObjectKey::new("a", "q");
        let mut tallies = Tallies::default();
        let charged = quota("3", Some("1"));
        let tally = tallies.of(&key, &charged, Vec::new);
        assert!(matches!(judge(tally, &charged, Duration::from_secs(5)), Verdict::Wait(_)));
        assert!(matches!(judge(tally, &charged, Duration::ZERO), Verdict::Write(_)));
    }

    #[test]
    fn names_say_which_kinds_are_counted() {
        let hard = amounts(&json!({"count/widgets.example.com": "1", "requests.storage": "1", "limits.cpu": "1",
            "services.nodeports": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1", "secrets": "1"}));
        let kinds: Vec<String> = needed(&hard).iter().map(ToString::to_string).collect();
        assert_eq!(kinds, ["persistentvolumeclaims", "pods", "secrets", "services", "widgets.example.com"]);
    }
}
