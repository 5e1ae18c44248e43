//! What moves and turns: a stepper motor, and the two sensors that feel it.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::{Chance, rounded};
use crate::catalog::{
    Count,
    kinds::{MpuConfig, Qmc5883lConfig, StepperConfig},
};

/// What the stepper takes of acceleration and velocity, and how many steps a second are a velocity of one.
const SLOWEST: f64 = 0.001;
const FASTEST: f64 = 10.0;
const STEPS: f64 = 1_000.0;
/// At most in one motion: a spindle has an end.
const FARTHEST: i64 = 1_000_000;
/// How much a motor at a velocity of one shakes its case, in g.
const SHAKES: f64 = 0.05;
/// Of what stands still, in g and in degrees a second.
const REST_NOISE: f64 = 0.004;
const TURN_NOISE: f64 = 0.08;
/// Of the IMU's chip above the room, in degrees Celsius.
const CHIP_WARMTH: f64 = 13.5;
/// By the number that the firmware counts them with.
const ACCEL_RANGES: [&str; 4] = ["2g", "4g", "8g", "16g"];
const GYRO_RANGES: [&str; 4] = ["250dps", "500dps", "1000dps", "2000dps"];
/// What a QMC5883L can do.
const FIELD_RANGES: [i64; 2] = [2, 8];
const DATA_RATES: [i64; 4] = [10, 50, 100, 200];
const OVERSAMPLES: [i64; 4] = [64, 128, 256, 512];
/// The case sways around this heading, in degrees; how far, and how slowly, in seconds.
const HEADING: f64 = 182.0;
const SWAYS: f64 = 12.0;
const SWAY_PERIOD: f64 = 90.0;
/// The earth's field as the sensor tells it.
const FIELD: f64 = 124.0;
const FIELD_DOWN: f64 = 5.2;
const FIELD_NOISE: f64 = 0.4;

#[derive(Clone, Debug)]
pub(super) struct Stepper {
    config: StepperConfig,
    /// Whether the motion that was asked for goes on.
    moving: bool,
    /// Of this motion, in steps.
    done: f64,
    /// In steps a second.
    speed: f64,
    /// Where this motion began, in steps.
    from: i64,
}

impl Stepper {
    /// It begins with a motion, as motors do that look for their end switch.
    pub(super) fn new() -> Stepper {
        let config = StepperConfig {
            target_accel: 0.1,
            max_velocity: 0.5,
            num_steps: Count(2_000),
            direction: true,
            enable: true,
        };
        Stepper { config, moving: true, done: 0.0, speed: 0.0, from: 0 }
    }

    pub(super) fn step(&mut self, dt: f64, powered: bool) {
        if !powered {
            self.speed = 0.0;
        }
        if !self.moving || !powered {
            return;
        }
        let accel = self.config.target_accel * STEPS;
        let rest = self.config.num_steps.0 as f64 - self.done;
        // As fast as it can still be stopped from.
        let stoppable = (2.0 * accel * rest.max(0.0)).sqrt();
        let top = (self.config.max_velocity * STEPS).min(stoppable);
        self.speed = (self.speed + accel * dt).min(top);
        self.done = (self.done + self.speed * dt).min(self.config.num_steps.0 as f64);
        // The last step is taken whole.
        if rest - self.speed * dt < 1.0 {
            self.done = self.config.num_steps.0 as f64;
            (self.moving, self.speed) = (false, 0.0);
        }
    }

    /// In amperes.
    pub(super) fn draws(&self) -> f64 {
        match (self.config.enable, self.moving) {
            (true, true) => 1.2,
            (true, false) => 0.4,
            (false, _) => 0.0,
        }
    }

    fn steps(&self) -> i64 {
        self.done as i64
    }

    fn position(&self) -> i64 {
        let sign = if self.config.direction { 1 } else { -1 };
        self.from + sign * self.steps()
    }

    pub(super) fn status(&self) -> Value {
        let all = self.config.num_steps.0;
        let percent = if all == 0 { 100.0 } else { self.done / all as f64 * 100.0 };
        json!({ "percent": rounded(percent, 1), "steps": self.steps(), "position": self.position() })
    }

    pub(super) fn config(&self) -> Value {
        let StepperConfig { target_accel, max_velocity, num_steps, direction, enable } = self.config;
        json!({
            "target_accel": target_accel,
            "max_velocity": max_velocity,
            "num_steps": num_steps,
            "direction": direction,
            "enable": enable,
        })
    }

