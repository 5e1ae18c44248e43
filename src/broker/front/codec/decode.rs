//! From a client's bytes to packets.
//!
//! What can be refused early is: the first byte by itself, the length before its body has arrived.

use bytes::{Bytes, BytesMut};

use super::properties::{self, Place};
use super::{
    Ack, Code, Connect, Disconnect, Malformed, Packet, Properties, Publish, QoS, RetainHandling, Subscribe,
    Subscription, Unsubscribe, Version, Will, connect_flag, kind, option_flag, publish_flag,
};

/// Takes one whole packet off the front of `bytes`; None when more bytes are needed.
///
/// `version` is None until CONNECT was read: then only CONNECT is accepted, and it says its version.
/// `max_packet` counts the whole packet, in bytes. After an error `bytes` is of no more use.
pub fn decode(
    bytes: &mut BytesMut,
    version: Option<Version>,
    max_packet: usize,
) -> Result<Option<Packet>, Malformed> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    check_first_byte(first, version)?;
    let Some((remaining, digits)) = varint(&bytes[1..])? else { return Ok(None) };
    let header = 1 + digits;
    if header + remaining > max_packet {
        return Err(Malformed { code: Code::PACKET_TOO_LARGE, what: "it is too large" });
    }
    if bytes.len() < header + remaining {
        return Ok(None);
    }
    let frame = bytes.split_to(header + remaining);
    let Some(version) = version else {
        // A will lives as long as its session: with a copy it does not hold the whole read buffer.
        let frame = Bytes::copy_from_slice(&frame);
        let mut reader = Reader { frame: &frame, at: header, end: frame.len() };
        let connect = read_connect(&mut reader)?;
        reader.finish()?;
        return Ok(Some(Packet::Connect(Box::new(connect))));
    };
    let frame = frame.freeze();
    let mut reader = Reader { frame: &frame, at: header, end: frame.len() };
    let packet = match first >> 4 {
        kind::PUBLISH => Packet::Publish(read_publish(first, &mut reader, version)?),
        kind::PUBACK => Packet::PubAck(read_ack(&mut reader, version)?),
        kind::PUBREC => Packet::PubRec(read_ack(&mut reader, version)?),
        kind::PUBREL => Packet::PubRel(read_ack(&mut reader, version)?),
        kind::PUBCOMP => Packet::PubComp(read_ack(&mut reader, version)?),
        kind::SUBSCRIBE => Packet::Subscribe(read_subscribe(&mut reader, version)?),
        kind::UNSUBSCRIBE => Packet::Unsubscribe(read_unsubscribe(&mut reader, version)?),
        kind::PINGREQ => Packet::PingReq,
        kind::DISCONNECT => Packet::Disconnect(read_disconnect(&mut reader, version)?),
        _ => return Err(protocol_error("a client does not send this packet")),
    };
    reader.finish()?;
    Ok(Some(packet))
}

fn check_first_byte(first: u8, version: Option<Version>) -> Result<(), Malformed> {
    let kind = first >> 4;
    let flags = first & 0x0F;
    match (kind, version) {
        (kind::CONNECT, None) => {}
        (_, None) => return Err(protocol_error("the first packet is not CONNECT")),
        (kind::CONNECT, Some(_)) => return Err(protocol_error("a second CONNECT")),
        (_, Some(_)) => {}
    }
    let allowed = match kind {
        kind::PUBLISH => return check_publish_flags(flags),
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => 0b0010,
        kind::CONNECT | kind::PUBACK | kind::PUBREC | kind::PUBCOMP | kind::PINGREQ | kind::DISCONNECT => 0,
        kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => {
            return Err(protocol_error("only a server sends this packet"));
        }
        kind::AUTH => return Err(protocol_error("there is no enhanced authentication")),
        _ => return Err(malformed("packet type 0 is reserved")),
    };
    if flags != allowed {
        return Err(malformed("the flags of the first byte are not those of its packet type"));
    }
    Ok(())
}

fn check_publish_flags(flags: u8) -> Result<(), Malformed> {
    let qos = publish_qos(flags)?;
    if qos == QoS::AtMostOnce && flags & publish_flag::DUP != 0 {
        return Err(malformed("a message of QoS 0 is marked as sent again"));
    }
    Ok(())
}

fn publish_qos(flags: u8) -> Result<QoS, Malformed> {
    QoS::from_u8(flags >> publish_flag::QOS_SHIFT & 0b11).ok_or(malformed("there is no QoS 3"))
}

