//! What was said on the command line, in variables and in the file, and what it means.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    Config, Durability, Flags, Kind, Listen, LogFormat, MAX_CONNECTIONS, MAX_FLAPS, SETTINGS, Setting,
};
use crate::{address, error::Error, model::Pair};

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
mod tests {
    use super::*;

    fn nothing() -> std::iter::Empty<(String, String)> {
        std::iter::empty()
    }

    fn flags(line: &str) -> Flags {
        let command = <Flags as clap::Args>::augment_args(clap::Command::new("crosslink"));
        let words = std::iter::once("crosslink").chain(line.split_whitespace());
        <Flags as clap::FromArgMatches>::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    fn said(line: &str) -> Result<Config, String> {
        Config::read(&flags(line), nothing()).map_err(|error| error.to_string())
    }

    fn refusal(line: &str) -> String {
        said(line).unwrap_err()
    }

    fn variable(name: &str, text: &str) -> std::iter::Once<(String, String)> {
        std::iter::once((name.into(), text.into()))
    }

    fn in_variable(name: &str, text: &str) -> Result<Config, String> {
        Config::read(&flags(""), variable(name, text)).map_err(|error| error.to_string())
    }

    fn file(content: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crosslink.toml");
        std::fs::write(&path, content).unwrap();
        let line = format!("--config {}", path.display());
        (folder, line)
    }

    fn in_file(content: &str) -> Result<Config, String> {
        let (_folder, line) = file(content);
        said(&line)
    }

    fn at(text: &str) -> Listen {
        Listen::At(text.parse().unwrap())
    }

    #[test]
    fn by_default_everything_is_on_loopback() {
        let config = Config::default();
        assert_eq!(config.http, at("127.0.0.1:8080"));
        assert_eq!(config.mqtt, at("127.0.0.1:1883"));
        assert_eq!(config.mqtt_ws, at("127.0.0.1:8083"));
        assert_eq!(config.database, Path::new("crosslink.db"));
        assert_eq!(config.pair, Pair("raspberry".into(), "esp32".into()));
        assert_eq!((config.open, config.demo), (false, false));
    }

    #[test]
    fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
        let content = "http = \"127.0.0.1:1\"\nmqtt = \"127.0.0.1:1\"\nmqtt-ws = \"127.0.0.1:1\"";
        let (_folder, line) = file(content);
        let variables =
            variable("CROSSLINK_MQTT", "127.0.0.1:2").chain(variable("CROSSLINK_HTTP", "127.0.0.1:2"));

        let config = Config::read(&flags(&format!("{line} --http 127.0.0.1:3")), variables).unwrap();

        assert_eq!(config.http, at("127.0.0.1:3"));
        assert_eq!(config.mqtt, at("127.0.0.1:2"));
        assert_eq!(config.mqtt_ws, at("127.0.0.1:1"));
        assert_eq!(config.database, Path::new("crosslink.db"));
    }

