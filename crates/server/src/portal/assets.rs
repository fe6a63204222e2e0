//! The style sheet, the script and the icon: in the binary, and kept by browsers for as long as their address holds.

use crate::portal::problem::Problem;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::LazyLock;

struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// The start of its SHA-256.
    version: String,
    /// With the version in it: another version, another address.
    url: String,
}

static ASSETS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    [
        ("style.css", "text/css; charset=utf-8", &include_bytes!("../../assets/style.css")[..]),
        ("app.js", "text/javascript; charset=utf-8", &include_bytes!("../../assets/app.js")[..]),
        ("reference.css", "text/css; charset=utf-8", &include_bytes!("../../assets/reference.css")[..]),
        ("reference.js", "text/javascript; charset=utf-8", &include_bytes!("../../assets/reference.js")[..]),
        ("favicon.svg", "image/svg+xml", &include_bytes!("../../assets/favicon.svg")[..]),
    ]
    .map(|(name, media_type, bytes)| {
        let version = Sha256::digest(bytes)[..8].iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // a String takes everything
            hex
        });
        let url = format!("/assets/{name}?v={version}");
        Asset { name, media_type, bytes, version, url }
    })
});

/// The address that a page gives.
pub(crate) fn url(name: &'static str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("/", |asset| &asset.url)
}

/// The bytes of an asset that the reference needs, for a folder of pages.
pub fn bytes(name: &str) -> Option<&'static [u8]> {
    ASSETS.iter().find(|asset| asset.name == name).map(|asset| asset.bytes)
}

pub(crate) async fn show(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(Problem::not_found)?;
    let etag = format!("\"{}\"", asset.version);
    let current = query.is_some_and(|query| query.strip_prefix("v=") == Some(&asset.version));
    let keep = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let kept = [(header::ETAG, etag), (header::CACHE_CONTROL, keep.to_owned())];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    Ok((kept, [(header::CONTENT_TYPE, asset.media_type)], asset.bytes).into_response())
}
