//! Joins the surfaces in one server: who may ask, how much at a time, and what every answer says.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{
        ConnectInfo, Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{self, CONTENT_TYPE, HOST, LOCATION, ORIGIN, UPGRADE},
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer, set_header::SetResponseHeaderLayer};
use tracing::{debug, error};

use crate::{
    app::App,
    broker::cannot_listen,
    config::Config,
    error::Error,
    graphql, origin, pages,
    rest::{
        self,
        problem::{self, Problem},
    },
};

/// Requests that are worked on at a time; the others wait. A team of five with a page each uses a tenth.
const MAX_REQUESTS: usize = 128;
/// A request whose body has not come, or which is not answered, for so long gives its place to another.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// After the gateway is told to stop, answers that are on their way may take so long.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// The subprotocol that MQTT clients ask for.
const MQTT: &str = "mqtt";
/// In bytes: the largest MQTT packet, and room for its header.
const MAX_FRAME: usize = 2 * 1024 * 1024;
/// In bytes, for each WebSocket. Messages are small; the library's own 128 KiB would be mostly empty.
const READ_BUFFER: usize = 16 * 1024;
/// Browsers ask again after so long whether another page may use the gateway.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);

pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|why| cannot_listen("--http", address, &why))
}

/// Serves until it is told to stop. WebSockets are not waited for: they end with what they talk to.
pub async fn serve(socket: TcpListener, app: App) {
    let stopping = app.stopping.clone();
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(socket.tap_io(without_delay), service)
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    tokio::select! {
        result = served => if let Err(why) = result {
            error!("the HTTP server ended: {why}");
        },
        () = drained(stopping) => debug!("some answers were not taken in time"),
        () = rest::upkeep() => {}
    }
}

/// Small answers leave at once.
fn without_delay(socket: &mut TcpStream) {
    if let Err(why) = socket.set_nodelay(true) {
        debug!("a connection stays slow: {why}");
    }
}

async fn drained(stopping: CancellationToken) {
    stopping.cancelled().await;
    sleep(DRAIN_WITHIN).await;
}

fn router(app: App) -> Router {
    let config = app.config.clone();
    let mqtt = Router::new().route("/mqtt", get(mqtt)).with_state(app.clone());
    let surfaces = rest::router(app.clone()).merge(graphql::router(app)).merge(pages::router()).merge(mqtt);
    dressed(surfaces, &config)
}

/// What holds for every route. A request goes through the layers from the last to the first.
fn dressed(router: Router, config: &Config) -> Router {
    let guard = Guard { hosts: config.allow_host.clone(), origins: config.allow_origin.clone() };
    let router = router
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(in_time))
        .layer(GlobalConcurrencyLimitLayer::new(MAX_REQUESTS));
    // Without it an OPTIONS request is answered as any other method that a route does not know.
    let router = if config.allow_origin.is_empty() { router } else { router.layer(cors(config)) };
    router
        .layer(from_fn_with_state(guard, guarded))
        .layer(from_fn(problem::with_instance))
        .layer(said(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(said(header::X_FRAME_OPTIONS, "DENY"))
        .layer(said(header::REFERRER_POLICY, "no-referrer"))
        .layer(from_fn(traced))
}

fn said(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// Lets pages of the listed origins read the answers.
fn cors(config: &Config) -> CorsLayer {
    let origins = config.allow_origin.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers([LOCATION])
        .max_age(CORS_MAX_AGE)
}

/// MQTT over WebSocket, for pages that come from here.
async fn mqtt(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|why| Error::Invalid(why.body_text()))?.protocols([MQTT]);
    if upgrade.selected_protocol().is_none() {
        return Err(Error::Invalid(format!("ask for the WebSocket subprotocol {MQTT:?}")).into());
    }
    let upgrade = upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).read_buffer_size(READ_BUFFER);
    Ok(upgrade.on_upgrade(async move |socket| app.broker.serve(socket, peer).await))
}

#[derive(Clone)]
struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Keeps out pages of others, and names of others that lead here.
async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.refusal(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

impl Guard {
    fn refusal(&self, request: &Request) -> Option<Problem> {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        // A request without a host is no browser's.
        let host = request.uri().authority().map(|authority| authority.as_str()).or_else(|| header(HOST));
        if let Some(host) = host.filter(|host| !origin::host_allowed(host, &self.hosts)) {
            let detail = format!("the gateway is not called {host:?}; --allow-host makes a name known to it");
            return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, "HOST_NOT_ALLOWED", detail));
        }
        let only_reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if only_reads && !request.headers().contains_key(UPGRADE) {
            return None;
        }
        let origin = header(ORIGIN)?;
        if origin::allowed_on_same_port(origin, host, &self.origins) {
            return None;
        }
        let detail = format!("pages of {origin:?} may not use the gateway; --allow-origin lets them");
        Some(Problem::new(StatusCode::FORBIDDEN, "ORIGIN_NOT_ALLOWED", detail))
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    let answer = timeout(ANSWER_WITHIN, next.run(request)).await;
    answer.unwrap_or_else(|_| Problem::from(Error::Unavailable("an answer in time")).into_response())
}

async fn traced(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = Instant::now();
    let response = next.run(request).await;
    let (status, elapsed_ms) = (response.status().as_u16(), begun.elapsed().as_millis());
    debug!(%method, path, status, elapsed_ms, "{method} {path}: {status}");
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use serde_json::{Value, json};
    use tower::ServiceExt;

    async fn handler_that_panics() {
        panic!("a secret");
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_keeps_its_secrets() {
        let router = dressed(Router::new().route("/panic", get(handler_that_panics)), &Config::default());
        let response = router.oneshot(Request::get("/panic").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["code"], &problem["instance"]), (&json!("INTERNAL"), &json!("/panic")));
        assert_eq!(problem["detail"], "internal error");
    }
}
