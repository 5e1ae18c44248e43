//! All that a surface is given. A cheap handle.

use std::sync::Arc;

use crate::{
    broker::Broker, config::Config, desk::Desk, devices::Devices, health::Health, hub::Hub, store::Store,
};

#[derive(Clone)]
pub struct App {
    pub config: Arc<Config>,
    pub store: Store,
    pub hub: Hub,
    pub devices: Devices,
    pub desk: Desk,
    pub broker: Broker,
    pub health: Health,
}
