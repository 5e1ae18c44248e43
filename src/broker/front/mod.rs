//! Our own MQTT front: every byte of a client is checked here before it reaches anything else.
//!
//! The front owns the connections, the wills, the retained messages, the packet ids and the
//! acknowledgements. The router behind it only fans out.

mod clients;
pub mod codec;
mod connect;
mod flapping;
mod hall;
mod kept;
mod listener;
mod outgoing;
mod retained;
mod session;
mod subscriptions;
mod vitals;
mod websocket;
mod writer;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Duration, Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{
    clients::Clients,
    codec::{Properties, QoS},
    flapping::Flapping,
    hall::{Hall, Waiting},
    kept::KeptSessions,
    outgoing::{COMMAND_LIFE, Delivery},
    retained::RetainedMessages,
    subscriptions::{Grant, Subscriptions},
};
use super::{
    Inbound, Intake,
    router::{Header, Limits, Outbound, Router},
    seldom::Seldom,
};
use crate::{
    address::{Address, PRESENCE, Place, is_command},
    config::{self, Config},
    error::Error,
    model::{
        ClientSession, Keep, KeptSession, Page, Pair, Part, RefusedClient, RejectionReason, Retained, Seq,
        ServiceName, SessionEnd, SessionId, Timestamp,
    },
};

pub use self::{subscriptions::levels, websocket::Allowance};

/// Clients that are connected at a time, however many are asked for.
pub const MAX_CONNECTIONS: usize = config::MAX_CONNECTIONS;
/// Connections beside those: who has not said CONNECT, and who replaces a connection of its own.
pub const MAX_OTHERS: usize = hall::MAX_WAITING + hall::MAX_HEIRS;
/// The longest payload in the gateway's namespaces: what is kept must be small enough to be kept.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// The broker as the rest of the gateway sees it.
#[derive(Clone)]
pub struct Broker(Arc<Front>);

/// A message that the gateway itself publishes.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// The command that it is.
    pub command: Option<Seq>,
    /// It loses its worth when it waited so long for a stalled client. Zero is for as long as the client may.
    pub life: Duration,
}

