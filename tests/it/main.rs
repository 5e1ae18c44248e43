//! Crosslink from the outside, in one binary: one link step.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "a test that cannot go on has failed, and here the MQTT clients are the devices"
)]

mod harness;

mod asyncapi;
mod audit;
mod crosslink;
mod disk;
mod documents;
mod durability;
mod faults;
mod flaws;
mod fairness;
mod floods;
mod floors;
mod frames;
mod graphql;
mod http;
mod kills;
mod mqtt;
mod pages;
mod presence;
mod presence_rules;
mod promises;
mod rest;
mod restart;
mod rig;
mod rig_commands;
mod router;
mod setup;
mod statements;
