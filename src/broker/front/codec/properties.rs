//! The properties of MQTT 5: what a packet says beyond its fixed fields.
//!
//! 3.1.1 knows none; a packet without them costs no allocation.

use bytes::{BufMut, Bytes, BytesMut};

use super::decode::Reader;
use super::encode::{put_binary, put_text, put_varint, varint_len, wire_binary, wire_text};
use super::{Code, Malformed};

/// In the order of the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<Property>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// 1 says that the payload is UTF-8.
    PayloadFormat(u8),
    /// In seconds.
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Bytes),
    /// 1 to 268,435,455.
    SubscriptionId(u32),
    /// In seconds; `u32::MAX` is for ever.
    SessionExpiry(u32),
    AssignedClientId(String),
    /// In seconds.
    ServerKeepAlive(u16),
    AuthMethod(String),
    AuthData(Bytes),
    RequestProblemInfo(u8),
    /// In seconds.
    WillDelay(u32),
    RequestResponseInfo(u8),
    ResponseInfo(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(u8),
    RetainAvailable(u8),
    UserProperty(String, String),
    /// In bytes, of the whole packet.
    MaximumPacketSize(u32),
    WildcardAvailable(u8),
    SubscriptionIdsAvailable(u8),
    SharedAvailable(u8),
}

impl Properties {
    pub const fn none() -> Properties {
        Properties(Vec::new())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn push(&mut self, property: Property) {
        self.0.push(property);
    }

    pub fn retain(&mut self, keep: impl FnMut(&Property) -> bool) {
        self.0.retain(keep);
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Property> {
        self.0.iter()
    }

    pub fn payload_format(&self) -> Option<u8> {
        self.find(|property| if let Property::PayloadFormat(it) = property { Some(*it) } else { None })
    }

    /// In seconds.
    pub fn message_expiry(&self) -> Option<u32> {
        self.find(|property| if let Property::MessageExpiry(it) = property { Some(*it) } else { None })
    }

    pub fn content_type(&self) -> Option<&str> {
        self.find(|property| if let Property::ContentType(it) = property { Some(it.as_str()) } else { None })
    }

    pub fn response_topic(&self) -> Option<&str> {
        self.find(
            |property| if let Property::ResponseTopic(it) = property { Some(it.as_str()) } else { None },
        )
    }

    pub fn correlation_data(&self) -> Option<&Bytes> {
        self.find(|property| if let Property::CorrelationData(it) = property { Some(it) } else { None })
    }

    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter()
            .filter_map(|property| if let Property::SubscriptionId(it) = property { Some(*it) } else { None })
    }

    /// In seconds; `u32::MAX` is for ever.
    pub fn session_expiry(&self) -> Option<u32> {
        self.find(|property| if let Property::SessionExpiry(it) = property { Some(*it) } else { None })
    }

    pub fn auth_method(&self) -> Option<&str> {
        self.find(|property| if let Property::AuthMethod(it) = property { Some(it.as_str()) } else { None })
    }

    pub fn request_problem_info(&self) -> Option<bool> {
        self.find(
            |property| if let Property::RequestProblemInfo(it) = property { Some(*it == 1) } else { None },
        )
    }

    /// In seconds.
    pub fn will_delay(&self) -> Option<u32> {
        self.find(|property| if let Property::WillDelay(it) = property { Some(*it) } else { None })
    }

    pub fn reason_string(&self) -> Option<&str> {
        self.find(|property| if let Property::ReasonString(it) = property { Some(it.as_str()) } else { None })
    }

    pub fn receive_maximum(&self) -> Option<u16> {
        self.find(|property| if let Property::ReceiveMaximum(it) = property { Some(*it) } else { None })
    }

    pub fn topic_alias_maximum(&self) -> Option<u16> {
        self.find(|property| if let Property::TopicAliasMaximum(it) = property { Some(*it) } else { None })
    }

    pub fn topic_alias(&self) -> Option<u16> {
        self.find(|property| if let Property::TopicAlias(it) = property { Some(*it) } else { None })
    }

    pub fn user_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|property| {
            if let Property::UserProperty(name, value) = property {
                Some((name.as_str(), value.as_str()))
            } else {
                None
            }
        })
    }

    /// In bytes, of the whole packet.
    pub fn maximum_packet_size(&self) -> Option<u32> {
        self.find(|property| if let Property::MaximumPacketSize(it) = property { Some(*it) } else { None })
    }

    /// What goes with a message from its publisher to those who hear it, as it is written, without the length. Its expiry
    /// is not among it, because that is counted down.
    pub fn travelling(&self) -> Bytes {
        let travels = |property: &&Property| {
            matches!(
                property,
                Property::PayloadFormat(_)
                    | Property::ContentType(_)
                    | Property::ResponseTopic(_)
                    | Property::CorrelationData(_)
                    | Property::UserProperty(..)
            )
        };
        self.iter().filter(travels).cloned().collect::<Properties>().written()
    }

    /// All of them, as they are written, without the length.
    pub fn written(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.iter().for_each(|property| property.write(&mut out));
        out.freeze()
    }

    /// What [`Properties::written`] wrote; as much of it as can be read.
    pub fn travelled(written: &Bytes) -> Properties {
        let mut reader = Reader::of(written);
        let mut properties = Properties::none();
        while let Ok(id) = reader.u8() {
            let Ok(property) = read_one(id, &mut reader) else { break };
            properties.push(property);
        }
        properties
    }

    fn find<'a, T>(&'a self, value: impl FnMut(&'a Property) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(value)
    }

    /// With the length that stands before them.
    pub(super) fn wire_len(&self) -> usize {
        let length = self.values_len();
        varint_len(length) + length
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        put_varint(self.values_len(), out);
        for property in &self.0 {
            property.write(out);
        }
    }

    fn values_len(&self) -> usize {
        self.0.iter().map(Property::wire_len).sum()
    }
}

