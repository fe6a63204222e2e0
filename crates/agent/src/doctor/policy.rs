//! The rules for this user's password, and for the candidate where there is one.

use super::finding::{Finding, Report};
use super::remedy::{self, by_server, powershell, sh};
use super::verdict::is_about_a_rule;
use super::view::{Seen, View, ps_quoted};
use super::words::moment;
use crate::passwords::Unwanted;
use keyback_ad::descriptor::Server;
use keyback_ad::{Applies, Ground, Policy, Rule, Subject};
use keyback_codes::Cause;
use keyback_core::diagnosis::State;
use keyback_core::job::Operation;

const RULES: [Cause; 3] = [Cause::PolicyLength, Cause::PolicyComplexity, Cause::PolicyContainsName];

pub(super) fn probe(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let policy = match &subject.applies {
        Some(Applies::Policy(policy)) => policy,
        Some(Applies::UnreadablePso(pso)) => {
            unreadable_pso(view, ground, subject, pso, report);
            observed(view, None, report);
            return;
        }
        None => {
            let needs = format!("Read the domain's password attributes on {}.", ground.base);
            let seen = Seen::unknown("policy.rules", "Not even the domain's rules can be read.", needs);
            report.observe(seen.on(&ground.dc).into());
            observed(view, None, report);
            return;
        }
    };
    rules(view, ground, policy, report);
    report.exclude(&[Cause::PolicyPsoUnreadable]);
    unwanted(view, subject, report);
    let aged = min_age(view, ground, subject, policy, report);
    let broken = candidate(view, ground, subject, policy, report);
    if !aged && !broken {
        observed(view, Some((ground, policy)), report);
    }
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "(unreadable)".to_owned(), |value| value.to_string())
}

fn is_pso(ground: &Ground, policy: &Policy) -> bool {
    !policy.source.eq_ignore_ascii_case(ground.base.as_str())
}

fn rules(view: &View<'_>, ground: &Ground, policy: &Policy, report: &mut Report) {
    let from = &policy.source;
    let origin = if is_pso(ground, policy) { "the fine-grained policy" } else { "the domain's policy" };
    let attributes: &[&str] = if is_pso(ground, policy) {
        &[
            "msDS-MinimumPasswordLength",
            "msDS-PasswordComplexityEnabled",
            "msDS-PasswordHistoryLength",
            "msDS-MinimumPasswordAge",
        ]
    } else {
        &["minPwdLength", "pwdProperties", "pwdHistoryLength", "minPwdAge"]
    };
    let age = policy.min_age.map(|age| age.seconds().map_or("for ever".to_owned(), |age| format!("{age} s")));
    let seen = Seen::ok("policy.rules", format!("For this user {origin} applies: {from}."))
        .fact("minimum length", shown(policy.min_length), from)
        .fact("complexity", shown(policy.complexity), from)
        .fact("history", shown(policy.history), from)
        .fact("minimum age", shown(age), from)
        .at(from)
        .on(&ground.dc)
        .shown_by(view.reads(ground, from, attributes));
    report.observe(seen.into());
}

fn unreadable_pso(view: &View<'_>, ground: &Ground, subject: &Subject, pso: &str, report: &mut Report) {
    let id = "policy.rules";
    let connector = view.connector(ground);
    let container = format!("CN=Password Settings Container,CN=System,{}", ground.base);
    let needs = format!("Read on {container} for {connector}.");
    let seen = Seen::unknown(id, format!("A fine-grained policy applies that cannot be read: {pso}."), needs)
        .fact("msDS-ResultantPSO", pso, subject.user.dn.as_str())
        .at(pso)
        .on(&ground.dc)
        .shown_by(view.reads(ground, subject.user.dn.as_str(), &["msDS-ResultantPSO"]));
    report.observe(seen.into());
    let summary = format!(
        "The fine-grained policy {pso} applies to this user and {connector} may not read it, so nobody can be told \
         which rule a password breaks."
    );
    let sid = ground.connector_sid.as_ref().map(ToString::to_string).unwrap_or_default();
    let fix = remedy::with(
        Cause::PolicyPsoUnreadable,
        format!("Grant {connector} read on {container}."),
        remedy::grant(ground, &container, &format!("(A;CI;LCRPLORC;;;{sid})"), &format!("{connector}:GR")),
    );
    report.accuse(Finding::confirmed(Cause::PolicyPsoUnreadable, summary, &[id]).mended_by(fix));
}

