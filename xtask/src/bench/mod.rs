//! Benches: each prints figures that can be compared with those of another commit on the same machine.

mod container;

use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Time of container create, start and delete, of sandboxes, and memory of a shim.
    Container {
        /// How many of each.
        #[arg(long, default_value_t = 30)]
        count: usize,
    },
}

/// Runs a bench.
pub(crate) fn run(what: &Bench) -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Runtime::new()?;
    match what {
        Bench::Container { count } => tokio.block_on(container::run(*count)),
    }
}
