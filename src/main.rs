//! The binary. What it does is in [`crosslink::cli`].

use std::process::ExitCode;

use clap::Parser;
use crosslink::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run().await
}
