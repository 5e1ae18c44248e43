//! The four pages, and nothing that they need from anywhere else.
//!
//! The dashboard and GraphiQL are built from `web/`, or stand here in a plain form; Scalar shows the documents of REST and
//! MQTT. They use GraphQL and REST as any other client could.

mod asset;
mod docs;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::get,
};

use asset::{Asset, Cache, welcome};

/// The files that the build has made.
mod built {
    use super::asset::File;

    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

/// In which form there are a dashboard and a page for GraphQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Built from `web/`.
    Full,
    /// Of a few files without a build step, always there.
    Plain,
}

impl Form {
    /// The best that this gateway was built with.
    pub const BEST: Form = if built::BUNDLED { Form::Full } else { Form::Plain };

    /// For whoever misses something on the pages.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Form::Full => None,
            Form::Plain => Some(
                "the dashboard and the page for GraphQL are the plain ones: this gateway was built without web/. For the full ones \
                 build it with Node, npm and CROSSLINK_WEB=require",
            ),
        }
    }
}

/// The built files that keep their names when their content changes: Scalar, and the licences of what npm has bundled.
const UNHASHED: [&str; 2] = [docs::SCALAR, "assets/licenses.txt"];

const FAVICON: &str = include_str!("favicon.svg");

/// Of the plain pages.
const PLAIN: [(&str, &str); 7] = [
    ("app.js", include_str!("plain/app.js")),
    ("console.css", include_str!("plain/console.css")),
    ("console.js", include_str!("plain/console.js")),
    ("gateway.js", include_str!("plain/gateway.js")),
    ("services.js", include_str!("plain/services.js")),
    ("sparkline.js", include_str!("plain/sparkline.js")),
    ("style.css", include_str!("plain/style.css")),
];

/// The dashboard at `/`, the documents at `/api/docs` and `/mqtt/docs`, and what all pages load.
///
/// `/assets` is a first level that no command route may take.
pub fn router(form: Form) -> Router {
    let dashboard = page(form, "index.html", include_str!("plain/dashboard.html"), tight());
    let mut assets = vec![
        ("/".to_owned(), dashboard),
        ("/favicon.svg".to_owned(), Asset::text("favicon.svg", FAVICON, tight())),
        // Browsers ask for it on pages that name no icon.
        ("/favicon.ico".to_owned(), Asset::text("favicon.svg", FAVICON, tight())),
    ];
    for (name, content) in PLAIN {
        assets.push((format!("/assets/plain/{name}"), Asset::text(name, content, tight())));
    }
    assets.extend(docs::assets());
    for file in built::FILES.iter().filter(|file| file.name.starts_with("assets/")) {
        let cache = if UNHASHED.contains(&file.name) { Cache::Ask } else { Cache::Keep };
        assets.push((format!("/{}", file.name), Asset::compressed(file, cache, tight())));
    }
    assets.into_iter().fold(Router::new(), |router, (path, asset)| {
        let asset = Arc::new(asset);
        router.route(&path, get(async move |request: Request| asset.answer(request.headers()).await))
    })
}

/// Lets a page answer who looks at GraphQL with a browser.
pub fn over(graphql: Router, form: Form) -> Router {
    // Monaco writes styles into the page and its attributes, has a font for its icons and pictures in its styles, and
    // checks operations in workers.
    let policy = policy(
        "script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:",
    );
    let page = page(form, "graphiql.html", include_str!("plain/console.html"), policy);
    graphql.route_layer(from_fn_with_state(Arc::new(page), shown))
}

