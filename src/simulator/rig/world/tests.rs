use serde_json::Value;

use super::*;
use crate::catalog::{self, KINDS};

/// A world in which time goes by at once.
struct Plant(World);

impl Plant {
    fn new() -> Plant {
        Plant(World::new("rig1"))
    }

    /// That many seconds go by.
    fn wait(&mut self, seconds: u32) {
        (0..seconds * 10).for_each(|_| drop(self.0.step()));
    }

    fn tell(&mut self, kind: &str, suffix: &str, payload: &str) -> Result<(), String> {
        let found = catalog::find(kind).and_then(|kind| kind.resolve(suffix)).expect("there is such a topic");
        self.0.obey(found.topic.read(payload.as_bytes()).expect("it fits"))
    }

    fn told(&mut self, kind: &str, suffix: &str, payload: &str) {
        assert_eq!(self.tell(kind, suffix, payload), Ok(()));
    }

    fn says(&mut self, kind: &str, suffix: &str, index: Option<u16>) -> Value {
        self.0.say(kind, suffix, index).expect("there is something to say")
    }

    fn number(&mut self, kind: &str, suffix: &str, pointer: &str) -> f64 {
        let said = self.says(kind, suffix, None);
        said.pointer(pointer).and_then(Value::as_f64).expect("it is a number")
    }

    fn plate(&mut self) -> f64 {
        self.number("thermocouple", "/temperature", "/temperature")
    }
}

const PID: &str =
    r#"{"kp":0.08,"ki":0.002,"kd":0.05,"setpoint":80,"pause_output":false,"pause_target_input":false}"#;

#[test]
fn every_kind_that_has_its_place_is_in_the_catalog() {
    let known: Vec<_> = KINDS.iter().map(|kind| kind.name).filter(|name| World::knows(name)).collect();
    assert_eq!(known.len(), KNOWN.len());
}

