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
    assert_eq!(config.keep_commands, None);
}

#[test]
fn commands_are_kept_for_days_or_for_ever() {
    let kept = |days: &str| said(&format!("--keep-commands {days}")).map(|config| config.keep_commands);
    assert_eq!(kept("400"), Ok(Some(Duration::from_secs(400 * 86_400))));
    assert_eq!(kept("off"), Ok(None));
    assert_eq!(in_file("keep-commands = 7").unwrap().keep_commands, Some(DAY * 7));
    for wrong in ["0", "36501", "400d", "1.5", "never"] {
        let why = kept(wrong).unwrap_err();
        assert!(
            why.starts_with("--keep-commands: ") && why.ends_with("write 400, or \"off\" to keep all"),
            "{why}"
        );
    }
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
    assert!(refusal("--config /nowhere/c.toml").starts_with("--config: \"/nowhere/c.toml\" cannot be read"));
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
