//! The gateway as a whole: everything is started here, and stopped here.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    app::{App, Listeners},
    broker::{self, Broker},
    config::{Config, Listen},
    desk,
    devices::Devices,
    error::Error,
    health::{Health, Trouble},
    http,
    hub::Hub,
    ingest::{Ingest, Parts},
    memory,
    model::Pair,
    open_files,
    pages::Form,
    registry::Registry,
    replays::Replays,
    rest, retention, simulator,
    store::{self, Journal},
};

/// Each part of the gateway ends within this time, or is left behind.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running gateway. Two of them can live in one process.
pub struct Gateway {
    desk: desk::Desk,
    broker: Broker,
    http_addr: Option<SocketAddr>,
    mqtt_addr: Option<SocketAddr>,
    mqtt_ws_addr: Option<SocketAddr>,
    stopping: CancellationToken,
    closing_inputs: CancellationToken,
    broken: CancellationToken,
    http: Option<JoinHandle<()>>,
    demo: Option<JoinHandle<()>>,
    clerk: JoinHandle<()>,
    retention: Option<JoinHandle<()>>,
    ingest: JoinHandle<Journal>,
}

impl Gateway {
    pub async fn start(config: Config) -> Result<Gateway, Error> {
        let config = Arc::new(config);
        open_files::raise(config.max_connections);
        if let Listen::At(_) = config.http {
            // Before the first message can come.
            rest::begin_counting();
        }
        let (store, journal) = store::open(&config.database, config.durability).await?;
        let (intake, inputs) = broker::intake();
        let sessions = store.kept_sessions().await?;
        let broker = Broker::open(&config, store.retained().await?, sessions, intake.clone())?;
        let hub = Hub::new(store.clone(), journal.head());
        let devices = Devices::restored(&store, config.pair.clone()).await?;
        let registry = Registry::restored(&store, intake.clone()).await?;
        // Before anything is written: a gateway that cannot open its ports leaves history as it was.
        let doors = match Doors::open(&config, &broker).await {
            Ok(doors) => doors,
            Err(why) => {
                broker.stop().await;
                if let Err(why) = journal.close().await {
                    error!("the database did not close: {why}");
                }
                return Err(why);
            }
        };
        let health = Health::default();
        let (desk, clerk) = desk::open(
            &config,
            store.clone(),
            devices.clone(),
            registry.clone(),
            broker.clone(),
            intake.clone(),
        );
        let closing_inputs = CancellationToken::new();
        let (remove, removals) = mpsc::channel(retention::MAX_WAITING);
        let left = journal.head();
        let parts = Parts {
            inputs,
            removals,
            journal,
            devices: devices.clone(),
            registry: registry.clone(),
            hub: hub.clone(),
            desk: desk.clone(),
            broker: broker.clone(),
            health: health.clone(),
            pair: config.pair.clone(),
        };
        let ingest = match Ingest::open(parts, &store).await {
            Ok(ingest) => ingest,
            Err(why) => {
                broker.stop().await;
                return Err(why);
            }
        };
        let stopping = CancellationToken::new();
        let (closing_desk, kept) = (desk.clone(), store.clone());
        let app = App {
            config: config.clone(),
            replays: Replays::new(store.clone(), intake),
            store,
            hub,
            devices,
            registry,
            desk,
            broker: broker.clone(),
            listeners: Listeners { mqtt: doors.mqtt_addr, mqtt_ws: doors.mqtt_ws_addr },
            health: health.clone(),
            stopping: stopping.clone(),
        };

        let broken = CancellationToken::new();
        let ingest = tokio::spawn({
            let (closing, broken) = (closing_inputs.clone(), broken.clone().drop_guard());
            async move {
                let _broken = broken;
                ingest.run(closing).await
            }
        });
        let clerk = tokio::spawn(clerk.run());
        let retention = config
            .keep_commands
            .map(|keep| tokio::spawn(retention::run(kept, keep, left, remove, stopping.clone())));
        tokio::spawn(memory::run(stopping.clone()));
        tokio::spawn(stopping.clone().run_until_cancelled_owned(tell_trouble(broker.trouble(), health)));
        let Doors { http, mqtt_addr, mqtt_ws_addr } = doors;
        let http_addr = http.as_ref().and_then(|socket| socket.local_addr().ok());
        let http = http.map(|socket| tokio::spawn(http::serve(socket, app)));
        let demo = match (config.demo, mqtt_addr) {
            (true, Some(address)) => Some(tokio::spawn(demo(address, config.pair.clone(), stopping.clone()))),
            _ => None,
        };
        if let Some(address) = mqtt_addr {
            info!("MQTT on {address}");
        }
        if let Some(address) = mqtt_ws_addr {
            info!("MQTT over WebSocket on ws://{address}");
        }
        if let Some(address) = http_addr {
            info!("dashboard on http://{address}");
            if let Some(note) = Form::BEST.note() {
                info!("{note}");
            }
        }
        Ok(Gateway {
            desk: closing_desk,
            broker,
            http_addr,
            mqtt_addr,
            mqtt_ws_addr,
            stopping,
            closing_inputs,
            broken,
            http,
            demo,
            clerk,
            retention,
            ingest,
        })
    }

    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    pub fn mqtt_addr(&self) -> Option<SocketAddr> {
        self.mqtt_addr
    }

