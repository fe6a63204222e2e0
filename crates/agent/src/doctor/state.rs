//! The account's state: disabled, expired, locked out, must change.

use super::finding::{Finding, Report};
use super::remedy;
use super::view::{Seen, View};
use super::words::moment;
use keyback_ad::{AdInterval, Applies, FileTime, Ground, Subject};
use keyback_codes::Cause;
use keyback_core::Timestamp;

/// userAccountControl ([MS-ADTS] 2.2.16).
const DISABLED: u32 = 0x2;
/// msDS-User-Account-Control-Computed ([MS-ADTS] 3.1.1.4.5.17).
const LOCKED: u32 = 0x10;

pub(super) fn probe(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let now = ground.current_time.unwrap_or(view.now);
    disabled(view, ground, subject, report);
    expired(view, ground, subject, now, report);
    locked(view, ground, subject, now, report);
    must_change(view, ground, subject, report);
}

fn needs(view: &View<'_>, ground: &Ground, subject: &Subject, attribute: &str) -> String {
    format!("Read {attribute} on {} for {} (Read all properties).", subject.user.dn, view.connector(ground))
}

fn disabled(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "state.enabled";
    let dn = subject.user.dn.as_str();
    let command = view.reads(ground, dn, &["userAccountControl"]);
    let seen = match subject.account.control {
        None => Seen::unknown(
            id,
            "Whether the account is enabled cannot be read.",
            needs(view, ground, subject, "userAccountControl"),
        ),
        Some(control) => {
            let off = control & DISABLED != 0;
            let seen = if off {
                let summary = format!(
                    "{dn} is disabled (userAccountControl {control:#x}): keyback resets nobody who cannot sign in."
                );
                let sam = &subject.user.sam_account_name;
                let commands = remedy::on_account(ground, "enable", sam, "Enable-ADAccount");
                let fix = remedy::with(Cause::TargetDisabled, Cause::TargetDisabled.fix().text, commands);
                report.accuse(Finding::confirmed(Cause::TargetDisabled, summary, &[id]).mended_by(fix));
                Seen::found(id, "The account is disabled.")
            } else {
                report.exclude(&[Cause::TargetDisabled]);
                Seen::ok(id, "The account is enabled.")
            };
            seen.fact("userAccountControl", format!("{control:#x}"), dn)
        }
    };
    report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
}

fn expired(view: &View<'_>, ground: &Ground, subject: &Subject, now: Timestamp, report: &mut Report) {
    let id = "state.expiry";
    let dn = subject.user.dn.as_str();
    let command = view.reads(ground, dn, &["accountExpires"]);
    // userAccountControl is readable exactly where accountExpires is: both belong to Account Restrictions.
    let readable = subject.account.control.is_some();
    let seen = match subject.account.expires {
        None if !readable => Seen::unknown(
            id,
            "Whether the account has expired cannot be read.",
            needs(view, ground, subject, "accountExpires"),
        ),
        None => Seen::ok(id, "The account does not expire."),
        Some(at) => {
            let over = !at.is_zero() && at.as_ticks() != i64::MAX && at.to_timestamp() <= now;
            let seen = if over {
                let summary = format!(
                    "The account {dn} expired at {}. A reset would work, but the person still could not sign in.",
                    moment(at)
                );
                let sam = &subject.user.sam_account_name;
                let commands = remedy::by_server(
                    ground,
                    remedy::sh(format!("samba-tool user setexpiry {} --days=90", super::view::quoted(sam))),
                    vec![remedy::powershell(format!(
                        "Set-ADAccountExpiration -TimeSpan 90.0:0 -Identity {}",
                        super::view::ps_quoted(sam)
                    ))],
                );
                let fix = remedy::with(Cause::TargetExpired, Cause::TargetExpired.fix().text, commands);
                report.accuse(Finding::confirmed(Cause::TargetExpired, summary, &[id]).mended_by(fix));
                Seen::found(id, format!("The account expired at {}.", moment(at)))
            } else {
                report.exclude(&[Cause::TargetExpired]);
                Seen::ok(id, "The account has not expired.")
            };
            seen.fact("accountExpires", moment(at), dn)
        }
    };
    report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
}

/// Whether a lockout that began at `since` still holds. A duration of 0 or "for ever" ends by hand only. `None`: the
/// duration is not known.
pub(super) fn is_locked(since: FileTime, duration: Option<AdInterval>, now: Timestamp) -> Option<bool> {
    if since.is_zero() {
        return Some(false);
    }
    match duration?.seconds() {
        None | Some(0) => Some(true),
        Some(_) => Some(duration?.after(since).is_none_or(|end| now < end.to_timestamp())),
    }
}

