//! One part alone, in the place of its stock counterpart: each talks to the API server that a kubeconfig names.
//!
//! Invariant: a part that needs nothing of the machine but its network needs no root either.

mod api;
mod bootstrap;
mod clients;
mod manager;
mod node;
mod scheduler;
mod serving;

use crate::cli::parts::{ApiServer, Connection, LeaderFlags};
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use ironclad_api::KUBERNETES_VERSION;
use ironclad_api::features::COORDINATED_LEADER_ELECTION;
use ironclad_client::leader::{Election, Ended, Times};
use ironclad_client::{Client, Informers};
use std::future::Future;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) use manager::{Controllers, PORT as CONTROLLERS_PORT, controllers, run as controller_manager};
pub(crate) use node::{dns, kubelet, proxy};
pub(crate) use scheduler::{PORT as SCHEDULER_PORT, run as scheduler};

pub(crate) fn apiserver(args: ApiServer) -> Result<()> {
    begin(&args.common.log.clone(), |token| async move { api::serve(args, token).await })
}

/// Sets up what every process needs and runs `part` until it ends by itself or a signal ends it.
fn begin<F, W>(log: &str, part: F) -> Result<()>
where
    F: FnOnce(CancellationToken) -> W,
    W: Future<Output = Result<()>>,
{
    crate::server::log(log);
    ironclad_auth::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let outcome = runtime.block_on(async {
        let token = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut part = std::pin::pin!(part(token.clone()));
        tokio::select! {
            ended = &mut part => return ended,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
        // A second signal does not wait.
        tokio::select! {
            ended = part => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    if let Err(failure) = &outcome {
        tracing::error!(id = failure.id.name(), cause = failure.cause, "ended");
    }
    outcome
}

const KUBECONFIG: &str = "Give the file with --kubeconfig.";

async fn client(connection: &Connection) -> Result<Client> {
    let made = ironclad_client::from_kubeconfig(kubeconfig(connection)?).await;
    made.map_err(|e| Failure::new(Id::Kubeconfig, e.to_string(), KUBECONFIG))
}

fn kubeconfig(connection: &Connection) -> Result<&Path> {
    let missing = || Failure::new(Id::Kubeconfig, "it is not said where the API server is", KUBECONFIG);
    connection.kubeconfig.as_deref().ok_or_else(missing)
}

/// What the file of `--config` says, where there is one.
fn configured<T: Default>(
    path: Option<&std::path::PathBuf>,
    read: fn(&Path) -> std::result::Result<T, String>,
) -> Result<Option<T>> {
    let refused = |why: String| Failure::new(Id::Config, why, "See what the file of --config says.");
    path.map(|path| read(path).map_err(refused)).transpose()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).context(&format!("cannot read {}", path.display()))
}

/// Works while leading: at once when there is no election. Losing the lead ends the process, which whoever supervises it
/// starts anew, as stock's do.
async fn lead<F, W>(
    (client, connection): (&Client, &Connection),
    flags: &LeaderFlags,
    name: &str,
    token: &CancellationToken,
    work: F,
) -> Result<()>
where
    F: FnOnce(Informers, CancellationToken) -> W,
    W: Future<Output = ()>,
{
    let begin = |token: CancellationToken| work(Informers::new(client.clone(), token.clone()), token);
    if !flags.leader_elect {
        begin(token.clone()).await;
        return Ok(());
    }
    let mut election = election(client, flags, name)?;
    if coordinates(connection) {
        election = election.coordinated();
        tokio::spawn(election.candidate(KUBERNETES_VERSION.trim_start_matches('v')).run(token.clone()));
    }
    match election.lead(token, begin).await {
        Ended::Stopped => Ok(()),
        Ended::Finished => Err(Failure::internal("the part ended", "see its log")),
        Ended::Lost => Err(Failure::internal("leaderelection lost", format!("somebody else holds the Lease {name}"))),
    }
}

/// Whether leaders are chosen by an elector beside the API server.
fn coordinates(connection: &Connection) -> bool {
    let gate = |text: &String| text.strip_prefix(COORDINATED_LEADER_ELECTION)?.strip_prefix('=').map(|on| on == "true");
    connection.feature_gates.iter().rev().find_map(gate).unwrap_or(false)
}

/// An election as configurations show it.
fn shown_election(flags: &LeaderFlags, name: &str) -> serde_json::Value {
    let seconds = |d: std::time::Duration| format!("{}s", d.as_secs_f64());
    serde_json::json!({
        "leaderElect": flags.leader_elect, "resourceLock": "leases",
        "leaseDuration": seconds(flags.leader_elect_lease_duration),
        "renewDeadline": seconds(flags.leader_elect_renew_deadline),
        "retryPeriod": seconds(flags.leader_elect_retry_period),
        "resourceName": flags.leader_elect_resource_name.as_deref().unwrap_or(name),
        "resourceNamespace": flags.leader_elect_resource_namespace,
    })
}

fn election(client: &Client, flags: &LeaderFlags, name: &str) -> Result<Election> {
    let (lease, renew, retry) =
        (flags.leader_elect_lease_duration, flags.leader_elect_renew_deadline, flags.leader_elect_retry_period);
    if lease <= renew || renew <= retry {
        let why = "the lease duration must be longer than the renew deadline, and that longer than the retry period";
        return Err(Failure::internal("cannot elect a leader", why));
    }
    let lock = flags.leader_elect_resource_name.as_deref().unwrap_or(name);
    let namespace = &flags.leader_elect_resource_namespace;
    Ok(Election::new(client.clone(), namespace, lock, name, &identity()?, Times { lease, renew, retry }))
}

/// Whether a part of a whole cluster works at once, or when its turn comes among servers on one etcd.
pub(crate) struct Turns {
    client: Client,
    election: Option<Election>,
    coordinates: bool,
}

impl Turns {
    /// The turns of the part that stock calls `name`. The data directory is one process's, so that its next process goes
    /// on without waiting.
    pub(crate) fn of(cluster: &Cluster, coordinates: bool, client: &Client, name: &str) -> Self {
        let own = format!("{}_{}", cluster.node_name, cluster.name);
        // Candidates are objects beside each other: each wants one Lease.
        let identity = if coordinates { format!("{own}_{name}") } else { own };
        let election = |_| {
            let plain = Election::new(client.clone(), "kube-system", name, name, &identity, Times::default());
            if coordinates { plain.coordinated() } else { plain }
        };
        Self { client: client.clone(), election: cluster.etcd.as_ref().map(election), coordinates }
    }

    /// Works until `token` is cancelled.
    pub(crate) async fn run<F, W>(self, token: CancellationToken, work: F)
    where
        F: Fn(Informers, CancellationToken) -> W,
        W: Future<Output = ()>,
    {
        let begin = |token: CancellationToken| work(Informers::new(self.client.clone(), token.clone()), token);
        let Some(election) = &self.election else { return begin(token).await };
        if self.coordinates {
            tokio::spawn(election.candidate(KUBERNETES_VERSION.trim_start_matches('v')).run(token.clone()));
        }
        while election.lead(&token, begin).await == Ended::Lost {}
    }
}

/// Who this process is among those that want the same: the machine and something of its own.
pub(crate) fn identity() -> Result<String> {
    let host = nix::unistd::gethostname().context("cannot read the host name")?;
    let bytes: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
    Ok(format!("{}_{}", host.to_string_lossy(), uuid::Builder::from_random_bytes(bytes).into_uuid()))
}
