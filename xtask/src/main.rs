//! Development tasks: `cargo xtask <task>`.

mod bench;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Development tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
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
        Task::Bench { what } => bench::run(&what),
    }
}
