//! A tank of water that is used up and filled again: valves, a float switch, a level probe, a flow meter and a scale.

use serde_json::{Value, json};

use super::{Chance, News, rounded};
use crate::{
    catalog::{
        Count,
        kinds::{ActuatorCommand, Conversion, FlowMeterConfig, Polynomial, StatefulActuatorCommand},
    },
    json::excerpt,
};

/// In litres: what it holds, where the float switches, and between which levels it is kept.
const HOLDS: f64 = 20.0;
const FLOAT_AT: f64 = 10.0;
const LOW: f64 = 5.0;
const HIGH: f64 = 15.0;
/// Through the open valves, in litres a minute: in, and out of a full tank.
const FILLS: f64 = 24.0;
const USED: f64 = 8.0;
const DRAINS: f64 = 10.0;
const DUMPS: f64 = 6.0;
/// From closed to open, in seconds.
const VALVE_TRAVELS: f64 = 2.0;
/// Of the level probe when the tank is full.
const FULL_VOLTS: f64 = 5.0;
/// Of the probe in volts, of the flow meter in litres a minute, of the scale in grams.
const PROBE_NOISE: f64 = 0.01;
const FLOW_NOISE: f64 = 0.05;
const SCALE_NOISE: f64 = 2.0;
const GRAMS: f64 = 1_000.0;
/// What a firmware has room for.
const MAX_COEFFICIENTS: usize = 8;
const LARGEST_COEFFICIENT: f64 = 1e6;
/// What the probe and the flow meter tell at most, which single precision says to seven digits.
const LARGEST_VALUE: f64 = 1e9;
/// In milliseconds.
const SHORTEST_INTERVAL: i64 = 100;
const LONGEST_INTERVAL: i64 = 60_000;

#[derive(Clone, Debug)]
pub(super) struct Tank {
    /// In litres.
    level: f64,
    /// What flows out, in litres a minute.
    outflow: f64,
    /// Of the valve `digital_out`.
    draining: bool,
    dump: Valve,
    filling: bool,
    /// How the last sequence ended, until it is told.
    ended: Option<(&'static str, bool)>,
    meter: FlowMeterConfig,
    coefficients: Vec<f64>,
    /// What the scale calls nothing, in grams.
    tare: f64,
    chance: Chance,
}

/// A valve with a motor: the service `actuator`.
#[derive(Clone, Debug)]
struct Valve {
    /// The last command that was obeyed.
    command: &'static str,
    /// From 0, closed, to 1.
    open: f64,
}

impl Valve {
    fn goal(&self) -> f64 {
        if self.command == "OPEN" { 1.0 } else { 0.0 }
    }

    fn state(&self) -> &'static str {
        match (self.goal() > 0.0, self.open == self.goal()) {
            (true, true) => "OPEN",
            (true, false) => "OPENING",
            (false, true) => "CLOSED",
            (false, false) => "CLOSING",
        }
    }
}

impl Tank {
    pub(super) fn new(chance: Chance) -> Tank {
        Tank {
            level: 9.0,
            outflow: 0.0,
            draining: false,
            dump: Valve { command: "CLOSE", open: 0.0 },
            filling: false,
            ended: Some(("self_test", true)),
            meter: FlowMeterConfig { slope: 1.0, offset: 0.0, measurement_interval: Count(1_000) },
            coefficients: vec![0.0, 1.0],
            tare: 0.0,
            chance,
        }
    }

    pub(super) fn step(&mut self, dt: f64, powered: bool, news: &mut Vec<News>) {
        let before = self.dump.state();
        if powered {
            let travel = dt / VALVE_TRAVELS;
            self.dump.open += (self.dump.goal() - self.dump.open).clamp(-travel, travel);
        }
        if self.dump.state() != before {
            news.push(("actuator", "/state"));
        }

        let pressure = (self.level / HOLDS).sqrt();
        let drain = if self.draining && powered { DRAINS } else { 0.0 };
        self.outflow = pressure * (USED + drain + DUMPS * self.dump.open);
        let inflow = if self.filling && powered { FILLS } else { 0.0 };
        self.level = (self.level + (inflow - self.outflow) / 60.0 * dt).clamp(0.0, HOLDS);

        if !self.filling && self.level < LOW {
            self.filling = true;
            news.push(("stateful_actuator", "/state"));
        } else if self.filling && self.level >= HIGH {
            self.finish(true);
            news.push(("stateful_actuator", "/state"));
        }
    }

    /// Whether the fill valve draws current.
    pub(super) fn fills(&self) -> bool {
        self.filling
    }

    fn finish(&mut self, success: bool) {
        self.filling = false;
        self.ended = Some(("fill", success));
    }