/// Enforced on a change by everybody, on a reset only with policy hints. True: accused.
fn min_age(
    view: &View<'_>,
    ground: &Ground,
    subject: &Subject,
    policy: &Policy,
    report: &mut Report,
) -> bool {
    let id = "policy.min_age";
    let operation = view.case.observed.map_or(Operation::Reset, |observed| observed.operation);
    let enforced = match operation {
        Operation::Reset => ground.policy_hints,
        Operation::Change => true,
        Operation::Unlock | Operation::Register => false,
    };
    let dn = subject.user.dn.as_str();
    let command = view.reads(ground, dn, &["pwdLastSet"]);
    let ends = subject.user.pwd_last_set.zip(policy.min_age).and_then(|(set, age)| age.after(set));
    let young = policy.too_young(&subject.user, ground.current_time.or(Some(view.now)));
    let (seen, accused) = match (young, enforced) {
        (None, _) => {
            let needs = format!("Read pwdLastSet on {dn}, and the minimum age on {}.", policy.source);
            (Seen::unknown(id, "Whether the minimum age is over cannot be read.", needs), false)
        }
        (Some(false), _) => {
            report.exclude(&[Cause::PolicyMinAge]);
            (Seen::ok(id, "The minimum age is over, or there is none."), false)
        }
        (Some(true), false) => {
            report.exclude(&[Cause::PolicyMinAge]);
            (Seen::ok(id, "The minimum age is not over, and a reset here does not look at it."), false)
        }
        (Some(true), true) => (Seen::found(id, "The last change is younger than the minimum age."), true),
    };
    let mut seen = seen.on(&ground.dc).at(dn).shown_by(command);
    if let Some(ends) = ends {
        seen = seen.fact("minimum age ends", moment(ends), &policy.source);
    }
    report.observe(seen.into());
    if accused {
        let until = ends.map_or_else(|| "an unknown moment".to_owned(), moment);
        let summary = format!(
            "The password of {dn} was set too recently: {} forbids another one until {until}.",
            policy.source
        );
        let commands = if is_pso(ground, policy) {
            vec![powershell(format!(
                "Set-ADFineGrainedPasswordPolicy -Identity {} -MinPasswordAge 0.00:00:00",
                ps_quoted(&policy.source)
            ))]
        } else {
            by_server(
                ground,
                sh("samba-tool domain passwordsettings set --min-pwd-age=0"),
                vec![powershell(format!(
                    "Set-ADDefaultDomainPasswordPolicy -Identity {} -MinPasswordAge 0.00:00:00",
                    ps_quoted(&ground.base.dns_domain())
                ))],
            )
        };
        let fix = remedy::with(Cause::PolicyMinAge, Cause::PolicyMinAge.fix().text, commands);
        report.accuse(Finding::confirmed(Cause::PolicyMinAge, summary, &[id]).mended_by(fix));
    }
    accused
}

/// Length, complexity and name, for the candidate. True: at least one is broken for certain.
fn candidate(
    view: &View<'_>,
    ground: &Ground,
    subject: &Subject,
    policy: &Policy,
    report: &mut Report,
) -> bool {
    let Some(password) = view.case.candidate else {
        let text = "No candidate password was given, so none is judged by the rules.";
        report.observe(Seen::not_applicable("policy.candidate", text).into());
        return false;
    };
    let id = "policy.candidate";
    let mut broken = Vec::new();
    let mut unreadable = Vec::new();
    for (rule, cause, text) in [
        (
            Rule::Length,
            Cause::PolicyLength,
            format!("it is not from {} to 256 characters long", shown(policy.min_length)),
        ),
        (Rule::Complexity, Cause::PolicyComplexity, "it has fewer than three kinds of characters".to_owned()),
        (
            Rule::ContainsName,
            Cause::PolicyContainsName,
            "it contains the account's name or a part of the displayed one".to_owned(),
        ),
    ] {
        match policy.judge(rule, password, &subject.user, None) {
            Some(true) => broken.push((cause, text)),
            Some(false) => report.exclude(&[cause]),
            None => unreadable.push(cause),
        }
    }
    let texts: Vec<String> = broken.iter().map(|(_, text)| text.clone()).collect();
    let seen = match (broken.is_empty(), unreadable.is_empty()) {
        (false, _) => {
            Seen::found(id, format!("The candidate breaks a rule: {}.", super::words::list(&texts)))
        }
        (true, false) => Seen::unknown(
            id,
            "Not all rules can be read, so the candidate is judged in part.",
            format!("Read all properties on {}.", policy.source),
        ),
        (true, true) => Seen::ok(id, "The candidate meets length, complexity and the rule about names."),
    };
    report.observe(seen.on(&ground.dc).at(&policy.source).shown_by(String::new()).into());
    let refused = view.case.observed.is_some_and(is_about_a_rule);
    let mut certain = false;
    for (cause, text) in broken {
        // Samba itself takes a password with the name in it (measured on 4.17.12 and 4.24.7); a filter beside it may not.
        let sure = cause != Cause::PolicyContainsName || ground.server == Server::Windows || refused;
        certain |= sure;
        let state = if sure { State::Confirmed } else { State::Possible };
        let summary = format!("The candidate password breaks a rule of {}: {text}.", policy.source);
        report.accuse(Finding::new(cause, state, summary, &[id, "policy.rules"]));
    }
    certain
}

