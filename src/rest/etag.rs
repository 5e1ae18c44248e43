//! Answers that are sent once for as long as they stay the same.
//!
//! The tag is made of the body, so that it cannot outlive what it stands for.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::problem::Problem;
use crate::error::Error;

/// Who has seen an answer asks again whether it still holds.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PNG: HeaderValue = HeaderValue::from_static("image/png");

/// JSON with a tag.
pub struct Tagged<T>(pub T);

/// A picture with a tag.
pub struct TaggedPng(pub Vec<u8>);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => tagged(JSON, body),
            Err(why) => Problem::from(Error::internal(why)).into_response(),
        }
    }
}

impl IntoResponse for TaggedPng {
    fn into_response(self) -> Response {
        tagged(PNG, self.0)
    }
}

/// Tells whoever names the tag of an answer that it has not changed.
pub async fn unless_seen(request: Request, next: Next) -> Response {
    let seen = request.headers().clone();
    let response = next.run(request).await;
    match response.headers().get(ETAG) {
        Some(tag) if response.status() == StatusCode::OK && names(&seen, tag) => {
            let headers = [(ETAG, tag.clone()), (CACHE_CONTROL, ASK_AGAIN)];
            (StatusCode::NOT_MODIFIED, headers).into_response()
        }
        _ => response,
    }
}

fn tagged(content: HeaderValue, body: Vec<u8>) -> Response {
    let headers = [(CONTENT_TYPE, content), (ETAG, tag(&body)), (CACHE_CONTROL, ASK_AGAIN)];
    (headers, body).into_response()
}

fn tag(body: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(tag).expect("hexadecimal digits are header text")
}

/// Whether `If-None-Match` names the tag. What a proxy made weak names the same body.
fn names(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let named = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).map(str::trim).any(|one| {
        let one = one.strip_prefix("W/").unwrap_or(one);
        one == "*" || one.as_bytes() == tag.as_bytes()
    })
}
