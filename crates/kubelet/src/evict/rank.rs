//! Who goes first: who uses more than was asked for, then who matters least, then who uses most.

use super::signal::{Signal, kib};
use crate::pod::Plan;
use crate::stats;
use ironclad_api::pod_resources;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Reverse;
use std::sync::Arc;

/// A pod that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) uid: String,
    priority: i32,
    used: u64,
    requested: u64,
    /// What its containers use, for the message.
    pub(super) containers: String,
}

impl Candidate {
    /// Nothing for a pod that must stay.
    pub(super) fn new(pod: Arc<Pod>, stats: &stats::Pod, signal: Signal) -> Option<Self> {
        let plan = Plan::new(pod);
        if plan.is_critical() || plan.ended_phase().is_some() || plan.deleted() {
            return None;
        }
        let amount = |c: &stats::Container| match signal {
            Signal::Memory => c.sample.working_set,
            Signal::Disk => c.writable.map_or(0, |w| w.0),
            Signal::Inodes => c.writable.map_or(0, |w| w.1),
            Signal::Pids => 0,
        };
        let used = match signal {
            Signal::Memory => stats.sample.working_set,
            Signal::Pids => stats.processes,
            _ => stats.containers.iter().map(amount).sum(),
        };
        let of =
            |list: &pod_resources::ResourceList| list.get(signal.resource()).map_or(0, |q| q.value().max(0) as u64);
        let requested = of(&pod_resources::requests(&plan.spec));
        let containers = stats.containers.iter().filter_map(|c| {
            let unit = plan.unit(&c.name)?;
            let asked = of(&pod_resources::parse(unit.spec.resources.as_ref().and_then(|r| r.requests.as_ref())));
            (matches!(signal, Signal::Memory | Signal::Disk) && amount(c) > asked).then(|| {
                let (resource, asked) = (signal.resource(), if asked == 0 { "0".to_owned() } else { kib(asked) });
                format!(
                    "Container {} was using {}, request is {asked}, has larger consumption of {resource}. ",
                    c.name,
                    kib(amount(c))
                )
            })
        });
        let containers = containers.collect();
        Some(Self { uid: plan.uid.clone(), priority: plan.spec.priority.unwrap_or(0), used, requested, containers })
    }
}

/// The one that goes first.
pub(super) fn first(mut candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.sort_by_key(|c| {
        let over = c.used > c.requested;
        (!over, c.priority, Reverse(c.used as i128 - c.requested as i128), c.uid.clone())
    });
    candidates.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(uid: &str, priority: i32, used: u64, requested: u64) -> Candidate {
        Candidate { uid: uid.into(), priority, used, requested, containers: String::new() }
    }

    #[test]
    fn who_uses_more_than_asked_for_goes_before_who_matters_less() {
        let go = |list: &[Candidate]| first(list.to_vec()).unwrap().uid;
        let (over, within) = (candidate("over", 10, 5, 1), candidate("within", 0, 5, 9));
        assert_eq!(go(&[within.clone(), over.clone()]), "over");
        let small = candidate("small", 0, 3, 1);
        assert_eq!(go(&[over, small.clone(), within]), "small");
        assert_eq!(go(&[small, candidate("large", 0, 9, 1)]), "large");
        assert_eq!(first(vec![]), None);
    }
}
