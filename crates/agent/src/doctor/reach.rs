//! The way to the directory: name, TCP, TLS, sign-in; the clock; whether it can be written to; what it offers.
//!
//! A domain controller that is down while another serves is observed, not accused: keyback uses the other one.

use super::finding::{Finding, Report};
use super::remedy::{self, sh};
use super::view::{Seen, View, quoted};
use keyback_ad::{Certificate, DcState, DirectoryError, Ground, Step};
use keyback_codes::{Cause, Explain};
use keyback_core::diagnosis::Remedy;

/// Seconds between two clocks before Kerberos gives up (RFC 4120 section 1.6 recommends five minutes), and before the
/// messages between server and agent, valid five minutes, are refused.
const MOST_APART: i64 = 300;

/// Everything that an open port, a handshake and a sign-in prove.
const REACHED: [Cause; 8] = [
    Cause::DcNameResolution,
    Cause::DcUnreachable,
    Cause::DcTlsUntrusted,
    Cause::DcTlsExpired,
    Cause::DcTlsNameMismatch,
    Cause::DcBusy,
    Cause::ConnectorBindFailed,
    Cause::ProtocolError,
];

pub(super) fn probe(view: &View<'_>, report: &mut Report) {
    let several = view.examination.dcs.len() > 1;
    let errors = || view.examination.dcs.iter().filter_map(|state| state.error.as_ref());
    let refused = errors().any(|error| matches!(error, DirectoryError::BindRefused { .. }));
    for state in &view.examination.dcs {
        let id = if several { format!("dc.reach:{}", state.dc) } else { "dc.reach".to_owned() };
        report.observe(reached(view, state, &id).into());
        let Some(error) = &state.error else { continue };
        // Who was asked for a name and password was reached; what hinders the others is observed.
        let reached = matches!(error, DirectoryError::BindRefused { .. });
        if view.examination.ground.is_none() && (reached || !refused) {
            report.accuse(fault(view, state, error, &id));
        }
    }
    let Some(ground) = &view.examination.ground else { return };
    report.exclude(&REACHED);
    clock(view, ground, report);
    read_only(view, ground, report);
    offers(view, ground, report);
}

fn reached(view: &View<'_>, state: &DcState, id: &str) -> Seen {
    let openssl = format!(
        "openssl s_client -connect {}:{} -servername {} </dev/null",
        state.host, state.port, state.host
    );
    let signs_in = format!(
        "ldapsearch -x -H ldaps://{}:{} -D {} -W -s base -b ''",
        state.host,
        state.port,
        quoted(&view.examination.connector)
    );
    let refused = matches!(&state.error, Some(DirectoryError::BindRefused { .. }));
    let serves = view.examination.ground.as_ref().is_some_and(|ground| ground.dc == state.dc);
    let seen = match &state.error {
        None if serves => Seen::ok(id, format!("{} serves: name, TCP, TLS and sign-in.", state.dc)),
        None => Seen::ok(id, format!("{} answers up to TLS; another one was asked.", state.dc)),
        Some(error) => Seen::found(id, format!("{}: {}.", state.dc, said(error))),
    };
    let addresses: Vec<String> = state.addresses.iter().map(ToString::to_string).collect();
    let mut seen = seen.by("dc.reach").on(&state.dc).shown_by(if refused { signs_in } else { openssl });
    if !addresses.is_empty() {
        seen = seen.fact("address", addresses.join(" "), &state.dc);
    }
    match (&state.error, &state.certificate) {
        (Some(error), _) => {
            let failure = error.failure();
            let seen = seen.facts(failure.evidence);
            match failure.reply {
                Some(reply) => seen.fact("answer", reply.text, &state.dc),
                None => seen,
            }
        }
        (None, Some(certificate)) => seen.facts(shown(certificate, &state.dc)),
        (None, None) => seen,
    }
}

