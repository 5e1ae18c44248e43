//! Devices: who is there, what they measured, how their presence went.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    examples,
    problem::{Path, Problem, Query, WhenAsking, WhenListing},
};
use crate::{
    app::App,
    crosslink::{self, CrossLink},
    devices::{self, Mode},
    model::{self, Cursor, Page, Presence, PresenceChange, Reading},
};

/// Items of a page when nobody says how many.
const USUAL_LIMIT: u32 = 100;
/// Items of the largest page: some hundred KB.
const MAX_LIMIT: u32 = 1_000;

/// A device as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Device {
    pub name: String,
    pub presence: Presence,
    /// Its last reading.
    pub latest: Option<Reading>,
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

/// Which part of what grows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// A seq: what comes after it, oldest first. Or the `next` of a page: what follows on it. Without it a
    /// page begins with the newest.
    #[param(value_type = Option<String>, example = "4711")]
    after: Option<Cursor>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = u32, required = false, default = 100, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// Every device that ever spoke, and the pair, by name.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", operation_id = "list_devices",
    responses((status = 200, description = "All of them", body = Page<Device>, example = json!(examples::devices())), WhenListing))]
pub async fn list(State(app): State<App>) -> Json<Page<Device>> {
    let items = app.devices.list().iter().map(|device| Device::of(&app, device)).collect();
    Json(Page { items, next: None })
}

/// One device.
#[utoipa::path(get, path = "/api/v1/devices/{device}", tag = "devices", operation_id = "device",
    params(("device" = String, Path, description = "Its name", example = "esp32")),
    responses((status = 200, description = "As it is now", body = Device, example = json!(examples::device())), WhenAsking))]
pub async fn one(State(app): State<App>, Path(device): Path<String>) -> Result<Json<Device>, Problem> {
    let device = app.devices.get(&device)?;
    Ok(Json(Device::of(&app, &device)))
}

/// What a device measured: newest first, or oldest first after a place.
#[utoipa::path(get, path = "/api/v1/devices/{device}/readings", tag = "devices", operation_id = "readings",
    params(("device" = String, Path, description = "Its name", example = "esp32"), Part),
    responses((status = 200, description = "A page of readings", body = Page<Reading>, example = json!(examples::readings())), WhenAsking))]
pub async fn readings(
    State(app): State<App>,
    Path(device): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Reading>>, Problem> {
    let device = app.devices.get(&device)?;
    Ok(Json(app.store.readings(&device.name, model::Part::of(part.after, part.limit.0)).await?))
}

/// How the presence of a device went: newest first, or oldest first after a place.
#[utoipa::path(get, path = "/api/v1/devices/{device}/presence", tag = "devices", operation_id = "presence",
    params(("device" = String, Path, description = "Its name", example = "esp32"), Part),
    responses((status = 200, description = "A page of changes", body = Page<PresenceChange>, example = json!(examples::presence())), WhenAsking))]
pub async fn presence(
    State(app): State<App>,
    Path(device): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Page<PresenceChange>>, Problem> {
    let device = app.devices.get(&device)?;
    Ok(Json(app.store.presence(&device.name, model::Part::of(part.after, part.limit.0)).await?))
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
struct Limit(u32);

impl Default for Limit {
    fn default() -> Limit {
        Limit(USUAL_LIMIT)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Limit, String> {
        match limit {
            1..=MAX_LIMIT => Ok(Limit(limit)),
            _ => Err(format!("a page has 1 to {MAX_LIMIT} items, not {limit}")),
        }
    }
}
