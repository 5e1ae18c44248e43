//! HTTP resources over the same things as GraphQL.
//!
//! Routes and their OpenAPI document grow together: a handler that is routed is documented.

mod commands;
mod devices;
mod examples;
mod health;
mod metrics;
mod original;
pub mod problem;

use axum::{Json, Router, extract::DefaultBodyLimit, routing::get};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use metrics::upkeep;

use crate::app::App;

/// In bytes. The largest body that makes sense is a command of some hundred bytes.
const MAX_BODY: usize = 64 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Crosslink",
        description = "Watch and steer microcontrollers. Errors are `application/problem+json` with a stable `code`. \
            Times are RFC 3339 in UTC. A `seq` is a place in the journal: it only grows, and counts everything that happens.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "devices", description = "Who is there, what they measure and what they do to each other"),
        (name = "commands", description = "Commands and what became of them"),
        (name = "original", description = "The routes that scripts have used from the beginning"),
        (name = "health", description = "Whether the gateway is alive, can serve, and how it fares"),
    ),
    servers((url = "/", description = "The gateway that this document comes from")),
    security(()),
    components(schemas(problem::Problem)),
)]
struct Document;

pub fn router(app: App) -> Router {
    metrics::install();
    let (router, document) = routes().split_for_parts();
    router
        .route("/api/openapi.json", get(async || Json(document)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// The OpenAPI document as it is committed and compared.
pub fn contract() -> String {
    openapi().to_pretty_json().expect("a document has nothing that JSON cannot say") + "\n"
}

fn routes() -> OpenApiRouter<App> {
    let (schemas, paths, original) = routes!(original::send);
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(devices::list))
        .routes(routes!(devices::one))
        .routes(routes!(devices::readings))
        .routes(routes!(devices::presence))
        .routes(routes!(commands::send))
        .routes(routes!(commands::one))
        // Nobody asked these paths in another way before: there is nothing to be told about methods.
        .routes((schemas, paths, original.fallback(problem::no_route)))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::scrape))
}
