//! One record that is a JSON object: a sign-in, an audit record, a refresh, an activity run, a token answer.

use super::document::LISTS;
use super::fields::{add_factory, is_factory};
use super::json::{Fields, Json};
use super::stamp;
use super::text::{Codes, codes_in};
use super::windows;
use super::{Confidence, Event, Sink};

/// JSON in a string in JSON, and so on: no deeper than this.
const NESTED: usize = 4;
/// Values inside values: no deeper than this (serde_json itself stops at 128).
const DEEP: usize = 100;

/// Where a record stands.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) record: u64,
    pub(super) line: u64,
}

/// The objects that a document lists: the elements of its array, or itself.
pub(super) fn records_of(value: Json<'_>) -> Vec<Json<'_>> {
    let listed = |value: &Json<'_>| matches!(value, Json::List(list) if !list.is_empty() && list.iter().all(|it| matches!(it, Json::Object(_))));
    let object = match value {
        Json::List(list) => return list,
        Json::Object(object) => object,
        other @ (Json::Null | Json::Bool | Json::Number(_) | Json::Text(_)) => return vec![other],
    };
    let known = LISTS.iter().filter_map(|name| std::str::from_utf8(name).ok());
    let mut key = known.map(ToOwned::to_owned).find(|key| object.get(key).is_some_and(listed));
    if key.is_none() && object.len() <= 4 {
        // An envelope that calls its list otherwise: little else is in it, and nothing that a record has.
        let mut lists = object.iter().filter(|(_, value)| listed(value));
        let (first, second) = (lists.next(), lists.next());
        let own =
            ["id", "errorcode", "status", "error", "result", "resulttype", "resultreason", "correlationid"];
        let record = object.iter().any(|(key, _)| is_one_of(key, &own));
        if second.is_none() && !record {
            key = first.map(|(key, _)| key.to_owned());
        }
    }
    let Some(key) = key else { return vec![Json::Object(object)] };
    match object.take(&key) {
        Some(Json::List(list)) => list,
        Some(_) | None => Vec::new(),
    }
}

/// Finds the codes of one record.
pub(super) fn read(
    value: &Json<'_>,
    place: Place,
    source: &str,
    found: &mut Sink<'_>,
    notes: &mut Vec<String>,
) {
    let mut reader =
        Reader { codes: Codes::default(), time: None, correlation_id: None, user: None, message_id: None };
    reader.value(None, value, 0, 0);
    reader.codes.tell(notes);
    for code in reader.codes.list {
        let at = place_of(source, &code.code);
        found(Event {
            record: place.record,
            line: place.line,
            family: code.family,
            code: code.code,
            confidence: code.confidence,
            time: reader.time.clone(),
            correlation_id: reader.correlation_id.clone().or_else(|| reader.message_id.clone()),
            user: reader.user.clone(),
            text: stamp::excerpt(source, at),
        });
    }
}

/// Where a code most likely stands in its record: behind a prefix or as a value, and not inside some other number.
pub(super) fn place_of(source: &str, code: &str) -> usize {
    let bytes = source.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let mut places = source.match_indices(code).map(|(at, _)| at);
    let good = |at: &usize| {
        !digit(Some(at + code.len())) && (!digit(at.checked_sub(1)) || source[..*at].ends_with("AADSTS"))
    };
    let sign = |at: usize| at.checked_sub(1).is_some_and(|at| matches!(bytes[at], b'_' | b'='));
    places.clone().find(|at| good(at) && !sign(*at)).or_else(|| places.next()).unwrap_or(0)
}

struct Reader {
    codes: Codes,
    time: Option<String>,
    correlation_id: Option<String>,
    user: Option<String>,
    /// The correlation ID that a message in the record gives.
    message_id: Option<String>,
}

const TIMES: [&str; 11] = [
    "createdDateTime",
    "activityDateTime",
    "time",
    "TimeGenerated",
    "timestamp",
    "startTime",
    "activityRunStart",
    "endTime",
    "@timestamp",
    "eventTime",
    "CreatedDateTime",
];

impl Reader {
    fn value(&mut self, key: Option<&str>, value: &Json<'_>, depth: usize, nested: usize) {
        if depth > DEEP {
            return;
        }
        match value {
            Json::Object(object) => self.object(object, depth, nested),
            Json::List(list) => {
                for element in list {
                    let key = key.filter(|key| *key == "error_codes");
                    self.value(key, element, depth + 1, nested);
                }
            }
            Json::Text(text) => self.text(key, text, depth, nested),
            Json::Number(number) => {
                let field = key.is_some_and(|key| {
                    is_one_of(
                        key,
                        &["errorcode", "resulttype", "errorcodes", "signinerrorcode", "statuserrorcode"],
                    )
                });
                if field {
                    self.codes.add_sign_in(&number.to_string(), 0);
                }
            }
            Json::Null | Json::Bool => {}
        }
    }

    fn object(&mut self, object: &Fields<'_>, depth: usize, nested: usize) {
        let text = |name: &str| object.get(name).and_then(Json::text);
        if self.time.is_none() {
            self.time = TIMES.iter().find_map(|name| match object.get(name)? {
                Json::Text(text) => stamp::time(text),
                Json::Number(number) => number.as_f64().and_then(stamp::epoch),
                Json::Null | Json::Bool | Json::List(_) | Json::Object(_) => None,
            });
        }
        if self.correlation_id.is_none() {
            let id = ["correlationId", "correlation_id", "CorrelationId", "correlationID"]
                .iter()
                .find_map(|name| text(name));
            self.correlation_id = id.filter(|id| stamp::is_guid(id)).map(str::to_ascii_lowercase);
        }
        if self.user.is_none() {
            let name = ["userPrincipalName", "UserPrincipalName", "upn", "username"]
                .iter()
                .find_map(|name| text(name));
            self.user = name.filter(|name| !name.is_empty()).map(ToOwned::to_owned);
        }
        // An audit record of self-service password management says in one word what stood in the way.
        let reason = text("resultReason").or_else(|| text("ResultReason"));
        if let Some(reason) = reason {
            let service = text("loggedByService").or_else(|| text("LoggedByService"));
            let result = text("result").or_else(|| text("Result"));
            add_reason(&mut self.codes, reason, service, result);
        }
        self.event(object);
        // Data Factory: the number beside failureType; the number alone would be anything.
        let of_factory = object.get("failureType").is_some();
        let mut field = String::new();
        for (key, value) in object.iter() {
            field.clear();
            field.extend(folded(key).map(char::from));
            match (field.as_str(), value) {
                ("errorcode", Json::Text(code)) if of_factory => {
                    add_factory(&mut self.codes, code, 0);
                }
                ("errorcode" | "code" | "error", Json::Text(code)) if is_powerbi(code) => {
                    self.codes.add("powerbi", &**code, Confidence::Certain, 0);
                }
                ("errorcode", Json::Text(code)) if is_factory(code) => {
                    self.codes.add("adf", &**code, Confidence::Certain, 0);
                }
                ("errorcode" | "resulttype" | "signinerrorcode" | "statuserrorcode", Json::Text(code))
                    if code.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    self.codes.add_sign_in(code, 0);
                }
                // What somebody called a person, an application or a pipeline says nothing of what happened.
                (name, Json::Text(_)) if is_label(name) => {}
                ("serviceexceptionjson", Json::Text(inner)) => {
                    self.refresh(inner);
                    self.value(Some(key), value, depth + 1, nested);
                }
                _ => self.value(Some(key), value, depth + 1, nested),
            }
        }
    }

    /// A refresh says in JSON inside a string what went wrong: whatever its errorCode is, Power BI means it.
    fn refresh(&mut self, inner: &str) {
        let Some(Json::Object(inner)) = Json::parse(inner) else { return };
        let code = inner.get("errorCode").and_then(Json::text).unwrap_or_default();
        let name = code.len() > 3 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name && code.starts_with(|c: char| c.is_ascii_uppercase()) {
            self.codes.add("powerbi", code, Confidence::Certain, 0);
        }
    }

    /// An event of Windows in the JSON of one tool or another: a provider beside an id.
    fn event(&mut self, object: &Fields<'_>) {
        let of =
            |names: &[&str]| object.iter().find(|(key, _)| is_one_of(key, names)).map(|(_, value)| value);
        let provider =
            of(&["providername", "provider", "source", "sourcename", "eventsource"]).and_then(inner_text);
        let Some(family) = provider.as_deref().and_then(windows::family_of) else { return };
        let id = of(&["eventid", "eventcode"]).or_else(|| object.get("Id").or_else(|| object.get("id")));
        if let Some(id) = id.and_then(inner_text) {
            windows::add_event(&mut self.codes, family, &id);
        }
        if self.time.is_none() {
            let time = of(&["timecreated", "timegenerated", "eventtime"]);
            self.time = time.and_then(inner_text).as_deref().and_then(stamp::time);
        }
    }

    fn text(&mut self, key: Option<&str>, text: &str, depth: usize, nested: usize) {
        let inner = text.trim_start();
        if nested < NESTED
            && inner.starts_with(['{', '['])
            && let Some(value) = Json::parse(inner)
        {
            return self.value(key, &value, depth + 1, nested + 1);
        }
        codes_in(text, &mut self.codes);
        if self.message_id.is_none() {
            self.message_id = stamp::correlation_id(text);
        }
        if self.user.is_none() {
            self.user = stamp::user(text);
        }
    }
}

