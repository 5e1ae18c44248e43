//! The little plant behind a simulated firmware: what its services measure and what commands change in it.
//!
//! Pure: it knows no sockets, and its seed and its steps are all that it depends on. It is the only place beside the
//! catalog that names kinds; of a kind that it does not know it says nothing.

mod camera;
mod heat;
mod motion;
mod outputs;
mod power;
mod room;
mod tank;

use serde_json::{Value, json};

use self::{
    camera::Camera,
    heat::{Bath, Plate},
    motion::{Compass, Imu, Stepper},
    outputs::Outputs,
    power::{CHANNELS, Power},
    room::Room,
    tank::Tank,
};
use super::super::climate::Chance;
use crate::catalog::Payload;

/// How far the world goes on at once. In seconds.
pub(super) const STEP: f64 = 0.1;
/// How warm the room is at first, in degrees Celsius.
const ROOM: f64 = 22.5;
/// Of what the loads draw, in amperes.
const HEATER: f64 = 5.0;
const BATH: f64 = 2.4;
const VALVE: f64 = 0.8;
const FAN: f64 = 0.5;
const PUMP: f64 = 0.9;
const SENSORS: f64 = 0.12;
const CAMERA: f64 = 0.25;
/// A plate that is called hot, in degrees Celsius.
const HOT: f64 = 50.0;
/// Of the plate's heater at full power.
const WATTS: f64 = 120.0;

/// The kind and the suffix of something that is worth saying at once.
pub(super) type News = (&'static str, &'static str);

#[derive(Clone, Debug)]
pub(super) struct World {
    /// In seconds since it began.
    now: f64,
    chance: Chance,
    room: Room,
    plate: Plate,
    bath: Bath,
    tank: Tank,
    power: Power,
    camera: Camera,
    stepper: Stepper,
    imu: Imu,
    compass: Compass,
    outputs: Outputs,
    /// Whether the expressions of `math` are paused.
    paused: bool,
}

impl World {
    /// The same for the same seed.
    pub(super) fn new(seed: &str) -> World {
        let chance = |part: &str| Chance::named(&format!("{seed}/{part}"));
        World {
            now: 0.0,
            chance: chance("world"),
            room: Room::new(),
            plate: Plate::new(),
            bath: Bath::new(),
            tank: Tank::new(chance("tank")),
            power: Power::new(chance("power")),
            camera: Camera::new(chance("camera")),
            stepper: Stepper::new(),
            imu: Imu::new(chance("imu")),
            compass: Compass::new(chance("compass")),
            outputs: Outputs::new(),
            paused: false,
        }
    }

    /// [`STEP`] goes by. Tells what has changed by itself.
    pub(super) fn step(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        self.now += STEP;
        self.room.step(STEP, self.now, &mut self.chance);
        let room = self.room.temperature;
        // Channels 0 to 3 are the plate, the bath, the valves and the motor; 4 to 7 fan, pump, sensors and camera.
        let fan = if self.power.powers(4) { self.outputs.fan_runs() } else { 0.0 };
        self.plate.step(STEP, room, self.power.powers(0), fan, &mut self.chance);
        self.bath.step(STEP, room, self.power.powers(1), &mut self.chance);
        self.tank.step(STEP, self.power.powers(2), &mut news);
        self.stepper.step(STEP, self.power.powers(3));
        self.imu.step(&self.stepper, room);
        self.compass.step(self.now);
        let loads: [f64; CHANNELS] = [
            HEATER * self.plate.heats(),
            if self.bath.heats() { BATH } else { 0.0 },
            if self.tank.fills() { VALVE } else { 0.0 },
            self.stepper.draws(),
            FAN * fan,
            PUMP * self.outputs.bridge_runs(),
            SENSORS,
            CAMERA,
        ];
        self.power.step(STEP, loads);
        news
    }

    /// Whether it knows what a kind says.
    pub(super) fn knows(kind: &str) -> bool {
        KNOWN.contains(&kind)
    }

