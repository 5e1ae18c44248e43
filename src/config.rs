//! Every flag and `CROSSLINK_` variable, with its default.

use std::{net::SocketAddr, path::PathBuf};

use crate::model::Pair;

/// What the gateway is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    pub http: Listen,
    pub mqtt: Listen,
    pub mqtt_ws: Listen,
    /// The SQLite file.
    pub database: PathBuf,
    pub durability: Durability,
    pub pair: Pair,
    /// Whether addresses other than loopback may be listened on.
    pub open: bool,
    /// Host names, beside loopback's and plain addresses, under which the gateway may be called.
    pub allow_host: Vec<String>,
    /// Origins, beside the gateway's own, whose pages may use it.
    pub allow_origin: Vec<String>,
    pub demo: bool,
    pub log: String,
    pub log_format: LogFormat,
}

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
