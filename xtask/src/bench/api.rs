//! The API server under load: a child process serves it with TLS, certificates and RBAC over a durable store; this
//! process is its clients. Both share the machine's cores, so the figures hold for both ends together.

mod allocated;
pub(crate) mod client;
mod memory;
mod objects;
mod reads;
mod report;
mod server;
mod watches;
mod writes;

use ironclad_auth::pki;
use report::Report;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use server::serve;

/// What is measured and how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each rate is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many pods are listed.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// How many watchers of the fan-out.
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,
    /// Only these parts: idle, create, get, patch, list, watch, memory, allocated.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Keep objects in an etcd of its own beside the server.
    #[arg(long)]
    etcd: bool,
    /// Measure a server that runs already, for example a stock one: IP:PORT
    #[arg(long, value_name = "IP:PORT", requires_all = ["ca", "cert", "key", "pid"])]
    server: Option<std::net::SocketAddr>,
    /// The authority of that server
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The administrator's certificate for it
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The number of that server's process
    #[arg(long)]
    pid: Option<u32>,
    /// Where the store is made; the directory for temporary files if it is not given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

impl Args {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == part)
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.max(1))
    }

    fn place(&self) -> std::io::Result<tempfile::TempDir> {
        match &self.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        }
    }
}

/// Runs the parts that are wanted, each against a server of its own, and prints the table.
pub(crate) async fn run(args: &Args) -> Result<()> {
    ironclad_auth::install_crypto();
    let mut report = Report::default();
    let parts: [(&str, Part); 6] = [
        ("idle", Part::Idle),
        ("create", Part::Create),
        ("get", Part::Get),
        ("patch", Part::Patch),
        ("list", Part::List),
        ("watch", Part::Watch),
    ];
    for (_, part) in parts.iter().filter(|(name, _)| args.wants(name)) {
        let place = args.place()?;
        let etcd = if args.etcd { Some(ironclad_testkit::Etcd::start()?) } else { None };
        let server = match (&args.server, &args.ca, &args.cert, &args.key, args.pid) {
            (Some(address), Some(ca), Some(cert), Some(key), Some(pid)) => {
                client::Server::running(*address, &std::fs::read_to_string(ca)?, &pki::read_pair(cert, key)?, pid)?
            }
            _ => client::Server::start(place.path(), etcd.as_ref().map(ironclad_testkit::Etcd::url)).await?,
        };
        let done = part.measure(args, &server, &mut report).await;
        server.stop().await?;
        done?;
    }
    if args.wants("memory") {
        in_place(args, async |dir: &Path, report: &mut Report| memory::run(dir, args.pods, report).await, &mut report)
            .await?;
    }
    if args.wants("allocated") {
        in_place(args, async |dir: &Path, report: &mut Report| allocated::run(dir, report).await, &mut report).await?;
    }
    report.print();
    Ok(())
}

async fn in_place(
    args: &Args,
    run: impl AsyncFnOnce(&Path, &mut Report) -> Result<()>,
    report: &mut Report,
) -> Result<()> {
    let place = args.place()?;
    run(place.path(), report).await
}

enum Part {
    Idle,
    Create,
    Get,
    Patch,
    List,
    Watch,
}

impl Part {
    async fn measure(&self, args: &Args, server: &client::Server, report: &mut Report) -> Result<()> {
        match self {
            Self::Idle => memory::idle(server, report).await,
            Self::Create => writes::creates(server, args.time(), report).await,
            Self::Get => reads::gets(server, args.time(), report).await,
            Self::Patch => writes::patches(server, args.time(), report).await,
            Self::List => reads::lists(server, args.pods, report).await,
            Self::Watch => watches::run(server, args.watchers, args.time(), report).await,
        }
    }
}
