//! The command line: what is asked for, and how it ends.
//!
//! Exit code 0 is an end that was asked for, 1 a start that failed, 2 a wrong flag, variable or file. Those of an audit
//! are its own.

mod audit;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::audit::AuditArgs;
use crate::{
    asyncapi,
    config::{Config, Flags},
    error::Error,
    gateway::Gateway,
    graphql, logging, rest,
    simulator::SimulateArgs,
};

/// Stands between microcontrollers and the people who watch and steer them.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    override_usage = "crosslink [serve] [FLAGS]\n       crosslink <COMMAND>",
    after_help = HINTS
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; meant when no command is given
    #[command(after_help = HINTS)]
    Serve(Flags),
    /// Run simulated devices against this gateway or any other broker
    Simulate(SimulateArgs),
    /// Look for what was changed in the command log
    Audit(AuditArgs),
    /// Print the contract of an interface
    Schema { interface: Interface },
}

/// An interface whose contract is written from the code.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Interface {
    /// REST, as OpenAPI in JSON
    Openapi,
    /// GraphQL, in its own language
    Graphql,
    /// MQTT, as AsyncAPI in JSON
    Asyncapi,
}

const HINTS: &str = "\
Each flag is also a variable and a key of the file: --mqtt-ws off, CROSSLINK_MQTT_WS=off, mqtt-ws = \"off\".
A flag wins over a variable, a variable over the file. Examples:
  crosslink --demo                        a living system: look at http://127.0.0.1:8080
  crosslink --mqtt 0.0.0.0:1883 --open    devices on the network come in
  crosslink --pair pump,valve --database sqlite:///var/lib/crosslink/plant.db
  crosslink simulate pair --mqtt 127.0.0.1:1883 --fault takeover
";

impl Cli {
    pub async fn run(self) -> ExitCode {
        match self.command.unwrap_or(Command::Serve(self.flags)) {
            Command::Serve(flags) => match Config::from_environment(&flags) {
                Ok(config) => ended(serve(config).await),
                Err(error) => {
                    complain(&error);
                    // As clap ends when it does not know a flag.
                    ExitCode::from(2)
                }
            },
            Command::Simulate(args) => ended(simulate(args).await),
            Command::Audit(args) => audit::run(args).await,
            Command::Schema { interface } => ended(print(&interface.contract())),
        }
    }
}

async fn serve(config: Config) -> Result<(), Error> {
    logging::start(&config);
    if config.open {
        warn!(
            "--open: there are no passwords yet, whoever reaches the ports can watch and steer every device"
        );
    }
    // Whoever reads in the log that it listens may ask it to stop.
    let mut stop = std::pin::pin!(stop_signal()?);
    let gateway = tokio::select! {
        gateway = Gateway::start(config) => gateway?,
        () = &mut stop => quit(),
    };
    tokio::select! {
        () = stop => {}
        () = gateway.broken() => {
            gateway.stop().await;
            return Err(Error::internal(anyhow::anyhow!("the journal's writer ended; see the log")));
        }
    }
    info!("stopping; a second signal quits at once");
    tokio::select! {
        () = gateway.stop() => info!("stopped"),
        () = stop_signal()? => quit(),
    }
    Ok(())
}

async fn simulate(args: SimulateArgs) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let mut devices = std::pin::pin!(args.run(stop.clone()));
    tokio::select! {
        ended = &mut devices => return ended,
        () = stop_signal()? => {}
    }
    stop.cancel();
    tokio::select! {
        ended = devices => ended,
        () = stop_signal()? => quit(),
    }
}

impl Interface {
    fn contract(self) -> String {
        match self {
            Interface::Openapi => rest::contract(),
            Interface::Graphql => graphql::sdl(),
            Interface::Asyncapi => asyncapi::contract(),
        }
    }
}

/// A reader that stops reading, as `head` does, is no failure of ours.
fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Error::internal(why)),
        _ => Ok(()),
    }
}

/// Ends with the first signal to stop from now on.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let listen = |kind| signal(kind).map_err(Error::internal);
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[allow(clippy::disallowed_methods, reason = "at once: nothing is waited for")]
fn quit() -> ! {
    std::process::exit(1)
}

fn ended(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &Error) {
    match error {
        // Whoever starts the gateway may see what a client may not.
        Error::Internal(source) => eprintln!("crosslink: {source:#}"),
        said => eprintln!("crosslink: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_fits_a_screen() {
        let help = Cli::command().render_help().to_string();
        assert!(help.lines().count() <= 48, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
    }

    #[test]
    fn flags_work_with_and_without_serve() {
        for line in [&["crosslink", "--demo"][..], &["crosslink", "serve", "--demo"]] {
            assert!(Cli::try_parse_from(line).is_ok(), "{line:?}");
        }
        assert!(Cli::try_parse_from(["crosslink", "--demmo"]).is_err());
    }
}
