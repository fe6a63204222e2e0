//! What each probe makes of constructed facts: what a lab cannot show (Windows, conditions, unreadable parts) among them.

use super::*;
use keyback_ad::descriptor::{SecurityDescriptor, Server, Token};
use keyback_ad::{
    Account, AdInterval, Applies, Container, DcState, FileTime, Ground, Policy, Subject, User, guid,
};
use keyback_core::diagnosis::{ProbeOutcome, State};
use keyback_core::{ObjectGuid, SourceAnchor};
use std::time::Duration;
use zeroize::Zeroizing;

pub(super) const DOMAIN: &str = "S-1-5-21-1-2-3";
pub(super) const CONNECTOR: &str = "S-1-5-21-1-2-3-1105";
pub(super) const RESET: &str = "00299570-246d-11d0-a768-00aa006e0529";
pub(super) const CHANGE: &str = "ab721a53-1e2f-11d0-9819-00aa0040529b";
pub(super) const USER: &str = "bf967aba-0de6-11d0-a285-00aa003049e2";
pub(super) const LOCKOUT: &str = "28630ebf-41d5-11d1-a9c1-0000f80367c1";
pub(super) const PWD_LAST_SET: &str = "bf967a0a-0de6-11d0-a285-00aa003049e2";
const DAY: i64 = 864_000_000_000;

pub(super) fn sid(text: &str) -> Sid {
    text.parse().expect("a SID")
}

pub(super) fn sd(text: &str) -> SecurityDescriptor {
    SecurityDescriptor::from_sddl(text, None).expect("SDDL")
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn days_ago(days: i64) -> FileTime {
    FileTime::from_ticks(FileTime::from_timestamp(now()).as_ticks() - days * DAY)
}

/// What writeback needs, as it stands on the user (inherited) or on the OU.
pub(super) fn delegated(flags: &str) -> String {
    [("CR", RESET), ("WP", LOCKOUT), ("WP", PWD_LAST_SET)]
        .map(|(mask, what)| format!("(OA;{flags};{mask};{what};{USER};{CONNECTOR})"))
        .concat()
}

fn change() -> String {
    format!("(OA;;CR;{CHANGE};;WD)")
}

fn policy() -> Policy {
    Policy {
        source: "DC=ad,DC=example".to_owned(),
        min_length: Some(8),
        complexity: Some(true),
        history: Some(24),
        min_age: Some(AdInterval::from_ticks(0)),
        lockout_duration: Some(AdInterval::from_ticks(-30 * 600_000_000)),
    }
}

/// A healthy user of a Windows domain, for each test to spoil.
pub(super) struct Patient {
    pub(super) ground: Ground,
    pub(super) subject: Subject,
}

pub(super) fn healthy() -> Patient {
    let dn = |text: &str| Dn::parse(text).expect("a DN");
    let container = |name: &str, descriptor: &str| Container {
        dn: dn(name),
        visible: true,
        descriptor: Some(sd(descriptor)),
    };
    let groups = vec![sid(&format!("{DOMAIN}-513"))];
    let user = User {
        guid: ObjectGuid::from_wire([1; 16]),
        dn: dn("CN=ada,OU=Sales,OU=Staff,DC=ad,DC=example"),
        sid: sid(&format!("{DOMAIN}-1104")),
        sam_account_name: "ada".to_owned(),
        user_principal_name: Some("ada@ad.example".to_owned()),
        display_name: Some("Ada Lovelace".to_owned()),
        mail: Some("ada@ad.example".to_owned()),
        source_anchor: SourceAnchor::from_wire([1; 16]),
        user_account_control: Some(0x200),
        pwd_last_set: Some(days_ago(9)),
        lockout_time: None,
        key_version: Some(2),
        primary_group_id: Some(513),
        token_groups: Some(groups.clone()),
        object_classes: ["top", "person", "user"].map(str::to_owned).to_vec(),
        admin_count: None,
        is_critical_system_object: false,
        dc: "dc1".to_owned(),
    };
    let subject = Subject {
        account: Account {
            control: Some(0x200),
            computed: Some(0),
            pwd_last_set: Some(days_ago(9)),
            ..Account::default()
        },
        class: guid::USER,
        descriptor: Some(sd(&format!("D:AI{}{}", change(), delegated("CIIOID").replace("IOID", "ID")))),
        writable: Some(vec!["lockoutTime".to_owned(), "pwdLastSet".to_owned()]),
        proxy_addresses: Vec::new(),
        consistency_guid: None,
        containers: vec![
            container("OU=Sales,OU=Staff,DC=ad,DC=example", &format!("D:AI{}", delegated("CIIOID"))),
            container("OU=Staff,DC=ad,DC=example", &format!("D:AI{}", delegated("CIIO"))),
            container("DC=ad,DC=example", "D:AI(A;;RPLCRC;;;AU)"),
        ],
        applies: Some(Applies::Policy(policy())),
        holders: Vec::new(),
        user,
    };
    let everybody = [sid(CONNECTOR), sid("S-1-1-0"), sid("S-1-5-11")];
    let ground = Ground {
        dc: "dc1".to_owned(),
        base: dn("DC=ad,DC=example"),
        dns_host_name: None,
        vendor: None,
        server: Server::Windows,
        current_time: Some(now()),
        clock_ahead: Some(0),
        policy_hints: true,
        synchronized: Some(true),
        functional_level: Some(7),
        read_only: Some(false),
        token: Some(Token::of_root_dse(everybody.into_iter().chain(groups))),
        connector_sid: Some(sid(CONNECTOR)),
        connector: None,
        domain_sid: Some(sid(DOMAIN)),
        domain_policy: Some(policy()),
        domain_descriptor: Some(sd("D:AI(OA;;CR;ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501;;AU)")),
        admin_sd_holder: Some(sd("D:PAI(A;;RPLCRC;;;AU)")),
    };
    Patient { ground, subject }
}

fn judged(patient: Patient, candidate: Option<&str>, observed: Option<&Observed>) -> Diagnosis {
    let name = UserName::parse("ada").expect("a name");
    let candidate = candidate
        .map(|text| NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec())).expect("a password"));
    let case = Case { name: &name, candidate: candidate.as_ref(), observed };
    judge(&examined(patient), &Setting::default(), &case, now())
}