fn read_connect(reader: &mut Reader<'_>) -> Result<Connect, Malformed> {
    let name = reader.short_bytes()?;
    let level = reader.u8()?;
    let version = match (name, level) {
        (b"MQTT", 4) => Version::V4,
        (b"MQTT", 5) => Version::V5,
        _ => {
            return Err(Malformed {
                code: Code::UNSUPPORTED_VERSION,
                what: "the protocol is neither MQTT 3.1.1 nor 5",
            });
        }
    };
    let flags = reader.u8()?;
    let has = |flag: u8| flags & flag != 0;
    if has(connect_flag::RESERVED) {
        return Err(malformed("the reserved flag of CONNECT is set"));
    }
    let will_qos = QoS::from_u8(flags >> connect_flag::WILL_QOS_SHIFT & 0b11)
        .ok_or(malformed("there is no QoS 3 for a will"))?;
    if !has(connect_flag::WILL) && (will_qos != QoS::AtMostOnce || has(connect_flag::WILL_RETAIN)) {
        return Err(malformed("a will that is absent has flags"));
    }
    if version == Version::V4 && has(connect_flag::PASSWORD) && !has(connect_flag::USERNAME) {
        return Err(malformed("a password without a user name"));
    }
    let keep_alive = reader.u16()?;
    let properties = read_properties(reader, Place::Connect, version)?;
    let has_auth_data = properties.iter().any(|property| matches!(property, super::Property::AuthData(_)));
    if has_auth_data && properties.auth_method().is_none() {
        return Err(protocol_error("authentication data without a method"));
    }
    let client_id = reader.text("the client id is not UTF-8")?;
    let will = if has(connect_flag::WILL) {
        Some(Will {
            properties: read_properties(reader, Place::Will, version)?,
            topic: reader.text("the topic of the will is not UTF-8")?,
            payload: reader.binary()?,
            qos: will_qos,
            retain: has(connect_flag::WILL_RETAIN),
        })
    } else {
        None
    };
    let username =
        if has(connect_flag::USERNAME) { Some(reader.text("the user name is not UTF-8")?) } else { None };
    let password = if has(connect_flag::PASSWORD) { Some(reader.binary()?) } else { None };
    let clean_start = has(connect_flag::CLEAN_START);
    Ok(Connect { version, clean_start, keep_alive, client_id, will, username, password, properties })
}