#[test]
fn the_same_seed_is_the_same_world() {
    let [mut one, mut same, mut other] = ["a", "a", "b"].map(World::new);
    for world in [&mut one, &mut same, &mut other] {
        (0..100).for_each(|_| drop(world.step()));
    }
    // Its noise goes on with each word.
    let [one, same, other] = [one, same, other].map(|mut world| world.say("mpu6050", "/accel", None));
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[test]
fn the_plate_is_kept_where_it_shall_be() {
    let mut plant = Plant::new();
    plant.wait(900);
    assert!((plant.plate() - 60.0).abs() < 1.0, "{}", plant.plate());

    plant.told("pid", "/config", PID);
    plant.wait(900);

    assert!((plant.plate() - 80.0).abs() < 1.0, "{}", plant.plate());
    let said = plant.says("pid", "/output", None);
    assert_eq!(said["setpoint"], 80.0);
}

#[test]
fn a_fan_costs_the_heater_power() {
    let mut plant = Plant::new();
    plant.wait(900);
    let before = plant.number("pid", "/output", "/output");

    plant.told("pwm", "/config", r#"{"enable":true,"duty":0.5,"frequency":1000}"#);
    plant.wait(900);

    assert!(plant.number("pid", "/output", "/output") > before + 0.2);
    let fan = plant.says("pds", "/ch{n}", Some(4));
    assert!(fan["current"].as_f64() > Some(0.2), "{fan}");
}

#[test]
fn what_hangs_on_a_rail_that_is_switched_off_has_no_power() {
    let mut plant = Plant::new();
    plant.wait(60);
    let off = r#"{"rail":"Vcc1I","over_current_limit":10,"over_voltage_limit":26,"enable":false}"#;
    plant.told("pds", "/config", off);
    plant.wait(900);

    let room = plant.number("aht20", "", "/temperature/value");
    assert!(plant.plate() < room + 2.0, "{}", plant.plate());
    let rail = plant.says("pds", "/vcc{n}i", Some(1));
    let expected =
        json!({ "state": "Disabled { rt: None }", "current": 0.0, "voltage": 0.0, "enabled": false });
    assert_eq!(rail, expected);
    assert_eq!(plant.says("pds", "/ch{n}", Some(0))["power_good"], false);
    assert_eq!(plant.says("pds", "/ch{n}", Some(5))["power_good"], true);
}

#[test]
fn a_rail_switches_itself_off_above_its_limit() {
    let mut plant = Plant::new();
    let low = r#"{"rail":"vcc1i","over_current_limit":1,"over_voltage_limit":26,"enable":true}"#;
    plant.told("pds", "/config", low);
    plant.wait(5);
    let rail = plant.says("pds", "/vcc{n}i", Some(1));
    assert_eq!(
        (&rail["enabled"], &rail["state"]),
        (&json!(false), &json!("Faulted { rt: Some(OverCurrent) }"))
    );
}

#[test]
fn the_bath_swings_between_its_thresholds() {
    let mut plant = Plant::new();
    plant.wait(60);
    let mut switched = std::collections::HashSet::new();
    for _ in 0..600 {
        plant.wait(1);
        let said = plant.says("bang_bang", "/output", None);
        switched.insert(said["output"].as_bool());
        assert!(said["input"].as_f64().is_some_and(|input| (38.5..51.5).contains(&input)), "{said}");
    }
    assert_eq!(switched.len(), 2);
}

#[test]
fn the_tank_is_used_up_and_filled_again() {
    let mut plant = Plant::new();
    plant.says("stateful_actuator", "/sequence", None);
    let (mut full, mut empty) = (false, false);
    for _ in 0..600 {
        plant.wait(1);
        match plant.says("digital_in", "/out", None)["data"].as_bool() {
            Some(true) => full = true,
            _ => empty = true,
        }
    }
    assert!(full && empty);
    let ended = plant.says("stateful_actuator", "/sequence", None);
    assert_eq!(ended, json!({ "name": "fill", "success": true }));
}

#[test]
fn a_valve_takes_its_time_and_lets_water_out() {
    let mut plant = Plant::new();
    plant.wait(10);
    let before = plant.number("flowmeter", "/data", "/value");
    plant.told("actuator", "/command", r#"{"command":"OPEN"}"#);
    assert_eq!(plant.says("actuator", "/state", None)["state"], "OPENING");
    let news: Vec<News> = (0..30).flat_map(|_| plant.0.step()).collect();
    assert!(news.contains(&("actuator", "/state")), "{news:?}");
    assert_eq!(plant.says("actuator", "/state", None)["state"], "OPEN");
    assert!(plant.number("flowmeter", "/data", "/value") > before + 2.0);
    assert_eq!(
        plant.tell("actuator", "/command", r#"{"command":"FLY"}"#),
        Err("Unknown State FLY".to_owned())
    );
}

#[test]
fn a_tared_scale_weighs_nothing() {
    let mut plant = Plant::new();
    assert!(plant.number("loadcell", "", "/value") > 1_000.0);
    plant.told("loadcell", "/tare", "false");
    assert!(plant.number("loadcell", "", "/value") > 1_000.0);
    plant.told("loadcell", "/tare", "true");
    assert!(plant.number("loadcell", "", "/value").abs() < 10.0);
}

#[test]
fn the_warm_spot_moves_over_the_picture() {
    let mut plant = Plant::new();
    let mut places = std::collections::HashSet::new();
    for _ in 0..20 {
        plant.wait(3);
        let rows: Vec<Value> = (0..36).map(|row| plant.says("ir_cam", "/{row}", Some(row))).collect();
        let max = plant.number("ir_cam", "/max", "/data");
        let hot = |row: &Value| row.as_array().is_some_and(|row| row.contains(&json!(max)));
        places.insert(rows.iter().position(hot).expect("the maximum is in the picture"));
        assert!((30.0..60.0).contains(&max), "{max}");
    }
    assert!(places.len() > 5, "{places:?}");
}

#[test]
fn a_stepper_goes_as_far_as_it_is_told_and_back() {
    let mut plant = Plant::new();
    plant.wait(60);
    assert_eq!(
        plant.says("stepper", "/status", None),
        json!({ "percent": 100.0, "steps": 2000, "position": 2000 })
    );
    let back = r#"{"target_accel":0.2,"max_velocity":0.5,"num_steps":500,"direction":false,"enable":true}"#;
    plant.told("stepper", "/config", back);
    plant.wait(1);
    let under_way = plant.says("stepper", "/status", None);
    assert!(under_way["percent"].as_f64().is_some_and(|percent| percent > 0.0 && percent < 100.0));
    plant.wait(60);
    assert_eq!(plant.number("stepper", "/status", "/position"), 1500.0);
}

#[test]
fn a_conversion_changes_what_the_probe_tells() {
    let mut plant = Plant::new();
    plant.told("analog_in", "/config", r#"{"conversion":{"Polynomial":[7.0]}}"#);
    assert_eq!(plant.number("analog_in", "", "/value"), 7.0);
}

#[test]
fn settings_are_kept_within_what_a_device_can_do() {
    let mut plant = Plant::new();
    plant.told("pid", "/config", &PID.replace("80", "9000"));
    assert_eq!(plant.number("pid", "/response", "/setpoint"), 150.0);
    plant.told("analog_out", "/config", r#"{"value":7.0,"max_volts":5.0,"enabled":true}"#);
    assert_eq!(plant.number("analog_out", "/response", "/value"), 5.0);
    plant.told("mpu6050", "/config", r#"{"accel":9,"gyro":0}"#);
    assert_eq!(plant.says("mpu6050", "/response", None), json!({ "accel": "16g", "gyro": "250dps" }));
}
