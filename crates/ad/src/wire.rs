//! LDAP messages and bytes, both ways.
//!
//! Requests are built from `ldap3_proto`'s types and written here, into a buffer that is wiped. Answers are read here,
//! over `ldap3_lber`'s parser with its depth limit, and not by `ldap3_proto`: its decoder loses the whole answer when
//! the result code is unknown to it or the text is not UTF-8, prints unexpected tags to stdout, and logs raw bytes.
//! Whoever decodes here gets every result code and every text.

use ldap3_lber::common::TagClass;
use ldap3_lber::parse::Parser;
use ldap3_lber::structure::{PL, StructureTag};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapMsg, LdapOp};
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;
use zeroize::{Zeroize, Zeroizing};

/// Deeper nesting than any answer that we ask for.
const MAX_DEPTH: usize = 16;

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: i32,
    pub(crate) body: Body,
    /// Where a paged search goes on (RFC 2696); empty at its end, and in every other answer.
    pub(crate) cookie: Vec<u8>,
    /// Bytes on the wire.
    pub(crate) size: usize,
}

/// What an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// One object that a search found.
    Entry(Entry),
    /// "Look elsewhere for the rest": never followed.
    Reference,
    /// The end of any operation. Its type is not looked at: Samba refuses an unknown critical control of a modify
    /// with an ExtendedResponse.
    Result(RawResult),
}

/// LDAPResult (RFC 4511 section 4.1.9), nothing judged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawResult {
    pub(crate) code: u32,
    pub(crate) text: Vec<u8>,
}

/// An object as a search returns it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dn: String,
    pub(crate) attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// All values of an attribute; none when it is absent or unreadable, which an answer does not tell apart.
    pub(crate) fn values(&self, attribute: &str) -> &[Vec<u8>] {
        self.attributes
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(attribute))
            .map_or(&[], |(_, values)| values.as_slice())
    }

    /// The first value.
    pub(crate) fn bytes(&self, attribute: &str) -> Option<&[u8]> {
        self.values(attribute).first().map(Vec::as_slice)
    }

    /// The first value, where it is text.
    pub(crate) fn text(&self, attribute: &str) -> Option<&str> {
        self.bytes(attribute).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value, where it is a number in digits.
    pub(crate) fn number<T: std::str::FromStr>(&self, attribute: &str) -> Option<T> {
        self.text(attribute).and_then(|value| value.parse().ok())
    }

    /// All values that are text.
    pub(crate) fn texts(&self, attribute: &str) -> Vec<String> {
        let values = self.values(attribute).iter();
        values.filter_map(|value| String::from_utf8(value.clone()).ok()).collect()
    }
}

/// The bytes are no LDAP answer, or too many.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the bytes are not LDAP")]
    NotLdap,
    #[error("a message of {announced} bytes is over the limit of {limit}")]
    TooLong { announced: usize, limit: usize },
    #[error("a message is nested too deeply or malformed")]
    Malformed,
    #[error("an answer has the unexpected type {0}")]
    UnexpectedType(u64),
    #[error("reading failed")]
    Read(#[from] std::io::Error),
}

/// A filter whose values are bytes, as those of objectSid are. `ldap3_proto`'s filters hold text only.
#[derive(Debug, Clone)]
pub(crate) enum Match {
    /// Any of these.
    Any(Vec<Match>),
    /// This attribute has this value.
    Equals(&'static str, Vec<u8>),
}

impl Match {
    /// Compares with a text.
    pub(crate) fn text(attribute: &'static str, value: &str) -> Self {
        Self::Equals(attribute, value.as_bytes().to_vec())
    }

