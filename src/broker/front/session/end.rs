//! Why a session ends, and what its client is told of it.

use crate::{
    broker::front::{
        codec::{Code, Malformed},
        outgoing::TooSlow,
    },
    model::SessionId,
};

/// Why a session ends.
pub enum End {
    Disconnect {
        with_will: bool,
        /// How long its session is to outlive the connection, if it says so anew; in seconds.
        expiry: Option<u32>,
    },
    Closed,
    SocketError,
    Keepalive,
    Takeover(SessionId),
    /// The client broke the protocol or does not keep up.
    Refused(Code, &'static str),
    Shutdown,
}

impl From<Malformed> for End {
    fn from(malformed: Malformed) -> End {
        End::Refused(malformed.code, malformed.what)
    }
}

impl From<TooSlow> for End {
    fn from(TooSlow: TooSlow) -> End {
        End::Refused(Code::QUOTA_EXCEEDED, "the client does not keep up with its subscriptions")
    }
}

/// What a client is told at the end of its session.
pub struct Farewell {
    pub code: Code,
    /// Absent where the code says it all.
    pub reason: Option<&'static str>,
    /// Its packets have room for reasons.
    pub explained: bool,
}
