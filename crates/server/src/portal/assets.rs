//! The style sheet, the script and the icon: in the binary, and kept by browsers for as long as their address holds.

use crate::portal::problem::Problem;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;

struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// The same, as most browsers take it. Nothing secret lies in it that its length could tell.
    zipped: Vec<u8>,
    /// The start of its SHA-256.
    version: String,
    /// With the version in it: another version, another address.
    url: String,
}

static ASSETS: LazyLock<[Asset; 7]> = LazyLock::new(|| {
    [
        ("style.css", "text/css; charset=utf-8", &include_bytes!("../../assets/style.css")[..]),
        ("app.js", "text/javascript; charset=utf-8", &include_bytes!("../../assets/app.js")[..]),
        ("password.js", "text/javascript; charset=utf-8", &include_bytes!("../../assets/password.js")[..]),
        ("strength.js", "text/javascript; charset=utf-8", &include_bytes!("../../assets/strength.js")[..]),
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
        Asset { name, media_type, bytes, zipped: zip(bytes), version, url }
    })
});

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default() // a Vec takes everything
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (coding, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

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
    let gzip = takes_gzip(&headers);
    let etag = format!("\"{}{}\"", asset.version, if gzip { "-gzip" } else { "" });
    let current = query.is_some_and(|query| query.strip_prefix("v=") == Some(&asset.version));
    let keep = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let kept = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, keep.to_owned()),
        (header::VARY, "accept-encoding".to_owned()),
    ];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let media_type = [(header::CONTENT_TYPE, asset.media_type)];
    if gzip {
        let coding = [(header::CONTENT_ENCODING, "gzip")];
        return Ok((kept, media_type, coding, asset.zipped.as_slice()).into_response());
    }
    Ok((kept, media_type, asset.bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    async fn fetched(codings: Option<&str>) -> (Option<String>, String, Vec<u8>) {
        let mut headers = HeaderMap::new();
        if let Some(codings) = codings {
            headers.insert(header::ACCEPT_ENCODING, codings.parse().expect("a header"));
        }
        let Ok(shown) = show(Path("strength.js".to_owned()), RawQuery(None), headers).await else {
            panic!("no such asset")
        };
        let of = |name| shown.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let (coding, etag) = (of(header::CONTENT_ENCODING), of(header::ETAG).expect("a tag"));
        let body = axum::body::to_bytes(shown.into_body(), 1 << 20).await.expect("a body");
        (coding, etag, body.to_vec())
    }

    #[tokio::test]
    async fn an_asset_travels_zipped_to_whoever_takes_that() {
        let (coding, plain_tag, plain) = fetched(None).await;
        assert_eq!(coding, None);
        for codings in ["gzip", "deflate, GZIP;q=0.5, br"] {
            let (coding, tag, zipped) = fetched(Some(codings)).await;
            assert_eq!(coding.as_deref(), Some("gzip"));
            assert_ne!(tag, plain_tag);
            assert!(zipped.len() * 2 < plain.len(), "{} of {}", zipped.len(), plain.len());
            let mut unzipped = Vec::new();
            flate2::read::GzDecoder::new(zipped.as_slice()).read_to_end(&mut unzipped).expect("gzip");
            assert_eq!(unzipped, plain);
        }
        for codings in ["br", "gzip;q=0", "gzip; q=0.0", "identity"] {
            assert_eq!(fetched(Some(codings)).await.0, None, "{codings}");
        }
    }
}
