//! The binary. What it does is in [`crosslink::cli`].

use std::process::ExitCode;

use clap::Parser;
use crosslink::cli::Cli;
use mimalloc::MiMalloc;

/// The system's own keeps what a flood took, because something that stays lies on every page of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run().await
}