    /// Begins a motion from where it stands.
    pub(super) fn configure(&mut self, told: StepperConfig) {
        self.from = self.position();
        self.config = StepperConfig {
            target_accel: told.target_accel.clamp(SLOWEST, FASTEST),
            max_velocity: told.max_velocity.clamp(SLOWEST, FASTEST),
            num_steps: Count(told.num_steps.0.min(FARTHEST)),
            ..told
        };
        (self.done, self.speed, self.moving) = (0.0, 0.0, told.enable);
    }
}

/// An MPU6050 on the case of the motor.
#[derive(Clone, Debug)]
pub(super) struct Imu {
    accel: usize,
    gyro: usize,
    /// How much it is shaken, in g.
    shaken: f64,
    /// In degrees Celsius.
    chip: f64,
    chance: Chance,
}

impl Imu {
    pub(super) fn new(chance: Chance) -> Imu {
        Imu { accel: 0, gyro: 0, shaken: 0.0, chip: super::ROOM + CHIP_WARMTH, chance }
    }

    pub(super) fn step(&mut self, stepper: &Stepper, room: f64) {
        self.shaken = REST_NOISE + SHAKES * stepper.speed / STEPS;
        self.chip = room + CHIP_WARMTH;
    }

    pub(super) fn accel(&mut self) -> Value {
        let [x, y, z] = [0.012, -0.021, 0.981].map(|rest| rest + self.chance.swing() * self.shaken);
        json!({
            "x": rounded(x, 4),
            "y": rounded(y, 4),
            "z": rounded(z, 4),
            "temp": rounded(self.chip, 1),
            "roll": rounded(y.atan2(z).to_degrees(), 2),
            "pitch": rounded((-x).atan2(y.hypot(z)).to_degrees(), 2),
        })
    }

    pub(super) fn gyro(&mut self) -> Value {
        let noise = TURN_NOISE * (1.0 + self.shaken / REST_NOISE);
        let [x, y, z] = [0.1, -0.1, 0.05].map(|rest| rest + self.chance.swing() * noise);
        json!({
            "x": rounded(x, 3),
            "y": rounded(y, 3),
            "z": rounded(z, 3),
            "temp": rounded(self.chip, 1),
        })
    }

    pub(super) fn config(&self) -> Value {
        json!({ "accel": ACCEL_RANGES[self.accel], "gyro": GYRO_RANGES[self.gyro] })
    }

    pub(super) fn configure(&mut self, told: &MpuConfig) {
        let range = |Count(number): Count, ranges: usize| {
            usize::try_from(number).unwrap_or(usize::MAX).min(ranges - 1)
        };
        self.accel = range(told.accel, ACCEL_RANGES.len());
        self.gyro = range(told.gyro, GYRO_RANGES.len());
    }
}

/// A QMC5883L: where north is.
#[derive(Clone, Debug)]
pub(super) struct Compass {
    config: Qmc5883lConfig,
    /// Magnetic, in degrees.
    heading: f64,
    chance: Chance,
}

impl Compass {
    pub(super) fn new(chance: Chance) -> Compass {
        let config = Qmc5883lConfig {
            field_range: Count(2),
            data_rate: Count(50),
            oversample: Count(512),
            declination: 0.0,
        };
        Compass { config, heading: HEADING, chance }
    }

    pub(super) fn step(&mut self, now: f64) {
        self.heading = HEADING + SWAYS * (TAU * now / SWAY_PERIOD).sin();
    }

    pub(super) fn field(&mut self) -> Value {
        let angle = self.heading.to_radians();
        let [x, y, z] = [FIELD * angle.cos(), FIELD * angle.sin(), FIELD_DOWN]
            .map(|field| field + self.chance.swing() * FIELD_NOISE);
        let heading = (y.atan2(x).to_degrees() + self.config.declination).rem_euclid(360.0);
        json!({
            "x": rounded(x, 1),
            "y": rounded(y, 1),
            "z": rounded(z, 1),
            "heading": rounded(heading, 1),
        })
    }

    pub(super) fn config(&self) -> Value {
        let Qmc5883lConfig { field_range, data_rate, oversample, declination } = self.config;
        let config = json!({
            "field_range": field_range,
            "data_rate": data_rate,
            "oversample": oversample,
            "declination": declination,
        });
        json!({ "success": config, "error": null })
    }

    pub(super) fn configure(&mut self, told: Qmc5883lConfig) -> Result<(), String> {
        for (Count(value), able, what) in [
            (told.field_range, &FIELD_RANGES[..], "field range"),
            (told.data_rate, &DATA_RATES, "data rate"),
            (told.oversample, &OVERSAMPLES, "oversample"),
        ] {
            if !able.contains(&value) {
                return Err(format!("{what} {value} is none of {able:?}"));
            }
        }
        self.config = Qmc5883lConfig { declination: told.declination.clamp(-180.0, 180.0), ..told };
        Ok(())
    }
}
