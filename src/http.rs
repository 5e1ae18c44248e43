//! Joins the surfaces in one server: who may ask, how much at a time, and what every answer says.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::{
        ConnectInfo, Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{
            self, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, LOCATION,
            ORIGIN, UPGRADE,
        },
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Duration, Instant, sleep, timeout},
};
use tokio_util::{io::InspectReader, sync::CancellationToken};
use tower::{ServiceExt, limit::GlobalConcurrencyLimitLayer};
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer, set_header::SetResponseHeaderLayer};
use tracing::{debug, warn};

use crate::{
    app::App,
    asyncapi,
    broker::{Allowance, cannot_listen, seldom::Seldom},
    config::Config,
    desk::LONGEST_TIMEOUT,
    error::Error,
    graphql, origin,
    pages::{self, Form},
    rest::{
        self, IDEMPOTENCY_KEY, PREFER, PREFERENCE_APPLIED,
        problem::{self, Problem},
    },
};

/// Connections at a time, WebSockets among them: a team of five with a page each has some fifty.
pub const MAX_CONNECTIONS: usize = 1_024;
/// A connection on which the head of a request has not come for so long is closed, be it slow or idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// After the system refused a connection, for want of file descriptors perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests that are worked on at a time; the others wait. A team of five with a page each uses a tenth.
const MAX_REQUESTS: usize = 128;
/// A request whose body has not come, or which is not answered, for so long gives its place to another.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Requests at a time by which commands are sent, which wait for devices and not for the gateway. Each may hold a payload:
/// these are 64 MiB at most.
const MAX_COMMANDS: usize = 256;
/// As [`ANSWER_WITHIN`], where a device may be waited for.
const DEVICE_WITHIN: Duration = LONGEST_TIMEOUT.saturating_add(ANSWER_WITHIN);
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
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let server = Server { router: router(app), head_within: HEAD_WITHIN, stopping };
    tokio::select! {
        () = server.run(socket, places) => {}
        () = rest::upkeep() => {}
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    head_within: Duration,
    stopping: CancellationToken,
}