    /// RFC 4511 section 4.5.1.7: or is [1], equalityMatch is [3].
    fn into_tag(self) -> StructureTag {
        let octets = |bytes| StructureTag { class: TagClass::Universal, id: 4, payload: PL::P(bytes) };
        let (id, parts) = match self {
            Self::Any(filters) => (1, filters.into_iter().map(Self::into_tag).collect()),
            Self::Equals(attribute, value) => (3, vec![octets(attribute.as_bytes().to_vec()), octets(value)]),
        };
        StructureTag { class: TagClass::Context, id, payload: PL::C(parts) }
    }
}

/// A request as bytes.
pub(crate) fn encode(msgid: i32, op: LdapOp, ctrl: Vec<LdapControl>) -> Zeroizing<Vec<u8>> {
    encode_tag(StructureTag::from(LdapMsg { msgid, op, ctrl }))
}

/// A search as bytes, with another filter than the one that stands in it.
pub(crate) fn encode_search(
    msgid: i32,
    search: LdapOp,
    filter: Match,
    ctrl: Vec<LdapControl>,
) -> Zeroizing<Vec<u8>> {
    let mut tag = StructureTag::from(LdapMsg { msgid, op: search, ctrl });
    // RFC 4511 section 4.5.1: the filter is the seventh field of the request, which is the message's second.
    if let PL::C(message) = &mut tag.payload
        && let Some(StructureTag { payload: PL::C(fields), .. }) = message.get_mut(1)
        && let Some(place) = fields.get_mut(6)
    {
        *place = filter.into_tag();
    }
    encode_tag(tag)
}

fn encode_tag(tag: StructureTag) -> Zeroizing<Vec<u8>> {
    // Exactly large enough: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(encoded_length(&tag)));
    write(tag, &mut bytes);
    bytes
}

fn content_length(payload: &PL) -> usize {
    match payload {
        PL::P(bytes) => bytes.len(),
        PL::C(tags) => tags.iter().map(encoded_length).sum(),
    }
}

fn encoded_length(tag: &StructureTag) -> usize {
    let content = content_length(&tag.payload);
    1 + length_octets(content) + content
}

fn length_octets(length: usize) -> usize {
    if length < 0x80 { 1 } else { 1 + significant(length).len() }
}

fn significant(length: usize) -> Vec<u8> {
    length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// Every tag that LDAP has is below 31, so one byte holds it.
fn write(tag: StructureTag, out: &mut Vec<u8>) {
    let length = content_length(&tag.payload);
    let constructed = matches!(tag.payload, PL::C(_));
    out.push((tag.class as u8) << 6 | u8::from(constructed) << 5 | u8::try_from(tag.id & 0x1f).unwrap_or(0));
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out.push(short);
    } else {
        let octets = significant(length);
        out.push(0x80 | u8::try_from(octets.len()).unwrap_or(0));
        out.extend(octets);
    }
    match tag.payload {
        PL::P(mut bytes) => {
            out.extend_from_slice(&bytes);
            bytes.zeroize();
        }
        PL::C(tags) => tags.into_iter().for_each(|tag| write(tag, out)),
    }
}

/// Cuts the stream into answers.
pub(crate) struct Answers {
    /// Longest message that is accepted, in bytes.
    pub(crate) limit: usize,
}

impl Decoder for Answers {
    type Item = Message;
    type Error = WireError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Message>, WireError> {
        // The length is judged before the bytes are there: nobody makes us wait for, or keep, what is too long.
        let Some(size) = announced(buffer)? else { return Ok(None) };
        if size > self.limit {
            return Err(WireError::TooLong { announced: size, limit: self.limit });
        }
        if buffer.len() < size {
            buffer.reserve(size - buffer.len());
            return Ok(None);
        }
        let parsed = Parser::new(MAX_DEPTH).parse(&buffer[..size]);
        let (_, tag) = parsed.map_err(|_| WireError::Malformed)?;
        buffer.advance(size);
        message(tag, size).map(Some)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Message>, WireError> {
        match self.decode(buffer)? {
            Some(message) => Ok(Some(message)),
            None => Ok(None), // what is left of a cut message is of no use
        }
    }
}

/// Length of the message that begins the buffer, header included. `None` while the header is not complete.
fn announced(buffer: &[u8]) -> Result<Option<usize>, WireError> {
    match buffer {
        [] | [0x30] => Ok(None),
        [0x30, short @ 0..=0x7f, ..] => Ok(Some(2 + usize::from(*short))),
        [0x30, long @ 0x81..=0x84, rest @ ..] => {
            let octets = usize::from(long & 0x7f);
            let length = rest
                .get(..octets)
                .map(|octets| octets.iter().fold(0usize, |length, octet| length << 8 | usize::from(*octet)));
            Ok(length.map(|length| 2 + octets + length))
        }
        _ => Err(WireError::NotLdap),
    }
}

fn message(tag: StructureTag, size: usize) -> Result<Message, WireError> {
    let mut parts = constructed(tag).ok_or(WireError::Malformed)?.into_iter();
    let id = parts.next().and_then(|tag| integer(tag, 2)).and_then(|id| i32::try_from(id).ok());
    let id = id.ok_or(WireError::Malformed)?;
    let op = parts.next().filter(|tag| tag.class == TagClass::Application).ok_or(WireError::Malformed)?;
    let number = op.id;
    let mut fields = constructed(op).ok_or(WireError::UnexpectedType(number))?.into_iter();
    let body = match number {
        4 => Body::Entry(entry(&mut fields).ok_or(WireError::Malformed)?),
        19 => Body::Reference,
        1 | 5 | 7 | 9 | 11 | 13 | 15 | 24 => Body::Result(result(&mut fields).ok_or(WireError::Malformed)?),
        number => return Err(WireError::UnexpectedType(number)),
    };
    let cookie = parts.next().and_then(cookie).unwrap_or_default();
    Ok(Message { id, body, cookie, size })
}

/// The answer to the control for paged results (RFC 2696, RFC 4511 section 4.1.11).
fn cookie(controls: StructureTag) -> Option<Vec<u8>> {
    let controls = Some(controls).filter(|tag| tag.class == TagClass::Context && tag.id == 0)?;
    let value = constructed(controls)?.into_iter().find_map(|control| {
        let mut parts = constructed(control)?.into_iter();
        (octets(parts.next()?)? == b"1.2.840.113556.1.4.319").then(|| parts.find_map(octets)).flatten()
    })?;
    let (_, tag) = Parser::new(MAX_DEPTH).parse(&value).ok()?;
    let mut parts = constructed(tag)?.into_iter();
    let _estimated_total = parts.next()?;
    octets(parts.next()?)
}

type Fields = std::vec::IntoIter<StructureTag>;

fn result(fields: &mut Fields) -> Option<RawResult> {
    let code = integer(fields.next()?, 10)?;
    let _matched_dn = octets(fields.next()?)?;
    Some(RawResult { code: u32::try_from(code).ok()?, text: octets(fields.next()?)? })
}

fn entry(fields: &mut Fields) -> Option<Entry> {
    let dn = String::from_utf8(octets(fields.next()?)?).ok()?;
    let attributes = constructed(fields.next()?)?.into_iter().map(|attribute| {
        let mut parts = constructed(attribute)?.into_iter();
        let name = String::from_utf8(octets(parts.next()?)?).ok()?;
        let values = constructed(parts.next()?)?.into_iter().map(octets).collect::<Option<_>>()?;
        Some((name, values))
    });
    Some(Entry { dn, attributes: attributes.collect::<Option<_>>()? })
}

fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    tag.expect_constructed()
}

fn octets(tag: StructureTag) -> Option<Vec<u8>> {
    (tag.class == TagClass::Universal && tag.id == 4).then(|| tag.expect_primitive()).flatten()
}

fn integer(tag: StructureTag, universal: u64) -> Option<i64> {
    let ours = tag.class == TagClass::Universal && tag.id == universal;
    let bytes = ours.then(|| tag.expect_primitive()).flatten()?;
    let negative = bytes.first()? & 0x80 != 0;
    let start = if negative { -1 } else { 0 };
    (bytes.len() <= 8).then(|| bytes.iter().fold(start, |value, byte| value << 8 | i64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap3_proto::proto::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Result<Option<Message>, WireError> {
        Answers { limit: 1 << 20 }.decode(&mut BytesMut::from(bytes))
    }

    fn result_message(code: u8, text: &[u8]) -> Vec<u8> {
        let mut op = vec![10, 1, code, 4, 0, 4, u8::try_from(text.len()).unwrap_or(0)];
        op.extend(text);
        let mut inner = vec![2, 1, 7, 0x67, u8::try_from(op.len()).unwrap_or(0)];
        inner.extend(op);
        let mut message = vec![0x30, u8::try_from(inner.len()).unwrap_or(0)];
        message.extend(inner);
        message
    }

    #[test]
    fn what_is_written_is_what_the_codec_of_ldap3_proto_writes() {
        use tokio_util::codec::Encoder;
        let op = LdapOp::ModifyRequest(LdapModifyRequest {
            dn: "<GUID=60b1e547-4fe5-4dd9-a841-4ae14e4b46a4>".to_owned(),
            changes: vec![LdapModify {
                operation: LdapModifyType::Replace,
                modification: LdapPartialAttribute { atype: "x".to_owned(), vals: vec![vec![7; 300]] },
            }],
        });
        let control = LdapControl::Unknown {
            oid: "1.2.3".to_owned(),
            criticality: true,
            value: Some(vec![0x30, 3, 2, 1, 1]),
        };
        let mut theirs = BytesMut::new();
        let message = LdapMsg { msgid: 70_000, op: op.clone(), ctrl: vec![control.clone()] };
        ldap3_proto::LdapCodec::default().encode(message, &mut theirs).expect("it encodes");
        assert_eq!(encode(70_000, op, vec![control]).as_slice(), &theirs[..]);
    }

    #[test]
    fn a_filter_of_bytes_is_written_as_the_same_filter_of_text() {
        let search = |filter| {
            LdapOp::SearchRequest(LdapSearchRequest {
                base: "DC=ad".to_owned(),
                scope: LdapSearchScope::Subtree,
                aliases: LdapDerefAliases::Never,
                sizelimit: 5,
                timelimit: 0,
                typesonly: false,
                filter,
                attrs: vec!["mail".to_owned()],
            })
        };
        let text = LdapFilter::Or(vec![
            LdapFilter::Equality("mail".to_owned(), "a*b".to_owned()),
            LdapFilter::Equality("cn".to_owned(), "x".to_owned()),
        ]);
        let bytes = Match::Any(vec![Match::text("mail", "a*b"), Match::Equals("cn", b"x".to_vec())]);
        let dummy = LdapFilter::Present("objectClass".to_owned());
        assert_eq!(
            encode_search(9, search(dummy), bytes, vec![]).as_slice(),
            encode(9, search(text), vec![]).as_slice()
        );
    }

    #[test]
    fn unknown_result_codes_and_texts_that_are_not_utf_8_survive() {
        let message =
            decode(&result_message(113, b"odd \xff text\0")).expect("it decodes").expect("it is whole");
        assert_eq!(message.id, 7);
        assert_eq!(message.body, Body::Result(RawResult { code: 113, text: b"odd \xff text\0".to_vec() }));
    }

    #[test]
    fn the_cookie_of_a_page_is_found_behind_the_result_and_nowhere_else() {
        let with = |controls: &[u8]| {
            let mut inner = vec![2, 1, 7, 0x65, 7, 10, 1, 0, 4, 0, 4, 0];
            inner.extend(controls);
            let mut message = vec![0x30, u8::try_from(inner.len()).unwrap_or(0)];
            message.extend(inner);
            decode(&message).expect("it decodes").expect("it is whole").cookie
        };
        let control = |oid: &[u8], value: &[u8]| {
            let part = |tag, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).unwrap_or(0)], bytes].concat();
            part(0xa0, &part(0x30, &[part(4, oid), part(4, value)].concat()))
        };
        let paged = b"1.2.840.113556.1.4.319";
        let value = [0x30, 8, 2, 1, 0, 4, 3, 9, 8, 7];
        assert_eq!(with(&control(paged, &value)), [9, 8, 7]);
        assert!(with(&control(b"1.2.840.113556.1.4.417", &value)).is_empty());
        assert!(with(&control(paged, &[0x30, 3, 2, 1, 0])).is_empty());
        assert!(with(&[]).is_empty());
    }

