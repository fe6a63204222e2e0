//! `/register`: what somebody proves themselves with, next time. First they prove themselves as for a reset, then they
//! type their password.
//!
//! The seed of an app is made here and stands in the page that shows it and in its form; recovery codes stand in the one
//! page that answers their making. Neither is kept on this side: both travel sealed to the agent, which gives back a block
//! that only agents open.

use crate::jobs::{CodeCheck, Tickets};
use crate::portal::code::seconds_off;
use crate::portal::finish::source;
use crate::portal::page::{Frame, Wrong, html};
use crate::portal::problem::Problem;
use crate::portal::rules::Moment;
use crate::portal::words::{self, Words};
use crate::portal::{Answered, Holder, Portal, Route, Shared, see_other};
use crate::web::{cookie, form};
use askama::Template;
use axum::extract::{RawQuery, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use data_encoding::BASE32_NOPAD;
use keyback_core::audit::Activity;
use keyback_core::job::{JobState, Operation};
use keyback_core::message::Body;
use keyback_core::methods::MOST_METHODS;
use keyback_core::{
    ChallengeId, CorrelationId, CurrentPassword, MethodId, PlainTicket, RecoveryCode, Timestamp, TotpCode,
    TotpSeed, TypedCode, Way, ids,
};
use keyback_store::{Method, NewMethod};
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use std::fmt::Write as _;
use std::time::Duration;
use zeroize::Zeroizing;

const METHODS: &str = "/register/methods";
/// A browser waits so long for the agent, without noticing much.
const WAIT: Duration = Duration::from_secs(5);
/// Characters of a method's name.
const LONGEST_NAME: usize = 40;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new("/register/password", &["GET", "POST"], get(show_password).post(sign_in)),
        Route::new(METHODS, &["GET"], get(show)),
        Route::new("/register/app", &["GET", "POST"], get(show_app).post(add_app)),
        Route::new("/register/sheet", &["POST"], post(add_sheet)),
        Route::new("/register/test", &["POST"], post(test)),
        Route::new("/register/remove", &["POST"], post(remove)),
    ]
}

#[derive(Template)]
#[template(path = "methods.html")]
struct MethodsPage<'a> {
    frame: Frame<'a>,
    methods: &'a [Method],
    has_sheet: bool,
    mail_hint: &'a str,
    token: &'a str,
    correlation_id: CorrelationId,
    now: Timestamp,
    said: Option<&'static str>,
    wrong: Option<Wrong>,
}

#[derive(Template)]
#[template(path = "app.html")]
struct AppPage<'a> {
    frame: Frame<'a>,
    picture: &'a str,
    key: &'a str,
    seed: &'a str,
    name: &'a str,
    token: &'a str,
    correlation_id: CorrelationId,
    wrong: Option<Wrong>,
}

impl MethodsPage<'_> {
    /// When a method begins to count, where it does not yet.
    fn frozen(&self, method: &Method) -> Option<Moment> {
        method.usable_at.filter(|at| *at > self.now).map(Moment::at_or_after)
    }

    fn is_wrong(&self, field: &str) -> bool {
        self.wrong.as_ref().is_some_and(|wrong| wrong.field == field)
    }
}

impl AppPage<'_> {
    fn is_wrong(&self, field: &str) -> bool {
        self.wrong.as_ref().is_some_and(|wrong| wrong.field == field)
    }
}

#[derive(Template)]
#[template(path = "sheet.html")]
struct SheetPage<'a> {
    frame: Frame<'a>,
    user_name: &'a str,
    day: String,
    codes: Vec<&'a str>,
}

/// What an agent made of a step.
enum Stepped {
    Done,
    /// A sentence for the person.
    Refused(String),
    Later,
}

/// Somebody who has typed their password.
struct SignedIn {
    holder: Holder,
    challenge: ChallengeId,
}

