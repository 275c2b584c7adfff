use super::*;
use ironclad_cri::{ContainerConfig, ContainerState};
use std::sync::Arc;

fn plan(spec: Value, status: Value) -> Arc<Plan> {
    Plan::new(Arc::new(serde_json::from_value(json!({"spec": spec, "status": status})).unwrap()))
}

fn seen(state: ContainerState, code: i32) -> Seen {
    Seen {
        id: "c".into(),
        sandbox_id: "s".into(),
        config: ContainerConfig::default(),
        state,
        created_at: 1,
        started_at: 1,
        finished_at: if state == ContainerState::Exited { 2 } else { 0 },
        exit_code: code,
        reason: String::new(),
        message: String::new(),
        image_ref: String::new(),
        log_path: String::new(),
        user: None,
    }
}

fn facts<'a>(list: &[(&'a str, &'a Seen)]) -> Facts<'a> {
    Facts { containers: list.iter().map(|(n, s)| (*n, vec![*s])).collect(), sandbox: true, ..Facts::default() }
}

fn shown(plan: &Plan, facts: &Facts<'_>) -> PodStatus {
    status(plan, facts, &plan.pod.status.clone().unwrap_or_default())
}

fn find(status: &PodStatus, kind: &str) -> PodCondition {
    status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap().clone()
}

#[test]
fn the_phase_follows_the_containers() {
    use ContainerState::{Exited, Running};
    let cases = [
        ("Always", Running, 0, false, "Running"),
        ("Always", Exited, 0, false, "Running"),
        ("Never", Exited, 0, false, "Succeeded"),
        ("Never", Exited, 1, false, "Failed"),
        ("OnFailure", Exited, 1, false, "Running"),
        ("Always", Exited, 137, true, "Failed"),
        ("Always", Exited, 0, true, "Succeeded"),
    ];
    for (policy, state, code, ended, want) in cases {
        let plan = plan(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}), json!({}));
        let container = seen(state, code);
        let got = shown(&plan, &Facts { ended, ..facts(&[("a", &container)]) });
        assert_eq!(got.phase.as_deref(), Some(want), "{policy} {state:?} {code} {ended}");
    }
}

#[test]
fn a_running_sidecar_keeps_a_finished_pod_running_until_it_ends() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let (done, runs) = (seen(ContainerState::Exited, 0), seen(ContainerState::Running, 0));
    let got = shown(&plan(spec.clone(), json!({})), &facts(&[("a", &done), ("s", &runs)]));
    assert_eq!(got.phase.as_deref(), Some("Running"));
    let killed = seen(ContainerState::Exited, 137);
    let got = shown(&plan(spec, json!({})), &facts(&[("a", &done), ("s", &killed)]));
    assert_eq!(got.phase.as_deref(), Some("Succeeded"));
}

#[test]
fn readiness_gates_hold_a_pod_back() {
    let spec = json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "x/y"}]});
    let runs = seen(ContainerState::Running, 0);
    let mut facts = facts(&[("a", &runs)]);
    facts.ready.insert("a");
    let got = shown(&plan(spec.clone(), json!({})), &facts);
    let ready = find(&got, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("ReadinessGatesNotReady")));
    assert_eq!(find(&got, "ContainersReady").status, "True");
    let open = json!({"conditions": [{"type": "x/y", "status": "True"}]});
    assert_eq!(find(&shown(&plan(spec, open), &facts), "Ready").status, "True");
}

#[test]
fn a_patch_leaves_the_conditions_of_others_alone() {
    let other = json!({"type": "x/y", "status": "True"});
    let old: PodStatus = serde_json::from_value(json!({"phase": "Pending", "message": "m", "conditions": [
        {"type": "Ready", "status": "False", "reason": "r"}, other]}))
    .unwrap();
    let new: PodStatus = serde_json::from_value(json!({"phase": "Running", "conditions": [
        {"type": "Ready", "status": "True"}, other]}))
    .unwrap();
    let want = json!({"phase": "Running", "message": null,
        "conditions": [{"type": "Ready", "status": "True", "reason": null}]});
    assert_eq!(patch(&old, &new), want);
}

#[test]
fn a_pod_that_the_node_ended_fails_with_its_reason() {
    let plan = plan(json!({"containers": [{"name": "a"}]}), json!({}));
    let killed = seen(ContainerState::Exited, 137);
    let failure = Some(("DeadlineExceeded".to_owned(), "too long".to_owned()));
    let got = shown(&plan, &Facts { ended: true, failure, ..facts(&[("a", &killed)]) });
    assert_eq!((got.phase.as_deref(), got.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
    assert_eq!(find(&got, "Ready").reason.as_deref(), Some("PodFailed"));
}

#[test]
fn a_new_address_takes_the_place_of_the_old_one() {
    let with = |ip: &str| -> PodStatus { serde_json::from_value(json!({"podIPs": [{"ip": ip}]})).unwrap() };
    let want = json!({"podIPs": [{"ip": "10.0.0.2"}, {"$patch": "replace"}]});
    assert_eq!(patch(&with("10.0.0.1"), &with("10.0.0.2")), want);
}
