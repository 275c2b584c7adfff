//! What to do next for a pod: a pure function of its specification and of what the runtime shows.

use ironclad_cri::{ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use std::collections::HashMap;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a sandbox; there is none that works.
    Sandbox,
    /// Start an init container.
    Init(usize),
    /// Start a container.
    Start(usize),
    /// Stop a container, and why.
    Kill(String, String),
}

/// What is known about the pod besides its specification.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    /// Whether a sandbox is ready.
    pub(crate) sandbox: bool,
    /// The newest container of each name.
    pub(crate) newest: HashMap<&'a str, &'a ContainerStatus>,
    /// Containers whose liveness or startup probe failed, with the reason.
    pub(crate) unhealthy: HashMap<&'a str, String>,
    /// Containers whose startup probe has succeeded, or that have none and run.
    pub(crate) started: Vec<&'a str>,
}

fn restart_policy(spec: &PodSpec) -> &str {
    spec.restart_policy.as_deref().unwrap_or("Always")
}

pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that has ended must be started again.
fn again(policy: &str, status: &ContainerStatus) -> bool {
    match policy {
        "Always" => true,
        "OnFailure" => status.exit_code != 0,
        _ => false,
    }
}

/// Whether nothing of the pod will ever run again.
pub(crate) fn is_over(spec: &PodSpec, seen: &Seen<'_>) -> bool {
    let policy = restart_policy(spec);
    if policy == "Always" {
        return false;
    }
    let ended = |c: &Container| seen.newest.get(c.name.as_str()).copied().filter(|s| s.state == ContainerState::Exited);
    let mut inits = spec.init_containers.iter().flatten().filter(|c| !is_sidecar(c));
    if inits.any(|c| ended(c).is_some_and(|s| s.exit_code != 0 && policy == "Never")) {
        return true;
    }
    spec.containers.iter().all(|c| ended(c).is_some_and(|s| !again(policy, s)))
}

/// What to do now, in order.
pub(crate) fn steps(spec: &PodSpec, seen: &Seen<'_>) -> Vec<Step> {
    if is_over(spec, seen) {
        let running = seen.newest.values().filter(|s| s.state == ContainerState::Running);
        return running.map(|s| Step::Kill(s.id.clone(), "the pod has ended".to_owned())).collect();
    }
    if !seen.sandbox {
        return vec![Step::Sandbox];
    }
    let mut out = Vec::new();
    let main_began = spec.containers.iter().any(|c| seen.newest.contains_key(c.name.as_str()));
    for (index, init) in spec.init_containers.iter().flatten().enumerate() {
        let newest = seen.newest.get(init.name.as_str()).copied();
        let running = newest.is_some_and(|s| s.state == ContainerState::Running);
        if is_sidecar(init) {
            if !running {
                out.push(Step::Init(index));
                if !main_began {
                    return out;
                }
            } else if !main_began && !seen.started.contains(&init.name.as_str()) {
                return out;
            }
            continue;
        }
        if main_began {
            continue;
        }
        match newest {
            None => return [out, vec![Step::Init(index)]].concat(),
            Some(s) if s.state == ContainerState::Exited && s.exit_code == 0 => {}
            Some(s) if s.state == ContainerState::Running => return out,
            Some(s) => {
                let retry = restart_policy(spec) != "Never" || s.state != ContainerState::Exited;
                return if retry { [out, vec![Step::Init(index)]].concat() } else { out };
            }
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        match seen.newest.get(container.name.as_str()).copied() {
            None => out.push(Step::Start(index)),
            Some(s) if s.state == ContainerState::Running => {
                if let Some(why) = seen.unhealthy.get(container.name.as_str()) {
                    out.push(Step::Kill(s.id.clone(), why.clone()));
                }
            }
            Some(s) if s.state == ContainerState::Exited && !again(restart_policy(spec), s) => {}
            Some(_) => out.push(Step::Start(index)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_cri::ContainerConfig;
    use serde_json::json;

    fn status(state: ContainerState, code: i32) -> ContainerStatus {
        ContainerStatus {
            id: "id".into(),
            sandbox_id: "s".into(),
            config: ContainerConfig::default(),
            state,
            created_at: 0,
            started_at: 0,
            finished_at: 0,
            exit_code: code,
            reason: String::new(),
            message: String::new(),
            image_ref: String::new(),
            log_path: String::new(),
            user: None,
        }
    }

    fn spec(policy: &str, inits: &[&str], sidecar: bool) -> PodSpec {
        let init = |n: &&str| json!({"name": n, "restartPolicy": if sidecar { json!("Always") } else { json!(null) }});
        let inits: Vec<_> = inits.iter().map(init).collect();
        serde_json::from_value(json!({"restartPolicy": policy, "containers": [{"name": "a"}], "initContainers": inits}))
            .unwrap()
    }

    fn seen<'a>(list: &'a [(&'a str, ContainerStatus)]) -> Seen<'a> {
        Seen { sandbox: true, newest: list.iter().map(|(n, s)| (*n, s)).collect(), ..Seen::default() }
    }

    #[test]
    fn a_new_pod_gets_a_sandbox_then_its_init_containers_in_order_then_the_rest() {
        use ContainerState::*;
        let spec = spec("Always", &["i", "j"], false);
        assert_eq!(steps(&spec, &Seen::default()), [Step::Sandbox]);
        assert_eq!(steps(&spec, &seen(&[])), [Step::Init(0)]);
        assert_eq!(steps(&spec, &seen(&[("i", status(Running, 0))])), []);
        assert_eq!(steps(&spec, &seen(&[("i", status(Exited, 0))])), [Step::Init(1)]);
        assert_eq!(steps(&spec, &seen(&[("i", status(Exited, 1))])), [Step::Init(0)]);
        assert_eq!(steps(&spec, &seen(&[("i", status(Exited, 0)), ("j", status(Exited, 0))])), [Step::Start(0)]);
    }

    #[test]
    fn ended_containers_come_again_as_the_policy_says() {
        use ContainerState::*;
        for (policy, code, again) in
            [("Always", 0, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)]
        {
            let list = [("a", status(Exited, code))];
            let got = steps(&spec(policy, &[], false), &seen(&list));
            assert_eq!(got, if again { vec![Step::Start(0)] } else { vec![] }, "{policy} {code}");
            assert_eq!(is_over(&spec(policy, &[], false), &seen(&list)), !again, "{policy} {code}");
        }
    }

    #[test]
    fn a_sidecar_starts_first_and_is_kept_running() {
        use ContainerState::*;
        let spec = spec("Always", &["s"], true);
        assert_eq!(steps(&spec, &seen(&[])), [Step::Init(0)]);
        let list = [("s", status(Running, 0))];
        assert_eq!(steps(&spec, &seen(&list)), []);
        let mut ready = seen(&list);
        ready.started.push("s");
        assert_eq!(steps(&spec, &ready), [Step::Start(0)]);
        let list = [("s", status(Exited, 0)), ("a", status(Running, 0))];
        assert_eq!(steps(&spec, &seen(&list)), [Step::Init(0)]);
    }
}
