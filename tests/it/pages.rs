//! The pages, as a browser gets them.

use std::{collections::BTreeSet, io::Read};

use axum::Router;
use crosslink::pages::{self, Form};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::harness::House;

const PAGES: [(&str, &str); 4] =
    [("/", "Crosslink"), ("/graphql", "GraphQL"), ("/api/docs", "REST"), ("/mqtt/docs", "MQTT")];
/// What a browser says that it wants to see.
const SIGHT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn look(house: &House, method: Method, path: &str, encoding: &str) -> Response {
    let request = house.request(method, path).header("accept", SIGHT).header("accept-encoding", encoding);
    request.send().await.unwrap()
}

fn said(response: &Response, name: header::HeaderName) -> String {
    response.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn four_pages_are_served() {
    let house = House::start().await;
    for (path, title) in PAGES {
        let response = look(&house, Method::GET, path, "identity").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(said(&response, header::CONTENT_TYPE), "text/html; charset=utf-8", "{path}");
        let policy = said(&response, header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert_eq!(said(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(said(&response, header::REFERRER_POLICY), "no-referrer", "{path}");
        let page = response.text().await.unwrap();
        let (_, rest) = page.split_once("<title>").unwrap();
        assert!(rest.starts_with(title), "{path}: {rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_the_same_compressed_or_not() {
    let house = House::start().await;
    let compressed = look(&house, Method::GET, "/assets/scalar.js", "gzip, br").await;
    assert_eq!(said(&compressed, header::CONTENT_ENCODING), "br");
    let plain = look(&house, Method::GET, "/assets/scalar.js", "gzip").await;
    assert_eq!(said(&plain, header::CONTENT_ENCODING), "");
    for response in [&compressed, &plain] {
        assert_eq!(said(response, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(said(response, header::VARY), "accept-encoding");
    }
    assert_ne!(said(&compressed, header::ETAG), said(&plain, header::ETAG));

    let mut unpacked = Vec::new();
    let compressed = compressed.bytes().await.unwrap();
    brotli::Decompressor::new(&compressed[..], 64 * 1024).read_to_end(&mut unpacked).unwrap();
    let plain = plain.bytes().await.unwrap();
    assert!(unpacked.len() > 1_000_000 && compressed.len() < unpacked.len() / 3);
    assert!(unpacked == plain[..], "{} and {} bytes differ", unpacked.len(), plain.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_says_what_the_whole_would() {
    let house = House::start().await;
    for path in PAGES.map(|(path, _)| path).into_iter().chain(["/assets/scalar.js", "/favicon.ico"]) {
        let whole = look(&house, Method::GET, path, "br").await;
        let head = look(&house, Method::HEAD, path, "br").await;
        assert_eq!(head.status(), StatusCode::OK, "{path}");
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::ETAG, header::CONTENT_ENCODING] {
            assert_eq!(said(&head, name.clone()), said(&whole, name.clone()), "{path}: {name}");
        }
        assert_eq!(head.bytes().await.unwrap(), "", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_has_a_page_is_not_sent_it_again() {
    let house = House::start().await;
    for path in PAGES.map(|(path, _)| path).into_iter().chain(["/assets/scalar.js", "/favicon.svg"]) {
        let first = look(&house, Method::GET, path, "br").await;
        assert_eq!(said(&first, header::CACHE_CONTROL), "no-cache", "{path}");
        let again = house.request(Method::GET, path).header("accept", SIGHT).header("accept-encoding", "br");
        let again = again.header("if-none-match", said(&first, header::ETAG)).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(again.bytes().await.unwrap(), "", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_is_a_problem() {
    let house = House::start().await;
    for path in ["/assets/nothing.js", "/assets/", "/assets/plain/../app.js", "/assets/scalar.js.br"] {
        let response = look(&house, Method::GET, path, "br").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(said(&response, header::CONTENT_TYPE), "application/problem+json", "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_browser_is_shown_the_page_for_graphql() {
    let house = House::start().await;
    let ask = async |accept: &'static str| {
        let query = house.request(Method::GET, "/graphql?query={devices{name}}").header("accept", accept);
        let response = query.send().await.unwrap();
        assert!(response.headers().get_all(header::VARY).iter().any(|vary| vary == "accept"));
        said(&response, header::CONTENT_TYPE)
    };
    assert_eq!(ask(SIGHT).await, "text/html; charset=utf-8");
    assert_eq!(ask("*/*").await, "application/json");
    assert_eq!(ask("application/json, text/html;q=0").await, "application/json");
    assert_eq!(ask("application/graphql-response+json").await, "application/graphql-response+json");
}

/// What a gateway that was built without `web/` serves, alone on a socket of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_plain_pages_are_always_there() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let router = pages::router(Form::Plain).merge(pages::over(
        Router::new().route("/graphql", axum::routing::get(async || "GraphQL")),
        Form::Plain,
    ));
    tokio::spawn(async move { axum::serve(socket, router).await });

    let http = reqwest::Client::new();
    for (path, script) in [("/", "/assets/plain/app.js"), ("/graphql", "/assets/plain/console.js")] {
        let page = http.get(format!("http://{address}{path}")).header("accept", SIGHT).send().await.unwrap();
        assert!(!said(&page, header::CONTENT_SECURITY_POLICY).contains("unsafe"), "{path}");
        let page = page.text().await.unwrap();
        assert!(page.contains(&format!("src=\"{script}\"")) && page.contains("plain page"), "{path}: {page}");
        let script = http.get(format!("http://{address}{script}")).send().await.unwrap();
        assert_eq!(said(&script, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
    }
}

/// The paths that stand behind `start` in a page or a script, as far as they are written there.
fn paths(content: &str, start: &str) -> BTreeSet<String> {
    let paths = content.split(start).skip(1).filter_map(|rest| rest.split(['"', '$', '{', '`']).next());
    paths.map(|path| format!("/{path}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_of_the_pages_leads_somewhere() {
    let house = House::start().await;
    let mut links = BTreeSet::new();
    for (path, _) in PAGES {
        let page = look(&house, Method::GET, path, "identity").await.text().await.unwrap();
        links.extend(paths(&page, "href=\"/"));
        for script in paths(&page, "src=\"/") {
            let script = look(&house, Method::GET, &script, "identity").await;
            assert_eq!(script.status(), StatusCode::OK, "{path}");
            links.extend(paths(&script.text().await.unwrap(), "href=\"/"));
        }
    }
    for link in ["/api/docs", "/mqtt/docs", "/graphql", "/favicon.svg"] {
        assert!(links.contains(link), "{links:?}");
    }
    for link in links {
        assert_eq!(look(&house, Method::GET, &link, "br").await.status(), StatusCode::OK, "{link}");
    }
}

/// The operations that GraphiQL and the plain page offer to who does not know what to ask.
fn examples() -> Vec<String> {
    let full = include_str!("../../web/src/graphiql/examples.graphql")
        .split("\n}\n")
        .map(|one| format!("{one}\n}}"));
    let plain = include_str!("../../src/pages/plain/console.js").lines().filter_map(|line| {
        let entry = line.strip_prefix("  \"")?.strip_suffix(',')?;
        let (_, operation) = entry.split_once("\": ")?;
        serde_json::from_str::<String>(operation).ok()
    });
    let mut examples: Vec<String> = full.chain(plain).collect();
    examples.retain(|example| example.contains('{'));
    examples
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_can_be_run() {
    let house = House::start().await;
    let examples = examples();
    assert!(examples.len() > 20, "{examples:#?}");
    for query in examples {
        let (status, answer) = house.post("/graphql", serde_json::json!({ "query": query })).await;
        assert_eq!(status, StatusCode::OK, "{query}: {answer}");
        // A subscription is checked like everything else before it is sent to the WebSocket.
        let live = query.contains("subscription ");
        let why = answer["errors"][0]["message"].as_str().unwrap_or_default();
        match live {
            true => assert!(why.contains("not supported on this transport"), "{query}: {answer}"),
            false => assert!(why.is_empty(), "{query}: {answer}"),
        }
    }
}