/// What the agent's own lists say of the candidate. Neither it nor what was found in it is shown.
fn unwanted(view: &View<'_>, subject: &Subject, report: &mut Report) {
    let filter = &view.setting.passwords;
    let (Some(sizes), Some(password)) = (filter.sizes(), view.case.candidate) else { return };
    let id = "policy.lists";
    let seen = match filter.judge(password, &subject.user) {
        Ok(None) => {
            report.exclude(&[Cause::PolicyBanned, Cause::PolicyBreached]);
            Seen::ok(id, "The agent's own lists have nothing against the candidate.")
        }
        Ok(Some(unwanted)) => {
            let failure = filter.failure(unwanted);
            let summary = match unwanted {
                Unwanted::Name => {
                    "A name of the person stands in the candidate password, and the agent refuses that."
                }
                Unwanted::Organisation => "A word of the organisation stands in the candidate password.",
                Unwanted::Blocklist(_) => {
                    "Too little of the candidate password is left beside words of the blocklist."
                }
                Unwanted::Breached => "The candidate password stands in the list of breached ones.",
            };
            report.accuse(Finding::confirmed(unwanted.cause(), summary, &[id]));
            Seen::found(id, "The agent's own lists refuse the candidate.").facts(failure.evidence)
        }
        Err(error) => {
            let needs = format!("{error}. {}", error.remedy());
            Seen::unknown(id, "The list of breached passwords cannot be read.", needs)
        }
    };
    let seen = seen.fact("terms of the blocklist", sizes.terms.to_string(), "agent.passwords");
    report.observe(seen.into());
}

/// A refusal about a rule that none of the readable rules explains.
fn observed(view: &View<'_>, readable: Option<(&Ground, &Policy)>, report: &mut Report) {
    let id = "policy.refusal";
    let Some(observed) = view.case.observed.filter(|observed| is_about_a_rule(observed)) else {
        report.exclude(if view.case.observed.is_some() { &RULES } else { &[] });
        return;
    };
    let seen = Seen::found(id, "The domain controller refused the password by a rule.")
        .fact("result", observed.reply.result.to_string(), "domain controller")
        .fact("text", &observed.reply.text, "domain controller");
    report.observe(seen.into());
    // Samba names the rule in its text, Windows does not. A filter's refusal reads there as one of complexity, which the
    // rules that were read contradict where there is a candidate.
    let judged = readable.is_some() && view.case.candidate.is_some();
    let always = [Cause::PolicyHistory, Cause::PolicyMinAge];
    let named = observed.cause.filter(|cause| always.contains(cause) || (RULES.contains(cause) && !judged));
    if let Some(cause) = named {
        let summary = format!("The domain controller says so. {}", cause.summary());
        report.accuse(Finding::confirmed(cause, summary, &[id]));
        return;
    }
    let Some((ground, policy)) = readable else { return };
    if view.case.candidate.is_none() {
        let summary = "A rule was broken; which one cannot be told without the password that was refused.";
        let cause = Cause::PolicyFilterOrUnknown;
        report.accuse(Finding::new(cause, State::Unknown, summary, &[id, "policy.rules"]));
        return;
    }
    let looked_at_history = match observed.operation {
        Operation::Reset => ground.policy_hints,
        Operation::Change => true,
        Operation::Unlock | Operation::Register => false,
    };
    let by_filter = observed.cause == Some(Cause::PolicyComplexity);
    // Exactly what this cause means: the rules that can be read allow it, so it is history or a filter.
    let maybe_history = !by_filter && looked_at_history && policy.history.is_none_or(|length| length > 0);
    let rest = if maybe_history { "its history or a password filter" } else { "a password filter" };
    let summary = format!(
        "The domain controller refused the password, and every rule of {} that can be read allows it: {rest} refused \
         it.",
        policy.source
    );
    report.accuse(Finding::confirmed(Cause::PolicyFilterOrUnknown, summary, &[id, "policy.rules"]));
    if maybe_history {
        let summary = format!(
            "{} remembers {} passwords, which nobody can read: whether this one is among them is not known.",
            policy.source,
            shown(policy.history)
        );
        report.accuse(Finding::new(Cause::PolicyHistory, State::Unknown, summary, &[id, "policy.rules"]));
    }
}