fn locked(view: &View<'_>, ground: &Ground, subject: &Subject, now: Timestamp, report: &mut Report) {
    let id = "state.lockout";
    let dn = subject.user.dn.as_str();
    let account = &subject.account;
    let command = view.reads(ground, dn, &["lockoutTime", "msDS-User-Account-Control-Computed"]);
    let duration = match &subject.applies {
        Some(Applies::Policy(policy)) => policy.lockout_duration,
        Some(Applies::UnreadablePso(_)) | None => None,
    };
    let since = account.lockout_time.unwrap_or(FileTime::ZERO);
    // The server's own computation knows the policy that applies, even where we may not read it.
    let computed = account.computed.map(|bits| bits & LOCKED != 0);
    let verdict = computed.or_else(|| {
        account.control?; // the canary: without it an absent lockoutTime is an unreadable one
        is_locked(since, duration, now)
    });
    let seen = match verdict {
        None => Seen::unknown(
            id,
            "Whether the account is locked out cannot be read.",
            needs(view, ground, subject, "lockoutTime and msDS-User-Account-Control-Computed"),
        ),
        Some(true) => {
            let end = duration.filter(|duration| duration.seconds().is_some_and(|seconds| seconds > 0));
            let end = end.and_then(|duration| duration.after(since)).map_or_else(
                || "until somebody unlocks it".to_owned(),
                |end| format!("until {}", moment(end)),
            );
            let summary = format!("{dn} has been locked out since {}, {end}.", moment(since));
            let sam = &subject.user.sam_account_name;
            let commands = remedy::on_account(ground, "unlock", sam, "Unlock-ADAccount");
            let fix = remedy::with(
                Cause::TargetLocked,
                "Unlock it, or let the person reset the password with keyback, which unlocks as well.",
                commands,
            );
            report.accuse(Finding::confirmed(Cause::TargetLocked, summary, &[id]).mended_by(fix));
            Seen::found(id, format!("The account is locked out, {end}."))
        }
        Some(false) => {
            report.exclude(&[Cause::TargetLocked]);
            let was = if since.is_zero() { "" } else { " A lockout is over." };
            Seen::ok(id, format!("The account is not locked out.{was}"))
        }
    };
    let mut seen = seen.fact("lockoutTime", moment(since), dn);
    if let Some(bits) = account.computed {
        seen = seen.fact("msDS-User-Account-Control-Computed", format!("{bits:#x}"), dn);
    }
    report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
}

/// Neither hinders a reset: both are what people reset for.
fn must_change(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "state.password_age";
    let dn = subject.user.dn.as_str();
    let command = view.reads(ground, dn, &["pwdLastSet"]);
    let seen = match subject.account.pwd_last_set {
        None => Seen::unknown(
            id,
            "The age of the password cannot be read.",
            needs(view, ground, subject, "pwdLastSet"),
        ),
        Some(at) if at.is_zero() => {
            Seen::ok(id, "The password must be changed at the next sign-in; a reset ends that.")
        }
        Some(at) => Seen::ok(id, format!("The password was set at {}.", moment(at))),
    };
    let seen = match subject.account.pwd_last_set {
        Some(at) => seen.fact("pwdLastSet", moment(at), dn),
        None => seen,
    };
    report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyback_core::Timestamp;

    #[test]
    fn a_lockout_ends_with_its_duration_or_by_hand() {
        let minutes = |minutes: i64| Timestamp::from_micros(minutes * 60_000_000);
        let since = FileTime::from_timestamp(minutes(100));
        let half_an_hour = Some(AdInterval::from_ticks(-30 * 60 * 10_000_000));
        for (duration, now, expected) in [
            (half_an_hour, 101, Some(true)),
            (half_an_hour, 129, Some(true)),
            (half_an_hour, 131, Some(false)),
            (Some(AdInterval::from_ticks(i64::MIN)), 1_000_000, Some(true)),
            (Some(AdInterval::from_ticks(0)), 1_000_000, Some(true)),
            (None, 101, None),
        ] {
            assert_eq!(is_locked(since, duration, minutes(now)), expected, "{duration:?} {now}");
        }
        assert_eq!(is_locked(FileTime::ZERO, None, minutes(0)), Some(false));
    }
}
