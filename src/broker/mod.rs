//! Devices: our MQTT front.

pub mod front;
