//! KubeSchedulerConfiguration.

use super::{File, Others, at, duration, flag, number, string, text};
use ironclad_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const OTHERS: Others = Others {
    used: &["leaderElection", "clientConnection.kubeconfig", "profiles"],
    // Nodes are looked at until enough were found, by as many as there are processors.
    idle: &[
        "parallelism",
        "percentageOfNodesToScore",
        "enableProfiling",
        "enableContentionProfiling",
        "delayCacheUntilActive",
        "clientConnection.acceptContentTypes",
        "clientConnection.contentType",
        "clientConnection.qps",
        "clientConnection.burst",
    ],
    fixed: &[("podInitialBackoffSeconds", "1"), ("podMaxBackoffSeconds", "10")],
};

/// What a scheduler takes from its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scheduler {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) name: Option<String>,
    pub(crate) leader_elect: Option<bool>,
    pub(crate) lease: Option<Duration>,
    pub(crate) renew: Option<Duration>,
    pub(crate) retry: Option<Duration>,
    pub(crate) resource_name: Option<String>,
    pub(crate) resource_namespace: Option<String>,
}

/// Reads the file that `--config` names.
pub(crate) fn read(path: &Path) -> Result<Scheduler, String> {
    let version = "kubescheduler.config.k8s.io/v1";
    let scheme = "pkg/scheduler/apis/config/scheme/scheme.go:29";
    let file = File::read(&text(path)?, "KubeSchedulerConfiguration", version, scheme)?;
    if let Some(why) = file.strict() {
        return Err(why);
    }
    let value = &file.value;
    let errors: Vec<String> = validate(value).into_iter().chain(OTHERS.refused(&file)).collect();
    match errors.as_slice() {
        [] => Ok(taken(value)),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn validate(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    election(value, &mut out);
    if let Some(found) = number(value, "parallelism").filter(|n| *n <= 0) {
        out.push(format!("parallelism: Invalid value: {found}: should be an integer value greater than zero"));
    }
    profiles(value, &mut out);
    if let Some(found) = number(value, "percentageOfNodesToScore").filter(|n| !(0..=100).contains(n)) {
        out.push(format!("percentageOfNodesToScore: Invalid value: {found}: not in valid range [0-100]"));
    }
    backoff(value, &mut out);
    out
}

/// The times of the election fit into each other.
fn election(value: &Value, out: &mut Vec<String>) {
    let of = |field: &str, default: u64| {
        duration(value, &format!("leaderElection.{field}")).unwrap_or(Duration::from_secs(default))
    };
    let (lease, renew, retry) = (of("leaseDuration", 15), of("renewDeadline", 10), of("retryPeriod", 2));
    if flag(value, "leaderElection.leaderElect") != Some(false) {
        if lease <= renew {
            out.push(format!(
                "leaderElection.leaseDuration: Invalid value: \"{}s\": must be greater than `RenewDeadline`",
                renew.as_secs_f64()
            ));
        }
        if renew.as_secs_f64() <= 1.2 * retry.as_secs_f64() {
            out.push(format!(
                "leaderElection.renewDeadline: Invalid value: \"{}s\": must be greater than `RetryPeriod` times 1.2",
                renew.as_secs_f64()
            ));
        }
    }
}

/// A pod's second waiting is no shorter than its first.
fn backoff(value: &Value, out: &mut Vec<String>) {
    let (initial, most) = (number(value, "podInitialBackoffSeconds"), number(value, "podMaxBackoffSeconds"));
    if let Some(found) = initial.filter(|n| *n <= 0) {
        out.push(format!("podInitialBackoffSeconds: Invalid value: {found}: must be greater than 0"));
    }
    if let Some(found) = most.filter(|most| *most < initial.unwrap_or(1)) {
        out.push(format!(
            "podMaxBackoffSeconds: Invalid value: {found}: must be greater than or equal to PodInitialBackoffSeconds"
        ));
    }
}

/// One profile, which schedules by what this scheduler has.
fn profiles(value: &Value, out: &mut Vec<String>) {
    let all = at(value, "profiles").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for (i, profile) in all.iter().enumerate() {
        let name = string(profile, "schedulerName").unwrap_or_else(|| "default-scheduler".to_owned());
        if names.contains(&name) {
            out.push(format!("profiles[{i}].schedulerName: Duplicate value: {name:?}"));
        }
        names.push(name);
        for field in ["plugins", "pluginConfig"] {
            if profile.get(field).is_some_and(|set| !nothing(set)) {
                out.push(format!("profiles[{i}].{field}: Forbidden: the plugins of this scheduler and their arguments cannot be chosen"));
            }
        }
    }
    if names.len() > 1 {
        out.push("profiles: Too many: must have at most 1 item".to_owned());
    }
}

/// Whether nothing is chosen: empty lists in objects, as files are often written.
fn nothing(value: &Value) -> bool {
    super::empty(value) || value.as_object().is_some_and(|fields| fields.iter().all(|(_, value)| nothing(value)))
}

fn taken(value: &Value) -> Scheduler {
    let of = |field: &str| duration(value, &format!("leaderElection.{field}")).filter(|d| !d.is_zero());
    let profile = at(value, "profiles").and_then(Value::as_array).and_then(|all| all.first());
    Scheduler {
        kubeconfig: string(value, "clientConnection.kubeconfig").map(PathBuf::from),
        name: profile.and_then(|p| string(p, "schedulerName")),
        leader_elect: flag(value, "leaderElection.leaderElect"),
        lease: of("leaseDuration"),
        renew: of("renewDeadline"),
        retry: of("retryPeriod"),
        resource_name: string(value, "leaderElection.resourceName"),
        resource_namespace: string(value, "leaderElection.resourceNamespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Scheduler, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        std::fs::write(file.path(), format!("{head}{body}")).unwrap();
        read(file.path())
    }

    #[test]
    fn what_is_set_is_used_or_refused() {
        let taken = of("clientConnection: {kubeconfig: /k}\nleaderElection: {leaderElect: false}\nprofiles: [{schedulerName: mine, plugins: {score: {}}}]\n").unwrap();
        let wanted = Scheduler {
            kubeconfig: Some("/k".into()),
            name: Some("mine".to_owned()),
            leader_elect: Some(false),
            ..Scheduler::default()
        };
        assert_eq!(taken, wanted);
        for (body, why) in [
            (
                "foo: 1\nprofiles: [{bar: 2}]\n",
                "strict decoding error: unknown field \"foo\", unknown field \"profiles[0].bar\"",
            ),
            ("parallelism: -1\n", "parallelism: Invalid value: -1: should be an integer value greater than zero"),
            ("podInitialBackoffSeconds: 5\n", "podInitialBackoffSeconds: Unsupported value: 5: supported values: 1"),
            ("extenders: [{urlPrefix: x}]\n", "extenders: Forbidden: this part has no such setting; leave it out"),
            (
                "leaderElection: {leaderElect: true, leaseDuration: 5s, renewDeadline: 5s}\n",
                "leaderElection.leaseDuration: Invalid value: \"5s\": must be greater than `RenewDeadline`",
            ),
            (
                "profiles: [{plugins: {filter: {disabled: [{name: \"*\"}]}}}]\n",
                "profiles[0].plugins: Forbidden: the plugins of this scheduler and their arguments cannot be chosen",
            ),
        ] {
            assert_eq!(of(body).unwrap_err(), why);
        }
    }
}
