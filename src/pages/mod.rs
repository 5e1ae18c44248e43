//! The live dashboard, and nothing that it needs from anywhere else.
//!
//! A page of our own without a build step, embedded in the binary. It loads by GraphQL and REST, as any
//! other client could.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// The page loads only from the gateway, and nobody may frame it.
const SECURITY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A file of the page. `/assets` is a first level that no command route may take.
struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";
const FAVICON: &str = include_str!("favicon.svg");

const ASSETS: [Asset; 7] = [
    Asset { path: "/", kind: HTML, content: include_str!("index.html") },
    Asset { path: "/assets/app.js", kind: SCRIPT, content: include_str!("app.js") },
    Asset { path: "/assets/gateway.js", kind: SCRIPT, content: include_str!("gateway.js") },
    Asset { path: "/assets/sparkline.js", kind: SCRIPT, content: include_str!("sparkline.js") },
    Asset { path: "/assets/style.css", kind: STYLE, content: include_str!("style.css") },
    Asset { path: "/favicon.svg", kind: PICTURE, content: FAVICON },
    // Browsers ask for it on pages that name no icon.
    Asset { path: "/favicon.ico", kind: PICTURE, content: FAVICON },
];

/// The dashboard at `/`, its files under `/assets`, and the favicon.
pub fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset.content);
        router.route(asset.path, get(async move |request: Request| answer(asset, tag, request.headers())))
    })
}

/// A browser that has the content is told so; it asks again each time, so that an upgrade shows at once.
fn answer(asset: &Asset, tag: HeaderValue, request: &HeaderMap) -> Response {
    let unchanged = has(request, &tag);
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, SECURITY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    if unchanged {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, asset.kind)], asset.content).into_response()
}

fn tag(content: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish()))
        .expect("hexadecimal digits are header text")
}

/// Whether `If-None-Match` names the tag. What a proxy made weak names the same content.
fn has(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let named = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    use super::*;

    async fn ask(path: &str, known: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn content(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn said(response: &Response, name: HeaderName) -> &str {
        response.headers()[name].to_str().unwrap()
    }

    #[tokio::test]
    async fn every_asset_says_what_it_is() {
        for asset in &ASSETS {
            let response = ask(asset.path, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{}", asset.path);
            assert_eq!(said(&response, header::CONTENT_TYPE), asset.kind, "{}", asset.path);
            assert_eq!(said(&response, header::CACHE_CONTROL), "no-cache");
            assert_eq!(said(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert!(said(&response, header::CONTENT_SECURITY_POLICY).starts_with("default-src 'none'"));
            assert_eq!(content(response).await, asset.content, "{}", asset.path);
        }
    }

    #[tokio::test]
    async fn who_has_an_asset_is_not_sent_it_again() {
        for asset in &ASSETS {
            let tag = said(&ask(asset.path, None).await, header::ETAG).to_owned();
            for known in [tag.clone(), format!("W/{tag}"), format!("\"older\", {tag}"), "*".into()] {
                let response = ask(asset.path, Some(&known)).await;
                assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{} {known}", asset.path);
                assert_eq!(said(&response, header::ETAG), tag);
                assert_eq!(content(response).await, "");
            }
            assert_eq!(ask(asset.path, Some("\"older\"")).await.status(), StatusCode::OK);
        }
    }

    #[test]
    fn the_page_names_no_other_host() {
        // A name of a language of the web, not a place to load from.
        const NAMESPACE: &str = "http://www.w3.org/2000/svg";
        for asset in &ASSETS {
            let content = asset.content.replace(NAMESPACE, "");
            for line in content.lines().filter(|line| line.contains("//")) {
                let harmless = line.trim_start().starts_with("// ")
                    || line.trim() == "//"
                    || line.contains("`${scheme}://${location.host}/");
                assert!(harmless, "{}: {line}", asset.path);
            }
        }
    }

    #[test]
    fn the_page_names_only_files_that_are_served() {
        let mut named = 0;
        for asset in &ASSETS {
            for (start, _) in asset.content.match_indices("\"/assets/") {
                let path = asset.content[start + 1..].split('"').next().unwrap();
                assert!(ASSETS.iter().any(|asset| asset.path == path), "{} names {path}", asset.path);
                named += 1;
            }
        }
        assert_eq!(named, 2);
    }
}
