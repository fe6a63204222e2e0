//! Forms, read strictly: the fields that were asked for, each once, nothing else, as the bytes that were typed.
//!
//! Not serde: a password must arrive unchanged (no replacement characters) and leave no copy that is not wiped.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use keyback_codes::{Cause, Explain};
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest body. Two passwords of 256 characters, each percent-encoded, need 6 KiB.
pub(crate) const MAX_BYTES: usize = 16 * 1024;
/// For the whole body.
const MAX_TIME: Duration = Duration::from_secs(10);

/// What was typed into one field. Wiped when dropped.
pub(crate) type Typed = Zeroizing<Vec<u8>>;

/// Why a body is not the form that was sent out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("the body is not application/x-www-form-urlencoded")]
    NotAForm,
    #[error("the body has more than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the body took longer than {} s", MAX_TIME.as_secs())]
    TooSlow,
    #[error("the body broke off")]
    Broken,
    #[error("the body is not well formed")]
    Malformed,
    #[error("the form has a field that was not asked for")]
    UnknownField,
    #[error("the form has a field twice")]
    RepeatedField,
    #[error("the form lacks a field")]
    MissingField,
}

impl Explain for FormError {
    fn cause(&self) -> Cause {
        match self {
            Self::NotAForm
            | Self::TooLong
            | Self::TooSlow
            | Self::Broken
            | Self::Malformed
            | Self::UnknownField
            | Self::RepeatedField
            | Self::MissingField => Cause::InputForm,
        }
    }
}

impl FormError {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::NotAForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken
            | Self::Malformed
            | Self::UnknownField
            | Self::RepeatedField
            | Self::MissingField => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads exactly these fields.
pub(crate) async fn read<const N: usize>(
    headers: &HeaderMap,
    body: Body,
    names: [&str; N],
) -> Result<[Typed; N], FormError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.to_ascii_lowercase().replace(' ', "");
    if !matches!(
        kind.as_str(),
        "application/x-www-form-urlencoded" | "application/x-www-form-urlencoded;charset=utf-8"
    ) {
        return Err(FormError::NotAForm);
    }
    let body = tokio::time::timeout(MAX_TIME, collect(body)).await.map_err(|_| FormError::TooSlow)??;
    parse(&body, names)
}

async fn collect(body: Body) -> Result<Typed, FormError> {
    // Room for the longest body, so that growing leaves no copy of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| FormError::Broken)?;
        if bytes.len() + part.len() > MAX_BYTES {
            return Err(FormError::TooLong);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn parse<const N: usize>(body: &[u8], names: [&str; N]) -> Result<[Typed; N], FormError> {
    let mut found: [Option<Typed>; N] = [const { None }; N];
    for pair in body.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=').ok_or(FormError::Malformed)?;
        let name = decode(&pair[..equals])?;
        let place = names
            .iter()
            .position(|asked| asked.as_bytes() == name.as_slice())
            .ok_or(FormError::UnknownField)?;
        if found[place].replace(decode(&pair[equals + 1..])?).is_some() {
            return Err(FormError::RepeatedField);
        }
    }
    if found.iter().any(Option::is_none) {
        return Err(FormError::MissingField);
    }
    Ok(found.map(Option::unwrap_or_default))
}

/// application/x-www-form-urlencoded (URL Standard, section 5.1), but a `%` without two hexadecimal digits is refused.
fn decode(text: &[u8]) -> Result<Typed, FormError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16))
            .and_then(|digit| u8::try_from(digit).ok())
            .ok_or(FormError::Malformed)
    };
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => (digit(rest.next())? << 4) | digit(rest.next())?,
            other => *other,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &[u8]) -> Result<[Vec<u8>; 2], FormError> {
        parse(body, ["token", "new"]).map(|found| found.map(|typed| typed.to_vec()))
    }

    #[test]
    fn the_bytes_arrive_as_they_were_typed() {
        let found = fields(b"new=a+b%2B%26%3D%ED%A0%80%00e&token=t").unwrap();
        assert_eq!(found, [b"t".to_vec(), b"a b+&=\xed\xa0\x80\0e".to_vec()]);
        assert_eq!(fields(b"token=&new=").unwrap(), [Vec::<u8>::new(), Vec::new()]);
        assert_eq!(fields(b"token==x&new=\xff").unwrap(), [b"=x".to_vec(), vec![0xff]]);
    }

    #[test]
    fn a_form_that_was_not_sent_out_is_refused_with_its_reason() {
        for (body, reason) in [
            (&b""[..], FormError::Malformed),
            (b"token", FormError::Malformed),
            (b"token=x&", FormError::Malformed),
            (b"token=%", FormError::Malformed),
            (b"token=%4", FormError::Malformed),
            (b"token=%+1&new=x", FormError::Malformed),
            (b"token=x", FormError::MissingField),
            (b"token=x&new=y&more=z", FormError::UnknownField),
            (b"token=x&new=y&new=y", FormError::RepeatedField),
            (b"token=x&new=y&%6Eew=z", FormError::RepeatedField),
            (b"token=x&New=y", FormError::UnknownField),
        ] {
            assert_eq!(fields(body), Err(reason), "{}", String::from_utf8_lossy(body));
        }
    }

    #[tokio::test]
    async fn another_media_type_and_a_long_body_are_refused() {
        let form =
            |kind: &str| [(header::CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect::<HeaderMap>();
        let good = form("application/x-www-form-urlencoded; charset=UTF-8");
        assert!(read(&good, Body::from("a=b"), ["a"]).await.is_ok());
        for kind in [
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded;charset=utf-16",
        ] {
            assert_eq!(
                read(&form(kind), Body::from("a=b"), ["a"]).await.err(),
                Some(FormError::NotAForm),
                "{kind}"
            );
        }
        let long = format!("a={}", "x".repeat(MAX_BYTES));
        assert_eq!(read(&good, Body::from(long), ["a"]).await.err(), Some(FormError::TooLong));
    }
}