impl Server {
    /// Accepts connections until the gateway stops, each into a task of its own.
    async fn run(self, socket: TcpListener, places: Arc<Semaphore>) {
        let mut connections = JoinSet::new();
        let troubles = Seldom::default();
        loop {
            let accepted = tokio::select! {
                () = self.stopping.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        metrics::counter!("crosslink_http_refused_total").increment(1);
                        continue;
                    };
                    connections.spawn(self.clone().converse(stream, peer, place));
                }
                Err(why) => {
                    if let Some(times) = troubles.again(Instant::now().into_std()) {
                        warn!(
                            times,
                            "cannot accept a connection: {why} (tried {times} times since it was last said)"
                        );
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(DRAIN_WITHIN, drained).await.is_err() {
            debug!("some answers were not taken in time");
        }
    }

    /// Answers on one connection until one side closes it.
    async fn converse(self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        // Small answers leave at once.
        if let Err(why) = stream.set_nodelay(true) {
            debug!("a connection stays slow: {why}");
        }
        // The place goes where the socket goes: a WebSocket holds it for as long as it lives.
        let allowance = Allowance::default();
        let mut counter = allowance.counter();
        let stream = InspectReader::new(stream, move |read: &[u8]| {
            _ = &place;
            counter(read);
        });
        let router = self.router;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(allowance.clone());
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_within)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(why) = ended {
            debug!(%peer, "the connection of {peer} ended: {why}");
        }
    }
}

fn router(app: App) -> Router {
    let config = app.config.clone();
    let mqtt = Router::new().route("/mqtt", get(mqtt)).with_state(app.clone());
    let surfaces = rest::router(app.clone())
        .merge(asyncapi::router(app.clone()))
        .merge(pages::router(Form::BEST))
        .merge(mqtt);
    let graphql = pages::over(graphql::router(app.clone()), Form::BEST);
    let surfaces = paced(surfaces, MAX_REQUESTS, ANSWER_WITHIN)
        .merge(paced(graphql, MAX_REQUESTS, DEVICE_WITHIN))
        .merge(paced(rest::commands(app), MAX_COMMANDS, DEVICE_WITHIN));
    dressed(surfaces, &config)
}

/// As many requests at a time, and for so long: who waits for a slow device by REST keeps nobody else waiting.
fn paced(router: Router, places: usize, within: Duration) -> Router {
    router
        .layer(from_fn(move |request, next| in_time(within, request, next)))
        .layer(GlobalConcurrencyLimitLayer::new(places))
}

/// What holds for every route. A request goes through the layers from the last to the first.
fn dressed(router: Router, config: &Config) -> Router {
    let guard = Guard { hosts: config.allow_host.clone(), origins: config.allow_origin.clone() };
    let router = router
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(guard, guarded));
    // Outside of the guard, so that a page can read why it is kept out.
    let router = if config.allow_origin.is_empty() { router } else { shared(router, cors(config)) };
    router
        .layer(from_fn(problem::with_instance))
        .layer(said(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(said(header::X_FRAME_OPTIONS, "DENY"))
        .layer(said(header::REFERRER_POLICY, "no-referrer"))
        .layer(from_fn(traced))
}

fn said(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// With CORS for browsers. An OPTIONS request that asks for no leave of theirs, which `CorsLayer` would answer too,
/// is answered as any other method that a route does not know.
fn shared(router: Router, cors: CorsLayer) -> Router {
    let alone = router.clone();
    router.layer(cors).layer(from_fn_with_state(
        alone,
        async |State(alone): State<Router>, request: Request, next: Next| {
            let preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
            match *request.method() == Method::OPTIONS && !preflight {
                true => alone.oneshot(request).await.into_response(),
                false => next.run(request).await,
            }
        },
    ))
}

/// Lets pages of the listed origins read the answers.
fn cors(config: &Config) -> CorsLayer {
    let origins = config.allow_origin.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([CONTENT_TYPE, IF_NONE_MATCH, IDEMPOTENCY_KEY, PREFER])
        .expose_headers([ALLOW, ETAG, LOCATION, PREFERENCE_APPLIED])
        .max_age(CORS_MAX_AGE)
}

/// MQTT over WebSocket, for pages that come from here.
async fn mqtt(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(allowance): Extension<Allowance>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|why| Error::Invalid(why.body_text()))?.protocols([MQTT]);
    if upgrade.selected_protocol().is_none() {
        return Err(Error::Invalid(format!("ask for the WebSocket subprotocol {MQTT:?}")).into());
    }
    let upgrade = upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).read_buffer_size(READ_BUFFER);
    Ok(upgrade.on_upgrade(async move |socket| app.broker.serve(socket, peer, &allowance).await))
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

async fn in_time(within: Duration, request: Request, next: Next) -> Response {
    let answer = timeout(within, next.run(request)).await;
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
    use axum::body::to_bytes;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

    /// A server that answers `ok` at `/`, and where it listens.
    async fn server(places: usize, head_within: Duration) -> SocketAddr {
        let router = Router::new().route("/", get(async || "ok"));
        let server = Server { router, head_within, stopping: CancellationToken::new() };
        let socket = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(server.run(socket, Arc::new(Semaphore::new(places))));
        address
    }

    /// What comes back until the server closes the connection.
    async fn answer(mut connection: TcpStream) -> String {
        let mut said = String::new();
        // The server may close before it has read all that was sent.
        let _ = timeout(Duration::from_secs(5), connection.read_to_string(&mut said)).await.unwrap();
        said
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let address = server(8, Duration::from_millis(200)).await;
        let silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_eq!(answer(silent).await, "");
        assert!(!answer(slow).await.contains("200 OK"));
        assert!(answer(idle).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_refused_until_one_leaves() {
        let address = server(1, HEAD_WITHIN).await;
        let ask = async || {
            let mut connection = TcpStream::connect(address).await.unwrap();
            let _ = connection.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            answer(connection).await
        };
        let first = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask().await, "");
        drop(first);
        let begun = Instant::now();
        while !ask().await.contains("200 OK") {
            assert!(begun.elapsed() < Duration::from_secs(5), "the place stays taken");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