/// A text or number, or what an object holds as its text or name.
fn inner_text(value: &Json<'_>) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.clone().into_owned()),
        Json::Number(number) => Some(number.to_string()),
        Json::Object(object) => {
            ["#text", "Name", "@Name", "Value", "value", "SystemTime", "#attributes", "@SystemTime"]
                .iter()
                .find_map(|key| object.get(key))
                .and_then(inner_text)
        }
        Json::Null | Json::Bool | Json::List(_) => None,
    }
}

/// Fields that hold what somebody named.
pub(super) fn is_label(folded: &str) -> bool {
    folded.ends_with("displayname")
        || matches!(
            folded,
            "activityname"
                | "pipelinename"
                | "linkedservicename"
                | "target"
                | "useragent"
                | "username"
                | "userprincipalname"
                | "identity"
                | "appdisplayname"
                | "resource"
                | "application"
                | "user"
                | "browser"
        )
}

pub(super) fn fold(key: &str) -> String {
    folded(key).map(char::from).collect()
}

/// Letters and digits in lower case: names of fields are told apart by nothing else.
fn folded(key: &str) -> impl Iterator<Item = u8> {
    key.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase())
}

/// Whether the name of a field is one of these, which are folded.
fn is_one_of(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.len() <= key.len() && folded(key).eq(name.bytes()))
}

/// Names in the manner of Power BI's: `ModelRefreshFailed_CredentialsNotSpecified`.
pub(super) fn is_powerbi(code: &str) -> bool {
    let name = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && code.len() > 8;
    name && !code.contains("ErrorDetailNameCode")
        && (crate::catalogue::Entry::find("powerbi", code).is_some_and(|entry| entry.code == code)
            || ["DM_", "DMTS_", "ModelRefresh", "PremiumService", "Premium_"]
                .iter()
                .any(|prefix| code.starts_with(prefix)))
}

/// The reason of an audit record, where it is one: a single word in a failure of self-service password management.
pub(super) fn add_reason(codes: &mut Codes, reason: &str, service: Option<&str>, result: Option<&str>) {
    let word = reason.len() > 6
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && reason.starts_with(|c: char| c.is_ascii_uppercase());
    let ours = service.is_none_or(|service| service.eq_ignore_ascii_case("Self-service Password Management"));
    let failed = result.is_none_or(|result| !result.eq_ignore_ascii_case("success"));
    let known = crate::catalogue::Entry::find("sspr-reason", reason).is_some();
    if word && ours && failed && (known || service.is_some()) {
        codes.add("sspr-reason", reason, Confidence::Certain, 0);
    }
}
