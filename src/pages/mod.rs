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
                "the dashboard and the page for GraphQL are plain ones: this gateway was built without web/. For the full \
                 ones have Node 20.19 or newer with npm, and build with CROSSLINK_WEB=require",
            ),
        }
    }
}

const FAVICON: &str = include_str!("favicon.svg");

/// Of the plain pages.
const PLAIN: [(&str, &str); 6] = [
    ("app.js", include_str!("plain/app.js")),
    ("console.css", include_str!("plain/console.css")),
    ("console.js", include_str!("plain/console.js")),
    ("gateway.js", include_str!("plain/gateway.js")),
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
        let cache = if file.name == docs::SCALAR { Cache::Ask } else { Cache::Keep };
        assets.push((format!("/{}", file.name), Asset::compressed(file, cache, tight())));
    }
    assets.into_iter().fold(Router::new(), |router, (path, asset)| {
        let asset = Arc::new(asset);
        router.route(&path, get(async move |request: Request| asset.answer(request.headers()).await))
    })
}

/// Lets a page answer who looks at GraphQL with a browser.
pub fn over(graphql: Router, form: Form) -> Router {
    // Monaco writes styles into the page and its attributes, has a font for its icons, and checks operations in workers.
    let policy =
        policy("script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'");
    let page = page(form, "graphiql.html", include_str!("plain/console.html"), policy);
    graphql.layer(from_fn_with_state(Arc::new(page), shown))
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
    policy("script-src 'self'; style-src 'self'")
}

/// A page loads from the gateway alone, and nobody may frame it. Browsers that can read the scripts of the pages
/// count a WebSocket to the gateway as its own.
fn policy(loads: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; {loads}; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("directives are header text")
}