    // ---- what is measured ----

    pub(super) fn float(&self) -> Value {
        json!({ "data": self.level >= FLOAT_AT })
    }

    pub(super) fn probe(&mut self) -> Value {
        let volts = self.level / HOLDS * FULL_VOLTS + self.chance.swing() * PROBE_NOISE;
        // By Horner.
        let value = self.coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * volts + coefficient);
        json!({ "value": rounded(value.clamp(-LARGEST_VALUE, LARGEST_VALUE), 3), "unit": "V" })
    }

    pub(super) fn meter(&mut self) -> Value {
        let flow = (self.outflow + self.chance.swing() * FLOW_NOISE).max(0.0);
        let value = self.meter.slope * flow + self.meter.offset;
        json!({ "value": rounded(value, 2), "units": "L/min" })
    }

    pub(super) fn scale(&mut self) -> Value {
        let value = self.weight() - self.tare + self.chance.swing() * SCALE_NOISE;
        json!({ "value": rounded(value, 1), "unit": "g" })
    }

    fn weight(&self) -> f64 {
        self.level * GRAMS
    }

    // ---- what is commanded ----

    pub(super) fn valve(&self) -> Value {
        json!({ "command": self.dump.command, "state": self.dump.state(), "success": true })
    }

    /// Something that befalls a motor now and then.
    pub(super) fn valve_fault(&self) -> Value {
        json!({
            "error": "Stall Detected",
            "state": self.dump.state(),
            "attempted_command": self.dump.command,
        })
    }

    pub(super) fn move_valve(&mut self, told: &ActuatorCommand) -> Result<(), String> {
        self.dump.command = match told.command.as_str() {
            "OPEN" => "OPEN",
            "CLOSE" | "CLOSED" => "CLOSE",
            other => return Err(format!("Unknown State {}", excerpt(other))),
        };
        Ok(())
    }

    pub(super) fn sequence(&mut self) -> Option<Value> {
        let (name, success) = self.ended.take()?;
        Some(json!({ "name": name, "success": success }))
    }

    pub(super) fn filler(&self) -> Value {
        let mut said = self.filler_stands();
        said["success"] = true.into();
        said
    }

    /// Something that befalls a sensor now and then.
    pub(super) fn filler_fault(&self) -> Value {
        let mut said = self.filler_stands();
        said["error"] = "Sensor Timeout".into();
        said
    }

    fn filler_stands(&self) -> Value {
        json!({
            "inputs": [self.level < LOW, self.level >= HIGH],
            "outputs": [self.filling, self.draining],
            "current_state": if self.filling { "FILLING" } else { "IDLE" },
        })
    }

    pub(super) fn transition(&mut self, told: &StatefulActuatorCommand) -> Result<(), String> {
        match (told.command.as_str(), self.filling) {
            ("TRANSITION", false) => self.filling = true,
            ("TRANSITION" | "RESET", true) => self.finish(false),
            ("RESET", false) => {}
            (other, _) => return Err(format!("Invalid Command {}", excerpt(other))),
        }
        Ok(())
    }

    pub(super) fn drain(&self) -> Value {
        json!({ "data": self.draining })
    }

    pub(super) fn set_drain(&mut self, open: bool) {
        self.draining = open;
    }

    pub(super) fn meter_config(&self) -> Value {
        let FlowMeterConfig { slope, offset, measurement_interval } = self.meter;
        json!({ "slope": slope, "offset": offset, "measurement_interval": measurement_interval })
    }

    pub(super) fn configure_meter(&mut self, told: &FlowMeterConfig) {
        let bounded = |value: f64| value.clamp(-LARGEST_COEFFICIENT, LARGEST_COEFFICIENT);
        let interval = told.measurement_interval.0.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        self.meter = FlowMeterConfig {
            slope: bounded(told.slope),
            offset: bounded(told.offset),
            measurement_interval: Count(interval),
        };
    }

    pub(super) fn configure_probe(
        &mut self,
        Conversion::Polynomial(Polynomial { coefficients }): &Conversion,
    ) -> Result<(), String> {
        if coefficients.is_empty() || coefficients.len() > MAX_COEFFICIENTS {
            return Err(format!("{} coefficients, it takes 1 to {MAX_COEFFICIENTS}", coefficients.len()));
        }
        let bounded = |value: &f64| value.clamp(-LARGEST_COEFFICIENT, LARGEST_COEFFICIENT);
        self.coefficients = coefficients.iter().map(bounded).collect();
        Ok(())
    }

    /// `false` changes nothing.
    pub(super) fn tare(&mut self, wanted: bool) {
        if wanted {
            self.tare = self.weight();
        }
    }
}