pub(super) fn examined(patient: Patient) -> Examination {
    Examination {
        dcs: vec![DcState {
            dc: "dc1".to_owned(),
            port: 636,
            host: "dc1".to_owned(),
            addresses: Vec::new(),
            certificate: None,
            error: None,
            took: Some(Duration::from_millis(3)),
            read_only: patient.ground.read_only,
        }],
        connector: "svc@ad.example".to_owned(),
        ground: Some(patient.ground),
        found: Some(Found::One(Box::new(patient.subject))),
        questions: 7,
        took: Duration::from_millis(30),
    }
}

fn verdicts(diagnosis: &Diagnosis) -> Vec<(&'static str, State)> {
    diagnosis.verdicts.iter().map(|verdict| (verdict.cause.id(), verdict.state)).collect()
}

fn of(spoil: impl FnOnce(&mut Patient)) -> Vec<(&'static str, State)> {
    let mut patient = healthy();
    spoil(&mut patient);
    verdicts(&judged(patient, None, None))
}

/// The descriptor of the user, by what comes before and what after the healthy ACEs.
pub(super) fn with_aces(patient: &mut Patient, flags: &str, before: &str, after: &str) {
    let text = format!("D:{flags}{before}{}{after}", change());
    patient.subject.descriptor = Some(sd(&text));
}

use State::{Confirmed, Unknown};

#[test]
fn nothing_is_said_of_a_healthy_user() {
    let diagnosis = judged(healthy(), Some("Perfectly-Good-1"), None);
    assert_eq!(verdicts(&diagnosis), []);
    assert!(diagnosis.observations.iter().all(|seen| seen.outcome != ProbeOutcome::Found));
    assert!(diagnosis.ruled_out.contains(&Cause::RightsResetMissing));
}

#[test]
fn a_deny_a_cut_and_a_right_that_nobody_gave_are_told_apart() {
    let inherited = delegated("CIID");
    assert_eq!(
        of(|patient| with_aces(patient, "AI", &format!("(OD;;CR;{RESET};;{DOMAIN}-513)"), &inherited)),
        [("rights.deny_ace", Confirmed)]
    );
    assert_eq!(of(|patient| with_aces(patient, "PAI", "", "")), [("rights.inheritance_off", Confirmed)]);
    let never = |patient: &mut Patient| {
        with_aces(patient, "AI", "", "");
        patient.subject.containers.iter_mut().for_each(|above| above.descriptor = Some(sd("D:AI")));
    };
    let missing = [
        ("rights.reset_missing", Confirmed),
        ("rights.unlock_attribute_missing", Confirmed),
        ("rights.pwdlastset_missing", Confirmed),
    ];
    assert_eq!(of(never), missing);
    // Inheritance is off, and there is nothing above that it keeps away.
    assert_eq!(
        of(|patient| {
            never(patient);
            with_aces(patient, "PAI", "", "");
        }),
        missing
    );
    // A deny with nothing behind it and a cut: both have to be mended.
    let both = of(|patient| with_aces(patient, "PAI", &format!("(OD;;CR;{RESET};;{DOMAIN}-513)"), ""));
    assert_eq!(both, [("rights.inheritance_off", Confirmed), ("rights.deny_ace", Confirmed)]);
}