impl FromIterator<Property> for Properties {
    fn from_iter<I: IntoIterator<Item = Property>>(properties: I) -> Properties {
        Properties(properties.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = &'a Property;
    type IntoIter = std::slice::Iter<'a, Property>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Where a client may write properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Publish,
    Ack,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

impl Place {
    /// Only what clients send: what a server alone may say is allowed nowhere.
    fn allows(self, id: u8) -> bool {
        match id {
            id::PAYLOAD_FORMAT
            | id::MESSAGE_EXPIRY
            | id::CONTENT_TYPE
            | id::RESPONSE_TOPIC
            | id::CORRELATION_DATA => matches!(self, Place::Publish | Place::Will),
            id::SUBSCRIPTION_ID => self == Place::Subscribe,
            id::SESSION_EXPIRY => matches!(self, Place::Connect | Place::Disconnect),
            id::AUTH_METHOD
            | id::AUTH_DATA
            | id::REQUEST_PROBLEM_INFO
            | id::REQUEST_RESPONSE_INFO
            | id::RECEIVE_MAXIMUM
            | id::TOPIC_ALIAS_MAXIMUM
            | id::MAXIMUM_PACKET_SIZE => self == Place::Connect,
            id::WILL_DELAY => self == Place::Will,
            id::REASON_STRING => matches!(self, Place::Ack | Place::Disconnect),
            id::TOPIC_ALIAS => self == Place::Publish,
            id::USER_PROPERTY => true,
            _ => false,
        }
    }
}

/// Reads the length of the properties and the properties.
pub(super) fn read(packet: &mut Reader<'_>, place: Place) -> Result<Properties, Malformed> {
    let length = packet.varint()?;
    let mut reader = packet.part(length)?;
    let mut properties = Properties::none();
    let mut seen = 0u64;
    while !reader.is_at_end() {
        let id = reader.u8()?;
        if !place.allows(id) {
            return Err(Malformed {
                code: Code::MALFORMED,
                what: "a property does not belong in this packet",
            });
        }
        // Every allowed identifier is below 64.
        let bit = 1u64 << id;
        if id != id::USER_PROPERTY && seen & bit != 0 {
            return Err(Malformed { code: Code::PROTOCOL_ERROR, what: "a property stands twice" });
        }
        seen |= bit;
        properties.push(read_one(id, &mut reader)?);
    }
    Ok(properties)
}

fn read_one(id: u8, reader: &mut Reader<'_>) -> Result<Property, Malformed> {
    let no_text = "a property is not UTF-8";
    Ok(match id {
        id::PAYLOAD_FORMAT => Property::PayloadFormat(flag(reader, "the payload format is neither 0 nor 1")?),
        id::MESSAGE_EXPIRY => Property::MessageExpiry(reader.u32()?),
        id::CONTENT_TYPE => Property::ContentType(reader.text(no_text)?),
        id::RESPONSE_TOPIC => Property::ResponseTopic(reader.text(no_text)?),
        id::CORRELATION_DATA => Property::CorrelationData(reader.binary()?),
        id::SUBSCRIPTION_ID => match reader.varint()? {
            0 => {
                return Err(Malformed {
                    code: Code::PROTOCOL_ERROR,
                    what: "the subscription identifier is 0",
                });
            }
            it => Property::SubscriptionId(it as u32),
        },
        id::SESSION_EXPIRY => Property::SessionExpiry(reader.u32()?),
        id::AUTH_METHOD => Property::AuthMethod(reader.text(no_text)?),
        id::AUTH_DATA => Property::AuthData(reader.binary()?),
        id::REQUEST_PROBLEM_INFO => {
            Property::RequestProblemInfo(flag(reader, "request problem information is neither 0 nor 1")?)
        }
        id::WILL_DELAY => Property::WillDelay(reader.u32()?),
        id::REQUEST_RESPONSE_INFO => {
            Property::RequestResponseInfo(flag(reader, "request response information is neither 0 nor 1")?)
        }
        id::REASON_STRING => Property::ReasonString(reader.text(no_text)?),
        id::RECEIVE_MAXIMUM => match reader.u16()? {
            0 => return Err(Malformed { code: Code::PROTOCOL_ERROR, what: "the receive maximum is 0" }),
            it => Property::ReceiveMaximum(it),
        },
        id::TOPIC_ALIAS_MAXIMUM => Property::TopicAliasMaximum(reader.u16()?),
        id::TOPIC_ALIAS => match reader.u16()? {
            0 => return Err(Malformed { code: Code::TOPIC_ALIAS_INVALID, what: "the topic alias is 0" }),
            it => Property::TopicAlias(it),
        },
        id::USER_PROPERTY => Property::UserProperty(reader.text(no_text)?, reader.text(no_text)?),
        id::MAXIMUM_PACKET_SIZE => match reader.u32()? {
            0 => return Err(Malformed { code: Code::PROTOCOL_ERROR, what: "the maximum packet size is 0" }),
            it => Property::MaximumPacketSize(it),
        },
        _ => return Err(Malformed { code: Code::MALFORMED, what: "an unknown property" }),
    })
}

fn flag(reader: &mut Reader<'_>, what: &'static str) -> Result<u8, Malformed> {
    match reader.u8()? {
        it @ (0 | 1) => Ok(it),
        _ => Err(Malformed { code: Code::PROTOCOL_ERROR, what }),
    }
}

/// What follows a property's identifier.
enum Value<'a> {
    Byte(u8),
    Two(u16),
    Four(u32),
    Varint(u32),
    Text(&'a str),
    Pair(&'a str, &'a str),
    Binary(&'a [u8]),
}

impl Property {
    fn wire(&self) -> (u8, Value<'_>) {
        match self {
            Property::PayloadFormat(it) => (id::PAYLOAD_FORMAT, Value::Byte(*it)),
            Property::MessageExpiry(it) => (id::MESSAGE_EXPIRY, Value::Four(*it)),
            Property::ContentType(it) => (id::CONTENT_TYPE, Value::Text(it)),
            Property::ResponseTopic(it) => (id::RESPONSE_TOPIC, Value::Text(it)),
            Property::CorrelationData(it) => (id::CORRELATION_DATA, Value::Binary(it)),
            Property::SubscriptionId(it) => (id::SUBSCRIPTION_ID, Value::Varint(*it)),
            Property::SessionExpiry(it) => (id::SESSION_EXPIRY, Value::Four(*it)),
            Property::AssignedClientId(it) => (id::ASSIGNED_CLIENT_ID, Value::Text(it)),
            Property::ServerKeepAlive(it) => (id::SERVER_KEEP_ALIVE, Value::Two(*it)),
            Property::AuthMethod(it) => (id::AUTH_METHOD, Value::Text(it)),
            Property::AuthData(it) => (id::AUTH_DATA, Value::Binary(it)),
            Property::RequestProblemInfo(it) => (id::REQUEST_PROBLEM_INFO, Value::Byte(*it)),
            Property::WillDelay(it) => (id::WILL_DELAY, Value::Four(*it)),
            Property::RequestResponseInfo(it) => (id::REQUEST_RESPONSE_INFO, Value::Byte(*it)),
            Property::ResponseInfo(it) => (id::RESPONSE_INFO, Value::Text(it)),
            Property::ServerReference(it) => (id::SERVER_REFERENCE, Value::Text(it)),
            Property::ReasonString(it) => (id::REASON_STRING, Value::Text(it)),
            Property::ReceiveMaximum(it) => (id::RECEIVE_MAXIMUM, Value::Two(*it)),
            Property::TopicAliasMaximum(it) => (id::TOPIC_ALIAS_MAXIMUM, Value::Two(*it)),
            Property::TopicAlias(it) => (id::TOPIC_ALIAS, Value::Two(*it)),
            Property::MaximumQoS(it) => (id::MAXIMUM_QOS, Value::Byte(*it)),
            Property::RetainAvailable(it) => (id::RETAIN_AVAILABLE, Value::Byte(*it)),
            Property::UserProperty(name, value) => (id::USER_PROPERTY, Value::Pair(name, value)),
            Property::MaximumPacketSize(it) => (id::MAXIMUM_PACKET_SIZE, Value::Four(*it)),
            Property::WildcardAvailable(it) => (id::WILDCARD_AVAILABLE, Value::Byte(*it)),
            Property::SubscriptionIdsAvailable(it) => (id::SUBSCRIPTION_IDS_AVAILABLE, Value::Byte(*it)),
            Property::SharedAvailable(it) => (id::SHARED_AVAILABLE, Value::Byte(*it)),
        }
    }

    fn wire_len(&self) -> usize {
        let (_, value) = self.wire();
        1 + match value {
            Value::Byte(_) => 1,
            Value::Two(_) => 2,
            Value::Four(_) => 4,
            Value::Varint(it) => varint_len(it as usize),
            Value::Text(it) => 2 + wire_text(it).len(),
            Value::Pair(name, value) => 2 + wire_text(name).len() + 2 + wire_text(value).len(),
            Value::Binary(it) => 2 + wire_binary(it).len(),
        }
    }

    fn write(&self, out: &mut BytesMut) {
        let (id, value) = self.wire();
        out.put_u8(id);
        match value {
            Value::Byte(it) => out.put_u8(it),
            Value::Two(it) => out.put_u16(it),
            Value::Four(it) => out.put_u32(it),
            Value::Varint(it) => put_varint(it as usize, out),
            Value::Text(it) => put_text(it, out),
            Value::Pair(name, value) => {
                put_text(name, out);
                put_text(value, out);
            }
            Value::Binary(it) => put_binary(it, out),
        }
    }
}

mod id {
    pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(super) const CONTENT_TYPE: u8 = 0x03;
    pub(super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(super) const CORRELATION_DATA: u8 = 0x09;
    pub(super) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(super) const SESSION_EXPIRY: u8 = 0x11;
    pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(super) const AUTH_METHOD: u8 = 0x15;
    pub(super) const AUTH_DATA: u8 = 0x16;
    pub(super) const REQUEST_PROBLEM_INFO: u8 = 0x17;
    pub(super) const WILL_DELAY: u8 = 0x18;
    pub(super) const REQUEST_RESPONSE_INFO: u8 = 0x19;
    pub(super) const RESPONSE_INFO: u8 = 0x1A;
    pub(super) const SERVER_REFERENCE: u8 = 0x1C;
    pub(super) const REASON_STRING: u8 = 0x1F;
    pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(super) const TOPIC_ALIAS: u8 = 0x23;
    pub(super) const MAXIMUM_QOS: u8 = 0x24;
    pub(super) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(super) const USER_PROPERTY: u8 = 0x26;
    pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(super) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(super) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub(super) const SHARED_AVAILABLE: u8 = 0x2A;
}

#[cfg(test)]
mod tests;
