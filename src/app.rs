//! All that a surface is given. A cheap handle.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    broker::Broker, config::Config, desk::Desk, devices::Devices, health::Health, hub::Hub,
    registry::Registry, replays::Replays, store::Store,
};

/// Where devices find the broker. None where nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listeners {
    pub mqtt: Option<SocketAddr>,
    pub mqtt_ws: Option<SocketAddr>,
}

#[derive(Clone)]
pub struct App {
    pub config: Arc<Config>,
    pub store: Store,
    pub hub: Hub,
    pub devices: Devices,
    pub registry: Registry,
    pub desk: Desk,
    pub replays: Replays,
    pub broker: Broker,
    pub listeners: Listeners,
    pub health: Health,
    /// The gateway stops: whoever holds a connection open for a listener closes it.
    pub stopping: CancellationToken,
}