#[test]
fn the_cut_is_found_at_the_ou_between() {
    let mut patient = healthy();
    with_aces(&mut patient, "AI", "", "");
    patient.subject.containers[0].descriptor = Some(sd("D:PAI"));
    let diagnosis = judged(patient, None, None);
    assert_eq!(verdicts(&diagnosis), [("rights.inheritance_off", Confirmed)]);
    let summary = &diagnosis.verdicts[0].summary;
    assert!(summary.contains("switched off on OU=Sales,OU=Staff"), "{summary}");
    assert!(summary.contains("what OU=Staff,DC=ad,DC=example delegates"), "{summary}");
}

#[test]
fn a_deny_for_somebody_else_or_for_the_person_alone_accuses_nobody() {
    let inherited = delegated("CIID");
    for deny in [
        format!("(OD;;CR;{RESET};;{DOMAIN}-1999)"),
        format!("(OD;;CR;{CHANGE};;PS)"),
        "(D;;SD;;;WD)".to_owned(),
    ] {
        assert_eq!(of(|patient| with_aces(patient, "AI", &deny, &inherited)), [], "{deny}");
    }
    let everyone = format!("(OD;;CR;{CHANGE};;WD)");
    assert_eq!(
        of(|patient| with_aces(patient, "AI", &everyone, &inherited)),
        [("rights.cannot_change", Confirmed)]
    );
}

#[test]
fn what_cannot_be_read_is_never_ok() {
    let unread = of(|patient| patient.subject.descriptor = None);
    assert_eq!(unread, [("rights.reset_missing", Unknown)]);
    let by_the_server = of(|patient| {
        patient.subject.descriptor = None;
        patient.subject.writable = None;
    });
    assert_eq!(
        by_the_server,
        [
            ("rights.unlock_attribute_missing", Confirmed),
            ("rights.pwdlastset_missing", Confirmed),
            ("rights.reset_missing", Unknown),
        ]
    );
    let groups = of(|patient| patient.subject.user.token_groups = None);
    assert_eq!(groups, [("rights.protected_object", Unknown)]);
    let mut patient = healthy();
    patient.subject.account = Account::default();
    patient.ground.domain_descriptor = None;
    let diagnosis = judged(patient, None, None);
    for id in ["state.enabled", "state.expiry", "state.lockout", "state.password_age", "rights.unexpire"] {
        let seen = diagnosis.observation(id).expect(id);
        assert_eq!(seen.outcome, ProbeOutcome::Unknown, "{id}");
        assert!(seen.needs.is_some(), "{id}");
    }
    // Above the user something is closed to us: whether it was cut off there is not known.
    let closed = of(|patient| {
        with_aces(patient, "PAI", "", "");
        patient.subject.containers.iter_mut().for_each(|above| above.descriptor = None);
    });
    assert!(closed.contains(&("rights.inheritance_off", Unknown)), "{closed:?}");
    assert!(closed.contains(&("rights.reset_missing", Confirmed)), "{closed:?}");
}

#[test]
fn protection_comes_from_groups_and_a_trace_alone_is_harmless() {
    let admin = sid(&format!("{DOMAIN}-512"));
    assert_eq!(
        of(|patient| {
            patient.subject.user.token_groups = Some(vec![admin]);
            with_aces(patient, "PAI", "", "");
        }),
        [("rights.protected_object", Confirmed)]
    );
    assert_eq!(of(|patient| patient.subject.user.admin_count = Some(1)), []);
    let former = {
        let mut patient = healthy();
        patient.subject.user.admin_count = Some(1);
        with_aces(&mut patient, "PAI", "", "");
        judged(patient, None, None)
    };
    assert_eq!(verdicts(&former), [("rights.inheritance_off", Confirmed)]);
    assert!(former.verdicts[0].fix.text.contains("adminCount"));
}

#[test]
fn without_unexpire_password_a_reset_leaves_the_password_expired() {
    assert_eq!(
        of(|patient| patient.ground.domain_descriptor = Some(sd("D:AI(A;;RP;;;AU)"))),
        [("rights.pwdlastset_missing", Confirmed)]
    );
}