async fn shown(State(page): State<Arc<Asset>>, request: Request, next: Next) -> Response {
    let looks = matches!(*request.method(), Method::GET | Method::HEAD)
        && !request.headers().contains_key(header::UPGRADE)
        && welcome(request.headers(), header::ACCEPT, "text/html") == Some(true);
    let mut response = if looks { page.answer(request.headers()).await } else { next.run(request).await };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn page(form: Form, name: &str, plain: &'static str, policy: HeaderValue) -> Asset {
    let full = built::FILES.iter().find(|file| form == Form::Full && file.name == name);
    match full {
        Some(file) => Asset::compressed(file, Cache::Ask, policy),
        None => Asset::text(name, plain, tight()),
    }
}

/// For what needs no leave to do anything special.
fn tight() -> HeaderValue {
    policy("script-src 'self'; style-src 'self'; img-src 'self'")
}

/// A page loads from the gateway alone, and nobody may frame it. Browsers that can read the scripts of the pages
/// count a WebSocket to the gateway as its own.
fn policy(loads: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; {loads}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("directives are header text")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::{
        body::{Body, to_bytes},
        http::StatusCode,
    };
    use tower::ServiceExt;

    use super::*;

    const FORMS: [Form; 2] = [Form::Full, Form::Plain];
    const PAGES: [&str; 4] = ["/", "/api/docs", "/mqtt/docs", "/graphql"];

    struct Seen {
        status: StatusCode,
        policy: String,
        cache: String,
        content: String,
    }

    /// What a browser is shown.
    async fn look(form: Form, path: &str) -> Seen {
        let graphql = Router::new().route("/graphql", get(async || "JSON").post(async || "JSON"));
        let pages = router(form).merge(over(graphql, form));
        let request = Request::get(path).header(header::ACCEPT, "text/html,*/*;q=0.8").body(Body::empty());
        let (head, body) = pages.oneshot(request.unwrap()).await.unwrap().into_parts();
        let said = |name| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let content = to_bytes(body, usize::MAX).await.unwrap();
        Seen {
            status: head.status,
            policy: said(header::CONTENT_SECURITY_POLICY),
            cache: said(header::CACHE_CONTROL),
            content: String::from_utf8_lossy(&content).into_owned(),
        }
    }

    /// The files that a page or a file at `path` names: what is under `/assets`, scripts beside it, and the icon.
    fn named(path: &str, content: &str) -> BTreeSet<String> {
        let part = |sign: &char| sign.is_ascii_alphanumeric() || "/._-".contains(*sign);
        let after = |start: &str| {
            let starts = content.match_indices(start).map(|(at, _)| &content[at + start.len()..]);
            starts.map(|rest| rest.chars().take_while(part).collect::<String>()).collect::<Vec<_>>()
        };
        let (folder, _) = path.rsplit_once('/').unwrap();
        let assets = after("assets/").into_iter().map(|name| format!("/assets/{name}"));
        let scripts = after("./").into_iter().filter(|name| name.ends_with(".js"));
        let icons = after("href=\"/favicon").into_iter().map(|ending| format!("/favicon{ending}"));
        assets.chain(scripts.map(|name| format!("{folder}/{name}"))).chain(icons).collect()
    }

    #[tokio::test]
    async fn what_the_pages_name_is_served() {
        for form in FORMS {
            let mut open: Vec<String> = PAGES.map(str::to_owned).into();
            let mut known: BTreeSet<String> = open.iter().cloned().collect();
            while let Some(path) = open.pop() {
                let seen = look(form, &path).await;
                assert_eq!(seen.status, StatusCode::OK, "{form:?}: {path}");
                // Scalar is one file that needs no other.
                if path == "/assets/scalar.js" {
                    continue;
                }
                for found in named(&path, &seen.content) {
                    if known.insert(found.clone()) {
                        open.push(found);
                    }
                }
            }
            let mut needed = vec!["/favicon.svg".to_owned(), "/assets/scalar.js".to_owned()];
            match form == Form::BEST {
                true => needed.extend(built::FILES.iter().map(|file| format!("/{}", file.name))),
                false => needed.extend(PLAIN.map(|(name, _)| format!("/assets/plain/{name}"))),
            }
            needed.retain(|path| !path.ends_with(".html") && !known.contains(path));
            assert!(needed.is_empty(), "{form:?}: nobody names {needed:?}");
        }
    }

    #[tokio::test]
    async fn only_graphql_is_covered_by_its_page() {
        assert_eq!(look(Form::BEST, "/nothing").await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn no_page_runs_or_loads_what_is_not_the_gateways() {
        for form in FORMS {
            for path in PAGES.into_iter().chain(["/assets/scalar.js", "/assets/plain/app.js", "/favicon.ico"])
            {
                let Seen { policy, .. } = look(form, path).await;
                assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
                assert!(policy.contains("; connect-src 'self';"), "{path}: {policy}");
                assert!(policy.ends_with("frame-ancestors 'none'"), "{path}: {policy}");
                let sources = ["'none'", "'self'", "'unsafe-inline'", "data:"];
                for directive in policy.split("; ") {
                    let (name, allowed) = directive.split_once(' ').unwrap();
                    for source in allowed.split(' ') {
                        assert!(sources.contains(&source), "{path}: {directive}");
                        assert!(source != "'unsafe-inline'" || name == "style-src", "{path}: {directive}");
                        assert!(source != "data:" || name == "img-src", "{path}: {directive}");
                    }
                }
            }
            let dashboard = look(form, "/").await.policy;
            assert!(!dashboard.contains("unsafe") && !dashboard.contains("data:"), "{dashboard}");
        }
        assert!(!look(Form::Plain, "/graphql").await.policy.contains("unsafe"));
    }

    #[tokio::test]
    async fn no_page_of_ours_names_another_host() {
        // Names of a language of the web, and of this gateway: no places to load from.
        const HARMLESS: [&str; 2] = ["http://www.w3.org/2000/svg", "`${scheme}://${location.host}/"];
        let paths = PLAIN.map(|(name, _)| format!("/assets/plain/{name}"));
        let paths =
            paths.iter().map(String::as_str).chain(PAGES).chain(["/assets/docs.js", "/assets/docs.css"]);
        for path in paths {
            let Seen { content, status, .. } = look(Form::Plain, path).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            let content = HARMLESS.iter().fold(content, |content, harmless| content.replace(harmless, ""));
            for line in content.lines().filter(|line| line.contains("//")) {
                assert!(line.trim() == "//" || line.trim_start().starts_with("// "), "{path}: {line}");
            }
        }
    }

    #[tokio::test]
    async fn a_plain_page_says_that_it_is_one() {
        let says = async |form, path| look(form, path).await.content.contains("plain page");
        for path in ["/", "/graphql"] {
            assert!(says(Form::Plain, path).await, "{path}");
            assert_eq!(says(Form::BEST, path).await, Form::BEST == Form::Plain, "{path}");
        }
        assert_eq!(Form::Full.note(), None);
        assert!(Form::Plain.note().unwrap().contains("CROSSLINK_WEB=require"));
    }

    #[tokio::test]
    async fn only_files_named_by_their_content_are_kept_unasked() {
        for file in built::FILES.iter().filter(|file| file.name.starts_with("assets/")) {
            let kept = look(Form::BEST, &format!("/{}", file.name)).await.cache.contains("immutable");
            assert_eq!(kept, !UNHASHED.contains(&file.name), "{}", file.name);
        }
        for path in PAGES.into_iter().chain(["/assets/docs.js", "/assets/plain/app.js"]) {
            assert_eq!(look(Form::BEST, path).await.cache, "no-cache", "{path}");
        }
    }

    #[tokio::test]
    async fn without_a_script_the_documents_are_still_named() {
        for (page, document) in [("/api/docs", "/api/openapi.json"), ("/mqtt/docs", "/mqtt/asyncapi.json")] {
            let Seen { content, .. } = look(Form::BEST, page).await;
            let (_, aside) = content.split_once("<noscript>").unwrap();
            let (aside, _) = aside.split_once("</noscript>").unwrap();
            assert!(aside.contains(&format!("href=\"{document}\"")), "{aside}");
            assert!(content.contains(&format!("data-document=\"{document}\"")), "{content}");
        }
    }
}
