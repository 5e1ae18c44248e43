//! What was said on the command line, in variables and in the file, and what it means.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Config, Durability, Flags, Kind, Listen, LogFormat, MAX_CONNECTIONS, MAX_FLAPS, SETTINGS, Setting,
};
use crate::{address, error::Error, model::Pair};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A hundred years: who writes more means another unit.
const MAX_DAYS: u32 = 36_500;

/// What was said, by name, and where.
pub(super) struct Said(BTreeMap<&'static str, Saying>);

#[derive(Clone)]
pub(super) struct Saying {
    /// `--mqtt`, `CROSSLINK_MQTT` or `crosslink.toml: mqtt`.
    place: String,
    text: String,
}

impl Said {
    pub(super) fn by_default() -> Said {
        let default = |setting: &'static Setting| {
            let text = match setting.kind {
                Kind::Text => setting.default?,
                Kind::Switch => "false",
                Kind::List => "",
            };
            Some((setting.name, Saying { place: format!("--{}", setting.name), text: text.into() }))
        };
        Said(SETTINGS.iter().filter_map(default).collect())
    }

    pub(super) fn in_flags(flags: &Flags) -> Said {
        let saying = |(name, text): (&&'static str, &String)| {
            (*name, Saying { place: format!("--{name}"), text: text.clone() })
        };
        Said(flags.0.iter().map(saying).collect())
    }

    pub(super) fn in_variables(variables: impl Iterator<Item = (String, String)>) -> Result<Said, Error> {
        let mut said = BTreeMap::new();
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix("CROSSLINK_") else { continue };
            let name = name.to_lowercase().replace('_', "-");
            match Setting::find(&name) {
                Some(_) if text.is_empty() => {}
                Some(setting) => {
                    said.insert(setting.name, Saying { place: setting.variable(), text });
                }
                // Whoever runs the gateway may have variables of that prefix for other ends
                // (Kubernetes sets CROSSLINK_PORT by itself), so only a near miss is an error.
                None => {
                    if let Some(setting) = Setting::like(&name) {
                        let meant = setting.variable();
                        return Err(Error::Setup(format!(
                            "{variable}: there is no such variable: write {meant}"
                        )));
                    }
                }
            }
        }
        Ok(Said(said))
    }

    /// What stands in the file that is named here, if one is.
    pub(super) fn file(&self) -> Result<Said, Error> {
        let Some(file) = self.0.get("config") else { return Ok(Said(BTreeMap::new())) };
        let path = &file.text;
        let content = std::fs::read_to_string(path)
            .map_err(|error| file.wrong(format_args!("{path:?} cannot be read: {error}")))?;
        let table: toml::Table = content
            .parse()
            .map_err(|error| Error::Setup(format!("{path}: {error}").trim_end().to_owned()))?;
        let mut said = BTreeMap::new();
        for (key, value) in table {
            let place = format!("{path}: {key}");
            let setting = match Setting::find(&key) {
                Some(setting) if setting.name != "config" => setting,
                Some(_) => {
                    return Err(Error::Setup(format!("{place}: a file names no other: remove the line")));
                }
                None => {
                    let fix = match Setting::like(&key) {
                        Some(setting) => format!("write {}", setting.name),
                        None => "the names are those of the flags, see crosslink --help".into(),
                    };
                    return Err(Error::Setup(format!("{place}: there is no such key: {fix}")));
                }
            };
            let Some(text) = text_of(&value) else {
                let found = value.type_str();
                return Err(Error::Setup(format!(
                    "{place}: a {found} is no value here: write text in quotes"
                )));
            };
            said.insert(setting.name, Saying { place, text });
        }
        Ok(Said(said))
    }

    /// What `over` says wins.
    pub(super) fn and(mut self, over: Said) -> Said {
        self.0.extend(over.0);
        self
    }

    pub(super) fn config(&self) -> Result<Config, Error> {
        let open = self.of("open").boolean()?;
        self.of("broker").broker()?;
        let config = Config {
            http: self.of("http").listen(8080, open)?,
            mqtt: self.of("mqtt").listen(1883, open)?,
            mqtt_ws: self.of("mqtt-ws").listen(8083, open)?,
            database: self.database()?,
            durability: self
                .of("durability")
                .one_of(&[("full", Durability::Full), ("normal", Durability::Normal)])?,
            keep_commands: self.of("keep-commands").days()?,
            pair: self.of("pair").pair()?,
            open,
            allow_host: self.of("allow-host").hosts()?,
            allow_origin: self.of("allow-origin").origins()?,
            arm_hazards: self.of("arm-hazards").boolean()?,
            max_connections: self.of("max-connections").count(MAX_CONNECTIONS)?,
            max_per_address: self.of("max-per-address").count(MAX_CONNECTIONS)?,
            max_flaps: self.of("max-flaps").count_or_off(MAX_FLAPS)?,
            demo: self.of("demo").boolean()?,
            log: self.of("log").levels()?,
            log_format: self
                .of("log-format")
                .one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
        };
        if config.demo && config.mqtt == Listen::Off {
            return Err(self.of("demo").wrong("its devices come in by MQTT: leave --mqtt on"));
        }
        Ok(config)
    }

    pub(super) fn database(&self) -> Result<PathBuf, Error> {
        self.of("database").database()
    }

    fn of(&self, name: &str) -> &Saying {
        self.0.get(name).expect("every setting but `config` has a default")
    }
}

