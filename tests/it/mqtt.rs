//! The broker as MQTT clients see it, in both versions.

mod backlog;
mod bounds;
mod crowds;
mod kills;
mod messages;
mod persistence;
mod properties;
mod retained;
mod sessions;
mod streams;
mod strictness;
mod subscriptions;
mod unkillable;
mod websocket;
mod wills;