fn shown(certificate: &Certificate, dc: &str) -> [keyback_core::Evidence; 2] {
    use keyback_core::Evidence;
    [
        Evidence::new("certificate.names", certificate.names.join(" "), dc),
        Evidence::new("certificate.not_after", certificate.not_after.to_string(), dc),
    ]
}

/// The error without the domain controller's name, which stands before it.
fn said(error: &DirectoryError) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned())
}

fn fault(view: &View<'_>, state: &DcState, error: &DirectoryError, id: &str) -> Finding {
    let cause = error.cause();
    let connector = &view.examination.connector;
    let dc = &state.dc;
    let names = |certificate: &Option<Box<Certificate>>| {
        certificate.as_ref().map_or_else(String::new, |certificate| certificate.names.join(", "))
    };
    let summary = match error {
        DirectoryError::TlsExpired { certificate: Some(certificate), .. } => format!(
            "The certificate of {dc} is not valid now: it runs from {} to {}.",
            certificate.not_before, certificate.not_after
        ),
        DirectoryError::TlsName { certificate, .. } => {
            format!("The certificate of {dc} is for {}, not for {}.", names(certificate), state.host)
        }
        DirectoryError::TlsUntrusted { certificate: Some(certificate), .. } => format!(
            "The certificate of {dc} was issued by {}, which the CA file does not hold.",
            certificate.issuer
        ),
        DirectoryError::BindRefused { reply, .. } => format!(
            "{dc} refused the sign-in of {connector}: {}",
            match reply.bind_data {
                Some(0x52e | 0x525) => "wrong name or password (52e).".to_owned(),
                Some(0x533) => "the account is disabled (533).".to_owned(),
                Some(0x775) => "the account is locked out (775).".to_owned(),
                Some(0x532) => "its password has expired (532).".to_owned(),
                Some(0x773) => "its password must be changed first (773).".to_owned(),
                Some(0x701) => "the account has expired (701).".to_owned(),
                Some(0x51f) => {
                    "it is read-only, does not hold the account's password and reaches nobody who does (51f)."
                        .to_owned()
                }
                Some(0x530) => "it may not sign in at this hour (530).".to_owned(),
                Some(0x531) => "it may not sign in from this machine (531).".to_owned(),
                _ => format!("result {}.", reply.result),
            }
        ),
        DirectoryError::Resolve { .. } => format!("The name {} does not resolve.", state.host),
        DirectoryError::TimedOut { step, .. } => {
            format!("{dc} did not answer in time: {}.", waited_for(*step))
        }
        DirectoryError::Connect { .. }
        | DirectoryError::Closed { .. }
        | DirectoryError::TlsUntrusted { .. }
        | DirectoryError::TlsExpired { .. }
        | DirectoryError::Handshake { .. }
        | DirectoryError::Busy { .. }
        | DirectoryError::Protocol { .. }
        | DirectoryError::Refused { .. }
        | DirectoryError::NotListed { .. }
        | DirectoryError::NoneServes { .. } => format!("{dc}: {}.", said(error)),
    };
    Finding::confirmed(cause, summary, &[id]).mended_by(mended(cause, state, connector))
}

/// How far it had come when the time was up.
fn waited_for(step: Step) -> &'static str {
    match step {
        Step::Resolve => "its name was being looked up",
        Step::Connect => "the connection was being made",
        Step::Tls => "it had taken the connection and did not finish the TLS handshake",
        Step::Bind => "it had finished the TLS handshake and did not answer the sign-in",
        Step::RootDse | Step::Read => "it had taken the sign-in and was being read from",
        Step::Queue | Step::Write => "it was being written to",
    }
}

fn mended(cause: Cause, state: &DcState, connector: &str) -> Remedy {
    let account = quoted(connector.split('@').next().unwrap_or(connector));
    let line = if cause == Cause::ConnectorDisabled {
        format!("samba-tool user enable {account}")
    } else if cause == Cause::ConnectorLocked {
        format!("samba-tool user unlock {account}")
    } else if matches!(cause, Cause::DcUnreachable | Cause::DcTlsUntrusted) {
        format!("openssl s_client -connect {}:{} -showcerts", state.host, state.port)
    } else {
        return remedy::general(cause);
    };
    remedy::with(cause, cause.fix().text, vec![sh(line)])
}

