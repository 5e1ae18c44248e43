//! Every flag and `CROSSLINK_` variable, with its default.
//!
//! One table, [`SETTINGS`], is the help text, the flags, the variables and the keys of the file. A
//! flag wins over a variable, a variable over the file, the file over the default. A wrong value is
//! named with where it stands and what to write instead.

mod said;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use self::said::Said;
use crate::{error::Error, model::Pair};

/// What the gateway is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    pub http: Listen,
    pub mqtt: Listen,
    pub mqtt_ws: Listen,
    /// The SQLite file.
    pub database: PathBuf,
    pub durability: Durability,
    /// After which time a command is removed from the command log, if it ever is.
    pub keep_commands: Option<Duration>,
    pub pair: Pair,
    /// Whether commands that can hurt take two steps.
    pub arm_hazards: bool,
    /// Whether addresses other than loopback may be listened on.
    pub open: bool,
    /// Host names, beside loopback's and plain addresses, under which the gateway may be called.
    pub allow_host: Vec<String>,
    /// Origins, beside the gateway's own, whose pages may use it.
    pub allow_origin: Vec<String>,
    /// MQTT connections of clients at a time, over TCP and WebSocket.
    pub max_connections: usize,
    /// Those of one IP address; loopback has no bound of its own.
    pub max_per_address: usize,
    /// A client that ends badly so often within a minute is refused for a minute. None never is.
    pub max_flaps: Option<usize>,
    pub demo: bool,
    /// Levels, as `tracing` reads them: `info`, `warn,crosslink::broker=debug`.
    pub log: String,
    pub log_format: LogFormat,
}

/// The most connections that may be asked for: a Raspberry Pi still has the memory, and the router the links.
pub const MAX_CONNECTIONS: usize = 10_000;
/// The most flaps that may be asked for: the moment of each is remembered.
const MAX_FLAPS: usize = 1_000;

/// Where a door listens, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(SocketAddr),
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The message is on disk: it survives a power cut.
    #[default]
    Full,
    /// The message is written: it survives the process, but perhaps not a power cut.
    Normal,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// One thing that can be said, as a flag, a variable or a key of the file.
#[derive(Debug)]
pub struct Setting {
    /// As in the flag and in the file: `mqtt-ws`. The variable is `CROSSLINK_MQTT_WS`.
    pub name: &'static str,
    pub kind: Kind,
    pub group: &'static str,
    /// What stands for the value in the help text.
    pub value: &'static str,
    pub default: Option<&'static str>,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A flag alone means `true`.
    Switch,
    /// Several, separated by commas; the flag may also be repeated.
    List,
}

const DOORS: &str = "Doors (ADDRESS is 127.0.0.1:1883, or `off`; port 0 picks a free one)";
const DEVICES: &str = "Devices";
const STORAGE: &str = "Storage";
const START: &str = "Configuration and logs";

/// In the order of the help text.
pub const SETTINGS: &[Setting] = &[
    Setting::text("http", "ADDRESS", "127.0.0.1:8080", DOORS, "Pages, REST and GraphQL"),
    Setting::text("mqtt", "ADDRESS", "127.0.0.1:1883", DOORS, "MQTT 3.1.1 and 5"),
    Setting::text("mqtt-ws", "ADDRESS", "127.0.0.1:8083", DOORS, "MQTT over WebSocket"),
    Setting::switch("open", DOORS, "Allow addresses that others reach: they can watch and steer"),
    Setting::list("allow-host", "HOST", DOORS, "Host names under which it may be called"),
    Setting::list("allow-origin", "ORIGIN", DOORS, "Origins of other pages that may use it"),
    Setting::text("broker", "BROKER", "embedded", DEVICES, "Which broker the devices speak to"),
    Setting::text("pair", "A,B", "raspberry,esp32", DEVICES, "The two devices that are cross-linked"),
    Setting::switch("arm-hazards", DEVICES, "Commands that can hurt take two steps: arm, then execute"),
    Setting::switch("demo", DEVICES, "Start the simulated pair and a rig inside"),
    Setting::text("max-connections", "COUNT", "4096", DEVICES, "MQTT clients at a time"),
    Setting::text("max-per-address", "COUNT", "256", DEVICES, "Those of one address, but for loopback"),
    Setting::text("max-flaps", "COUNT", "15", DEVICES, "Breaks a minute until a client is refused; or `off`"),
    Setting::text("database", "URL", "sqlite://crosslink.db", STORAGE, "Where everything is kept"),
    Setting::text("durability", "LEVEL", "full", STORAGE, "`full` survives a power cut, `normal` is faster"),
    Setting::text("keep-commands", "DAYS", "off", STORAGE, "Remove commands from the log that are older"),
    Setting::text("log", "LEVELS", "info", START, "error, warn, info, debug, trace, off; or per module"),
    Setting::text("log-format", "FORMAT", "text", START, "`text` for people, `json` for machines"),
    Setting {
        default: None,
        ..Setting::text("config", "FILE", "", START, "TOML file with any of these names")
    },
];