impl Portal {
    async fn find_signed_in(&self, headers: &HeaderMap) -> Result<Option<SignedIn>, Problem> {
        let holder = self.find_holder_of(Operation::Register, headers).await?;
        let now = self.jobs.now();
        let holder = holder.filter(|holder| holder.flow.signed_in_until.is_some_and(|until| now < until));
        Ok(holder.and_then(|holder| Some(SignedIn { challenge: holder.flow.challenge?, holder })))
    }

    /// The same, with a form of our own.
    async fn load_signed_in(&self, headers: &HeaderMap) -> Result<SignedIn, Problem> {
        let found = self.find_signed_in(headers).await?;
        found.ok_or_else(|| Problem::timed_out(words::of(Operation::Register).ask_path))
    }

    async fn step(
        &self,
        holder: &Holder,
        asked: (Body, Activity),
        method: Option<NewMethod>,
        parts: &Parts,
    ) -> Result<Stepped, Problem> {
        let hash = holder.ticket.hash_for(cookie::browser(&parts.headers));
        let tickets = Tickets { presented: hash, next: hash };
        let step = self.jobs.step(&holder.flow, asked, method, source(parts), tickets).await;
        let id = match step.map_err(|error| Problem::from(error).back_to(METHODS))? {
            CodeCheck::Begun(id) => id,
            CodeCheck::UnderWay => return Ok(Stepped::Later),
            CodeCheck::FlowSpent => return Ok(Stepped::Refused(words::TOO_MANY_CODES.to_owned())),
        };
        self.stepped(id).await
    }

    async fn stepped(&self, id: keyback_core::JobId) -> Result<Stepped, Problem> {
        let job = self.jobs.wait(id, WAIT).await?;
        Ok(match job.map(|job| job.state) {
            Some(JobState::Succeeded { .. }) => Stepped::Done,
            Some(JobState::Refused { why: failure, .. } | JobState::Exhausted { last: failure, .. }) => {
                Stepped::Refused(words::not_registered(&failure, seconds_off(&failure)))
            }
            Some(JobState::Queued { .. } | JobState::Running { .. } | JobState::Doubtful { .. }) | None => {
                Stepped::Later
            }
        })
    }

    async fn methods_page(
        &self,
        signed_in: &SignedIn,
        said: Option<&'static str>,
        wrong: Option<Wrong>,
    ) -> Answered {
        let flow = &signed_in.holder.flow;
        let methods = self.jobs.methods_of(flow).await?;
        let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let page = MethodsPage {
            frame: self.frame(),
            has_sheet: methods.iter().any(|method| method.way == Way::Recovery),
            methods: &methods,
            mail_hint: flow.mail_hint.as_deref().unwrap_or_default(),
            token: &flow.form_token,
            correlation_id: flow.correlation_id,
            now: self.jobs.now(),
            said,
            wrong,
        };
        Ok(html(status, &page))
    }

    /// The page with the picture of a seed.
    fn app_page(&self, holder: &Holder, seed: &TotpSeed, name: &str, wrong: Option<Wrong>) -> Response {
        let text = Zeroizing::new(BASE32_NOPAD.encode(seed.expose()));
        let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let page = AppPage {
            frame: self.frame(),
            picture: &picture(&address(&self.organisation, holder.flow.user_name.as_str(), &text)),
            key: &grouped(&text),
            seed: &text,
            name,
            token: &holder.flow.form_token,
            correlation_id: holder.flow.correlation_id,
            wrong,
        };
        html(status, &page)
    }
}

/// The "Key URI Format" that authenticator apps read from a picture.
fn address(issuer: &str, account: &str, seed: &str) -> Zeroizing<String> {
    let escaped = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}"); // a String takes everything
            }
            out
        })
    };
    let (issuer, account) = (escaped(issuer), escaped(account));
    Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={seed}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    ))
}

/// As an `svg` element; empty where the text is too long for one, and then the key is typed by hand.
fn picture(text: &str) -> Zeroizing<String> {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::M) else { return Zeroizing::default() };
    let image = Zeroizing::new(
        code.render::<svg::Color<'_>>()
            .min_dimensions(220, 220)
            .dark_color(svg::Color("#000"))
            .light_color(svg::Color("#fff"))
            .build(),
    );
    Zeroizing::new(image.find("<svg").map(|start| image[start..].to_owned()).unwrap_or_default())
}