    /// What a service of a kind says on a topic now. None if it has nothing to say there.
    pub(super) fn say(&mut self, kind: &str, suffix: &str, index: Option<u16>) -> Option<Value> {
        Some(match (kind, suffix) {
            ("actuator", "/state") => self.tank.valve(),
            ("actuator", "/fault") => self.tank.valve_fault(),
            ("aht20", "") => self.room.aht20(),
            ("analog_in", "") => self.tank.probe(),
            ("analog_out", "/response") => self.outputs.dac(),
            ("bang_bang", "/response") => self.bath.config(),
            ("bang_bang", "/output") => self.bath.output(),
            ("bme280", "/data" | "/response") => self.room.bme280(),
            ("complementary_pwm", "/response") => self.outputs.bridge(),
            ("digital_in", "/out") => self.tank.float(),
            ("digital_out", "/response") => self.tank.drain(),
            ("flowmeter", "/data") => self.tank.meter(),
            ("flowmeter", "/response") => self.tank.meter_config(),
            ("ir_cam", "/max") => self.camera.max(),
            ("ir_cam", "/{row}") => {
                let row = index?;
                // The first row begins a new picture.
                if row == 0 {
                    self.camera.shoot(self.now, self.room.temperature, self.plate.temperature);
                }
                self.camera.row(row.into())?
            }
            ("loadcell", "") => self.tank.scale(),
            ("math", "/ch{n}") => json!({ "data": self.expression(index?)? }),
            ("math", "/response") => json!({ "data": self.paused }),
            ("mpu6050", "/accel") => self.imu.accel(),
            ("mpu6050", "/gyro") => self.imu.gyro(),
            ("mpu6050", "/response") => self.imu.config(),
            ("pds", "/ch{n}") => self.power.channel(index?.into())?,
            ("pds", "/vcc{n}i") => self.power.rail(index?.into())?,
            ("pid", "/response") => self.plate.config(),
            ("pid", "/output") => self.plate.output(),
            ("pwm", "/response") => self.outputs.fan(),
            ("qmc5883l", "") => self.compass.field(),
            ("qmc5883l", "/response") => self.compass.config(),
            ("stateful_actuator", "/fault") => self.tank.filler_fault(),
            ("stateful_actuator", "/sequence") => self.tank.sequence()?,
            ("stateful_actuator", "/state") => self.tank.filler(),
            ("stepper", "/response") => self.stepper.config(),
            ("stepper", "/status") => self.stepper.status(),
            ("thermocouple", "/temperature") => self.plate.thermocouple(),
            _ => return None,
        })
    }

    /// A value that the firmware works out of others. There are four.
    fn expression(&self, channel: u16) -> Option<Value> {
        if self.paused {
            return None;
        }
        Some(match channel {
            0 => json!(rounded(self.plate.error(), 2)),
            1 => json!(rounded(self.plate.heats() * WATTS, 1)),
            2 => json!(self.plate.temperature > HOT),
            3 => json!(rounded(self.power.total(), 3)),
            _ => return None,
        })
    }

    /// Does what a command says, or says why not.
    pub(super) fn obey(&mut self, command: Payload) -> Result<(), String> {
        match command {
            Payload::ActuatorCommand(told) => self.tank.move_valve(&told)?,
            Payload::AnalogConversionConfig(told) => self.tank.configure_probe(&told.conversion)?,
            Payload::BangBangCommandandResponse(told) => self.bath.configure(told)?,
            Payload::Bme280Command(told) => self.room.configure(&told)?,
            Payload::ComplementaryPwmCommand(told) => self.outputs.set_bridge(told)?,
            Payload::DacConfig(told) => self.outputs.set_dac(&told)?,
            Payload::DigitalOutCommand(told) => self.tank.set_drain(told.command),
            Payload::FlowMeterConfig(told) => self.tank.configure_meter(&told),
            Payload::LoadCellTareCommand(told) => self.tank.tare(told.0),
            Payload::MathPauseCommand(told) => self.paused = told.0,
            Payload::MpuConfig(told) => self.imu.configure(&told),
            Payload::PWMCommand(told) => self.outputs.set_fan(told)?,
            Payload::PidCommandAndResponse(told) => self.plate.configure(told),
            Payload::PowerRailConfig(told) => self.power.configure(&told)?,
            Payload::Qmc5883lConfig(told) => self.compass.configure(told)?,
            Payload::StatefulActuatorCommand(told) => self.tank.transition(&told)?,
            Payload::StepperConfig(told) => self.stepper.configure(told),
            // That of a kind without a place in this world: nothing here changes.
            _ => {}
        }
        Ok(())
    }
}

const KNOWN: [&str; 22] = [
    "actuator",
    "aht20",
    "analog_in",
    "analog_out",
    "bang_bang",
    "bme280",
    "command",
    "complementary_pwm",
    "digital_in",
    "digital_out",
    "flowmeter",
    "ir_cam",
    "loadcell",
    "math",
    "mpu6050",
    "pds",
    "pid",
    "pwm",
    "qmc5883l",
    "stateful_actuator",
    "stepper",
    "thermocouple",
];

/// With so many decimals: a firmware has single precision.
fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    let rounded = (value * scale).round() / scale;
    // JSON would say -0.0.
    if rounded == 0.0 { 0.0 } else { rounded }
}

#[cfg(test)]
mod tests;
