//! Log lines on stderr: for a person to read, or one JSON object each.

use std::{
    fmt,
    io::{self, IsTerminal},
    panic,
};

use chrono::Local;
use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

use crate::{
    broker::router::RETIRED,
    config::{Config, LogFormat},
};

/// The router logs each client that leaves as a fault. What is worth telling, the front tells.
const QUIET: &str = "rumqttd=off,sea_orm_migration=warn";

/// Starts logging for the whole process, once.
pub fn start(config: &Config) {
    hush_retired_routers();
    // What is said later wins, so that `--log rumqttd=debug` is heard.
    let levels = EnvFilter::new(format!("{QUIET},{}", config.log));
    let lines = tracing_subscriber::fmt().with_env_filter(levels).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => lines.with_ansi(coloured()).with_target(false).with_timer(Clock).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).init(),
    }
}

/// The thread of a router that was replaced ends by a panic, because it knows no other end. That is nothing to tell.
fn hush_retired_routers() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(|what| what.contains(RETIRED)) {
            tell(panic);
        }
    }));
}

/// See <https://no-color.org>.
#[allow(clippy::disallowed_methods, reason = "the terminal's wish, not a setting of the gateway")]
fn coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
}

/// Local time of day, to the millisecond.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Local::now().format("%H:%M:%S%.3f"))
    }
}