#[test]
fn states_are_judged_by_the_domain_controller_s_clock() {
    type Spoil = fn(&mut Patient);
    let cases: [(Spoil, &[(&str, State)]); 7] = [
        (|patient| patient.subject.account.control = Some(0x202), &[("target.disabled", Confirmed)]),
        (|patient| patient.subject.account.expires = Some(days_ago(1)), &[("target.expired", Confirmed)]),
        (|patient| patient.subject.account.expires = Some(days_ago(-1)), &[]),
        (|patient| patient.subject.account.expires = Some(FileTime::from_ticks(i64::MAX)), &[]),
        (|patient| patient.subject.account.computed = Some(0x10), &[("target.locked", Confirmed)]),
        // A lockout of an hour ago with half an hour's duration is over, whoever computes it.
        (
            |patient| {
                patient.subject.account.computed = None;
                patient.subject.account.lockout_time =
                    Some(FileTime::from_ticks(days_ago(0).as_ticks() - DAY / 24));
            },
            &[],
        ),
        (|patient| patient.subject.user.pwd_last_set = Some(FileTime::ZERO), &[]),
    ];
    for (number, (spoil, expected)) in cases.into_iter().enumerate() {
        assert_eq!(of(spoil), expected, "case {number}");
    }
}

#[test]
fn a_minimum_age_counts_where_the_reset_looks_at_it() {
    let young = |patient: &mut Patient| {
        patient.subject.user.pwd_last_set = Some(days_ago(0));
        let rules = Policy { min_age: Some(AdInterval::from_ticks(-DAY)), ..policy() };
        patient.subject.applies = Some(Applies::Policy(rules));
    };
    assert_eq!(of(young), [("policy.min_age", Confirmed)]);
    assert_eq!(
        of(|patient| {
            young(patient);
            patient.ground.policy_hints = false;
        }),
        []
    );
}

#[test]
fn every_rule_that_a_candidate_breaks_is_named() {
    for (candidate, expected) in [
        ("Sh0rt!", &["policy.length"][..]),
        ("abc", &["policy.length", "policy.complexity"]),
        ("My-Lovelace-1", &["policy.contains_name"]),
        ("Perfectly-Good-1", &[]),
    ] {
        let diagnosis = judged(healthy(), Some(candidate), None);
        let causes: Vec<_> = verdicts(&diagnosis).into_iter().map(|(cause, _)| cause).collect();
        assert_eq!(causes, expected, "{candidate}");
    }
    // Samba takes names; only its refusal would prove a filter that does not.
    let mut samba = healthy();
    samba.ground.server = Server::Samba;
    let diagnosis = judged(samba, Some("My-Lovelace-1"), None);
    assert_eq!(verdicts(&diagnosis), [("policy.contains_name", State::Possible)]);
}

#[test]
fn a_refusal_by_a_rule_is_explained_as_far_as_it_can_be() {
    let refused = |text: &str| Observed::new(Operation::Reset, keyback_ad::read_reply(53, text));
    let bare = refused("0000052D: SvcErr: DSID-031A126C, problem 5003 (WILL_NOT_PERFORM), data 0");
    let diagnosis = judged(healthy(), Some("Perfectly-Good-1"), Some(&bare));
    assert_eq!(verdicts(&diagnosis), [("policy.filter_or_unknown", Confirmed), ("policy.history", Unknown)]);
    let without = judged(healthy(), None, Some(&bare));
    assert_eq!(verdicts(&without), [("policy.filter_or_unknown", Unknown)]);
    let short = judged(healthy(), Some("Sh0rt!"), Some(&bare));
    assert_eq!(verdicts(&short), [("policy.length", Confirmed)]);
    let mut no_hints = healthy();
    no_hints.ground.policy_hints = false;
    let filter = judged(no_hints, Some("Perfectly-Good-1"), Some(&bare));
    assert_eq!(verdicts(&filter), [("policy.filter_or_unknown", Confirmed)]);
    let mut unreadable = healthy();
    unreadable.subject.applies = Some(Applies::UnreadablePso("CN=strict".to_owned()));
    let pso = judged(unreadable, Some("Perfectly-Good-1"), Some(&bare));
    assert_eq!(verdicts(&pso), [("policy.pso_unreadable", Confirmed)]);
}

#[test]
fn clocks_and_a_read_only_domain_controller_are_faults_of_their_own() {
    assert_eq!(of(|patient| patient.ground.clock_ahead = Some(-301)), [("dc.clock_skew", Confirmed)]);
    assert_eq!(of(|patient| patient.ground.clock_ahead = Some(299)), []);
    assert_eq!(of(|patient| patient.ground.read_only = Some(true)), [("dc.read_only", Confirmed)]);
}

#[test]
fn a_condition_that_is_not_judged_makes_no_right_certain() {
    // XD with a condition: deny Reset Password to Authenticated Users, if.
    let conditional = format!("(OD;;CR;{RESET};;{DOMAIN}-1999)(XD;;CR;;;AU;#61727478)");
    let verdicts = of(|patient| with_aces(patient, "AI", &conditional, &delegated("CIID")));
    assert_eq!(verdicts.first(), Some(&("rights.deny_ace", Unknown)), "{verdicts:?}");
}
