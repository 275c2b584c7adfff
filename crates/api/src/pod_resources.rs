//! What a pod asks for in all: the sum over its containers, init containers, sidecars and overhead (KEP-753).

use crate::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;

/// Amounts by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Parses a list; amounts that are no quantities are left out, validation keeps them from being stored.
pub fn parse(list: Option<&BTreeMap<String, Text>>) -> ResourceList {
    list.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), Quantity::try_from(v).ok()?))).collect()
}

/// What the pod requests.
pub fn requests(spec: &PodSpec) -> ResourceList {
    total(spec, |c| parse(c.resources.as_ref().and_then(|r| r.requests.as_ref())), |r| r.requests.as_ref())
}

/// What the pod is limited to; a container without a limit counts as nothing.
pub fn limits(spec: &PodSpec) -> ResourceList {
    total(spec, |c| parse(c.resources.as_ref().and_then(|r| r.limits.as_ref())), |r| r.limits.as_ref())
}

fn total(
    spec: &PodSpec,
    of: impl Fn(&Container) -> ResourceList,
    pod_level: impl Fn(&k8s_openapi::api::core::v1::ResourceRequirements) -> Option<&BTreeMap<String, Text>>,
) -> ResourceList {
    let mut running = ResourceList::new();
    spec.containers.iter().for_each(|c| add(&mut running, &of(c)));
    let (mut sidecars, mut peak) = (ResourceList::new(), ResourceList::new());
    for c in spec.init_containers.iter().flatten() {
        let mut step = of(c);
        if c.restart_policy.as_deref() == Some("Always") {
            add(&mut running, &step);
            add(&mut sidecars, &step);
            step = sidecars.clone();
        } else {
            add(&mut step, &sidecars);
        }
        max(&mut peak, &step);
    }
    max(&mut running, &peak);
    if let Some(list) = spec.resources.as_ref().and_then(&pod_level) {
        running.extend(parse(Some(list)));
    }
    add(&mut running, &parse(spec.overhead.as_ref()));
    running
}

fn add(sum: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        *sum.entry(name.clone()).or_insert(Quantity::ZERO) += *amount;
    }
}

fn max(sum: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        let slot = sum.entry(name.clone()).or_insert(*amount);
        *slot = (*slot).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: &str, sidecar: bool) -> Container {
        let requests = BTreeMap::from([("cpu".to_owned(), Text(cpu.to_owned()))]);
        Container {
            resources: Some(k8s_openapi::api::core::v1::ResourceRequirements {
                requests: Some(requests),
                ..Default::default()
            }),
            restart_policy: sidecar.then(|| "Always".to_owned()),
            ..Container::default()
        }
    }

    fn cpu(init: Vec<Container>, main: Vec<Container>) -> String {
        let spec = PodSpec { init_containers: Some(init), containers: main, ..PodSpec::default() };
        requests(&spec)["cpu"].to_string()
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_throughout() {
        let main = || vec![container("200m", false), container("100m", false)];
        assert_eq!(cpu(vec![], main()), "300m");
        assert_eq!(cpu(vec![container("1", false)], main()), "1");
        assert_eq!(cpu(vec![container("500m", true)], main()), "800m");
        assert_eq!(cpu(vec![container("500m", true), container("1", false)], main()), "1500m");
        assert_eq!(cpu(vec![container("1", false), container("500m", true)], main()), "1");
    }
}
