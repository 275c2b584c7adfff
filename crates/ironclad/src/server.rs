//! `ironclad server`: every part in one process, wired together.
//!
//! Order: what can be refused is checked before anything is changed; then the store, the API server, and the parts
//! that talk to it through the one door.

pub(crate) mod api;
mod audit;
mod authentication;
mod authorization;
mod election;
mod encryption;
mod legacy;
mod parts;
mod reloads;
mod store;

use crate::cli::Server;
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use crate::steps::{Remark, Steps};
use crate::{kept, preflight, process};
pub(crate) use api::VERSION;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::OnceLock;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

pub(crate) fn run(args: Server) -> Result<()> {
    let steps = steps_of(&args)?;
    log(&args.log);
    let outcome = start(&args, &steps);
    if let Err(failure) = &outcome {
        tracing::error!(id = failure.id.name(), cause = failure.cause, "the server ends");
        if args.steps_fd.is_some() {
            steps.tell(Remark::Failed(failure.clone()));
        }
    }
    outcome
}

/// Where steps are told: to whoever started the server, or at the terminal.
fn steps_of(args: &Server) -> Result<Steps> {
    let Some(fd) = args.steps_fd else { return Ok(Steps::terminal()) };
    if fd < 3 {
        return Err(Failure::internal("cannot use --steps-fd", "it is a standard stream"));
    }
    // A session of its own: the end of the terminal does not end the cluster.
    let _ = rustix::process::setsid();
    Ok(Steps::pipe(inherited(fd)))
}

#[expect(unsafe_code, reason = "the only way to take over an inherited descriptor")]
fn inherited(fd: i32) -> File {
    // SAFETY: `up` opened the descriptor for this process alone and named it in the arguments; nothing else here
    // knows its number.
    unsafe { File::from_raw_fd(fd) }
}

type Filter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// Changes what the process logs; there is one log for a process.
static FILTER: OnceLock<Filter> = OnceLock::new();

pub(crate) fn log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let log = log.with_filter_reloading();
    let handle = log.reload_handle();
    // A log that is set up already stays.
    if log.try_init().is_ok() {
        // The first log is the only one; its handle lives as long as the process.
        let _ = FILTER.set(Box::new(move |filter| drop(handle.reload(filter))));
    }
}

/// Logs as much as stock's parts do with `-v` of this number.
pub(crate) fn verbosity(number: u32) {
    let level = match number {
        0..=3 => "info",
        4..=5 => "info,ironclad=debug",
        6..=7 => "debug",
        _ => "trace",
    };
    if let Some(set) = FILTER.get() {
        set(EnvFilter::new(level));
        tracing::info!(number, level, "the log's verbosity is changed");
    }
}

fn start(args: &Server, steps: &Steps) -> Result<()> {
    preflight::root()?;
    let mut cluster = Cluster::plan(&args.which, &args.layout)?;
    preflight::kernel()?;
    cluster.save()?;
    let _held = process::hold(&cluster)?;
    preflight::ports(&mut cluster)?;
    cluster.save()?;
    ironclad_auth::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let outcome = runtime.block_on(serve(&mut cluster, args, steps));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome
}

async fn serve(cluster: &mut Cluster, args: &Server, steps: &Steps) -> Result<()> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let api =
        api::start(cluster, &args.api, None, steps, &token).await.map_err(|failure| kept::explained(failure, args))?;
    // Only now: flags with which the API server does not start are not kept.
    cluster.flags.clone_from(&args.kept);
    cluster.save()?;
    let mut parts = parts::start(cluster, &args.controllers, steps, &api, &token).await?;
    steps.tell(Remark::Ready);
    tracing::info!(url = cluster.api_url(), "the cluster is ready");
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = parts.join_next() => match ended {
            Some(Ok(())) | None => Err(Failure::new(Id::Internal, "a part of the cluster ended", "See the log.")),
            Some(Err(error)) => Err(Failure::internal("a part of the cluster failed", error)),
        },
    };
    tracing::info!("stopping; containers go on");
    token.cancel();
    let patience = std::time::Duration::from_secs(5);
    if tokio::time::timeout(patience, async { while parts.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("some parts did not end in time");
    }
    api.stop().await;
    outcome
}
