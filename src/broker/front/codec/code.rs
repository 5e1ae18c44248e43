//! Reason codes of MQTT 5, which also stand for what 3.1.1 says with fewer.

use std::fmt;

/// A reason code of MQTT 5. From 0x80 on it says that something failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    pub const SUCCESS: Code = Code(0x00);
    pub const GRANTED_QOS_0: Code = Code(0x00);
    pub const GRANTED_QOS_1: Code = Code(0x01);
    pub const GRANTED_QOS_2: Code = Code(0x02);
    pub const DISCONNECT_WITH_WILL: Code = Code(0x04);
    pub const NO_MATCHING_SUBSCRIBERS: Code = Code(0x10);
    pub const NO_SUBSCRIPTION_EXISTED: Code = Code(0x11);
    pub const UNSPECIFIED: Code = Code(0x80);
    pub const MALFORMED: Code = Code(0x81);
    pub const PROTOCOL_ERROR: Code = Code(0x82);
    pub const IMPLEMENTATION_SPECIFIC: Code = Code(0x83);
    pub const UNSUPPORTED_VERSION: Code = Code(0x84);
    pub const CLIENT_ID_NOT_VALID: Code = Code(0x85);
    pub const BAD_CREDENTIALS: Code = Code(0x86);
    pub const NOT_AUTHORIZED: Code = Code(0x87);
    pub const SERVER_UNAVAILABLE: Code = Code(0x88);
    pub const SERVER_BUSY: Code = Code(0x89);
    pub const BANNED: Code = Code(0x8A);
    pub const SERVER_SHUTTING_DOWN: Code = Code(0x8B);
    pub const BAD_AUTHENTICATION_METHOD: Code = Code(0x8C);
    pub const KEEP_ALIVE_TIMEOUT: Code = Code(0x8D);
    pub const SESSION_TAKEN_OVER: Code = Code(0x8E);
    pub const FILTER_INVALID: Code = Code(0x8F);
    pub const TOPIC_INVALID: Code = Code(0x90);
    pub const PACKET_ID_IN_USE: Code = Code(0x91);
    pub const PACKET_ID_NOT_FOUND: Code = Code(0x92);
    pub const RECEIVE_MAXIMUM_EXCEEDED: Code = Code(0x93);
    pub const TOPIC_ALIAS_INVALID: Code = Code(0x94);
    pub const PACKET_TOO_LARGE: Code = Code(0x95);
    pub const MESSAGE_RATE_TOO_HIGH: Code = Code(0x96);
    pub const QUOTA_EXCEEDED: Code = Code(0x97);
    pub const ADMINISTRATIVE_ACTION: Code = Code(0x98);
    pub const PAYLOAD_FORMAT_INVALID: Code = Code(0x99);
    pub const RETAIN_NOT_SUPPORTED: Code = Code(0x9A);
    pub const QOS_NOT_SUPPORTED: Code = Code(0x9B);
    pub const USE_ANOTHER_SERVER: Code = Code(0x9C);
    pub const SERVER_MOVED: Code = Code(0x9D);
    pub const SHARED_NOT_SUPPORTED: Code = Code(0x9E);
    pub const CONNECTION_RATE_EXCEEDED: Code = Code(0x9F);
    pub const MAXIMUM_CONNECT_TIME: Code = Code(0xA0);
    pub const SUBSCRIPTION_IDS_NOT_SUPPORTED: Code = Code(0xA1);
    pub const WILDCARD_NOT_SUPPORTED: Code = Code(0xA2);

    pub fn is_failure(self) -> bool {
        self.0 >= Code::UNSPECIFIED.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Code::SUCCESS => "success",
            Code::GRANTED_QOS_1 => "granted QoS 1",
            Code::GRANTED_QOS_2 => "granted QoS 2",
            Code::DISCONNECT_WITH_WILL => "disconnect with will",
            Code::NO_MATCHING_SUBSCRIBERS => "no matching subscribers",
            Code::NO_SUBSCRIPTION_EXISTED => "no subscription existed",
            Code::UNSPECIFIED => "unspecified error",
            Code::MALFORMED => "malformed packet",
            Code::PROTOCOL_ERROR => "protocol error",
            Code::IMPLEMENTATION_SPECIFIC => "not accepted by this receiver",
            Code::UNSUPPORTED_VERSION => "unsupported protocol version",
            Code::CLIENT_ID_NOT_VALID => "client id not valid",
            Code::BAD_CREDENTIALS => "bad user name or password",
            Code::NOT_AUTHORIZED => "not authorized",
            Code::SERVER_UNAVAILABLE => "server unavailable",
            Code::SERVER_BUSY => "server busy",
            Code::BANNED => "banned",
            Code::SERVER_SHUTTING_DOWN => "server shutting down",
            Code::BAD_AUTHENTICATION_METHOD => "bad authentication method",
            Code::KEEP_ALIVE_TIMEOUT => "keep alive timeout",
            Code::SESSION_TAKEN_OVER => "session taken over",
            Code::FILTER_INVALID => "topic filter invalid",
            Code::TOPIC_INVALID => "topic name invalid",
            Code::PACKET_ID_IN_USE => "packet id in use",
            Code::PACKET_ID_NOT_FOUND => "packet id not found",
            Code::RECEIVE_MAXIMUM_EXCEEDED => "receive maximum exceeded",
            Code::TOPIC_ALIAS_INVALID => "topic alias invalid",
            Code::PACKET_TOO_LARGE => "packet too large",
            Code::MESSAGE_RATE_TOO_HIGH => "message rate too high",
            Code::QUOTA_EXCEEDED => "quota exceeded",
            Code::ADMINISTRATIVE_ACTION => "administrative action",
            Code::PAYLOAD_FORMAT_INVALID => "payload format invalid",
            Code::RETAIN_NOT_SUPPORTED => "retain not supported",
            Code::QOS_NOT_SUPPORTED => "QoS not supported",
            Code::USE_ANOTHER_SERVER => "use another server",
            Code::SERVER_MOVED => "server moved",
            Code::SHARED_NOT_SUPPORTED => "shared subscriptions not supported",
            Code::CONNECTION_RATE_EXCEEDED => "connection rate exceeded",
            Code::MAXIMUM_CONNECT_TIME => "maximum connect time",
            Code::SUBSCRIPTION_IDS_NOT_SUPPORTED => "subscription identifiers not supported",
            Code::WILDCARD_NOT_SUPPORTED => "wildcard subscriptions not supported",
            Code(other) => return write!(f, "reason code {other:#04x}"),
        })
    }
}
