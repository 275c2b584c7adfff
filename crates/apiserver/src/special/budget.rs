//! Disruption budgets at the door of evictions: whether one lets a pod go, and taking the disruption from it.

use crate::encode;
use crate::registry::{Registry, store_error};
use ironclad_api::object::{self, at};
use ironclad_api::selector::LabelSelector;
use ironclad_api::{ApiError, GroupResource, Reason, time};
use ironclad_json::{Map, Value, json};
use ironclad_store::{Change, Error, Expect, Op};
use std::time::Duration;

/// How often and how fast a budget that changes is asked again.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);
const DISRUPTED_MAX: usize = 2000;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const SEVERAL: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
const CAUSE: &str = "DisruptionBudget";
const ALLOWED: &str = "DisruptionAllowed";

fn number(budget: &Value, field: &str) -> i64 {
    budget["status"][field].as_i64().unwrap_or(0)
}

fn condition<'a>(o: &'a Value, kind: &str) -> Option<&'a Value> {
    at(o, &["status", "conditions"])?.as_array()?.iter().find(|c| c["type"] == kind)
}

/// What stock says of a budget whose controller has not seen it yet, or that others take from all the time.
fn busy(name: &str) -> ApiError {
    let why = format!("The disruption budget {name} is still being processed by the server.");
    ApiError::new(Reason::TooManyRequests, VIOLATES).retry_after(10).with_cause(CAUSE, why, "")
}

/// Whether a budget guards a pod: not one that is not ready and that the budget does not count on.
fn guards(budget: &Value, pod: &Value) -> bool {
    if condition(pod, "Ready").is_some_and(|c| c["status"] == "True") {
        return true;
    }
    let (healthy, wanted) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    !(always || healthy >= wanted && wanted > 0)
}

/// Takes one disruption from a budget, where it has one.
fn take(budget: &mut Value, pod: &str) -> Result<(), ApiError> {
    let name = object::name(budget).to_owned();
    let forbidden = |why| ApiError::forbidden(&GroupResource::new("policy", "poddisruptionbudget"), &name, why);
    if number(budget, "observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Err(busy(&name));
    }
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|p| p.len() > DISRUPTED_MAX) {
        return Err(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        let failed = condition(budget, ALLOWED).filter(|c| c["status"] == "False" && c["reason"] == "SyncFailed");
        let why = match failed {
            Some(c) => format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                object::text(c, &["message"])
            ),
            None => format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number(budget, "desiredHealthy"),
                number(budget, "currentHealthy")
            ),
        };
        return Err(ApiError::new(Reason::TooManyRequests, VIOLATES).with_cause(CAUSE, why, ""));
    }
    let now = time::now();
    let seen = number(budget, "observedGeneration");
    let status = object::entry(budget, "status");
    status.insert("disruptionsAllowed", json!(allowed - 1));
    if allowed == 1 {
        let list = status.entry("conditions").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            let same = |c: &Value| c["type"] == ALLOWED && c["status"] == "False";
            let since = list.iter().find(|c| same(c)).map(|c| c["lastTransitionTime"].clone());
            list.retain(|c| c["type"] != ALLOWED);
            list.push(json!({"type": ALLOWED, "status": "False", "reason": "InsufficientPods", "message": "",
                "observedGeneration": seen, "lastTransitionTime": since.unwrap_or_else(|| json!(now))}));
        }
    }
    let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
    if let Some(map) = disrupted.as_object_mut() {
        map.insert(pod.to_owned(), json!(now));
    }
    Ok(())
}

impl Registry {
    /// Whether the disruption budget of a pod lets it go; takes a disruption from it.
    pub(crate) async fn may_evict(&self, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
        let phase = object::text(pod, &["status", "phase"]);
        if matches!(phase, "Succeeded" | "Failed" | "Pending") || !pod["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let Some((key, budget)) = self.budget_of(pod)? else { return Ok(()) };
        if !guards(&budget, pod) {
            return Ok(());
        }
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let Some(entry) = self.entry(&key).await? else { return Ok(()) };
            let mut budget = encode::decode(entry.value.bytes());
            take(&mut budget, object::name(pod))?;
            if dry_run {
                return Ok(());
            }
            let change = Change::Put { value: encode::template(&budget), ttl: None };
            let op = Op { key: key.clone().into(), expect: Expect::Modified(entry.modified), change };
            match self.store.commit(vec![op]).await {
                Ok(_) => return Ok(()),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(store_error(&error)),
            }
        }
        Err(busy(key.rsplit('/').next().unwrap_or_default()))
    }

    /// The one budget that covers a pod, with its key.
    fn budget_of(&self, pod: &Value) -> Result<Option<(String, Value)>, ApiError> {
        let kind = ironclad_kinds::all().iter().find(|k| &*k.plural == "poddisruptionbudgets");
        let Some(cache) = kind.and_then(|k| self.caches.of(k)) else { return Ok(None) };
        let prefix = format!("/registry/poddisruptionbudgets/{}/", object::namespace(pod));
        let empty = Map::new();
        let labels = pod["metadata"]["labels"].as_object().unwrap_or(&empty);
        let listed = cache.list(&prefix, None);
        let mut covering = listed.iter().filter(|cached| {
            let parsed = ironclad_json::from_value(cached.value()["spec"]["selector"].clone()).ok();
            LabelSelector::from_meta(parsed.as_ref()).is_ok_and(|s| s.matches(labels))
        });
        let first = covering.next().map(|cached| (cached.key.to_string(), cached.value().clone()));
        match covering.next() {
            None => Ok(first),
            Some(_) => Err(ApiError { code: 500, ..ApiError::new(Reason::Unknown, SEVERAL) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "status": {"observedGeneration": 1,
            "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2}})
    }

    #[test]
    fn a_budget_gives_what_it_has() {
        let mut one = budget(1);
        take(&mut one, "p").unwrap();
        assert_eq!(one["status"]["disruptionsAllowed"], 0);
        assert_eq!(condition(&one, ALLOWED).unwrap()["reason"], "InsufficientPods");
        assert!(one["status"]["disruptedPods"]["p"].is_string());
        let refused = take(&mut one, "q").unwrap_err();
        assert_eq!((refused.code, &*refused.message), (429, VIOLATES));
        let why = &refused.details.unwrap().causes[0].message;
        assert_eq!(why, "The disruption budget b needs 2 healthy pods and has 2 currently");
        let mut unseen = budget(1);
        unseen["metadata"]["generation"] = json!(2);
        assert_eq!(take(&mut unseen, "p").unwrap_err().details.unwrap().retry_after_seconds, 10);
    }

    #[test]
    fn a_pod_that_is_not_ready_goes_where_the_budget_does_not_need_it() {
        let pod = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        assert!(guards(&budget(0), &pod("True")));
        assert!(!guards(&budget(0), &pod("False")));
        let mut short = budget(0);
        short["status"]["currentHealthy"] = json!(1);
        assert!(guards(&short, &pod("False")));
        short["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert!(!guards(&short, &pod("False")));
    }
}
