//! What a firmware puts out: a fan, a pump's bridge and an analog voltage.

use serde_json::{Value, json};

use crate::catalog::{
    Count, Ratio,
    kinds::{ComplementaryPwmCommand, DacConfig, PWMCommand},
};

/// What the timers reach, in hertz.
const FASTEST_FAN: i64 = 100_000;
const FASTEST_BRIDGE: i64 = 200_000;
/// What the analog output reaches, in volts.
const MAX_VOLTS: f64 = 10.0;

#[derive(Clone, Debug)]
pub(super) struct Outputs {
    fan: PWMCommand,
    bridge: ComplementaryPwmCommand,
    dac: DacConfig,
}

impl Outputs {
    pub(super) fn new() -> Outputs {
        Outputs {
            fan: PWMCommand { enable: false, duty: Ratio(0.0), frequency: Count(1_000) },
            bridge: ComplementaryPwmCommand {
                enable: true,
                duty: Ratio(0.4),
                frequency: Count(20_000),
                deadtime: Ratio(0.02),
            },
            dac: DacConfig { value: 2.5, max_volts: 5.0, enabled: true, error: None },
        }
    }

    /// The share of its power with which the fan runs.
    pub(super) fn fan_runs(&self) -> f64 {
        if self.fan.enable { self.fan.duty.0 } else { 0.0 }
    }

    /// The share of its power with which the bridge drives its pump.
    pub(super) fn bridge_runs(&self) -> f64 {
        if self.bridge.enable { self.bridge.duty.0 } else { 0.0 }
    }

    pub(super) fn fan(&self) -> Value {
        let PWMCommand { enable, duty, frequency } = self.fan;
        json!({ "enable": enable, "duty": duty, "frequency": frequency, "error": null })
    }

    pub(super) fn set_fan(&mut self, told: PWMCommand) -> Result<(), String> {
        if told.enable && told.frequency.0 == 0 {
            return Err("it cannot run at 0 Hz".to_owned());
        }
        self.fan = PWMCommand { frequency: Count(told.frequency.0.min(FASTEST_FAN)), ..told };
        Ok(())
    }

    pub(super) fn bridge(&self) -> Value {
        let ComplementaryPwmCommand { enable, duty, frequency, deadtime } = self.bridge;
        json!({
            "enable": enable,
            "duty": duty,
            "frequency": frequency,
            "deadtime": deadtime,
            "error": null,
        })
    }

    pub(super) fn set_bridge(&mut self, told: ComplementaryPwmCommand) -> Result<(), String> {
        if told.enable && told.frequency.0 == 0 {
            return Err("it cannot run at 0 Hz".to_owned());
        }
        // A dead time comes before and after each pulse.
        if told.enable && told.duty.0 + 2.0 * told.deadtime.0 > 1.0 {
            return Err("the dead time leaves no room for the duty".to_owned());
        }
        self.bridge =
            ComplementaryPwmCommand { frequency: Count(told.frequency.0.min(FASTEST_BRIDGE)), ..told };
        Ok(())
    }

    pub(super) fn dac(&self) -> Value {
        let DacConfig { value, max_volts, enabled, error } = &self.dac;
        json!({ "value": value, "max_volts": max_volts, "enabled": enabled, "error": error })
    }

    pub(super) fn set_dac(&mut self, told: &DacConfig) -> Result<(), String> {
        if told.max_volts <= 0.0 {
            return Err("max_volts is not above 0".to_owned());
        }
        let max_volts = told.max_volts.min(MAX_VOLTS);
        self.dac = DacConfig {
            value: told.value.clamp(0.0, max_volts),
            max_volts,
            enabled: told.enabled,
            error: None,
        };
        Ok(())
    }
}