/// The flags of a command that only reads the database.
#[derive(clap::Args, Clone, Debug)]
pub struct DatabaseFlags {
    /// Where everything is kept, as the gateway is told it [CROSSLINK_DATABASE] [default: sqlite://crosslink.db]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// TOML file that may say it too [CROSSLINK_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
}

/// What was said on the command line, by name.
#[derive(Clone, Debug, Default)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Config {
    /// Flags over the variables of this process over the file over defaults.
    pub fn from_environment(flags: &Flags) -> Result<Config, Error> {
        Config::read(flags, variables())
    }

    /// The SQLite file alone, found in the same places. What they say of other things may be wrong.
    pub fn database_from_environment(flags: &DatabaseFlags) -> Result<PathBuf, Error> {
        let DatabaseFlags { database, config } = flags.clone();
        let flags = [("database", database), ("config", config)];
        let flags = Flags(flags.into_iter().filter_map(|(name, text)| Some((name, text?))).collect());
        said(&flags, variables())?.database()
    }

    /// Variables of other programs are passed over, and so are empty ones.
    pub fn read(flags: &Flags, variables: impl Iterator<Item = (String, String)>) -> Result<Config, Error> {
        said(flags, variables)?.config()
    }
}

fn said(flags: &Flags, variables: impl Iterator<Item = (String, String)>) -> Result<Said, Error> {
    let stated = Said::in_variables(variables)?.and(Said::in_flags(flags));
    let file = stated.file()?;
    Ok(Said::by_default().and(file).and(stated))
}

/// Those of this process.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

impl Default for Config {
    fn default() -> Config {
        Said::by_default().config().expect("the defaults are valid")
    }
}

impl Setting {
    pub fn variable(&self) -> String {
        format!("CROSSLINK_{}", self.name.to_uppercase().replace('-', "_"))
    }

    const fn text(
        name: &'static str,
        value: &'static str,
        default: &'static str,
        group: &'static str,
        help: &'static str,
    ) -> Setting {
        Setting { name, kind: Kind::Text, group, value, default: Some(default), help }
    }

    const fn switch(name: &'static str, group: &'static str, help: &'static str) -> Setting {
        Setting { name, kind: Kind::Switch, group, value: "BOOLEAN", default: None, help }
    }

    const fn list(
        name: &'static str,
        value: &'static str,
        group: &'static str,
        help: &'static str,
    ) -> Setting {
        Setting { name, kind: Kind::List, group, value, default: None, help }
    }

    fn find(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The setting that someone who wrote `name` probably meant.
    fn like(name: &str) -> Option<&'static Setting> {
        let distance = |setting: &Setting| strsim::damerau_levenshtein(setting.name, name);
        // Two slips in a short word make another word.
        let slips = if name.len() > 5 { 2 } else { 1 };
        SETTINGS.iter().min_by_key(|setting| distance(setting)).filter(|setting| distance(setting) <= slips)
    }
}

impl clap::Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        SETTINGS.iter().fold(command, |command, setting| {
            let arg = clap::Arg::new(setting.name)
                .long(setting.name)
                .value_name(setting.value)
                .help(setting.help)
                .help_heading(setting.group);
            let arg = match setting.kind {
                Kind::Text => arg,
                Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                Kind::List => arg.action(clap::ArgAction::Append),
            };
            command.arg(match setting.default {
                Some(default) => arg.default_value(default),
                None => arg,
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Flags, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        for Setting { name, .. } in SETTINGS {
            if matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine) {
                let values: Vec<&str> =
                    matches.get_many::<String>(name).into_iter().flatten().map(String::as_str).collect();
                self.0.insert(name, values.join(","));
            }
        }
        Ok(())
    }
}
