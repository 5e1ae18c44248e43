//! What REST and MQTT say of themselves, shown by Scalar.

use serde_json::json;
use utoipa_scalar::Scalar;

use super::{asset::Asset, policy, tight};

/// Scalar's own script, as it comes out of its crate.
pub const SCALAR: &str = "assets/scalar.js";

/// The two pages with the script and the style that set them up, by their paths.
pub fn assets() -> [(String, Asset); 4] {
    let page = |title, document| {
        let html = Scalar::new(json!(document)).title(title).custom_html(include_str!("docs/page.html"));
        // Scalar writes its styles into the page, styles into attributes, and pictures into both.
        let policy = policy("script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:");
        Asset::text("page.html", html.to_html(), policy)
    };
    [
        ("/api/docs".to_owned(), page("REST", "/api/openapi.json")),
        ("/mqtt/docs".to_owned(), page("MQTT", "/mqtt/asyncapi.json")),
        ("/assets/docs.js".to_owned(), Asset::text("docs.js", include_str!("docs/docs.js"), tight())),
        ("/assets/docs.css".to_owned(), Asset::text("docs.css", include_str!("docs/docs.css"), tight())),
    ]
}