    pub fn mqtt_ws_addr(&self) -> Option<SocketAddr> {
        self.mqtt_ws_addr
    }

    /// What a defect in the router would do; for tests.
    #[doc(hidden)]
    pub fn kill_router(&self) {
        self.broker.kill_router();
    }

    /// As if the router hung; for tests.
    #[doc(hidden)]
    pub fn deafen_router(&self) {
        self.broker.deafen_router();
    }

    /// Waits for what must not happen: that nothing is written any more.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Stops in order: who asks, who speaks, who writes. What was acknowledged is on disk.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.desk.close();
        for task in [self.demo, self.http].into_iter().flatten() {
            ended("a surface", timeout(STOP_WITHIN, task).await);
        }
        if let Some(task) = self.retention {
            ended("the retention of commands", timeout(STOP_WITHIN, task).await);
        }
        ended(
            "the broker",
            timeout(STOP_WITHIN, async {
                self.broker.stop().await;
                Ok(())
            })
            .await,
        );
        self.clerk.abort();
        self.closing_inputs.cancel();
        match timeout(STOP_WITHIN, self.ingest).await {
            Ok(Ok(journal)) => {
                if let Err(why) = journal.close().await {
                    error!("the database did not close: {why}");
                }
            }
            Ok(Err(why)) => error!("ingest ended badly: {why}"),
            Err(_) => {
                error!("the database did not take the last messages in time; none of them was acknowledged")
            }
        }
    }
}

/// Has whoever looks at the gateway's health know what is wrong with the router.
async fn tell_trouble(mut trouble: watch::Receiver<Option<&'static str>>, health: Health) {
    loop {
        match *trouble.borrow_and_update() {
            Some(detail) => health.begins(Trouble::RouterStalled, detail.to_owned()),
            None => health.ends(Trouble::RouterStalled),
        };
        if trouble.changed().await.is_err() {
            return;
        }
    }
}

/// The ports, all of them or none.
struct Doors {
    http: Option<TcpListener>,
    mqtt_addr: Option<SocketAddr>,
    mqtt_ws_addr: Option<SocketAddr>,
}

impl Doors {
    async fn open(config: &Config, broker: &Broker) -> Result<Doors, Error> {
        let mut doors = Doors { http: None, mqtt_addr: None, mqtt_ws_addr: None };
        if let Listen::At(address) = config.http {
            doors.http = Some(http::bind(address).await?);
        }
        if let Listen::At(address) = config.mqtt {
            doors.mqtt_addr = Some(broker.listen(address).await?);
        }
        if let Listen::At(address) = config.mqtt_ws {
            doors.mqtt_ws_addr = Some(broker.listen_websocket(address).await?);
        }
        Ok(doors)
    }
}

/// The simulated pair and a rig, over real sockets.
async fn demo(mqtt: SocketAddr, pair: Pair, stop: CancellationToken) {
    let (mqtt, voice) = ((mqtt.ip().to_string(), mqtt.port()), simulator::Voice::Log);
    let pair = simulator::Options { mqtt: mqtt.clone(), pair, fault: None, voice };
    let rig = simulator::rig::Options {
        mqtt,
        firmwares: vec![simulator::rig::FIRMWARE.to_owned()],
        fault: None,
        pace: simulator::rig::Pace::default(),
        voice,
    };
    let (pair, rig) = tokio::join!(simulator::pair(pair, stop.clone()), simulator::rig::run(rig, stop));
    for (what, ended) in [("pair", pair), ("rig", rig)] {
        if let Err(why) = ended {
            error!("the demo's {what} stopped: {why}");
        }
    }
}

fn ended<T>(what: &str, result: Result<Result<T, tokio::task::JoinError>, tokio::time::error::Elapsed>) {
    match result {
        Ok(Ok(_)) => {}
        Ok(Err(why)) => error!("{what} ended badly: {why}"),
        Err(_) => warn!("{what} did not end in time"),
    }
}
