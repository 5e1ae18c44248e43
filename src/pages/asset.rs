//! One file of the pages, as a browser wants it: compressed or not, and only if it does not have it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::{sync::OnceCell, task};
use tracing::error;

/// A file that the build has compressed and hashed.
pub struct File {
    /// Of the content, with folders.
    pub name: &'static str,
    pub hash: u64,
    pub br: &'static [u8],
}

/// The decompressor's buffer, in bytes.
const BUFFER: usize = 64 * 1024;

pub struct Asset {
    kind: HeaderValue,
    policy: HeaderValue,
    cache: Cache,
    hash: u64,
    content: Content,
}

/// What a browser does with a file that it has.
#[derive(Clone, Copy)]
pub enum Cache {
    /// It asks whether the file is still the same, so that an upgrade shows at once.
    Ask,
    /// It keeps the file, whose name changes with its content.
    Keep,
}

enum Content {
    Text(Bytes),
    Compressed {
        br: &'static [u8],
        /// Browsers say `br` only over https and to localhost: on a network of a plant this is what they get. Unpacked
        /// once and kept, all files together are 12 MB; unpacked each time, Scalar alone would be 5 MB for each that asks.
        plain: OnceCell<Bytes>,
    },
}

impl Asset {
    /// Name and content of a file of our own, and what it may load.
    pub fn text(name: &str, text: impl Into<Bytes>, policy: HeaderValue) -> Asset {
        let text = text.into();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let (kind, hash) = (kind(name), hasher.finish());
        Asset { kind, policy, cache: Cache::Ask, hash, content: Content::Text(text) }
    }

    pub fn compressed(file: &File, cache: Cache, policy: HeaderValue) -> Asset {
        let content = Content::Compressed { br: file.br, plain: OnceCell::new() };
        Asset { kind: kind(file.name), policy, cache, hash: file.hash, content }
    }

    pub async fn answer(&self, request: &HeaderMap) -> Response {
        let compressed = matches!(self.content, Content::Compressed { .. }) && takes_br(request);
        let tag = self.tag(compressed);
        let cache = match self.cache {
            Cache::Ask => "no-cache",
            Cache::Keep => "public, max-age=31536000, immutable",
        };
        let head = [
            (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::ETAG, tag.clone()),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if has(request, &tag) {
            return (StatusCode::NOT_MODIFIED, head).into_response();
        }
        let kind = [(header::CONTENT_TYPE, self.kind.clone())];
        match &self.content {
            Content::Text(text) => (head, kind, text.clone()).into_response(),
            Content::Compressed { br, .. } if compressed => {
                (head, kind, [(header::CONTENT_ENCODING, "br")], *br).into_response()
            }
            Content::Compressed { br, plain } => match plain.get_or_try_init(|| unpacked(br)).await {
                Ok(plain) => (head, kind, plain.clone()).into_response(),
                Err(why) => {
                    error!("a file of the pages cannot be unpacked: {why}");
                    StatusCode::INTERNAL_SERVER_ERROR.into_response()
                }
            },
        }
    }

    /// Each form of a content has a tag of its own.
    fn tag(&self, compressed: bool) -> HeaderValue {
        let form = if compressed { "-br" } else { "" };
        HeaderValue::try_from(format!("\"{:016x}{form}\"", self.hash))
            .expect("hexadecimal digits are header text")
    }
}

/// What a list such as `Accept` says of the word: whether it is welcome, if it says it at all.
pub fn welcome(request: &HeaderMap, list: HeaderName, word: &str) -> Option<bool> {
    let said = request.get_all(list).iter().filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(',')).find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(word) {
            return None;
        }
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)))
    })
}

fn takes_br(request: &HeaderMap) -> bool {
    let said = |word| welcome(request, header::ACCEPT_ENCODING, word);
    said("br").or_else(|| said("*")).unwrap_or(false)
}

/// Whether `If-None-Match` names the tag. What a proxy made weak names the same content.
fn has(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let named = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named).as_bytes() == tag.as_bytes())
}

