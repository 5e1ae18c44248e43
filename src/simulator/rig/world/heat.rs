//! What is heated: a plate that a PID controller keeps warm, and a bath that a two-point controller does.

use serde_json::{Value, json};

use super::{Chance, rounded};
use crate::catalog::{
    Count,
    kinds::{BangBangCommandandResponse, PidCommandAndResponse},
};

/// The plate's heater at full power, in watts; what the plate holds, in joules a degree; what it loses to the room
/// and to the fan at full duty, in watts a degree.
const WATTS: f64 = 120.0;
const PLATE_HOLDS: f64 = 110.0;
const PLATE_LOSES: f64 = 1.2;
const FAN_TAKES: f64 = 2.0;
/// How fast the bath warms, in degrees a second, and what share of its warmth it loses in each.
const BATH_WARMS: f64 = 0.3;
const BATH_LOSES: f64 = 0.005;
/// Of a thermocouple and of the bath's sensor, in degrees Celsius.
const NOISE: f64 = 0.08;
/// The other end of the thermocouple lies in a warm case.
const CASE_WARMTH: f64 = 0.8;
/// What the controllers take: gains, degrees Celsius, milliseconds.
const LARGEST_GAIN: f64 = 100.0;
const COLDEST: f64 = -20.0;
const HOTTEST: f64 = 150.0;
const FASTEST: i64 = 100;
const SLOWEST: i64 = 60_000;

/// A plate with a heater, a fan, a thermocouple and a PID controller, whose output is a share of the heater's power.
#[derive(Clone, Debug)]
pub(super) struct Plate {
    /// In degrees Celsius.
    pub(super) temperature: f64,
    config: PidCommandAndResponse,
    input: f64,
    /// What the integral gain has added up.
    integral: f64,
    output: f64,
    last_output: f64,
    /// What the thermocouple tells, in degrees Celsius.
    measured: f64,
    case: f64,
}

impl Plate {
    pub(super) fn new() -> Plate {
        let config = PidCommandAndResponse {
            kp: 0.08,
            ki: 0.002,
            kd: 0.05,
            setpoint: 60.0,
            pause_output: false,
            pause_target_input: false,
        };
        Plate {
            temperature: 24.0,
            config,
            input: 24.0,
            integral: 0.0,
            output: 0.0,
            last_output: 0.0,
            measured: 24.0,
            case: 23.0,
        }
    }

    /// `fan` is the share of its power with which it runs.
    pub(super) fn step(&mut self, dt: f64, room: f64, powered: bool, fan: f64, chance: &mut Chance) {
        let watts = if powered { self.output * WATTS } else { 0.0 };
        let lost = (PLATE_LOSES + FAN_TAKES * fan) * (self.temperature - room);
        self.temperature += (watts - lost) / PLATE_HOLDS * dt;
        self.measured = self.temperature + chance.swing() * NOISE;
        self.case = room + CASE_WARMTH;
        self.control(dt);
    }

    fn control(&mut self, dt: f64) {
        let PidCommandAndResponse { kp, ki, kd, setpoint, pause_output, pause_target_input } = self.config;
        let before = self.input;
        if !pause_target_input {
            self.input = self.measured;
        }
        let error = setpoint - self.input;
        // Bounded, so that it does not wind up while the plate cannot get warmer.
        self.integral = (self.integral + ki * error * dt).clamp(-1.0, 1.0);
        if !pause_output {
            self.last_output = self.output;
            let slope = (self.input - before) / dt;
            self.output = (kp * error + self.integral - kd * slope).clamp(0.0, 1.0);
        }
    }

    /// The share of the heater's power that is asked for.
    pub(super) fn heats(&self) -> f64 {
        self.output
    }

    pub(super) fn error(&self) -> f64 {
        self.config.setpoint - self.input
    }

    pub(super) fn thermocouple(&self) -> Value {
        json!({
            "temperature": rounded(self.measured, 2),
            "ambient": rounded(self.case, 2),
            "unit": "C",
            "error": null,
        })
    }

    pub(super) fn output(&self) -> Value {
        json!({
            "output": rounded(self.output, 3),
            "last_output": rounded(self.last_output, 3),
            "setpoint": self.config.setpoint,
            "input": rounded(self.input, 2),
        })
    }

    pub(super) fn config(&self) -> Value {
        let PidCommandAndResponse { kp, ki, kd, setpoint, pause_output, pause_target_input } = self.config;
        json!({
            "kp": kp,
            "ki": ki,
            "kd": kd,
            "setpoint": setpoint,
            "pause_output": pause_output,
            "pause_target_input": pause_target_input,
        })
    }

    pub(super) fn configure(&mut self, told: PidCommandAndResponse) {
        let gain = |gain: f64| gain.clamp(-LARGEST_GAIN, LARGEST_GAIN);
        self.config = PidCommandAndResponse {
            kp: gain(told.kp),
            ki: gain(told.ki),
            kd: gain(told.kd),
            setpoint: told.setpoint.clamp(COLDEST, HOTTEST),
            ..told
        };
    }
}

/// A bath with a heater that is on or off.
#[derive(Clone, Debug)]
pub(super) struct Bath {
    /// In degrees Celsius.
    temperature: f64,
    config: BangBangCommandandResponse,
    input: f64,
    on: bool,
    /// Since the controller looked, in seconds.
    waited: f64,
}

impl Bath {
    pub(super) fn new() -> Bath {
        let config = BangBangCommandandResponse {
            upper_threshold: 50.0,
            lower_threshold: 40.0,
            update_frequency: Count(1_000),
            pause_output: false,
            pause_target_input: false,
        };
        Bath { temperature: 38.0, config, input: 38.0, on: true, waited: 0.0 }
    }

    pub(super) fn step(&mut self, dt: f64, room: f64, powered: bool, chance: &mut Chance) {
        let warms = if powered && self.on { BATH_WARMS } else { 0.0 };
        self.temperature += (warms - (self.temperature - room) * BATH_LOSES) * dt;
        self.waited += dt;
        if self.waited * 1_000.0 < self.config.update_frequency.0 as f64 {
            return;
        }
        self.waited = 0.0;
        if !self.config.pause_target_input {
            self.input = self.temperature + chance.swing() * NOISE;
        }
        if self.config.pause_output {
            return;
        }
        if self.input > self.config.upper_threshold {
            self.on = false;
        } else if self.input < self.config.lower_threshold {
            self.on = true;
        }
    }

    pub(super) fn heats(&self) -> bool {
        self.on
    }

    pub(super) fn output(&self) -> Value {
        json!({ "output": self.on, "input": rounded(self.input, 2) })
    }

    pub(super) fn config(&self) -> Value {
        let BangBangCommandandResponse {
            upper_threshold,
            lower_threshold,
            update_frequency,
            pause_output,
            pause_target_input,
        } = self.config;
        json!({
            "upper_threshold": upper_threshold,
            "lower_threshold": lower_threshold,
            "update_frequency": update_frequency,
            "pause_output": pause_output,
            "pause_target_input": pause_target_input,
        })
    }

    pub(super) fn configure(&mut self, told: BangBangCommandandResponse) -> Result<(), String> {
        if told.upper_threshold < told.lower_threshold {
            return Err("the upper threshold is below the lower one".to_owned());
        }
        self.config = BangBangCommandandResponse {
            upper_threshold: told.upper_threshold.clamp(COLDEST, HOTTEST),
            lower_threshold: told.lower_threshold.clamp(COLDEST, HOTTEST),
            update_frequency: Count(told.update_frequency.0.clamp(FASTEST, SLOWEST)),
            ..told
        };
        Ok(())
    }
}
