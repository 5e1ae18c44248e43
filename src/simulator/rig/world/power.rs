//! The power system: two rails, eight channels, and what draws current from them.

use serde_json::{Value, json};

use super::{Chance, rounded};
use crate::{catalog::kinds::PowerRailConfig, json::excerpt};

pub(super) const CHANNELS: usize = 8;
/// The first channels hang on the first rail, the others on the second.
const ON_EACH: usize = 4;
/// What each rail says on its topic and is called in a command.
const NAMES: [&str; 2] = ["Vcc1I", "Vcc2I"];
/// Of the rails without a load, in volts, and what a load costs, in volts an ampere.
const VOLTS: [f64; 2] = [24.0, 5.05];
const SAGS: f64 = 0.08;
/// How fast currents and voltages follow: the share of the way in a second.
const FOLLOWS: f64 = 3.0;
const NOISE: f64 = 0.004;
/// Below this share of its voltage, power is not good.
const GOOD: f64 = 0.9;
/// What the limits may be set to, in amperes and in volts.
const MAX_AMPERES: f64 = 20.0;
const MAX_VOLTS: f64 = 30.0;

#[derive(Clone, Debug)]
pub(super) struct Power {
    rails: [Rail; 2],
    /// In amperes.
    currents: [f64; CHANNELS],
    chance: Chance,
}

#[derive(Clone, Debug)]
struct Rail {
    enabled: bool,
    /// What has switched it off.
    tripped: Option<&'static str>,
    over_current_limit: f64,
    over_voltage_limit: f64,
    voltage: f64,
}

impl Rail {
    fn state(&self) -> String {
        match self.tripped {
            Some(why) => format!("Faulted {{ rt: Some({why}) }}"),
            None if self.enabled => "Running".to_owned(),
            None => "Disabled { rt: None }".to_owned(),
        }
    }
}

impl Power {
    pub(super) fn new(chance: Chance) -> Power {
        let rail = |volts: f64| Rail {
            enabled: true,
            tripped: None,
            over_current_limit: 10.0,
            over_voltage_limit: 26.0,
            voltage: volts,
        };
        Power { rails: VOLTS.map(rail), currents: [0.0; CHANNELS], chance }
    }

    /// `loads` is what each channel would draw, in amperes.
    pub(super) fn step(&mut self, dt: f64, loads: [f64; CHANNELS]) {
        let share = (FOLLOWS * dt).min(1.0);
        for (channel, load) in loads.into_iter().enumerate() {
            let wanted = if self.powers(channel) { load } else { 0.0 };
            self.currents[channel] += (wanted - self.currents[channel]) * share;
        }
        for (number, volts) in VOLTS.into_iter().enumerate() {
            let current = self.current(number);
            let rail = &mut self.rails[number];
            let wanted = if rail.enabled { volts - SAGS * current } else { 0.0 };
            rail.voltage += (wanted - rail.voltage) * share;
            if rail.enabled && current > rail.over_current_limit {
                (rail.enabled, rail.tripped) = (false, Some("OverCurrent"));
            } else if rail.enabled && rail.voltage > rail.over_voltage_limit {
                (rail.enabled, rail.tripped) = (false, Some("OverVoltage"));
            }
        }
    }

    pub(super) fn powers(&self, channel: usize) -> bool {
        self.rails[channel / ON_EACH].enabled
    }

    /// Of all channels, in amperes.
    pub(super) fn total(&self) -> f64 {
        self.currents.iter().sum()
    }

    fn current(&self, rail: usize) -> f64 {
        self.currents[rail * ON_EACH..][..ON_EACH].iter().sum()
    }

    pub(super) fn channel(&mut self, channel: usize) -> Option<Value> {
        let measured = *self.currents.get(channel)?;
        let number = channel / ON_EACH;
        let current = measured + self.noise(number);
        let rail = &self.rails[number];
        Some(json!({
            "state": rail.state(),
            "current": rounded(current.max(0.0), 3),
            "enabled": rail.enabled,
            "power_good": rail.enabled && rail.voltage > GOOD * VOLTS[number],
        }))
    }

    /// Counted from 1, as on its topic.
    pub(super) fn rail(&mut self, number: usize) -> Option<Value> {
        let number = number.checked_sub(1).filter(|number| *number < NAMES.len())?;
        let noise = self.noise(number);
        let rail = &self.rails[number];
        Some(json!({
            "state": rail.state(),
            "current": rounded((self.current(number) + noise).max(0.0), 3),
            "voltage": rounded((rail.voltage + noise).max(0.0), 2),
            "enabled": rail.enabled,
        }))
    }

    /// What is switched off is silent.
    fn noise(&mut self, rail: usize) -> f64 {
        let noise = self.chance.swing() * NOISE;
        if self.rails[rail].enabled { noise } else { 0.0 }
    }

    pub(super) fn configure(&mut self, told: &PowerRailConfig) -> Result<(), String> {
        let number = NAMES
            .iter()
            .position(|name| name.eq_ignore_ascii_case(&told.rail))
            .ok_or_else(|| format!("unknown rail {}", excerpt(&told.rail)))?;
        let rail = &mut self.rails[number];
        rail.over_current_limit = told.over_current_limit.clamp(0.0, MAX_AMPERES);
        rail.over_voltage_limit = told.over_voltage_limit.clamp(0.0, MAX_VOLTS);
        (rail.enabled, rail.tripped) = (told.enable, None);
        Ok(())
    }
}
