//! Crosslink stands between microcontrollers and the people who watch and steer them.
//!
//! A device speaks to the front of [`broker`]. The front hands each publish to the router, for other
//! MQTT clients, and to [`ingest`], which interprets it; the journal in [`store`] commits what it
//! means; then the publisher is acknowledged and the [`hub`] tells whoever listens. Commands go the
//! other way, through the one [`desk`]. A module imports only from lower floors.

// On floors 0, 2 and 4 a module may also import those listed above it; on floors 1 and 3 no neighbour.

// Floor 0, words: pure, no tokio, no sockets, no SQL.
pub mod model; //      readings, presence, commands, rejections: what is said everywhere
pub mod json; //       JSON as a type, and what is wrong with it
pub mod error; //      one Error in the gateway's own words
pub mod catalog; //    every kind of service, its topics and their payloads
pub mod address; //    the grammar of topics
pub mod config; //     every flag, with its default
pub mod origin; //     which pages may use the gateway, and under which names it may be called

// Floor 1, doors: each the only place that names its library.
#[allow(clippy::disallowed_types, reason = "the door to rumqttd")]
pub mod broker; //     devices: our MQTT front, rumqttd's router behind it
#[allow(clippy::disallowed_types, reason = "the door to sea-orm")]
pub mod store; //      the database: one journal, one writer, many readers

// Floor 2, heart.
pub mod health; //     whether the gateway can serve
pub mod hub; //        committed events, to whoever listens
pub mod presence; //   who is there, and how we know
pub mod devices; //    each device as the journal leaves it
pub mod crosslink; //  what the pair does to each other
pub mod registry; //   which kind each service is, and how that is known
pub mod frames; //     pictures of cameras, of the rows that they arrive in
pub mod desk; //       the one way in for a command
pub mod ingest; //     what a message means, and the order in which it becomes history
pub mod retention; //  commands that are removed from the log when they are old
pub mod replays; //    rejections that are looked at anew
pub mod app; //        all that a surface is given

// Floor 3, surfaces: they know the app and floor 0, never each other.
pub mod rest; //       HTTP resources, their OpenAPI document, health and metrics
pub mod graphql;
pub mod asyncapi; //   the document of what goes over MQTT
pub mod pages; //      what a browser shows, and all that it loads
#[allow(clippy::disallowed_types, reason = "a device is an MQTT client")]
pub mod simulator; //  the pair and a rig, as real MQTT clients

// Floor 4, the house.
pub mod http; //       joins the surfaces in one server
pub mod open_files; // how many connections the system allows
pub mod memory; //    what a flood took is given back
pub mod gateway; //    start(Config) → Gateway; stop()
pub mod logging; //    lines that a person can read, or JSON
pub mod cli; //        the command line
