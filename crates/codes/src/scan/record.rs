//! One record that is a JSON object: a sign-in, an audit record, a refresh, an activity run, a token answer.

use super::stamp;
use super::text::{Codes, codes_in};
use super::{Confidence, Event, Sink};
use serde_json::{Map, Value};

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
pub(super) fn records_of(value: Value) -> Vec<Value> {
    let listed = |value: &Value| {
        value.as_array().is_some_and(|list| list.iter().all(Value::is_object) && !list.is_empty())
    };
    match value {
        Value::Array(list) => list,
        Value::Object(mut object) => {
            let key = ["value", "records", "Records", "data", "items", "results", "events"]
                .into_iter()
                .find(|key| object.get(*key).is_some_and(listed));
            match key.and_then(|key| object.remove(key)) {
                Some(Value::Array(list)) => list,
                _ => vec![Value::Object(object)],
            }
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => vec![other],
    }
}

/// Finds the codes of one record; `false` where there are none.
pub(super) fn read(value: &Value, place: Place, source: &str, found: &mut Sink<'_>) -> bool {
    let mut reader =
        Reader { codes: Codes::default(), time: None, correlation_id: None, user: None, message_id: None };
    reader.value(None, value, 0, 0);
    let any = !reader.codes.list.is_empty();
    for code in reader.codes.list {
        let at = source.find(code.code.as_str()).unwrap_or(0);
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
    any
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
    fn value(&mut self, key: Option<&str>, value: &Value, depth: usize, nested: usize) {
        if depth > DEEP {
            return;
        }
        match value {
            Value::Object(object) => self.object(object, depth, nested),
            Value::Array(list) => {
                for element in list {
                    let key = key.filter(|key| *key == "error_codes");
                    self.value(key, element, depth + 1, nested);
                }
            }
            Value::String(text) => self.text(key, text, depth, nested),
            Value::Number(number) => {
                let field = key.is_some_and(|key| {
                    matches!(
                        fold(key).as_str(),
                        "errorcode" | "resulttype" | "errorcodes" | "signinerrorcode"
                    )
                });
                if field {
                    self.codes.add_sign_in(&number.to_string(), 0);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, object: &Map<String, Value>, depth: usize, nested: usize) {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        if self.time.is_none() {
            self.time = TIMES.iter().find_map(|name| text(name).and_then(stamp::time));
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
        // Data Factory: the number beside failureType; the number alone would be anything.
        let of_factory = object.contains_key("failureType");
        for (key, value) in object {
            let field = fold(key);
            match (field.as_str(), value) {
                ("errorcode", Value::String(code)) if of_factory => {
                    if !code.is_empty() && code != "0" {
                        self.codes.add("adf", code.as_str(), Confidence::Likely, 0);
                    }
                }
                ("errorcode" | "code" | "error", Value::String(code)) if is_powerbi(code) => {
                    self.codes.add("powerbi", code.as_str(), Confidence::Certain, 0);
                }
                ("errorcode" | "resulttype" | "signinerrorcode", Value::String(code))
                    if code.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    self.codes.add_sign_in(code, 0);
                }
                _ => self.value(Some(key), value, depth + 1, nested),
            }
        }
    }

    fn text(&mut self, key: Option<&str>, text: &str, depth: usize, nested: usize) {
        let inner = text.trim_start();
        if nested < NESTED
            && inner.starts_with(['{', '['])
            && let Ok(value) = serde_json::from_str::<Value>(inner)
        {
            return self.value(key, &value, depth + 1, nested + 1);
        }
        codes_in(text, &mut self.codes);
        if self.message_id.is_none() {
            self.message_id = stamp::correlation_id(text);
        }
    }
}

fn fold(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Names in the manner of Power BI's: `ModelRefreshFailed_CredentialsNotSpecified`.
pub(super) fn is_powerbi(code: &str) -> bool {
    let name = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && code.len() > 8;
    name && (crate::catalogue::Entry::find("powerbi", code).is_some()
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