    #[test]
    fn a_message_arrives_in_pieces() {
        let bytes = result_message(0, b"");
        for length in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..length]), Ok(None)), "{length}");
        }
    }

    #[test]
    fn what_breaks_a_limit_is_refused_before_it_has_arrived() {
        assert!(matches!(decode(b"HTTP/1.1 400"), Err(WireError::NotLdap)));
        assert!(matches!(decode(&[0x30, 0x80]), Err(WireError::NotLdap)), "indefinite length");
        assert!(matches!(decode(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), Err(WireError::TooLong { .. })));
        let nested = (0..2000).fold(vec![], |inner: Vec<u8>, _| {
            let length = u16::try_from(inner.len()).unwrap_or(0).to_be_bytes();
            [&[0x30, 0x82, length[0], length[1]], inner.as_slice()].concat()
        });
        assert!(matches!(decode(&nested), Err(WireError::Malformed)));
    }

    #[test]
    fn a_request_sent_back_as_an_answer_is_an_unexpected_type() {
        let unbind = encode(1, LdapOp::UnbindRequest, vec![]);
        assert!(matches!(decode(&unbind), Err(WireError::UnexpectedType(2))));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), whole in any::<bool>()) {
            if whole && bytes.len() > 4 {
                let length = u16::try_from(bytes.len() - 4).unwrap_or(0).to_be_bytes();
                bytes[..4].copy_from_slice(&[0x30, 0x82, length[0], length[1]]);
            }
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_answer_never_panics(at in 0usize..60, value in any::<u8>()) {
            let mut bytes = result_message(19, b"0000052D: Constraint violation");
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = decode(&bytes);
        }
    }
}
