//! Benches: each prints figures that can be compared with those of another commit on the same machine.

mod api;
mod cluster;
mod container;
mod crds;
mod dns;
mod pods;
mod process;
mod services;
mod store;

use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The API server under load, against the stock server's figures.
    Api(api::Args),
    /// The server of `api`, in a process of its own.
    #[command(hide = true)]
    ApiServer {
        /// Where its store and certificates are.
        dir: std::path::PathBuf,
        /// The etcd that is its store instead.
        etcd: Option<String>,
    },
    /// A whole cluster: start, idle cost, time until a pod runs.
    Cluster(cluster::Args),
    /// Time of container create, start and delete, of sandboxes, and memory of a shim.
    Container {
        /// How many of each.
        #[arg(long, default_value_t = 30)]
        count: usize,
    },
    /// Many CustomResourceDefinitions: time and memory of each, discovery and OpenAPI.
    Crds(crds::Args),
    /// Cluster DNS: questions per second that two processors answer.
    Dns(dns::Args),
    /// The server of `dns`, in a process of its own.
    #[command(hide = true)]
    DnsServer,
    /// Pods: create to running for one and for many at once, memory of each.
    Pods(pods::Args),
    /// The service proxy's table: a bulk load, and changes of single endpoints and Services among many.
    Services {
        /// How many Services.
        #[arg(long, default_value_t = 10_000)]
        count: usize,
        /// How many changes of each sort.
        #[arg(long, default_value_t = 500)]
        changes: usize,
    },
    /// Durable commits per second of the embedded store, with 1, 64 and 1,000 clients; or what many objects cost.
    Store {
        /// Load so many objects instead, and open the store again.
        #[arg(long)]
        objects: Option<usize>,
        /// Where the store is made; the directory for temporary files if it is not given.
        #[arg(long)]
        dir: Option<std::path::PathBuf>,
        /// How long each number of clients writes.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

/// Runs a bench.
pub(crate) fn run(what: &Bench) -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Runtime::new()?;
    match what {
        Bench::Api(args) => tokio.block_on(api::run(args)).map_err(|e| e as Box<dyn std::error::Error>),
        Bench::ApiServer { dir, etcd } => {
            tokio.block_on(api::serve(dir, etcd.as_deref())).map_err(|e| e as Box<dyn std::error::Error>)
        }
        Bench::Cluster(args) => cluster::run(args, &tokio),
        Bench::Crds(args) => tokio.block_on(crds::run(args)).map_err(|e| e as Box<dyn std::error::Error>),
        Bench::Container { count } => tokio.block_on(container::run(*count)),
        Bench::Dns(args) => dns::run(args).map_err(|e| e as Box<dyn std::error::Error>),
        Bench::DnsServer => dns::serve().map_err(|e| e as Box<dyn std::error::Error>),
        Bench::Pods(args) => pods::run(args, &tokio),
        Bench::Services { count, changes } => services::run(*count, *changes),
        Bench::Store { objects: Some(objects), dir, .. } => tokio.block_on(store::many(dir.as_deref(), *objects)),
        Bench::Store { dir, seconds, .. } => tokio.block_on(store::run(dir.as_deref(), *seconds)),
    }
}