/// Scalar takes some 30 ms, for which a worker of the runtime should not be held up.
async fn unpacked(br: &'static [u8]) -> io::Result<Bytes> {
    let unpacking = task::spawn_blocking(move || {
        let mut plain = Vec::new();
        brotli::Decompressor::new(br, BUFFER).read_to_end(&mut plain)?;
        Ok(Bytes::from(plain))
    });
    unpacking.await.map_err(io::Error::other)?
}

fn kind(name: &str) -> HeaderValue {
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let charset = if kind.type_() == mime_guess::mime::TEXT { "; charset=utf-8" } else { "" };
    HeaderValue::try_from(format!("{kind}{charset}")).expect("a media type is header text")
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    const TEXT: &str = "alert('hello')";

    fn asset(cache: Cache) -> Asset {
        let mut br = Vec::new();
        let params = brotli::enc::BrotliEncoderParams::default();
        brotli::BrotliCompress(&mut TEXT.as_bytes(), &mut br, &params).unwrap();
        let file = File { name: "assets/hello.js", hash: 0xAB, br: br.leak() };
        Asset::compressed(&file, cache, HeaderValue::from_static("default-src 'none'"))
    }

    async fn answer(asset: &Asset, headers: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let (head, body) = asset.answer(&request).await.into_parts();
        (head.status, head.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn br_is_for_those_who_take_it() {
        let asset = asset(Cache::Ask);
        for said in ["br", "gzip, deflate, br, zstd", "gzip;q=1.0, BR; q=0.1", "*", "gzip;q=0, *;q=0.5"] {
            let (_, head, body) = answer(&asset, &[(header::ACCEPT_ENCODING, said)]).await;
            assert_eq!(head[header::CONTENT_ENCODING], "br", "{said}");
            assert_ne!(body, TEXT.as_bytes());
        }
        for said in ["", "gzip, deflate", "br;q=0", "br; q=0.000, *", "*;q=0", "brotli", "br;q=high"] {
            let (_, head, body) = answer(&asset, &[(header::ACCEPT_ENCODING, said)]).await;
            assert!(!head.contains_key(header::CONTENT_ENCODING), "{said}");
            assert_eq!(body, TEXT.as_bytes(), "{said}");
            assert_eq!(head[header::VARY], "accept-encoding");
        }
    }

    #[tokio::test]
    async fn who_has_a_file_is_not_sent_it_again() {
        let asset = asset(Cache::Ask);
        for encoding in ["br", "identity"] {
            let (_, head, _) = answer(&asset, &[(header::ACCEPT_ENCODING, encoding)]).await;
            let tag = head[header::ETAG].to_str().unwrap().to_owned();
            for known in [tag.clone(), format!("W/{tag}"), format!("\"older\", {tag}"), "*".to_owned()] {
                let known = [(header::ACCEPT_ENCODING, encoding), (header::IF_NONE_MATCH, &known)];
                let (status, head, body) = answer(&asset, &known).await;
                assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known:?}");
                assert_eq!(head[header::ETAG], tag);
            }
            let older = [(header::ACCEPT_ENCODING, encoding), (header::IF_NONE_MATCH, "\"older\"")];
            assert_eq!(answer(&asset, &older).await.0, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn each_form_of_a_file_has_a_tag_of_its_own() {
        let asset = asset(Cache::Ask);
        let (_, head, _) = answer(&asset, &[(header::ACCEPT_ENCODING, "br")]).await;
        let tag = head[header::ETAG].to_str().unwrap();
        assert_eq!(answer(&asset, &[(header::IF_NONE_MATCH, tag)]).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn only_a_file_that_is_named_by_its_content_is_kept_unasked() {
        for (cache, said) in [(Cache::Ask, "no-cache"), (Cache::Keep, "public, max-age=31536000, immutable")]
        {
            assert_eq!(answer(&asset(cache), &[]).await.1[header::CACHE_CONTROL], said);
        }
    }

    #[test]
    fn a_file_says_what_it_is() {
        for (name, said) in [
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.html", "text/html; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("a.ttf", "font/ttf"),
        ] {
            assert_eq!(kind(name), said);
        }
    }
}