/// What the sessions share.
struct Front {
    pair: Pair,
    /// Names under which the WebSocket listener may be called, and pages that may use it.
    allow_host: Vec<String>,
    allow_origin: Vec<String>,
    intake: Intake,
    router: Arc<Router>,
    subscriptions: Subscriptions,
    retained: RetainedMessages,
    kept: KeptSessions,
    /// Taken by what waits for all other sessions, in bytes.
    room: Arc<AtomicUsize>,
    services: Services,
    clients: Arc<Clients>,
    hall: Arc<Hall>,
    flapping: Mutex<Flapping>,
    /// Connections that were refused for want of a place.
    crowd: Seldom,
    /// Sessions that could not be persistent.
    no_session: Seldom,
    last_session: AtomicI64,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// Messages on their way to the router, in order.
type FanOut = Vec<Outbound>;

impl Broker {
    /// `retained` and `sessions` are what the last run left.
    pub fn open(
        config: &Config,
        retained: Vec<Retained>,
        sessions: Vec<KeptSession>,
        intake: Intake,
    ) -> Result<Broker, Error> {
        let (router, keeper) = Router::start(Limits::default()).map_err(Error::internal)?;
        let front = Arc::new(Front {
            pair: config.pair.clone(),
            allow_host: config.allow_host.clone(),
            allow_origin: config.allow_origin.clone(),
            intake,
            router,
            subscriptions: Subscriptions::default(),
            retained: RetainedMessages::restored(retained),
            kept: KeptSessions::default(),
            room: Arc::default(),
            services: Services::default(),
            clients: Arc::default(),
            hall: Hall::new(config.max_connections, config.max_per_address),
            flapping: Mutex::new(Flapping::new(config.max_flaps)),
            crowd: Seldom::default(),
            no_session: Seldom::default(),
            last_session: AtomicI64::new(0),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        front.restore(sessions);
        let stopping = front.stopping.clone();
        front.tasks.spawn(stopping.run_until_cancelled_owned(keeper.run()));
        let keeper = front.clone();
        front.tasks.spawn(async move { keeper.look_after_kept().await });
        Ok(Broker(front))
    }

    /// Serves MQTT over TCP. Returns the address that was bound.
    pub async fn listen(&self, address: SocketAddr) -> Result<SocketAddr, Error> {
        listener::tcp(self.0.clone(), address).await
    }

    /// Serves MQTT over WebSocket. Returns the address that was bound.
    pub async fn listen_websocket(&self, address: SocketAddr) -> Result<SocketAddr, Error> {
        listener::websocket(self.0.clone(), address).await
    }

    /// Serves a WebSocket that came in by the HTTP server, to its end.
    pub async fn serve(&self, socket: axum::extract::ws::WebSocket, peer: SocketAddr, allowance: &Allowance) {
        websocket::serve_axum(self.0.clone(), socket, peer, allowance).await;
    }

    /// Serves MQTT over a stream of bytes, wherever it comes from, to its end.
    pub async fn serve_stream(&self, stream: impl AsyncRead + AsyncWrite + Send, peer: SocketAddr) {
        let (reader, writer) = tokio::io::split(stream);
        connect::serve(self.0.clone(), reader, writer, self.0.arrival(peer)).await;
    }

    /// Sends a message of the gateway's own to those who are subscribed, and tells how many clients that
    /// is. What is to be kept as well goes by [`Broker::correct`].
    pub fn publish(&self, message: Message) -> usize {
        let header = Header {
            number: 0,
            origin: GATEWAY,
            command: message.command,
            life: message.life,
            qos: message.qos,
            retain: message.retain,
            place: 0,
            expires: None,
            properties: Bytes::new(),
        };
        let mut fan_out = FanOut::new();
        let (receivers, keeps) = self.0.send(header, &message.topic, &message.payload, &mut fan_out);
        self.0.router.publish(&mut fan_out);
        self.0.intake.keep(keeps);
        receivers
    }

    /// How many clients that are there would hear the gateway on a topic.
    pub fn receivers(&self, topic: &str) -> usize {
        let matching = self.0.subscriptions.matching(topic, GATEWAY);
        matching.linked + matching.kept.iter().filter(|(outbox, _)| outbox.session().is_some()).count()
    }

    /// Publishes `truth`, retained, unless something else than `standing` is kept on its topic by now.
    pub fn correct(&self, standing: Option<&Retained>, truth: Retained) -> bool {
        let (topic, payload) = (truth.topic.clone(), truth.payload.clone());
        if !self.0.retained.replace(standing, truth) {
            return false;
        }
        self.publish(Message {
            topic,
            payload,
            qos: PRESENCE.qos,
            retain: PRESENCE.retain,
            command: None,
            life: Duration::ZERO,
        });
        true
    }

    /// What is kept on the topic of this message by now: it, or what came after it.
    pub fn standing(&self, inbound: &Inbound) -> Retained {
        let nothing = || Retained { payload: Bytes::new(), ..inbound.retained() };
        self.0.retained.standing(&inbound.topic).unwrap_or_else(nothing)
    }

    /// A service is known from now on: all that is said on its topics is recorded.
    pub fn recognize(&self, service: &ServiceName) {
        self.0.services.add(service);
    }

    /// Who is connected, the newest connection first; on from a cursor, which is a session.
    pub fn clients(&self, part: Part) -> Page<ClientSession> {
        let mut page = self.0.clients.list(part);
        let flapping = self.0.flapping.lock().unwrap_or_else(PoisonError::into_inner);
        for client in &mut page.items {
            client.flapping = flapping.is_refused(&client.client_id);
        }
        page
    }

    /// Who is refused because it broke off too often, the latest first.
    pub fn refused_clients(&self) -> Vec<RefusedClient> {
        self.0.flapping.lock().unwrap_or_else(PoisonError::into_inner).list()
    }

    /// How many clients are connected.
    pub fn client_count(&self) -> usize {
        self.0.clients.count()
    }

    /// What is wrong between the clients, while something is.
    pub fn trouble(&self) -> watch::Receiver<Option<&'static str>> {
        self.0.router.trouble()
    }

    /// What a defect in the router would do; for tests.
    #[doc(hidden)]
    pub fn kill_router(&self) {
        self.0.router.kill();
    }

    /// As if the router hung; for tests.
    #[doc(hidden)]
    pub fn deafen_router(&self) {
        self.0.router.deafen();
    }

    /// Ends every session without publishing a will, and waits until they are gone.
    pub async fn stop(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// The services that are known, `{firmware}/{service}` each.
#[derive(Default)]
struct Services(RwLock<HashSet<String>>);

impl Services {
    fn add(&self, service: &ServiceName) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(service.as_str().to_owned());
    }

    fn knows(&self, service: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(service)
    }
}

/// The session of what the gateway itself publishes.
const GATEWAY: SessionId = SessionId(0);

/// A connection that has come in.
struct Arrival {
    session: SessionId,
    peer: SocketAddr,
    /// By then it has said CONNECT.
    deadline: Instant,
    waiting: Waiting,
}

/// A message of a client, decoded and not yet judged.
struct Incoming {
    session: SessionId,
    client_id: Arc<str>,
    topic: String,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    properties: Properties,
    at: Timestamp,
    will: bool,
}

/// Whether a name has wildcards, as no topic to publish on may.
fn is_pattern(topic: &str) -> bool {
    topic.contains(['+', '#'])
}

/// Why a message at a place in the gateway's namespaces reaches nobody, if it does not.
pub fn refusal(topic: &str, payload: &[u8], retain: bool, pair: &Pair) -> Option<RejectionReason> {
    if retain && is_command(topic, pair) {
        return Some(RejectionReason::RetainedCommand);
    }
    (payload.len() > MAX_PAYLOAD).then_some(RejectionReason::TooLarge)
}

impl Front {
    /// Judges a message: what other clients hear goes to `fan_out`, what history needs is returned.
    fn judge(&self, incoming: Incoming, fan_out: &mut FanOut) -> Option<Inbound> {
        let place = Place::of(&incoming.topic, &self.pair);
        let recorded = match &place {
            Place::Known { .. } | Place::Unknown(_) => true,
            Place::Beside(topic) => self.services.knows(topic.service()),
            Place::Foreign => false,
        };
        let refusal = || refusal(&incoming.topic, &incoming.payload, incoming.retain, &self.pair);
        let refused = recorded.then(refusal).flatten();
        let expiry = incoming.properties.message_expiry().map(|seconds| Duration::from_secs(seconds.into()));
        let mut inbound = Inbound {
            session: incoming.session,
            client_id: incoming.client_id,
            topic: incoming.topic,
            place,
            payload: incoming.payload,
            qos: incoming.qos,
            retain: incoming.retain,
            at: incoming.at,
            will: incoming.will,
            refused,
            receivers: 0,
            kept: false,
            properties: incoming.properties.travelling(),
            expires_at: expiry.map(|expiry| incoming.at.after(expiry)),
            keeps: Vec::new(),
            ack: None,
            room: 0,
        };
        if refused.is_none() {
            if inbound.retain {
                inbound.kept = self.retained.keep(inbound.retained());
                metrics::counter!("crosslink_retained_refused_total").increment(u64::from(!inbound.kept));
            }
            let header = Header {
                number: 0,
                origin: inbound.session,
                command: None,
                life: Duration::ZERO,
                qos: inbound.qos,
                retain: inbound.retain,
                place: 0,
                expires: expiry.map(|expiry| Instant::now() + expiry),
                properties: inbound.properties.clone(),
            };
            (inbound.receivers, inbound.keeps) = self.send(header, &inbound.topic, &inbound.payload, fan_out);
        }
        (recorded || inbound.kept || !inbound.keeps.is_empty()).then_some(inbound)
    }

    /// Puts a message into the queues of persistent sessions and, for everybody else, into `fan_out`. Tells how many clients that
    /// are there it goes to, and what has to be written down of it.
    fn send(&self, header: Header, topic: &str, payload: &Bytes, fan_out: &mut FanOut) -> (usize, Vec<Keep>) {
        let matching = self.subscriptions.matching(topic, header.origin);
        let (mut receivers, mut keeps) = (matching.linked, Vec::new());
        if !matching.kept.is_empty() {
            // A copy: what waits for long must not keep the whole buffer that it was read into.
            let payload = Bytes::copy_from_slice(payload);
            for (outbox, grant) in matching.kept {
                receivers += usize::from(outbox.session().is_some());
                keeps.extend(outbox.offer(self.delivery(&header, topic, payload.clone(), grant)));
            }
        }
        if matching.linked > 0 {
            let (topic, payload, filters) = (topic.to_owned(), payload.clone(), matching.filters);
            fan_out.push(Outbound { header, topic, payload, filters });
        }
        (receivers, keeps)
    }

    /// A message as a client gets it by a subscription.
    fn delivery(&self, header: &Header, topic: &str, payload: Bytes, grant: Grant) -> Delivery {
        Delivery {
            topic: topic.to_owned(),
            payload,
            qos: header.qos.min(grant.qos),
            retain: header.retain && grant.retain_as_published,
            properties: header.properties.clone(),
            ids: grant.ids,
            expires: header.expires,
            life: (header.command.is_some() || is_command(topic, &self.pair)).then(|| match header.life {
                Duration::ZERO => COMMAND_LIFE,
                life => life.min(COMMAND_LIFE),
            }),
            command: header.command,
        }
    }

    /// Publishes a will. What history needs of it is returned.
    fn publish_will(&self, will: Incoming) -> Option<Inbound> {
        let mut fan_out = FanOut::new();
        let recorded = self.judge(will, &mut fan_out);
        self.router.publish(&mut fan_out);
        recorded
    }

    /// Whether a will on `topic` says what a takeover says already: that its device is there.
    fn is_presence(&self, topic: &str) -> bool {
        matches!(Place::of(topic, &self.pair), Place::Known { address: Address::Presence { .. }, .. })
    }

    /// Numbers a connection in the order in which it came. Its session id was never used: the time, unless
    /// two come in the same microsecond.
    fn arrival(&self, peer: SocketAddr) -> Arrival {
        let now = Timestamp::now().0;
        let last = self
            .last_session
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)))
            .unwrap_or_default();
        let deadline = Instant::now() + connect::CONNECT_DEADLINE;
        let session = SessionId(now.max(last + 1));
        let waiting = self.hall.enter(session, peer, self.stopping.child_token());
        Arrival { session, peer, deadline, waiting }
    }

    /// A client's session has ended. If that was once too often, the client is refused for a while.
    fn flaps(self: &Arc<Front>, client_id: &Arc<str>, peer: SocketAddr, end: SessionEnd) {
        let begins = {
            let mut flapping = self.flapping.lock().unwrap_or_else(PoisonError::into_inner);
            flapping.ended(client_id, peer, end, Timestamp::now(), Instant::now().into_std())
        };
        if !begins {
            return;
        }
        metrics::counter!("crosslink_mqtt_flapping_total").increment(1);
        let seconds = flapping::WINDOW.as_secs();
        warn!(client_id = &**client_id, %peer, "{client_id} breaks off too often: it is refused for {seconds} s");
        let (front, client_id) = (self.clone(), client_id.clone());
        self.tasks.spawn(async move {
            if front.stopping.run_until_cancelled(sleep(flapping::WINDOW)).await.is_some() {
                let attempts =
                    front.flapping.lock().unwrap_or_else(PoisonError::into_inner).forgive(&client_id);
                info!(
                    client_id = &*client_id,
                    attempts, "{client_id} is let in again; it was refused {attempts} times"
                );
            }
        });
    }
}
