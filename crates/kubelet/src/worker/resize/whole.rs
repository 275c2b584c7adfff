//! The resources of a pod as a whole (KEP-2837): what it is given, what its cgroup has, what bounds its containers.

use super::{Observed, Worker};
use crate::container::resources;
use crate::pod::{Plan, Unit, WHOLE};
use crate::status::Whole;
use ironclad_api::pod_resources::{self, ResourceList};
use ironclad_api::quantity::Quantity;
use ironclad_cri::LinuxResources;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::{BTreeMap, HashMap};

/// The least that the kernel takes; what is given stands where it is no more.
const LEAST_SHARES: u64 = 2;
const LEAST_QUOTA: i64 = 1000;

fn texts(list: ResourceList) -> BTreeMap<String, Text> {
    list.into_iter().map(|(name, q)| (name, Text(q.to_string()))).collect()
}

/// What a cgroup has, in the words of the API, over what the pod says itself.
fn has(own: Option<&ResourceRequirements>, memory: Option<&Text>, cgroup: &LinuxResources) -> ResourceRequirements {
    let mut out = own.cloned().unwrap_or_default();
    let mut set = |limit: bool, name: &str, value: String| {
        let list = if limit { &mut out.limits } else { &mut out.requests };
        let list = list.get_or_insert_default();
        // The same amount stays as it was written.
        let quantity = |t: &str| t.parse::<Quantity>().ok();
        if list.get(name).is_none_or(|old| quantity(&old.0) != quantity(&value)) {
            list.insert(name.to_owned(), Text(value));
        }
    };
    if let Some(shares) = cgroup.cpu_shares.filter(|s| *s > LEAST_SHARES) {
        set(false, "cpu", Quantity::millis((shares as i64 * 1000 + 1023) / 1024).to_string());
    }
    if let Some(quota) = cgroup.cpu_quota.filter(|q| *q > LEAST_QUOTA) {
        set(true, "cpu", Quantity::millis(quota / 100).to_string());
    }
    if let Some(limit) = cgroup.memory_limit.filter(|l| *l > 0) {
        set(true, "memory", Quantity::bytes(limit).to_string());
    }
    if let Some(memory) = memory {
        out.requests.get_or_insert_default().entry("memory".to_owned()).or_insert_with(|| memory.clone());
    }
    out
}

impl Worker {
    /// What the pod is given as a whole, where it asks for that.
    pub(in crate::worker) fn given_whole(&self) -> Option<&ResourceRequirements> {
        match &self.memory.allocated {
            Some(allocated) => allocated.get(WHOLE),
            None => self.plan.as_ref().and_then(|p| p.spec.resources.as_ref()),
        }
    }

    /// What each container is given, and the pod as a whole.
    pub(in crate::worker) fn all_given(&self, plan: &Plan) -> HashMap<String, ResourceRequirements> {
        let units = plan.units.iter().map(|u| (u.name().to_owned(), self.given(u)));
        units.chain(self.given_whole().cloned().map(|r| (WHOLE.to_owned(), r))).collect()
    }

    /// What bounds a container without limits: those of its pod, else what the node has.
    pub(in crate::worker) fn ceiling(&self, plan: &Plan) -> ResourceList {
        let mut list = self.shared.admitted.allocatable();
        let whole = self.given_whole().or(plan.spec.resources.as_ref());
        list.extend(pod_resources::parse(whole.and_then(|w| w.limits.as_ref())));
        list
    }

    /// The resources of the pod as a whole, as its status shows them.
    pub(in crate::worker) fn whole(&self, plan: &Plan, observed: &Observed) -> Whole {
        let spec = resources::given_spec(plan, &|u: &Unit| self.given(u), self.given_whole());
        let some = |list: BTreeMap<String, Text>| (!list.is_empty()).then_some(list);
        let given = ResourceRequirements {
            requests: some(texts(pod_resources::requests(&spec))),
            limits: some(texts(pod_resources::limits(&spec))),
            claims: None,
        };
        let cgroup = observed.sandbox.as_ref().map(|s| &s.config.resources);
        let memory = given.requests.as_ref().and_then(|r| r.get("memory"));
        Whole { has: cgroup.map(|cgroup| has(self.given_whole(), memory, cgroup)), given }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_shows_what_its_cgroup_has() {
        let own: ResourceRequirements =
            serde_json::from_value(json!({"requests": {"cpu": "0.1"}, "limits": {"memory": "1Gi"}})).unwrap();
        let cgroup = LinuxResources {
            cpu_shares: Some(102),
            cpu_quota: Some(20_000),
            memory_limit: Some(1 << 30),
            ..LinuxResources::default()
        };
        let memory = Text("64Mi".to_owned());
        let got = json!(has(Some(&own), Some(&memory), &cgroup));
        let want = json!({"requests": {"cpu": "0.1", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "1Gi"}});
        assert_eq!(got, want);
        let least = LinuxResources { cpu_shares: Some(2), cpu_quota: Some(-1), ..LinuxResources::default() };
        assert_eq!(json!(has(None, None, &least)), json!({}));
    }
}
