//! `ironclad`: Kubernetes in one small, fast, safe binary.
//!
//! This crate only wires: every part is a plain function or struct of its own crate. Invariant: the shim's role is
//! taken before anything else happens, so that a shim has one thread and little memory.

mod cli;
mod cluster;
mod component;
mod down;
mod encryption;
mod failure;
mod files;
mod image;
mod kept;
mod node;
mod parts;
mod preflight;
mod process;
mod server;
mod status;
mod steps;
mod up;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("shim", rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        ironclad_runtime::shim_main(rest);
    }
    match kept::read().and_then(cli::Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            steps::complain(&failure);
            ExitCode::from(failure.id.exit_code())
        }
    }
}
