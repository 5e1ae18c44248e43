//! Whether the gateway is alive, and whether it can serve.

use axum::{Json, extract::State, http::StatusCode};
use tokio::time::{Duration, timeout};

use super::answers::WhenLooking;
use crate::{
    app::App,
    health::{Readiness, Report, Trouble},
};

/// A database that takes longer to say where its journal ends serves nobody.
const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// Whether the gateway is alive.
///
/// Whoever answers is alive.
#[utoipa::path(get, path = "/healthz", tag = "health", operation_id = "alive",
    responses((status = 200, description = "It is", body = String, content_type = "text/plain", example = "ok"), WhenLooking))]
pub async fn alive() -> &'static str {
    "ok"
}

/// Whether the gateway can serve.
///
/// And if not, why and since when. A degraded gateway serves, though something is wrong.
#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "ready",
    responses(
        (status = 200, description = "It can", body = Report,
            example = json!({ "status": "ready", "reasons": [] })),
        (status = 503, description = "It cannot", body = Report,
            example = json!({ "status": "unready", "reasons": [
                { "code": "JOURNAL_FAILING", "since": "2026-11-21T20:15:00.250Z", "detail": "the disk is full" }] })),
        WhenLooking))]
pub async fn ready(State(app): State<App>) -> (StatusCode, Json<Report>) {
    probe(&app).await;
    let report = app.health.report();
    (status(report.status), Json(report))
}

/// Looks whether the database can be read.
async fn probe(app: &App) {
    let why = match timeout(PROBE_WITHIN, app.store.probe()).await {
        Ok(Ok(())) => {
            app.health.ends(Trouble::DatabaseUnreadable);
            return;
        }
        Ok(Err(why)) => why.to_string(),
        Err(_) => format!("the database does not answer within {} s", PROBE_WITHIN.as_secs()),
    };
    app.health.begins(Trouble::DatabaseUnreadable, why);
}

fn status(readiness: Readiness) -> StatusCode {
    match readiness {
        Readiness::Ready | Readiness::Degraded => StatusCode::OK,
        Readiness::Unready => StatusCode::SERVICE_UNAVAILABLE,
    }
}
