//! The scheduler alone, in the place of kube-scheduler.

use super::serving::{self, Pages};
use super::{begin, client, configured, lead};
use crate::cli::parts::Scheduler;
use crate::component;
use crate::failure::Result;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const NAME: &str = "kube-scheduler";
pub(crate) const PORT: u16 = 10259;

pub(crate) fn run(args: Scheduler) -> Result<()> {
    begin(&args.common.log.clone(), |token| async move { serve(args, token).await })
}

async fn serve(mut args: Scheduler, token: CancellationToken) -> Result<()> {
    if let Some(file) = configured(args.config.as_ref(), component::scheduler)? {
        take(&mut args, file);
    }
    let client = client(&args.connection).await?;
    let pages = Pages {
        name: NAME,
        group: "componentconfig",
        config: shown(&args),
        checks: &["leaderElection"],
        healthy: Box::new(|| true),
        own: |_, _| None,
    };
    let health = serving::start(&args.health, PORT, pages, &token).await?;
    let own = client.clone();
    let work = |informers, token| {
        ironclad_scheduler::run(ironclad_scheduler::Config { client: own, informers, name: args.scheduler_name }, token)
    };
    let outcome = lead((&client, &args.connection), &args.leader, NAME, &token, work).await;
    drop(health);
    outcome
}

/// Puts what the file says in the place of flags.
fn take(args: &mut Scheduler, file: component::Scheduler) {
    let leader = &mut args.leader;
    args.connection.kubeconfig = file.kubeconfig.or(args.connection.kubeconfig.take());
    args.scheduler_name = file.name.unwrap_or_else(|| args.scheduler_name.clone());
    leader.leader_elect = file.leader_elect.unwrap_or(leader.leader_elect);
    leader.leader_elect_lease_duration = file.lease.unwrap_or(leader.leader_elect_lease_duration);
    leader.leader_elect_renew_deadline = file.renew.unwrap_or(leader.leader_elect_renew_deadline);
    leader.leader_elect_retry_period = file.retry.unwrap_or(leader.leader_elect_retry_period);
    leader.leader_elect_resource_name = file.resource_name.or(leader.leader_elect_resource_name.take());
    leader.leader_elect_resource_namespace =
        file.resource_namespace.unwrap_or_else(|| leader.leader_elect_resource_namespace.clone());
}

/// The configuration that is in force.
fn shown(args: &Scheduler) -> Value {
    json!({
        "kind": "KubeSchedulerConfiguration", "apiVersion": "kubescheduler.config.k8s.io/v1",
        "leaderElection": super::shown_election(&args.leader, NAME),
        "clientConnection": {"kubeconfig": args.connection.kubeconfig, "contentType": "application/json"},
        "podInitialBackoffSeconds": 1, "podMaxBackoffSeconds": 10,
        "profiles": [{"schedulerName": args.scheduler_name}],
    })
}