    #[test]
    fn a_variable_may_name_the_file() {
        let (_folder, line) = file("demo = true");
        let path = line.strip_prefix("--config ").unwrap();
        assert!(in_variable("CROSSLINK_CONFIG", path).unwrap().demo);
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        assert_eq!(in_variable("CROSSLINK_MQTT", "").unwrap().mqtt, at("127.0.0.1:1883"));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place_and_its_fix() {
        let rest = "\"1883\" is no address: write 127.0.0.1:1883, or \"off\"";
        assert_eq!(refusal("--mqtt 1883"), format!("--mqtt: {rest}"));
        assert_eq!(in_variable("CROSSLINK_MQTT", "1883").unwrap_err(), format!("CROSSLINK_MQTT: {rest}"));
        let in_file = in_file("mqtt = 1883").unwrap_err();
        assert!(in_file.ends_with(&format!("crosslink.toml: mqtt: {rest}")), "{in_file}");
    }

    #[test]
    fn the_fix_of_an_address_keeps_what_was_right() {
        for (written, fix) in [
            ("localhost:9000", "127.0.0.1:9000"),
            (":9000", "127.0.0.1:9000"),
            ("::1", "[::1]:1883"),
            ("0.0.0.0", "0.0.0.0:1883"),
            ("99999", "127.0.0.1:1883"),
        ] {
            assert!(refusal(&format!("--mqtt {written}")).contains(&format!("write {fix},")), "{written}");
        }
    }

    #[test]
    fn a_door_may_be_off_or_on_a_free_port() {
        let config = said("--mqtt off --http 127.0.0.1:0").unwrap();
        assert_eq!((config.mqtt, config.http), (Listen::Off, at("127.0.0.1:0")));
    }

    #[test]
    fn other_machines_come_in_only_by_open() {
        let refusal = refusal("--mqtt 0.0.0.0:1883");
        assert!(refusal.starts_with("--mqtt: 0.0.0.0:1883 can be reached from other machines: add --open"));
        assert!(refusal.contains("watch and steer"));
        assert_eq!(said("--mqtt 0.0.0.0:1883 --open").unwrap().mqtt, at("0.0.0.0:1883"));
        assert_eq!(said("--mqtt [::1]:1883").unwrap().mqtt, at("[::1]:1883"));
    }

    #[test]
    fn a_switch_is_a_flag_alone_or_a_boolean() {
        assert!(said("--open").unwrap().open);
        assert!(in_variable("CROSSLINK_OPEN", "1").unwrap().open);
        let closed = Config::read(&flags("--open=false"), variable("CROSSLINK_OPEN", "true")).unwrap();
        assert!(!closed.open);
        assert!(in_variable("CROSSLINK_OPEN", "yes").unwrap_err().ends_with("write true or false"));
    }

    #[test]
    fn the_database_is_a_sqlite_file() {
        for (written, path) in [
            ("sqlite://crosslink.db", "crosslink.db"),
            ("sqlite:crosslink.db", "crosslink.db"),
            ("sqlite:///var/lib/crosslink.db", "/var/lib/crosslink.db"),
        ] {
            assert_eq!(said(&format!("--database {written}")).unwrap().database, Path::new(path));
        }
        assert!(refusal("--database /var/lib/c.db").ends_with("write sqlite:///var/lib/c.db"));
        assert!(refusal("--database postgres://db/x").contains("PostgreSQL is not served yet"));
        assert!(refusal("--database mysql://db/x").contains("mysql is not served"));
        for written in ["sqlite::memory:", "sqlite://", "sqlite://x.db?mode=ro"] {
            assert!(refusal(&format!("--database {written}")).contains("names no file"), "{written}");
        }
    }

    #[test]
    fn the_broker_is_the_embedded_one() {
        assert!(said("--broker embedded").is_ok());
        assert!(refusal("--broker mqtt://plant:1883").ends_with("not served yet: write embedded"));
    }

    #[test]
    fn a_pair_is_two_different_names() {
        assert_eq!(said("--pair a,b").unwrap().pair, Pair("a".into(), "b".into()));
        assert_eq!(in_file("pair = [\"a\", \"b\"]").unwrap().pair, Pair("a".into(), "b".into()));
        for written in ["a", "a,a", "a,b,c", "a,b/c", ",b"] {
            assert!(refusal(&format!("--pair {written}")).contains("is no pair"), "{written}");
        }
    }

    #[test]
    fn a_choice_names_the_others() {
        assert_eq!(said("--durability normal").unwrap().durability, Durability::Normal);
        assert!(refusal("--durability fast").ends_with("write full or normal"));
        assert_eq!(said("--log-format json").unwrap().log_format, LogFormat::Json);
        assert!(refusal("--log-format xml").ends_with("write text or json"));
    }

    #[test]
    fn a_bound_is_a_count_within_its_own_bounds() {
        let config = Config::default();
        assert_eq!((config.max_connections, config.max_per_address), (4_096, 256));
        assert_eq!(config.max_flaps, Some(15));
        let config = said("--max-connections 10000 --max-per-address 1 --max-flaps 3").unwrap();
        assert_eq!((config.max_connections, config.max_per_address), (10_000, 1));
        assert_eq!(config.max_flaps, Some(3));
        assert_eq!(in_file("max-connections = 7").unwrap().max_connections, 7);
        for written in ["0", "10001", "-1", "1e3", "many", "off"] {
            let refusal = refusal(&format!("--max-connections={written}"));
            assert!(refusal.ends_with("is no count: write a number from 1 to 10000"), "{refusal}");
        }
    }

    #[test]
    fn clients_that_flap_may_be_left_alone() {
        assert_eq!(in_variable("CROSSLINK_MAX_FLAPS", "off").unwrap().max_flaps, None);
        assert_eq!(in_file("max-flaps = 0").unwrap().max_flaps, None);
        assert!(refusal("--max-flaps 1001").ends_with("write a number from 1 to 1000, or \"off\""));
    }

    #[test]
    fn levels_are_checked_before_they_silence_everything() {
        assert_eq!(said("--log warn,crosslink::broker=debug").unwrap().log, "warn,crosslink::broker=debug");
        for written in ["verbose", "info,crosslink=loud"] {
            assert!(refusal(&format!("--log {written}")).contains("names no level"), "{written}");
        }
    }

    #[test]
    fn hosts_and_origins_are_lists() {
        let config =
            said("--allow-host a.local --allow-host B.local,c --allow-origin http://[::1]:3000").unwrap();
        assert_eq!(config.allow_host, ["a.local", "b.local", "c"]);
        assert_eq!(config.allow_origin, ["http://[::1]:3000"]);
        assert_eq!(in_file("allow-host = [\"a\", \"b\"]").unwrap().allow_host, ["a", "b"]);
        assert!(refusal("--allow-host http://a.local").contains("is no host name"));
        for written in ["a.local", "*", "http://a.local/", "http://a.local:x"] {
            assert!(refusal(&format!("--allow-origin {written}")).contains("is no origin"), "{written}");
        }
    }

    #[test]
    fn a_demo_needs_mqtt() {
        assert!(refusal("--demo --mqtt off").starts_with("--demo: "));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(in_file("mqtt_ws = \"off\"").unwrap_err().ends_with("no such key: write mqtt-ws"));
        assert!(in_file("colour = \"red\"").unwrap_err().contains("see crosslink --help"));
        assert!(in_file("config = \"other.toml\"").unwrap_err().contains("a file names no other"));
        assert!(in_file("[http]").unwrap_err().contains("a table is no value here"));
    }

    #[test]
    fn a_file_that_is_none_is_an_error() {
        assert!(
            refusal("--config /nowhere/c.toml").starts_with("--config: \"/nowhere/c.toml\" cannot be read")
        );
        assert!(in_file("mqtt = ").unwrap_err().contains("crosslink.toml: TOML parse error at line 1"));
    }

    #[test]
    fn a_misspelt_variable_is_an_error_and_a_foreign_one_is_not() {
        let refusal = in_variable("CROSSLINK_MQQT", "off").unwrap_err();
        assert_eq!(refusal, "CROSSLINK_MQQT: there is no such variable: write CROSSLINK_MQTT");
        for foreign in ["CROSSLINK_PORT", "CROSSLINK_SERVICE_HOST", "CROSSLINK_HOME", "PATH"] {
            assert!(in_variable(foreign, "x").is_ok(), "{foreign}");
        }
    }
}
