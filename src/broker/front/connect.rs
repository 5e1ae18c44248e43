//! How a connection becomes a session, and what is left of it at its end.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
};

use bytes::{BufMut, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::{Duration, Instant, timeout, timeout_at},
};
use tracing::{debug, info, warn};

use super::{
    Arrival, Front,
    clients::Late,
    codec::{self, Code, ConnAck, Connect, Disconnect, Packet, Properties, Property, Version},
    hall::{Full, Pass, Waiting},
    is_pattern,
    kept::MAX_EXPIRY,
    session::{Farewell, MAX_PACKET, MAX_UNSETTLED, Session, Who, explained},
    subscriptions::is_topic,
    vitals::Vitals,
    writer::Writer,
};
use crate::{
    address::is_command,
    broker::{Ended, Input, Started},
    model::{SessionEnd, SessionId, Timestamp},
};

/// From the beginning of a connection to its CONNECT, handshakes included.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// The longest CONNECT, in bytes: a will of 64 KiB, the most that there can be, and names beside it.
pub const MAX_CONNECT: usize = 128 * 1024;
/// A client that has to go may write on for so long, and so many bytes: nobody hears them.
const LINGER: Duration = Duration::from_secs(1);
const MAX_UNHEARD: usize = 1024 * 1024;
/// So many of them are read at a time.
const SIP: usize = 4 * 1024;
/// What CONNACK takes beside the properties that are known before its session is, in bytes.
const CONNACK: usize = 12;
/// The longest client id, in bytes.
const MAX_CLIENT_ID: usize = 256;

/// Serves a connection until it ends.
pub async fn serve<R, W>(front: Arc<Front>, mut reader: R, writer: W, arrival: Arrival)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let Arrival { session: id, peer, deadline, waiting } = arrival;
    let mut input = BytesMut::new();
    let mut writer = Writer::new(writer);
    let connect = timeout_at(deadline, first_packet(&mut reader, &mut input));
    let connect = match waiting.meanwhile(connect).await {
        None => return debug!(%peer, "{peer} gives way before it has said CONNECT"),
        Some(Ok(Ok(connect))) => connect,
        Some(Ok(Err((code, why)))) => {
            debug!(%peer, "refused a connection from {peer}: {why}");
            if code == Code::UNSUPPORTED_VERSION {
                let farewell =
                    part(&front, &mut reader, &mut writer, refusal(code, None, false), Version::V4);
                waiting.meanwhile(farewell).await;
            }
            return;
        }
        Some(Err(_)) => return debug!(%peer, "no CONNECT from {peer} in time"),
    };
    let (version, explained) = (connect.version, explained(connect.properties.maximum_packet_size()));
    let admitted = admit(&front, &connect, id).map_err(|code| (code, None));
    let passed = admitted.and_then(|admitted| Ok((pass(&front, &admitted.0, peer, &waiting)?, admitted)));
    let (_pass, (client_id, properties)) = match passed {
        Ok(passed) => passed,
        Err((code, why)) => {
            debug!(%peer, client_id = connect.client_id, "refused {:?} from {peer}: {code}", connect.client_id);
            let farewell = part(&front, &mut reader, &mut writer, refusal(code, why, explained), version);
            waiting.meanwhile(farewell).await;
            return;
        }
    };
    drop(waiting);
    let mut accepted = ConnAck { session_present: false, code: Code::SUCCESS, properties };
    let vitals = Arc::new(Vitals::new(client_id.clone(), peer, version, connect.keep_alive, id));
    let mut place = match front.clients.enter(&client_id, id, &vitals).await {
        Ok(place) => place,
        Err(Late { newer }) => {
            debug!(%peer, "{client_id} has connected again since: {peer} gives way");
            // Whoever made room for this one has named it; now it hands on.
            let at = Timestamp::now();
            let (end, successor) = (SessionEnd::Takeover, Some(newer));
            front.flaps(&client_id, peer, end);
            let address = peer.to_string();
            let ended = Ended { session: id, client_id, address, at, end, will_published: false, successor };
            front.intake.send(Input::Ended(ended));
            writer.send(&Packet::ConnAck(accepted), version);
            let farewell = Farewell { code: Code::SESSION_TAKEN_OVER, reason: None, explained };
            return part(&front, &mut reader, &mut writer, farewell.packet(), version).await;
        }
    };
    front.intake.send(Input::Started(Started {
        session: id,
        client_id: client_id.clone(),
        address: peer.to_string(),
        at: Timestamp::now(),
        will_topic: connect.will.as_ref().map(|will| will.topic.clone()),
    }));
    info!(client_id = &*client_id, %peer, "{client_id} connected from {peer}");
    let (asked, expiry) = expiry(&connect);
    let receive_maximum = connect.properties.receive_maximum();
    let resumed = front.resume(&client_id, id, receive_maximum, connect.clean_start, expiry);
    let expiry = if resumed.kept.is_some() { expiry } else { 0 };
    if resumed.changed {
        front.written().await;
    }
    accepted.session_present = resumed.present;
    if expiry != asked {
        accepted.properties.push(Property::SessionExpiry(expiry));
    }
    writer.send(&Packet::ConnAck(accepted), version);
    let who = Who { session: id, client_id, peer, vitals, expiry, lasting: asked > 0 };
    let mut session = Session::new(front.clone(), who, &connect, resumed, reader, input, writer);
    let end = session.run(&mut place).await;
    let (mut reader, mut writer, farewell) = session.end(end, connect.will);
    // The next connection of this client need not wait until this one has heard why it ended.
    drop(place);
    if let Some(farewell) = farewell {
        part(&front, &mut reader, &mut writer, farewell.packet(), version).await;
    }
}