impl Saying {
    /// The message ends with what to write instead.
    fn wrong(&self, why: impl Display) -> Error {
        Error::Setup(format!("{}: {why}", self.place))
    }

    fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Error> {
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == self.text) {
            return Ok(*choice);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        Err(self.wrong(format_args!("{:?} is no choice: write {}", self.text, words.join(" or "))))
    }

    /// There is one choice so far, so nothing comes of it.
    fn broker(&self) -> Result<(), Error> {
        match self.text.as_str() {
            "embedded" => Ok(()),
            _ => Err(self.wrong("a broker elsewhere is not served yet: write embedded")),
        }
    }

    fn boolean(&self) -> Result<bool, Error> {
        match self.text.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(self.wrong(format_args!("{other:?} is neither yes nor no: write true or false"))),
        }
    }

    fn count(&self, most: usize) -> Result<usize, Error> {
        self.counted(most).ok_or_else(|| {
            self.wrong(format_args!("{:?} is no count: write a number from 1 to {most}", self.text))
        })
    }

    fn count_or_off(&self, most: usize) -> Result<Option<usize>, Error> {
        if matches!(self.text.as_str(), "off" | "0") {
            return Ok(None);
        }
        self.counted(most).map(Some).ok_or_else(|| {
            let text = &self.text;
            self.wrong(format_args!("{text:?} is no count: write a number from 1 to {most}, or \"off\""))
        })
    }

    fn counted(&self, most: usize) -> Option<usize> {
        self.text.parse().ok().filter(|count| (1..=most).contains(count))
    }

    fn listen(&self, usual_port: u16, open: bool) -> Result<Listen, Error> {
        if self.text == "off" {
            return Ok(Listen::Off);
        }
        let Ok(address) = self.text.parse::<SocketAddr>() else {
            let (text, near) = (&self.text, nearest_address(&self.text, usual_port));
            return Err(self.wrong(format_args!("{text:?} is no address: write {near}, or \"off\"")));
        };
        if !open && !address.ip().is_loopback() {
            let port = address.port();
            return Err(self.wrong(format_args!(
                "{address} can be reached from other machines: add --open, \
                 which lets whoever reaches the port watch and steer, or write 127.0.0.1:{port}"
            )));
        }
        Ok(Listen::At(address))
    }

    fn database(&self) -> Result<PathBuf, Error> {
        let text = self.text.as_str();
        let Some(path) = text.strip_prefix("sqlite://").or(text.strip_prefix("sqlite:")) else {
            return Err(match text.split_once("://") {
                Some(("postgres" | "postgresql", _)) => {
                    self.wrong("PostgreSQL is not served yet: write sqlite://crosslink.db")
                }
                Some((other, _)) => {
                    self.wrong(format_args!("{other} is not served: write sqlite://crosslink.db"))
                }
                None => self.wrong(format_args!("{text:?} is no database URL: write sqlite://{text}")),
            });
        };
        if path.is_empty() || path.starts_with(':') || path.contains('?') || path.ends_with('/') {
            return Err(self.wrong(format_args!("{text:?} names no file: write sqlite://crosslink.db")));
        }
        Ok(Path::new(path).to_owned())
    }

    fn days(&self) -> Result<Option<Duration>, Error> {
        match (self.text.as_str(), self.text.parse::<u32>()) {
            ("off", _) => Ok(None),
            (_, Ok(days)) if (1..=MAX_DAYS).contains(&days) => Ok(Some(DAY * days)),
            (text, _) => Err(self.wrong(format_args!(
                "{text:?} is no number of days from 1 to {MAX_DAYS}: write 400, or \"off\" to keep all"
            ))),
        }
    }

    fn pair(&self) -> Result<Pair, Error> {
        let text = &self.text;
        let names = text.split_once(',').map(|(one, other)| (one.trim(), other.trim()));
        match names {
            Some((one, other)) if address::is_name(one) && address::is_name(other) && one != other => {
                Ok(Pair(one.into(), other.into()))
            }
            _ => Err(self.wrong(format_args!(
                "{text:?} is no pair: write two different names of A-Z a-z 0-9 _ . -, \
                 such as raspberry,esp32"
            ))),
        }
    }

    fn items(&self) -> impl Iterator<Item = &str> {
        self.text.split(',').map(str::trim).filter(|item| !item.is_empty())
    }

    fn hosts(&self) -> Result<Vec<String>, Error> {
        let host = |item: &str| match is_host(item) {
            true => Ok(item.to_lowercase()),
            false => Err(self.wrong(format_args!(
                "{item:?} is no host name: write it without scheme, port and path, such as plant.local"
            ))),
        };
        self.items().map(host).collect()
    }

    fn origins(&self) -> Result<Vec<String>, Error> {
        let origin = |item: &str| match is_origin(item) {
            true => Ok(item.to_lowercase()),
            false => Err(self.wrong(format_args!(
                "{item:?} is no origin: write scheme, host and port alone, such as http://plant.local:3000"
            ))),
        };
        self.items().map(origin).collect()
    }

    fn levels(&self) -> Result<String, Error> {
        let text = &self.text;
        let level = |word: &str| word.parse::<tracing::metadata::LevelFilter>().is_ok();
        // A word alone would be taken for a module's name, and everything else fall silent.
        let wrong = self.items().find(|item| !item.contains('=') && !level(item));
        if wrong.is_some() || text.parse::<tracing_subscriber::EnvFilter>().is_err() {
            return Err(self.wrong(format_args!(
                "{text:?} names no level: write error, warn, info, debug, trace or off, \
                 or per module such as info,crosslink::broker=debug"
            )));
        }
        Ok(text.clone())
    }
}

/// A value of the file as it would stand in a flag.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// What someone who wrote `text` for an address probably meant.
fn nearest_address(text: &str, usual_port: u16) -> SocketAddr {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return (ip, usual_port).into();
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let ip = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    (ip, port.parse().unwrap_or(usual_port)).into()
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn is_origin(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or(text.strip_prefix("https://")) else { return false };
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (is_host(host) || is_bracketed(host)) && port.parse::<u16>().is_ok()
        }
        _ => is_host(rest) || is_bracketed(rest),
    }
}

/// Whether `host` is an IPv6 address as it stands in a URL.
fn is_bracketed(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests;
