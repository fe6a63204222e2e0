//! The one cookie: the ticket.

use axum::http::{HeaderMap, HeaderValue, header};
use keyback_core::PlainTicket;

/// With TLS the browser itself sees to it that the cookie came from this host and goes to this host only (`__Host-`).
const fn name(secure: bool) -> &'static str {
    if secure { "__Host-keyback" } else { "keyback" }
}

/// The ticket that the request carries, if there is exactly one.
pub(crate) fn read_ticket(headers: &HeaderMap, secure: bool) -> Option<PlainTicket> {
    let mut tickets = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name(secure));
    let (_, value) = tickets.next()?;
    // Two of one name: somebody planted one, and which is which cannot be told.
    if tickets.next().is_some() { None } else { PlainTicket::parse(value) }
}

/// What a browser says of itself, as part of what its ticket is good for.
pub(crate) fn browser(headers: &HeaderMap) -> &[u8] {
    headers.get(header::USER_AGENT).map_or(&[], HeaderValue::as_bytes)
}

/// Sets the ticket, for as long as the browser is open; how long it is good is the store's to say.
pub(crate) fn set_ticket(ticket: &PlainTicket, secure: bool) -> HeaderValue {
    let attributes = if secure {
        "Path=/; Secure; HttpOnly; SameSite=Strict"
    } else {
        "Path=/; HttpOnly; SameSite=Strict"
    };
    let text = format!("{}={}; {attributes}", name(secure), ticket.expose());
    // A ticket is 43 letters, digits, dashes and underscores.
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[String]) -> HeaderMap {
        lines.iter().filter_map(|line| Some((header::COOKIE, line.parse().ok()?))).collect()
    }

    #[test]
    fn a_ticket_is_read_back_from_its_cookie_and_from_no_other() {
        let ticket = PlainTicket::mint();
        for secure in [true, false] {
            let set = set_ticket(&ticket, secure);
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let found = read_ticket(&headers(&[format!("a=b; {pair}; c=d")]), secure);
            assert_eq!(found.map(|found| found.hash_for(b"")), Some(ticket.hash_for(b"")));
            assert!(read_ticket(&headers(std::slice::from_ref(&pair)), !secure).is_none());
            assert!(read_ticket(&headers(&[pair.clone(), pair]), secure).is_none(), "two of them");
        }
        assert!(read_ticket(&headers(&["keyback=short".to_owned()]), false).is_none());
    }
}
