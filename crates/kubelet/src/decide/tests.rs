use super::*;
use ContainerState::*;
use ironclad_cri::ContainerConfig;
use serde_json::{Value, json};
use std::sync::Arc;

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

fn plan(spec: Value) -> Arc<Plan> {
    Plan::new(Arc::new(serde_json::from_value(json!({"spec": spec})).unwrap()))
}

fn simple(policy: &str, inits: &[&str], sidecar: bool) -> Arc<Plan> {
    let init = |n: &&str| json!({"name": n, "restartPolicy": if sidecar { json!("Always") } else { json!(null) }});
    let inits: Vec<_> = inits.iter().map(init).collect();
    plan(json!({"restartPolicy": policy, "containers": [{"name": "a"}], "initContainers": inits}))
}

fn seen<'a>(list: &'a [(&'a str, ContainerStatus)]) -> Seen<'a> {
    Seen { sandbox: Some("s"), newest: list.iter().map(|(n, s)| (*n, s)).collect(), ..Seen::default() }
}

fn start(name: &str) -> Step {
    Step::Start(name.to_owned())
}

#[test]
fn a_new_pod_gets_a_sandbox_then_its_init_containers_in_order_then_the_rest() {
    let plan = simple("Always", &["i", "j"], false);
    assert_eq!(steps(&plan, &Seen::default()), [Step::Sandbox]);
    assert_eq!(steps(&plan, &seen(&[])), [start("i")]);
    assert_eq!(steps(&plan, &seen(&[("i", status(Running, 0))])), []);
    assert_eq!(steps(&plan, &seen(&[("i", status(Exited, 0))])), [start("j")]);
    assert_eq!(steps(&plan, &seen(&[("i", status(Exited, 1))])), [start("i")]);
    assert_eq!(steps(&plan, &seen(&[("i", status(Exited, 0)), ("j", status(Exited, 0))])), [start("a")]);
    let mut busy = seen(&[]);
    busy.busy.insert("i");
    assert_eq!(steps(&plan, &busy), []);
}

#[test]
fn ended_containers_come_again_as_the_policy_says() {
    for (policy, code, again) in
        [("Always", 0, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)]
    {
        let list = [("a", status(Exited, code))];
        let got = steps(&simple(policy, &[], false), &seen(&list));
        assert_eq!(got, if again { vec![start("a")] } else { vec![Step::End] }, "{policy} {code}");
    }
}

#[test]
fn rules_of_a_container_come_before_its_policy_and_that_before_the_pods() {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let spec = json!({"restartPolicy": "Always", "containers": [
        {"name": "a", "restartPolicy": "Never", "restartPolicyRules": rules}]});
    assert_eq!(steps(&plan(spec.clone()), &seen(&[("a", status(Exited, 42))])), [start("a")]);
    assert_eq!(steps(&plan(spec), &seen(&[("a", status(Exited, 1))])), [Step::End]);
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let plan = simple("Never", &["i"], false);
    assert_eq!(steps(&plan, &seen(&[("i", status(Exited, 1))])), [Step::End]);
}

#[test]
fn a_sidecar_starts_first_and_is_kept_running() {
    let plan = simple("Always", &["s"], true);
    assert_eq!(steps(&plan, &seen(&[])), [start("s")]);
    let list = [("s", status(Running, 0))];
    assert_eq!(steps(&plan, &seen(&list)), []);
    let mut ready = seen(&list);
    ready.started.insert("s");
    assert_eq!(steps(&plan, &ready), [start("a")]);
    let list = [("s", status(Exited, 0)), ("a", status(Running, 0))];
    assert_eq!(steps(&plan, &seen(&list)), [start("s")]);
    let list = [("s", status(Running, 0)), ("a", status(Exited, 0))];
    assert_eq!(steps(&simple("Never", &["s"], true), &seen(&list)), [Step::End]);
}

#[test]
fn a_new_sandbox_runs_the_init_containers_again() {
    let plan = simple("Always", &["i"], false);
    let old = |s: ContainerStatus| ContainerStatus { sandbox_id: "old".into(), ..s };
    let list = [("i", old(status(Exited, 0))), ("a", old(status(Exited, 137)))];
    assert_eq!(steps(&plan, &seen(&list)), [start("i")]);
}

#[test]
fn unhealthy_and_changed_containers_are_killed_once() {
    let plan = plan(json!({"containers": [{"name": "a", "image": "new"}]}));
    let mut running = status(Running, 0);
    running.config.user_specified_image = "new".into();
    let list = [("a", running.clone())];
    assert_eq!(steps(&plan, &seen(&list)), []);
    let mut sick = seen(&list);
    sick.unhealthy.insert("a", Why::Liveness);
    let kill = |why| Step::Kill { name: "a".into(), id: "id".into(), why };
    assert_eq!(steps(&plan, &sick), [kill(Why::Liveness)]);
    sick.busy.insert("a");
    assert_eq!(steps(&plan, &sick), []);
    running.config.user_specified_image = "old".into();
    let list = [("a", running)];
    assert_eq!(steps(&plan, &seen(&list)), [kill(Why::Changed)]);
}

#[test]
fn ephemeral_containers_start_once_and_never_again() {
    let plan = plan(json!({"containers": [{"name": "a"}], "ephemeralContainers": [{"name": "d", "image": ""}]}));
    let list = [("a", status(Running, 0))];
    assert_eq!(steps(&plan, &seen(&list)), [start("d")]);
    let list = [("a", status(Running, 0)), ("d", status(Exited, 1))];
    assert_eq!(steps(&plan, &seen(&list)), []);
}