/// Says the last packet, and hears the client out: were the connection closed with bytes unread, it would be reset, and the client
/// might never read why it has to go.
async fn part(
    front: &Front,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut Writer<impl AsyncWrite + Unpin>,
    last: Packet,
    version: Version,
) {
    writer.finish(&last, version).await;
    let mut unheard = BytesMut::with_capacity(SIP);
    let rest = async {
        let mut heard = 0;
        while heard < MAX_UNHEARD {
            unheard.clear();
            match reader.read_buf(&mut (&mut unheard).limit(SIP)).await {
                Ok(0) | Err(_) => return,
                Ok(read) => heard += read,
            }
        }
    };
    front.stopping.run_until_cancelled(timeout(LINGER, rest)).await;
}

/// Reads until there is a CONNECT.
async fn first_packet(
    reader: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
) -> Result<Box<Connect>, (Code, String)> {
    loop {
        match codec::decode(input, None, MAX_CONNECT) {
            Ok(Some(Packet::Connect(connect))) => return Ok(connect),
            Ok(Some(_)) => return Err((Code::PROTOCOL_ERROR, "it did not begin with CONNECT".into())),
            Ok(None) => {}
            Err(malformed) => return Err((malformed.code, malformed.to_string())),
        }
        match reader.read_buf(input).await {
            Ok(0) => return Err((Code::UNSPECIFIED, "it closed before CONNECT".into())),
            Ok(_) => {}
            Err(why) => return Err((Code::UNSPECIFIED, why.to_string())),
        }
    }
}

/// How long a client asks for its session to outlive its connection, and how long it may; in seconds.
fn expiry(connect: &Connect) -> (u32, u32) {
    let asked = match connect.version {
        // 3.1.1 has no end for it, and no words to be told of one.
        Version::V4 if connect.clean_start => 0,
        Version::V4 => MAX_EXPIRY,
        Version::V5 => connect.properties.session_expiry().unwrap_or_default(),
    };
    (asked, asked.min(MAX_EXPIRY))
}

impl Farewell {
    fn packet(&self) -> Packet {
        let reason =
            || Property::ReasonString(self.reason.map_or_else(|| self.code.to_string(), str::to_owned));
        let properties = self.explained.then(reason).into_iter().collect();
        Packet::Disconnect(Disconnect { code: self.code, properties })
    }
}

/// `why` is for a person to read, where the code does not say it all and MQTT has words for it.
fn refusal(code: Code, why: Option<String>, explained: bool) -> Packet {
    let why = || Property::ReasonString(why.unwrap_or_else(|| code.to_string()));
    let properties = explained.then(why).into_iter().collect();
    Packet::ConnAck(ConnAck { session_present: false, code, properties })
}

/// A place for a client that may come in, or why there is none.
fn pass(
    front: &Front,
    client_id: &Arc<str>,
    peer: SocketAddr,
    waiting: &Waiting,
) -> Result<Pass, (Code, Option<String>)> {
    let now = Instant::now().into_std();
    let flaps = front.flapping.lock().unwrap_or_else(PoisonError::into_inner).refuses(client_id, peer, now);
    if let Some(left) = flaps {
        metrics::counter!("crosslink_mqtt_flapping_refused_total").increment(1);
        let why = format!("this client id broke off too often; try again in {} s", left.as_secs() + 1);
        return Err((Code::CONNECTION_RATE_EXCEEDED, Some(why)));
    }
    waiting.pass(client_id).map_err(|full| {
        metrics::counter!("crosslink_mqtt_refused_total").increment(1);
        let (code, why) = match full {
            Full::Everywhere => (Code::SERVER_BUSY, "as many clients are connected as may be"),
            Full::Here => (Code::QUOTA_EXCEEDED, "as many clients of this address are connected as may be"),
        };
        if let Some(times) = front.crowd.again(now) {
            warn!(%peer, times, "refused {client_id} from {peer}: {why} ({times} since it was last said)");
        }
        (code, Some(why.to_owned()))
    })
}

/// Whether a client may come in, under which name, and what it has to know.
fn admit(front: &Front, connect: &Connect, session: SessionId) -> Result<(Arc<str>, Properties), Code> {
    let id = connect.client_id.as_str();
    let nameless_session = id.is_empty() && connect.version == Version::V4 && !connect.clean_start;
    if id.len() > MAX_CLIENT_ID || nameless_session || id.chars().any(char::is_control) {
        return Err(Code::CLIENT_ID_NOT_VALID);
    }
    if front.intake.crowded() {
        return Err(Code::SERVER_BUSY);
    }
    if let Some(will) = &connect.will {
        if !is_topic(&will.topic) {
            return Err(Code::TOPIC_INVALID);
        }
        if will.properties.response_topic().is_some_and(is_pattern) {
            return Err(Code::PROTOCOL_ERROR);
        }
        if will.retain && is_command(&will.topic, &front.pair) {
            return Err(Code::NOT_AUTHORIZED);
        }
    }
    if connect.properties.auth_method().is_some() {
        return Err(Code::BAD_AUTHENTICATION_METHOD);
    }
    let mut properties = Properties::none();
    properties.push(Property::ReceiveMaximum(MAX_UNSETTLED as u16));
    properties.push(Property::MaximumPacketSize(MAX_PACKET as u32));
    // Said because it is refused. Topic aliases are refused as long as nothing is said of them.
    properties.push(Property::SharedAvailable(0));
    let mut name: Arc<str> = id.into();
    if name.is_empty() {
        let assigned = format!("auto-{session}");
        properties.push(Property::AssignedClientId(assigned.clone()));
        name = assigned.into();
    }
    let max_packet = connect.properties.maximum_packet_size();
    if max_packet.is_some_and(|max| (max as usize) < CONNACK + properties.written().len()) {
        return Err(Code::PACKET_TOO_LARGE);
    }
    Ok((name, properties))
}