fn read_publish(first: u8, reader: &mut Reader<'_>, version: Version) -> Result<Publish, Malformed> {
    let qos = publish_qos(first & 0x0F)?;
    let topic = reader.text("the topic is not UTF-8")?;
    let packet_id = match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce | QoS::ExactlyOnce => reader.packet_id()?,
    };
    let properties = read_properties(reader, Place::Publish, version)?;
    Ok(Publish {
        dup: first & publish_flag::DUP != 0,
        qos,
        retain: first & publish_flag::RETAIN != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

fn read_ack(reader: &mut Reader<'_>, version: Version) -> Result<Ack, Malformed> {
    let packet_id = reader.packet_id()?;
    let (code, properties) = read_outcome(reader, Place::Ack, version)?;
    Ok(Ack { packet_id, code, properties })
}

fn read_disconnect(reader: &mut Reader<'_>, version: Version) -> Result<Disconnect, Malformed> {
    let (code, properties) = read_outcome(reader, Place::Disconnect, version)?;
    Ok(Disconnect { code, properties })
}

/// The reason code and properties at the end of a packet, which may be left out from the back.
fn read_outcome(
    reader: &mut Reader<'_>,
    place: Place,
    version: Version,
) -> Result<(Code, Properties), Malformed> {
    if version == Version::V4 || reader.is_at_end() {
        return Ok((Code::SUCCESS, Properties::none()));
    }
    let code = Code(reader.u8()?);
    if reader.is_at_end() {
        return Ok((code, Properties::none()));
    }
    Ok((code, properties::read(reader, place)?))
}

fn read_subscribe(reader: &mut Reader<'_>, version: Version) -> Result<Subscribe, Malformed> {
    let packet_id = reader.packet_id()?;
    let properties = read_properties(reader, Place::Subscribe, version)?;
    let mut filters = Vec::new();
    while !reader.is_at_end() {
        filters.push(read_subscription(reader, version)?);
    }
    if filters.is_empty() {
        return Err(protocol_error("it names no topic filter"));
    }
    Ok(Subscribe { packet_id, properties, filters })
}

fn read_subscription(reader: &mut Reader<'_>, version: Version) -> Result<Subscription, Malformed> {
    let filter = reader.text("a topic filter is not UTF-8")?;
    let options = reader.u8()?;
    let reserved = match version {
        Version::V4 => !0b11,
        Version::V5 => option_flag::RESERVED,
    };
    if options & reserved != 0 {
        return Err(malformed("reserved bits of the subscription options are set"));
    }
    Subscription::of(filter, options)
}

impl Subscription {
    /// With the options as the wire has them.
    pub fn of(filter: String, options: u8) -> Result<Subscription, Malformed> {
        let qos =
            QoS::from_u8(options & 0b11).ok_or(protocol_error("there is no QoS 3 to subscribe with"))?;
        let retain_handling = match options >> option_flag::RETAIN_HANDLING_SHIFT & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::Never,
            _ => return Err(protocol_error("there is no retain handling 3")),
        };
        Ok(Subscription {
            filter,
            qos,
            no_local: options & option_flag::NO_LOCAL != 0,
            retain_as_published: options & option_flag::RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }
}

fn read_unsubscribe(reader: &mut Reader<'_>, version: Version) -> Result<Unsubscribe, Malformed> {
    let packet_id = reader.packet_id()?;
    let properties = read_properties(reader, Place::Unsubscribe, version)?;
    let mut filters = Vec::new();
    while !reader.is_at_end() {
        filters.push(reader.text("a topic filter is not UTF-8")?);
    }
    if filters.is_empty() {
        return Err(protocol_error("it names no topic filter"));
    }
    Ok(Unsubscribe { packet_id, properties, filters })
}

fn read_properties(reader: &mut Reader<'_>, place: Place, version: Version) -> Result<Properties, Malformed> {
    match version {
        Version::V4 => Ok(Properties::none()),
        Version::V5 => properties::read(reader, place),
    }
}

fn malformed(what: &'static str) -> Malformed {
    Malformed { code: Code::MALFORMED, what }
}

fn protocol_error(what: &'static str) -> Malformed {
    Malformed { code: Code::PROTOCOL_ERROR, what }
}

/// A length of up to four digits of seven bits, and how many there were; None when it is not all there.
///
/// One padded with zeros is taken: 3.1.1 does not forbid it, and small clients may reserve all four bytes.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(malformed("a length has more than four bytes")) }
}

/// Reads a frame, or a part of it, from `at` to `end`.
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    /// At most the frame's length.
    end: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn of(bytes: &'a Bytes) -> Reader<'a> {
        Reader { frame: bytes, at: 0, end: bytes.len() }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn varint(&mut self) -> Result<usize, Malformed> {
        let (value, digits) = varint(&self.frame[self.at..self.end])?.ok_or(too_short())?;
        self.at += digits;
        Ok(value)
    }

    /// UTF-8 without U+0000, behind its length.
    pub(super) fn text(&mut self, not_utf8: &'static str) -> Result<String, Malformed> {
        let text = std::str::from_utf8(self.short_bytes()?).map_err(|_| malformed(not_utf8))?;
        if text.contains('\0') {
            return Err(malformed("a text holds U+0000"));
        }
        Ok(text.to_owned())
    }

    /// Any bytes behind their length, as a view of the frame.
    pub(super) fn binary(&mut self) -> Result<Bytes, Malformed> {
        let bytes = self.short_bytes()?;
        Ok(self.frame.slice_ref(bytes))
    }

    /// The next `length` bytes, to be read by themselves.
    pub(super) fn part(&mut self, length: usize) -> Result<Reader<'a>, Malformed> {
        let at = self.at;
        self.take(length)?;
        Ok(Reader { frame: self.frame, at, end: self.at })
    }

    fn packet_id(&mut self) -> Result<u16, Malformed> {
        match self.u16()? {
            0 => Err(protocol_error("the packet id is 0")),
            id => Ok(id),
        }
    }

    fn rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    fn finish(&self) -> Result<(), Malformed> {
        if self.is_at_end() { Ok(()) } else { Err(malformed("bytes follow where the packet should end")) }
    }

    fn short_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| too_short())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let left = &self.frame[self.at..self.end];
        let taken = left.get(..length).ok_or(too_short())?;
        self.at += length;
        Ok(taken)
    }
}

fn too_short() -> Malformed {
    malformed("it ends too early")
}

#[cfg(test)]
mod tests;
