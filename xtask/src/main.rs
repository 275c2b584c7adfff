//! Development tasks: `cargo xtask <task>`.

mod bench;

use clap::{Parser, Subcommand};

#[cfg(not(feature = "counting"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts what is allocated, for the bench of bytes allocated.
#[cfg(feature = "counting")]
#[global_allocator]
pub(crate) static COUNTING: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[derive(Parser)]
#[command(name = "xtask", about = "Development tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the test images and serve them on loopback until this program is stopped.
    Registry {
        /// The port; 0 takes a free one.
        #[arg(long, default_value_t = 5000)]
        port: u16,
    },
    /// Measure something; prints one line for each number.
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    // The runtime that is measured starts this program as its shim, before anything else may run.
    if args.get(1).is_some_and(|a| a == "shim") {
        ironclad_runtime::shim_main(&args[2..]);
    }
    match Args::parse().task {
        Task::Registry { port } => registry(port),
        Task::Bench { what } => bench::run(&what),
    }
}

fn registry(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let images = ironclad_testkit::Images::build().await?;
        let registry = ironclad_testkit::Registry::start(&images, None, port).await?;
        for name in images.names() {
            println!("{}", registry.image(name));
        }
        tokio::signal::ctrl_c().await?;
        Ok(())
    })
}