fn clock(view: &View<'_>, ground: &Ground, report: &mut Report) {
    let id = "dc.clock";
    let command = view.reads(ground, "", &["currentTime"]);
    let Some(ahead) = ground.clock_ahead else {
        let seen = Seen::unknown(
            id,
            "The clock cannot be read.",
            "Nothing is needed: every domain controller shows it.",
        );
        report.observe(seen.on(&ground.dc).shown_by(command).into());
        return;
    };
    let theirs = ground.current_time.map(|at| at.to_string()).unwrap_or_default();
    let apart = match ahead {
        0 | -1 => "The clocks agree.".to_owned(),
        ahead => format!(
            "The clock of {} is {} s {} ours.",
            ground.dc,
            ahead.abs(),
            if ahead > 0 { "ahead of" } else { "behind" }
        ),
    };
    let wrong = ahead.abs() > MOST_APART;
    let seen = if wrong { Seen::found(id, apart.clone()) } else { Seen::ok(id, apart.clone()) };
    let seen = seen.fact("currentTime", theirs, &ground.dc).fact("ours", view.now.to_string(), "keyback");
    report.observe(seen.on(&ground.dc).shown_by(command).into());
    if wrong {
        report.accuse(Finding::confirmed(Cause::DcClockSkew, apart, &[id]));
    } else {
        report.exclude(&[Cause::DcClockSkew]);
    }
}

fn read_only(view: &View<'_>, ground: &Ground, report: &mut Report) {
    let id = "dc.read_only";
    let command = view.reads(ground, "", &["dsServiceName"]);
    match ground.read_only {
        Some(true) => {
            let summary = format!("{} is read-only and no other domain controller serves.", ground.dc);
            let seen = Seen::found(id, summary.clone()).fact("msDS-isRODC", "TRUE", &ground.dc);
            report.observe(seen.on(&ground.dc).shown_by(command).into());
            report.accuse(Finding::confirmed(Cause::DcReadOnly, summary, &[id]));
        }
        Some(false) => {
            let seen = Seen::ok(id, format!("{} can be written to.", ground.dc));
            let seen = seen.fact("msDS-isRODC", "FALSE", &ground.dc);
            report.observe(seen.on(&ground.dc).shown_by(command).into());
            report.exclude(&[Cause::DcReadOnly]);
        }
        None => {
            let needs = "Read on CN=Configuration, which Authenticated Users have by default.";
            let seen = Seen::unknown(id, "Whether it can be written to is not shown.", needs);
            report.observe(seen.on(&ground.dc).shown_by(command).into());
        }
    }
}

/// What it offers changes what a reset obeys; offering less is no fault.
fn offers(view: &View<'_>, ground: &Ground, report: &mut Report) {
    let id = "dc.offers";
    let summary = if ground.policy_hints {
        "A reset obeys history and minimum age (policy hints are offered)."
    } else {
        "A reset does not look at history and minimum age (policy hints are not offered)."
    };
    let mut seen = Seen::ok(id, summary).fact("policy hints", ground.policy_hints.to_string(), &ground.dc);
    if let Some(vendor) = &ground.vendor {
        seen = seen.fact("vendorName", vendor, &ground.dc);
    }
    if let Some(level) = ground.functional_level {
        seen = seen.fact("domainFunctionality", level.to_string(), &ground.dc);
    }
    if let Some(synchronized) = ground.synchronized {
        seen = seen.fact("isSynchronized", synchronized.to_string(), &ground.dc);
    }
    let command = view.reads(ground, "", &["supportedControl", "vendorName", "domainFunctionality"]);
    report.observe(seen.on(&ground.dc).shown_by(command).into());
    if ground.policy_hints {
        report.exclude(&[Cause::PolicyHintsUnsupported]);
    }
}
