//! The tables of Crosslink's database, as sea-orm sees them.
//!
//! Moments are microseconds since 1970; small numbers stand for words that the gateway's `store` knows.

pub mod anchors;
pub mod command_states;
pub mod commands;
pub mod journal;
pub mod kept_messages;
pub mod kept_received;
pub mod kept_sessions;
pub mod kept_subscriptions;
pub mod overrides;
pub mod rejection_counts;
pub mod rejections;
pub mod retained;
pub mod runs;
pub mod sources;
pub mod topics;
