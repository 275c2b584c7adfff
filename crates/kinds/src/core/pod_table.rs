//! What `kubectl get pods` shows, the STATUS column above all.

use ironclad_api::object;
use ironclad_api::table::{Cells, Column, age, since};
use ironclad_json::{Value, json};
use std::sync::LazyLock;

pub(super) fn columns() -> &'static [Column] {
    static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
        vec![
            Column::object_name(),
            Column::text("Ready", "How many of the pod's containers are ready."),
            Column::text("Status", "What the pod is doing, worked out from its conditions and containers."),
            Column::text("Restarts", "How often containers were restarted, and when last."),
            Column::age(),
            Column::text("IP", "The pod's address.").wide(),
            Column::text("Node", "The node that runs the pod.").wide(),
            Column::text("Nominated Node", "The node on which room is being made for the pod.").wide(),
            Column::text("Readiness Gates", "How many of the pod's readiness gates are open.").wide(),
        ]
    });
    &COLUMNS
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[derive(Default)]
struct Restarts {
    count: i64,
    last: String,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += status["restartCount"].as_i64().unwrap_or(0);
        let finished = object::text(status, &["lastState", "terminated", "finishedAt"]);
        if finished > self.last.as_str() {
            finished.clone_into(&mut self.last);
        }
    }

    fn cell(&self) -> Value {
        match (self.count, self.last.is_empty()) {
            (0, _) | (_, true) => json!(self.count.to_string()),
            (count, false) => json!(format!("{count} ({} ago)", since(&self.last).as_str().unwrap_or_default())),
        }
    }
}

pub(super) fn cells(pod: &Value) -> Cells {
    let status = &pod["status"];
    let sidecar = |name: &Value| {
        list(&pod["spec"], "initContainers").iter().any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
    };
    let sidecars = list(&pod["spec"], "initContainers").iter().filter(|c| c["restartPolicy"] == "Always").count();
    let total = list(&pod["spec"], "containers").len() + sidecars;
    let (reason, ready, restarts) = reason(pod, &sidecar);
    let ips = list(status, "podIPs");
    let ip = ips.first().map_or_else(|| object::text(status, &["podIP"]), |i| i["ip"].as_str().unwrap_or_default());
    let or_none = |text: &str| json!(if text.is_empty() { "<none>" } else { text });
    vec![
        json!(object::name(pod)),
        json!(format!("{ready}/{total}")),
        json!(reason),
        restarts.cell(),
        age(pod),
        or_none(ip),
        or_none(object::text(pod, &["spec", "nodeName"])),
        or_none(object::text(status, &["nominatedNodeName"])),
        gates(pod),
    ]
}

fn gates(pod: &Value) -> Value {
    let gates = list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return json!("<none>");
    }
    let conditions = list(&pod["status"], "conditions");
    let open = |gate: &&Value| conditions.iter().any(|c| c["type"] == gate["conditionType"] && c["status"] == "True");
    json!(format!("{}/{}", gates.iter().filter(open).count(), gates.len()))
}

fn reason(pod: &Value, sidecar: &dyn Fn(&Value) -> bool) -> (String, usize, Restarts) {
    let status = &pod["status"];
    let text = |path: &[&str]| object::text(status, path).to_owned();
    let mut reason = if text(&["reason"]).is_empty() { text(&["phase"]) } else { text(&["reason"]) };
    let gated = |c: &&Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
    if list(status, "conditions").iter().any(|c| gated(&c)) {
        "SchedulingGated".clone_into(&mut reason);
    }
    let (mut ready, mut restarts, mut sidecar_restarts) = (0, Restarts::default(), Restarts::default());
    let mut initializing = false;
    let inits = list(&pod["spec"], "initContainers").len();
    for (index, container) in list(status, "initContainerStatuses").iter().enumerate() {
        restarts.add(container);
        let is_sidecar = sidecar(&container["name"]);
        if is_sidecar {
            sidecar_restarts.add(container);
        }
        let terminated = &container["state"]["terminated"];
        if terminated["exitCode"] == 0 {
            continue;
        }
        if is_sidecar && container["started"] == true {
            ready += usize::from(container["ready"] == true);
            continue;
        }
        reason = if terminated.is_object() {
            format!("Init:{}", ended(terminated))
        } else {
            match object::text(container, &["state", "waiting", "reason"]) {
                "" | "PodInitializing" => format!("Init:{index}/{inits}"),
                waiting => format!("Init:{waiting}"),
            }
        };
        initializing = true;
        break;
    }
    let initialized = list(status, "conditions").iter().any(|c| c["type"] == "Initialized" && c["status"] == "True");
    if !initializing || initialized {
        restarts = sidecar_restarts;
        let mut running = false;
        for container in list(status, "containerStatuses").iter().rev() {
            restarts.add(container);
            let waiting = object::text(container, &["state", "waiting", "reason"]);
            let terminated = &container["state"]["terminated"];
            if !waiting.is_empty() {
                waiting.clone_into(&mut reason);
            } else if terminated.is_object() {
                reason = ended(terminated);
            } else if container["ready"] == true && container["state"]["running"].is_object() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" && running {
            let is_ready = list(status, "conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            (if is_ready { "Running" } else { "NotReady" }).clone_into(&mut reason);
        }
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        let lost = status["reason"] == "NodeLost";
        let ended = matches!(object::text(status, &["phase"]), "Succeeded" | "Failed");
        if lost {
            "Unknown".clone_into(&mut reason);
        } else if !ended {
            "Terminating".clone_into(&mut reason);
        }
    }
    (reason, ready, restarts)
}

fn ended(terminated: &Value) -> String {
    let number = |field: &str| terminated[field].as_i64().unwrap_or(0);
    match object::text(terminated, &["reason"]) {
        "" if number("signal") != 0 => format!("Signal:{}", number("signal")),
        "" => format!("ExitCode:{}", number("exitCode")),
        reason => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: &Value) -> (String, String, String) {
        let cells = cells(pod);
        let text = |i: usize| cells[i].as_str().unwrap().to_owned();
        (text(1), text(2), text(3))
    }

    fn pod(spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": spec, "status": status})
    }

    #[test]
    fn the_status_column_reads_as_kubectl_prints_it() {
        let one = || json!({"containers": [{"name": "a"}]});
        let running = json!([{"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}}]);
        let waiting = json!([{"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
        let table = [
            (pod(one(), json!({"phase": "Pending"})), ("0/1", "Pending", "0")),
            (pod(one(), json!({"phase": "Running", "containerStatuses": running})), ("1/1", "Running", "0")),
            (pod(one(), json!({"phase": "Running", "containerStatuses": waiting})), ("0/1", "CrashLoopBackOff", "3")),
            (
                pod(
                    one(),
                    json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
                ),
                ("0/1", "Completed", "0"),
            ),
            (
                pod(
                    json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}),
                    json!({"phase": "Pending", "initContainerStatuses": [
                        {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]}),
                ),
                ("0/1", "Init:1/2", "0"),
            ),
            (pod(one(), json!({"phase": "Failed", "reason": "Evicted"})), ("0/1", "Evicted", "0")),
        ];
        for (pod, (ready, status, restarts)) in table {
            assert_eq!(row(&pod), (ready.into(), status.into(), restarts.into()), "{pod}");
        }
    }
}
