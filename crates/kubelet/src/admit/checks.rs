//! The checks of a pod against the node and the pods on it.

use super::{Node, Rejection};
use crate::pod::Plan;
use ironclad_api::pod_resources::ResourceList;
use ironclad_api::quantity::Quantity;
use std::collections::HashMap;

/// Kernel parameters that are bound to the pod's namespaces and harm nobody else.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// What a pod has of the node.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) requests: ResourceList,
    priority: i32,
    critical: bool,
    class: u8,
    /// Protocol, address and port on the host.
    pub(super) ports: Vec<(String, String, i32)>,
}

impl Taken {
    pub(super) fn new(plan: &Plan, requests: ResourceList) -> Self {
        let all = plan.units.iter().flat_map(|u| u.spec.ports.iter().flatten());
        let port = |p: &k8s_openapi::api::core::v1::ContainerPort| {
            let number = p.host_port.or(plan.host_network().then_some(p.container_port)).filter(|n| *n > 0)?;
            let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((protocol, p.host_ip.clone().filter(|i| i != "0.0.0.0").unwrap_or_default(), number))
        };
        let class = match plan.qos() {
            "Guaranteed" => 2,
            "Burstable" => 1,
            _ => 0,
        };
        Self {
            requests,
            priority: plan.spec.priority.unwrap_or(0),
            critical: plan.is_critical(),
            class,
            ports: all.filter_map(port).collect(),
        }
    }
}

impl Taken {
    pub(super) fn burstable_cpu(&self) -> i64 {
        self.requests.get("cpu").filter(|_| self.class == 1).map_or(0, |q| q.milli_value())
    }
}

fn reject(reason: &str, message: impl Into<String>) -> Rejection {
    Rejection { reason: reason.to_owned(), message: message.into() }
}

/// Whatever else is on the node.
pub(super) fn general(plan: &Plan, node: &Node, others: &[&Taken]) -> Result<(), Rejection> {
    if !node.pressure.is_empty() && !plan.is_critical() {
        let memory_only = node.pressure == ["MemoryPressure"];
        if !memory_only || plan.qos() == "BestEffort" {
            let text = format!("The node had condition: [{}]. ", node.pressure.join(" "));
            return Err(reject("Evicted", text));
        }
    }
    sysctls(plan, node)?;
    if plan.units.iter().any(|u| crate::container::confined(plan, u)) && !has_apparmor() {
        return Err(reject("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"));
    }
    let selector = plan.spec.node_selector.iter().flatten();
    if selector.clone().any(|(k, v)| node.labels.get(k) != Some(v)) {
        let text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(reject("NodeAffinity", text));
    }
    let taken = Taken::new(plan, ResourceList::new());
    let clash = |(protocol, ip, port): &(String, String, i32)| {
        let same = |o: &(String, String, i32)| {
            o.0 == *protocol && o.2 == *port && (o.1 == *ip || o.1.is_empty() || ip.is_empty())
        };
        others.iter().any(|t| t.ports.iter().any(same))
    };
    if taken.ports.iter().any(clash) {
        let text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Err(reject("NodePorts", text));
    }
    Ok(())
}

fn has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with('Y'))
}

fn sysctls(plan: &Plan, node: &Node) -> Result<(), Rejection> {
    let wanted = plan.spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    for sysctl in wanted {
        let name = sysctl.name.replace('/', ".");
        let listed = |p: &String| match p.strip_suffix('*') {
            Some(head) => name.starts_with(head),
            None => *p == name,
        };
        let bad = |why: &str| Err(reject("SysctlForbidden", format!("forbidden sysctl: {name:?} {why}")));
        if !SAFE.contains(&name.as_str()) && !node.sysctls.iter().any(listed) {
            return bad("not allowlisted");
        }
        if name.starts_with("net.") && plan.host_network() {
            return bad("not allowed with host net enabled");
        }
        if !name.starts_with("net.") && plan.spec.host_ipc == Some(true) {
            return bad("not allowed with host ipc enabled");
        }
    }
    Ok(())
}

fn used(name: &str, others: &[&Taken]) -> Quantity {
    others.iter().filter_map(|t| t.requests.get(name)).fold(Quantity::ZERO, |sum, q| sum + *q)
}