fn grouped(key: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(key.len() * 5 / 4));
    for (at, c) in key.chars().enumerate() {
        if at > 0 && at.is_multiple_of(4) {
            text.push(' ');
        }
        text.push(c);
    }
    text
}

fn new_method(holder: &Holder, way: Way, name: String, portal: &Portal) -> Option<NewMethod> {
    let object_guid = holder.flow.object_guid?;
    let id = MethodId::from_random(ids::random());
    Some(NewMethod { id, object_guid, way, name, added_at: portal.jobs.now() })
}

fn method_name(typed: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(typed).ok()?.trim();
    let fits =
        !name.is_empty() && name.chars().count() <= LONGEST_NAME && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

async fn show_password(portal: Shared, headers: HeaderMap) -> Answered {
    let words: &Words = words::of(Operation::Register);
    if portal.find_signed_in(&headers).await?.is_some() {
        return Ok(see_other(METHODS));
    }
    let Some(holder) = portal.find_holder_of(Operation::Register, &headers).await? else {
        return Ok(see_other(words.ask_path));
    };
    if portal.is_proven(&holder.flow) {
        return Ok(portal.finish_page(&holder, None));
    }
    Ok(see_other(words.code_path))
}

async fn sign_in(portal: Shared, request: Request) -> Answered {
    let words = words::of(Operation::Register);
    let (parts, body) = request.into_parts();
    let Some(mut holder) = portal.find_holder_of(Operation::Register, &parts.headers).await? else {
        return Err(Problem::timed_out(words.ask_path));
    };
    let [token, typed] = form::read(&parts.headers, body, ["token", "current"]).await?;
    if !holder.is_own_form(&token) {
        return Err(Problem::other_site());
    }
    let Some(challenge) = holder.flow.challenge.filter(|_| portal.is_proven(&holder.flow)) else {
        return Err(Problem::timed_out(words.ask_path));
    };
    let current = match CurrentPassword::parse(typed) {
        Ok(current) => current,
        Err(error) => {
            let wrong = Wrong::of("current", error.for_person(), &error);
            return Ok(portal.finish_page(&holder, Some(wrong)));
        }
    };
    // Who has signed in holds another ticket than before.
    let browser = cookie::browser(&parts.headers);
    let next = PlainTicket::mint();
    let tickets = Tickets { presented: holder.ticket.hash_for(browser), next: next.hash_for(browser) };
    let asked = (Body::CheckPassword { challenge, current }, Activity::SignedIn);
    let step = portal.jobs.step(&holder.flow, asked, None, source(&parts), tickets).await;
    let stepped = match step.map_err(|error| Problem::from(error).back_to(words.finish_path))? {
        CodeCheck::Begun(id) => portal.stepped(id).await?,
        CodeCheck::UnderWay => Stepped::Later,
        CodeCheck::FlowSpent => Stepped::Refused(words::PASSWORD_TRIES.to_owned()),
    };
    holder.ticket = next;
    let mut response = match stepped {
        Stepped::Done => see_other(METHODS),
        Stepped::Refused(text) => portal.finish_page(&holder, Some(Wrong::new("current", &text))),
        Stepped::Later => portal.finish_page(&holder, Some(Wrong::new("current", words::NOT_FINISHED))),
    };
    let ticket = cookie::set_ticket(&holder.ticket, portal.origin.secure);
    response.headers_mut().insert(header::SET_COOKIE, ticket);
    Ok(response)
}

async fn show(portal: Shared, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    let Some(signed_in) = portal.find_signed_in(&headers).await? else {
        return Ok(see_other(words::of(Operation::Register).ask_path));
    };
    let said = match query.as_deref() {
        Some("added") => Some(words::ADDED),
        Some("removed") => Some(words::REMOVED),
        _ => None,
    };
    portal.methods_page(&signed_in, said, None).await
}

async fn show_app(portal: Shared, headers: HeaderMap) -> Answered {
    let Some(signed_in) = portal.find_signed_in(&headers).await? else {
        return Ok(see_other(words::of(Operation::Register).ask_path));
    };
    let seed = TotpSeed::mint(Zeroizing::new(ids::random()));
    Ok(portal.app_page(&signed_in.holder, &seed, words::NAME_GIVEN, None))
}

async fn add_app(portal: Shared, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    let signed_in = portal.load_signed_in(&parts.headers).await?;
    let SignedIn { holder, challenge } = &signed_in;
    let [token, seed, code, name] =
        form::read(&parts.headers, body, ["token", "seed", "code", "name"]).await?;
    if !holder.is_own_form(&token) {
        return Err(Problem::other_site());
    }
    let seed = BASE32_NOPAD.decode(&seed).ok().map(Zeroizing::new);
    let Some(seed) = seed.and_then(|seed| TotpSeed::from_bytes(&seed)) else {
        return Err(form::FormError::Malformed.into());
    };
    let typed_name = String::from_utf8_lossy(&name).into_owned();
    let wrong =
        |field, text: &str| Ok(portal.app_page(holder, &seed, &typed_name, Some(Wrong::new(field, text))));
    let Some(code) = std::str::from_utf8(&code).ok().and_then(TotpCode::parse) else {
        return wrong("code", words::NOT_SIX_DIGITS);
    };
    let Some(name) = method_name(&name) else { return wrong("name", words::BAD_METHOD_NAME) };
    if portal.jobs.methods_of(&holder.flow).await?.len() >= MOST_METHODS {
        return wrong("code", words::TOO_MANY_METHODS);
    }
    let method = new_method(holder, Way::Totp, name, &portal).ok_or_else(Problem::not_found)?;
    let body = Body::AddTotp { challenge: *challenge, method: method.id, seed: seed.again(), code };
    match portal.step(holder, (body, Activity::MethodAdded), Some(method), &parts).await? {
        Stepped::Done => Ok(see_other("/register/methods?added")),
        Stepped::Refused(text) => wrong("code", &text),
        Stepped::Later => portal.later(&signed_in).await,
    }
}

/// The token, and one field more, of a form that has no more.
async fn own_form<const N: usize>(
    holder: &Holder,
    headers: &HeaderMap,
    body: axum::body::Body,
    names: [&str; N],
) -> Result<[form::Typed; N], Problem> {
    let fields = form::read(headers, body, names).await?;
    if fields.first().is_some_and(|token| holder.is_own_form(token)) {
        Ok(fields)
    } else {
        Err(Problem::other_site())
    }
}

async fn add_sheet(portal: Shared, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    let signed_in = portal.load_signed_in(&parts.headers).await?;
    let SignedIn { holder, challenge } = &signed_in;
    own_form(holder, &parts.headers, body, ["token"]).await?;
    let methods = portal.jobs.methods_of(&holder.flow).await?;
    let replaces = methods.iter().find(|method| method.way == Way::Recovery).map(|method| method.id);
    if replaces.is_none() && methods.len() >= MOST_METHODS {
        return portal.methods_page(&signed_in, None, Some(Wrong::new("", words::TOO_MANY_METHODS))).await;
    }
    let method = new_method(holder, Way::Recovery, words::SHEET_NAME.to_owned(), &portal);
    let method = method.ok_or_else(Problem::not_found)?;
    let codes: Vec<RecoveryCode> =
        (0..RecoveryCode::SHEET).map(|_| RecoveryCode::mint(&Zeroizing::new(ids::random()))).collect();
    let shown: Vec<Zeroizing<String>> = codes.iter().map(RecoveryCode::grouped).collect();
    let body = Body::AddRecovery { challenge: *challenge, method: method.id, replaces, codes };
    match portal.step(holder, (body, Activity::MethodAdded), Some(method), &parts).await? {
        Stepped::Done => {
            let page = SheetPage {
                frame: portal.frame(),
                user_name: holder.flow.user_name.as_str(),
                day: portal.jobs.now().to_string().chars().take(10).collect(),
                codes: shown.iter().map(|code| code.as_str()).collect(),
            };
            Ok(html(StatusCode::OK, &page))
        }
        Stepped::Refused(text) => portal.methods_page(&signed_in, None, Some(Wrong::new("", &text))).await,
        Stepped::Later => portal.later(&signed_in).await,
    }
}

async fn test(portal: Shared, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    let signed_in = portal.load_signed_in(&parts.headers).await?;
    let SignedIn { holder, challenge } = &signed_in;
    let [_, typed] = own_form(holder, &parts.headers, body, ["token", "code"]).await?;
    let code = std::str::from_utf8(&typed).ok().and_then(TypedCode::parse);
    let Some(code) = code.filter(|code| !matches!(code, TypedCode::Mailed(_))) else {
        return portal.methods_page(&signed_in, None, Some(Wrong::new("code", words::NOT_HELD))).await;
    };
    let methods = crate::jobs::bundle(&portal.jobs.methods_of(&holder.flow).await?);
    let body = Body::TestMethod { challenge: *challenge, code, methods };
    match portal.step(holder, (body, Activity::MethodTested), None, &parts).await? {
        Stepped::Done => portal.methods_page(&signed_in, Some(words::TESTED), None).await,
        Stepped::Refused(text) => {
            portal.methods_page(&signed_in, None, Some(Wrong::new("code", &text))).await
        }
        Stepped::Later => portal.later(&signed_in).await,
    }
}

async fn remove(portal: Shared, request: Request) -> Answered {
    let (parts, body) = request.into_parts();
    let signed_in = portal.load_signed_in(&parts.headers).await?;
    let SignedIn { holder, challenge } = &signed_in;
    let [_, typed] = own_form(holder, &parts.headers, body, ["token", "method"]).await?;
    let typed: Option<MethodId> = std::str::from_utf8(&typed).ok().and_then(|typed| typed.parse().ok());
    // Of their own methods only.
    let methods = portal.jobs.methods_of(&holder.flow).await?;
    let Some(method) = methods.iter().map(|method| method.id).find(|id| Some(*id) == typed) else {
        return Ok(see_other(METHODS));
    };
    let body = Body::RemoveMethod { challenge: *challenge, method };
    match portal.step(holder, (body, Activity::MethodRemoved), None, &parts).await? {
        Stepped::Done => Ok(see_other("/register/methods?removed")),
        Stepped::Refused(text) => portal.methods_page(&signed_in, None, Some(Wrong::new("", &text))).await,
        Stepped::Later => portal.later(&signed_in).await,
    }
}

impl Portal {
    async fn later(&self, signed_in: &SignedIn) -> Answered {
        self.methods_page(signed_in, None, Some(Wrong::new("", words::NOT_FINISHED))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_reads_names_the_account_and_hides_nothing_of_the_key() {
        let text = address("Test & Sons", "ada@ad.example", "JBSWY3DPEHPK3PXP");
        assert_eq!(
            text.as_str(),
            "otpauth://totp/Test%20%26%20Sons:ada%40ad.example?secret=JBSWY3DPEHPK3PXP&issuer=Test%20%26%20Sons\
             &algorithm=SHA1&digits=6&period=30"
        );
        let image = picture(&text);
        assert!(image.starts_with("<svg") && image.ends_with("</svg>"), "{}", image.as_str());
        assert!(!image.contains("style=") && !image.contains("JBSW"));
        assert_eq!(grouped("JBSWY3DPEH").as_str(), "JBSW Y3DP EH");
    }

    #[test]
    fn a_methods_name_is_one_short_line() {
        assert_eq!(method_name(" Anna’s phone ".as_bytes()).as_deref(), Some("Anna’s phone"));
        for bad in ["", "  ", "a\nb", &"x".repeat(41)] {
            assert_eq!(method_name(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(method_name(b"\xff"), None);
    }
}
