//! HTTP resources over the same things as GraphQL.
//!
//! Routes and their OpenAPI document grow together: a handler that is routed is documented.

mod answers;
mod clients;
mod commands;
mod devices;
mod document;
mod etag;
mod examples;
mod frames;
mod health;
mod kinds;
mod metrics;
mod original;
mod paging;
pub mod problem;
mod readings;
mod rejections;
mod service_commands;
mod services;

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use commands::{IDEMPOTENCY_KEY, PREFER, PREFERENCE_APPLIED};
pub use metrics::{begin_counting, upkeep};

use self::etag::{Tagged, unless_seen};
use crate::{app::App, broker::front::MAX_PAYLOAD};

/// In bytes. The largest body that makes sense is a thousand seqs.
const MAX_BODY: usize = 64 * 1024;

pub fn router(app: App) -> Router {
    let document = openapi();
    Router::from(routes())
        .route("/api/openapi.json", get(async || Tagged(document)))
        .layer(from_fn(unless_seen))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// The routes by which commands are sent: whoever asks there may wait for a device.
pub fn commands(app: App) -> Router {
    Router::from(command_routes()).with_state(app)
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    document::finished(routes().merge(command_routes()).into_openapi())
}

/// The OpenAPI document as it is committed and compared.
pub fn contract() -> String {
    openapi().to_pretty_json().expect("a document has nothing that JSON cannot say") + "\n"
}

fn routes() -> OpenApiRouter<App> {
    let (schemas, paths, original) = routes!(original::send);
    OpenApiRouter::with_openapi(document::begun())
        .routes(routes!(devices::list))
        .routes(routes!(devices::one))
        .routes(routes!(devices::readings))
        .routes(routes!(devices::presence))
        .routes(routes!(kinds::list))
        .routes(routes!(kinds::one))
        .routes(routes!(services::list))
        .routes(routes!(services::one, services::pin, services::unpin))
        .routes(routes!(readings::list))
        .routes(routes!(commands::list))
        .routes(routes!(commands::one))
        .routes(routes!(rejections::list))
        .routes(routes!(rejections::counts))
        .routes(routes!(rejections::replay))
        .routes(routes!(clients::list))
        .routes(routes!(clients::refused))
        .routes(routes!(frames::numbers))
        .routes(routes!(frames::picture))
        // Nobody asked these paths in another way before: there is nothing to be told about methods.
        .routes((schemas, paths, original.fallback(problem::no_route)))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::scrape))
}

fn command_routes() -> OpenApiRouter<App> {
    let payloads = OpenApiRouter::new()
        .routes(routes!(service_commands::send))
        .routes(routes!(service_commands::send_on))
        .routes(routes!(service_commands::arm))
        .routes(routes!(service_commands::arm_on))
        .layer(DefaultBodyLimit::max(MAX_PAYLOAD));
    OpenApiRouter::new()
        .routes(routes!(commands::send))
        .routes(routes!(service_commands::execute))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(payloads)
}
