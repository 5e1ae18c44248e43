//! All that a surface is given. A cheap handle.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

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
    /// The gateway stops: whoever holds a connection open for a listener closes it.
    pub stopping: CancellationToken,
}
