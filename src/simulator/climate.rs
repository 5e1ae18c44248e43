//! The air around a simulated device: warm and cool by turns, never twice the same.

use std::f64::consts::TAU;

use serde::Serialize;

/// The temperature from which the peer plays. In degrees Celsius.
pub(super) const THRESHOLD: f64 = 29.0;

/// From one warm spell to the next, in measurements: 42 × 2.6 s is some 110 s, so that the threshold is
/// crossed about once a minute.
const SPELL: f64 = 42.0;
/// How far the spells lead away from the threshold. In degrees Celsius.
const SWING: f64 = 1.5;
/// How much of a gust is left at the next measurement.
const INERTIA: f64 = 0.9;
/// The strongest gust between two measurements. In degrees Celsius.
const GUST: f64 = 0.06;
/// Relative humidity at the threshold, in percent, and how much of it each degree dries up.
const HUMIDITY: f64 = 46.0;
const DRYING: f64 = 2.4;

/// What a device publishes on its sensor topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Measurement {
    /// In degrees Celsius, with two decimals, as the humidity.
    pub(super) temperature: f64,
    /// Relative, in percent.
    pub(super) humidity: f64,
    pub(super) threshold: f64,
    pub(super) over_threshold: bool,
    pub(super) unit: &'static str,
}

/// A slow wave with gusts on it, the same in each run.
#[derive(Clone, Debug)]
pub(super) struct Climate {
    /// Where the wave stands, in turns.
    turn: f64,
    /// What the gusts have left, in degrees Celsius.
    gusts: f64,
    chance: Chance,
}

impl Climate {
    /// Each name has its own gusts, and the two of a pair are a quarter of a turn apart.
    pub(super) fn around(name: &str, peer: &str) -> Climate {
        // One starts warm, so that something plays at once; the other is about to be.
        let turn = if name < peer { 0.17 } else { -0.08 };
        Climate { turn, gusts: 0.0, chance: Chance::named(name) }
    }

    /// The next measurement.
    pub(super) fn measure(&mut self) -> Measurement {
        let warmth = SWING * (TAU * self.turn).sin() + self.gusts;
        let damp = self.chance.swing() * 0.4;
        self.turn = (self.turn + 1.0 / SPELL).fract();
        self.gusts = self.gusts * INERTIA + self.chance.swing() * GUST;

        let temperature = two_decimals(THRESHOLD + warmth);
        Measurement {
            temperature,
            humidity: two_decimals(HUMIDITY - DRYING * warmth + damp),
            threshold: THRESHOLD,
            over_threshold: temperature >= THRESHOLD,
            unit: "C",
        }
    }
}

fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A linear congruential generator: gusts need no better dice.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The same for the same name.
    pub(super) fn named(name: &str) -> Chance {
        let mut chance = Chance(0);
        for byte in name.bytes() {
            chance.0 ^= u64::from(byte);
            chance.swing();
        }
        chance
    }

    /// Between -1 and 1.
    pub(super) fn swing(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The upper half is the more random one.
        (self.0 >> 32) as f64 / f64::from(u32::MAX) * 2.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten minutes of measurements.
    fn day(name: &str) -> Vec<Measurement> {
        let peer = if name == "esp32" { "raspberry" } else { "esp32" };
        let mut climate = Climate::around(name, peer);
        (0..10 * 60 * 10 / 26).map(|_| climate.measure()).collect()
    }

    #[test]
    fn the_threshold_is_crossed_about_once_a_minute() {
        for name in ["raspberry", "esp32"] {
            let day = day(name);
            let crossings = day.windows(2).filter(|two| two[0].over_threshold != two[1].over_threshold);
            assert!((8..=16).contains(&crossings.count()), "{name}");
        }
    }

    #[test]
    fn measurements_are_believable() {
        for measured in day("raspberry").into_iter().chain(day("esp32")) {
            assert!((26.5..=31.5).contains(&measured.temperature), "{measured:?}");
            assert!((38.0..=54.0).contains(&measured.humidity), "{measured:?}");
            assert_eq!(measured.over_threshold, measured.temperature >= 29.0, "{measured:?}");
        }
    }

    #[test]
    fn the_pair_differs_in_phase() {
        let (raspberry, esp32) = (day("raspberry"), day("esp32"));
        let apart = raspberry.iter().zip(&esp32).filter(|(a, b)| a.over_threshold != b.over_threshold);
        assert!(apart.count() > raspberry.len() / 4);
    }

    #[test]
    fn a_measurement_looks_as_on_the_wire() {
        let measured = Measurement {
            temperature: 29.0,
            humidity: 45.25,
            threshold: 29.0,
            over_threshold: true,
            unit: "C",
        };
        assert_eq!(
            serde_json::to_string(&measured).expect("numbers are JSON"),
            r#"{"temperature":29.0,"humidity":45.25,"threshold":29.0,"over_threshold":true,"unit":"C"}"#
        );
        for measured in day("esp32") {
            let text = measured.temperature.to_string();
            let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            assert!(decimals <= 2, "{text}");
        }
    }
}
