//! Devices: who is there, what they measured, how their presence went.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answers::{WhenAsking, WhenListing, WhenSeen},
    etag::Tagged,
    examples,
    paging::{Nothing, Span},
    problem::{Path, Problem, Query},
};
use crate::{
    app::App,
    crosslink::{self, CrossLink},
    devices::{self, Mode},
    model::{Page, Presence, PresenceChange, Reading},
};

type DevicePage = Page<Device>;
type ReadingPage = Page<Reading>;
type PresenceChangePage = Page<PresenceChange>;

/// A device as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Device {
    /// One level of its topics.
    pub name: String,
    /// Whether it is there, and how the gateway knows.
    pub presence: Presence,
    /// Its last reading.
    pub latest: Option<Reading>,
    /// Whether it follows its peer.
    pub mode: Mode,
    /// How it stands to its peer. Null for a device that has none.
    pub cross_link: Option<CrossLink>,
}

impl Device {
    fn of(app: &App, device: &devices::Device) -> Device {
        Device {
            name: device.name.clone(),
            presence: device.presence.clone(),
            latest: device.latest.clone(),
            mode: device.control.mode,
            cross_link: crosslink::now(&app.devices, &device.name),
        }
    }
}

/// All devices.
///
/// Every device that ever spoke, and the pair, by name. Ages are told as of now, so that the answer has no tag.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", operation_id = "list_devices",
    responses((status = 200, description = "All of them", body = DevicePage, example = json!(examples::devices())), WhenListing))]
pub async fn list(
    State(app): State<App>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Json<DevicePage>, Problem> {
    let items = app.devices.list().iter().map(|device| Device::of(&app, device)).collect();
    Ok(Json(Page { items, next: None }))
}

/// One device.
///
/// As it is now. Ages are told as of now, so that the answer has no tag.
#[utoipa::path(get, path = "/api/v1/devices/{device}", tag = "devices", operation_id = "device",
    params(("device" = String, Path, description = "Its name", example = "esp32")),
    responses((status = 200, description = "As it is now", body = Device, example = json!(examples::device())), WhenAsking))]
pub async fn one(
    State(app): State<App>,
    Path(device): Path<String>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Json<Device>, Problem> {
    let device = app.devices.get(&device)?;
    Ok(Json(Device::of(&app, &device)))
}

/// What a device measured.
///
/// Newest first, or with `after` oldest first. That is the order of the journal; with `from` or `to` it is the
/// order of `at`, which differs where a clock was set or a rejection was replayed. A `next` goes on with the
/// moments that it was given for. A page ends early after 4 MiB of payloads.
#[utoipa::path(get, path = "/api/v1/devices/{device}/readings", tag = "devices", operation_id = "readings",
    params(("device" = String, Path, description = "Its name", example = "esp32"), Span),
    responses(
        (status = 200, description = "A page of readings", body = ReadingPage, example = json!(examples::readings())),
        WhenSeen, WhenAsking))]
pub async fn readings(
    State(app): State<App>,
    Path(device): Path<String>,
    Query(span): Query<Span>,
) -> Result<Tagged<ReadingPage>, Problem> {
    let device = app.devices.get(&device)?;
    Ok(Tagged(app.store.readings(&device.name, span.try_into()?).await?))
}

/// How the presence of a device went.
///
/// Newest first, or with `after` oldest first. That is the order of the journal; with `from` or `to` it is the
/// order of `at`, which differs where a clock was set. A `next` goes on with the moments that it was given for.
#[utoipa::path(get, path = "/api/v1/devices/{device}/presence", tag = "devices", operation_id = "presence",
    params(("device" = String, Path, description = "Its name", example = "esp32"), Span),
    responses(
        (status = 200, description = "A page of changes", body = PresenceChangePage, example = json!(examples::presence())),
        WhenSeen, WhenAsking))]
pub async fn presence(
    State(app): State<App>,
    Path(device): Path<String>,
    Query(span): Query<Span>,
) -> Result<Tagged<PresenceChangePage>, Problem> {
    let device = app.devices.get(&device)?;
    Ok(Tagged(app.store.presence(&device.name, span.try_into()?).await?))
}
