//! The room that the rig stands in: its air, and the two sensors in it.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::{Chance, rounded};
use crate::{catalog::kinds::Bme280Command, json::excerpt};

/// In degrees Celsius; and how far and how slowly it goes around that. In seconds.
const TEMPERATURE: f64 = 22.5;
const SWING: f64 = 1.5;
const PERIOD: f64 = 600.0;
/// How fast a draught is felt and forgotten, a second; how strong it is, in degrees Celsius.
const FORGETS: f64 = 0.2;
const DRAUGHT: f64 = 0.1;
/// Relative, in percent, and how much of it each degree dries up.
const HUMIDITY: f64 = 44.0;
const DRYING: f64 = 2.2;
/// In pascals; and how far and how slowly the weather changes it. In seconds.
const PRESSURE: f64 = 101_325.0;
const WEATHER: f64 = 180.0;
const WEATHER_PERIOD: f64 = 3_600.0;
/// What a BME280 may be corrected by, in degrees Celsius.
const LARGEST_OFFSET: f64 = 20.0;
/// Of a BME280, in milliseconds.
const LONGEST_STANDBY: f64 = 1_000.0;

#[derive(Clone, Debug)]
pub(super) struct Room {
    /// In degrees Celsius.
    pub(super) temperature: f64,
    /// Relative, in percent.
    humidity: f64,
    /// In pascals.
    pressure: f64,
    draught: f64,
    /// Added by the BME280, in degrees Celsius.
    offset: f64,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { temperature: TEMPERATURE, humidity: HUMIDITY, pressure: PRESSURE, draught: 0.0, offset: 0.0 }
    }

    pub(super) fn step(&mut self, dt: f64, now: f64, chance: &mut Chance) {
        self.draught += (chance.swing() * DRAUGHT - self.draught) * FORGETS * dt;
        let warmth = SWING * (TAU * now / PERIOD).sin() + self.draught;
        self.temperature = TEMPERATURE + warmth;
        self.humidity = HUMIDITY - DRYING * warmth;
        self.pressure = PRESSURE + WEATHER * (TAU * now / WEATHER_PERIOD).sin();
    }

    pub(super) fn aht20(&self) -> Value {
        air(self.temperature, self.humidity)
    }

    pub(super) fn bme280(&self) -> Value {
        let mut said = air(self.temperature + self.offset, self.humidity);
        said["pressure"] = json!({ "value": rounded(self.pressure, 0), "unit": "Pa" });
        said
    }

    /// Sets how the BME280 measures. How often it does is not simulated.
    pub(super) fn configure(&mut self, told: &Bme280Command) -> Result<(), String> {
        let standby = told.standby.strip_suffix("ms").and_then(|time| time.parse::<f64>().ok());
        if !standby.is_some_and(|time| (0.0..=LONGEST_STANDBY).contains(&time)) {
            return Err(format!("unknown standby {}", excerpt(&told.standby)));
        }
        if told.mode.is_empty() {
            return Err("no mode".to_owned());
        }
        self.offset = told.offset.clamp(-LARGEST_OFFSET, LARGEST_OFFSET);
        Ok(())
    }
}

fn air(temperature: f64, humidity: f64) -> Value {
    json!({
        "temperature": { "value": rounded(temperature, 2), "unit": "C" },
        "humidity": { "value": rounded(humidity, 1), "unit": "%RH" },
        "dewpoint": { "value": rounded(dewpoint(temperature, humidity), 2), "unit": "C" },
    })
}

/// By Magnus, in degrees Celsius.
fn dewpoint(temperature: f64, humidity: f64) -> f64 {
    const A: f64 = 17.62;
    const B: f64 = 243.12;
    let gamma = (humidity / 100.0).ln() + A * temperature / (B + temperature);
    B * gamma / (A - gamma)
}