/// Whether there is room.
pub(super) fn fits(wanted: &ResourceList, node: &Node, others: &[&Taken]) -> Result<(), Rejection> {
    for (name, amount) in wanted.iter().filter(|(_, q)| !q.is_zero()) {
        let used = used(name, others);
        // What the node does not count it does not limit, but for what only a device could give.
        let counted = ["cpu", "memory", "ephemeral-storage", "pods"].contains(&name.as_str());
        let capacity = match node.allocatable.get(name) {
            Some(capacity) => *capacity,
            None if counted => continue,
            None => Quantity::ZERO,
        };
        if used + *amount > capacity {
            let shown = |q: Quantity| if name == "cpu" { q.milli_value() } else { q.value() };
            return Err(reject(
                &format!("OutOf{name}"),
                format!(
                    "Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}",
                    shown(*amount),
                    shown(used),
                    shown(capacity)
                ),
            ));
        }
    }
    Ok(())
}

/// Pods to end so that a critical one has room: those that matter least, as few as it takes.
pub(super) fn victims(wanted: &Taken, node: &Node, pods: &HashMap<String, Taken>) -> Option<Vec<String>> {
    let mut candidates: Vec<(&String, &Taken)> =
        pods.iter().filter(|(_, t)| t.priority < wanted.priority && !t.critical && !t.requests.is_empty()).collect();
    candidates.sort_by_key(|(uid, t)| (t.class, t.priority, uid.as_str()));
    let mut gone: Vec<String> = Vec::new();
    for (uid, _) in candidates {
        gone.push(uid.clone());
        let left = |gone: &[String]| {
            let rest: Vec<&Taken> = pods.iter().filter(|(u, _)| !gone.contains(u)).map(|(_, t)| t).collect();
            fits(&wanted.requests, node, &rest).is_ok()
        };
        if left(&gone) {
            // Not all that came before may be needed.
            let mut at = 0;
            while at + 1 < gone.len() {
                let kept = gone.remove(at);
                if !left(&gone) {
                    gone.insert(at, kept);
                    at += 1;
                }
            }
            return Some(gone);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn plan(spec: Value) -> Arc<Plan> {
        Plan::new(Arc::new(serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()))
    }

    fn list(cpu: &str) -> ResourceList {
        [("cpu".to_owned(), cpu.parse().unwrap())].into()
    }

    fn taken(cpu: &str, priority: i32, class: u8) -> Taken {
        Taken { requests: list(cpu), priority, critical: false, class, ports: vec![] }
    }

    fn node(cpu: &str) -> Node {
        Node { allocatable: list(cpu), ..Node::default() }
    }

    #[test]
    fn a_pod_that_does_not_fit_is_told_why() {
        let other = taken("1", 0, 0);
        let why = fits(&list("3500m"), &node("4"), &[&other]).unwrap_err();
        assert_eq!(why.reason, "OutOfcpu");
        let want = "Node didn't have enough resource: cpu, requested: 3500, used: 1000, capacity: 4000";
        assert_eq!(why.message, want);
    }

    #[test]
    fn unsafe_kernel_parameters_are_refused_unless_they_are_listed() {
        let spec = json!({"containers": [], "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}});
        let why = general(&plan(spec.clone()), &Node::default(), &[]).unwrap_err();
        assert_eq!(
            (why.reason.as_str(), why.message.as_str()),
            ("SysctlForbidden", "forbidden sysctl: \"kernel.msgmax\" not allowlisted")
        );
        let listed = Node { sysctls: vec!["kernel.msg*".to_owned()], ..Node::default() };
        general(&plan(spec), &listed, &[]).unwrap();
    }

    #[test]
    fn host_ports_are_given_once() {
        let spec = |ip: &str| json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": ip}]}]});
        let first = Taken::new(&plan(spec("10.0.0.1")), ResourceList::new());
        let clash = |ip: &str| general(&plan(spec(ip)), &Node::default(), &[&first]).map_err(|r| r.reason);
        assert_eq!(clash("0.0.0.0"), Err("NodePorts".to_owned()));
        assert_eq!(clash("10.0.0.2"), Ok(()));
    }

    #[test]
    fn for_a_critical_pod_those_go_that_matter_least_and_no_more() {
        let pods: HashMap<String, Taken> = [
            ("a".to_owned(), taken("1", 5, 0)),
            ("b".to_owned(), taken("2", 0, 0)),
            ("c".to_owned(), taken("1", 0, 2)),
        ]
        .into();
        let wanted = Taken { critical: true, ..taken("1", i32::MAX, 2) };
        assert_eq!(victims(&wanted, &node("4"), &pods), Some(vec!["b".to_owned()]));
        let large = Taken { critical: true, ..taken("5", i32::MAX, 2) };
        assert_eq!(victims(&large, &node("4"), &pods), None);
    }
}
