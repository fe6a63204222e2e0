//! Plans made of constructed facts: the least change, the place, and what is refused.

use super::super::tests::{
    CHANGE, CONNECTOR, DOMAIN, LOCKOUT, PWD_LAST_SET, Patient, RESET, USER, delegated, examined, healthy,
    now, sd, sid, with_aces,
};
use super::*;
use crate::doctor::{Case, judge};
use keyback_ad::Container;
use keyback_core::UserName;

fn planned(spoil: impl FnOnce(&mut Patient), setting: &Setting, at: Option<&str>) -> Result<Plan, NotAPlace> {
    let mut patient = healthy();
    spoil(&mut patient);
    let examination = examined(patient);
    let name = UserName::parse("ada").expect("a name");
    let case = Case { name: &name, candidate: None, observed: None };
    let diagnosis = judge(&examination, setting, &case, now());
    let at = at.map(|dn| Dn::parse(dn).expect("a DN"));
    plan(&examination, setting, &diagnosis, None, at.as_ref())
}

/// What is changed where, an ACE as SDDL.
fn lines(plan: &Plan) -> Vec<String> {
    let text = |edit: &Edit| match edit {
        Edit::Add(ace) => format!("+{}", ace.to_sddl(None)),
        Edit::Remove(ace) => format!("-{}", ace.to_sddl(None)),
        Edit::Inherit => "inherit".to_owned(),
        Edit::Unlock => "unlock".to_owned(),
        Edit::ForgetAdminCount => "forget".to_owned(),
        Edit::Enable => "enable".to_owned(),
    };
    let of = |mend: &Mend| {
        let target = match &mend.target {
            Target::Object(dn) => dn.as_str().split(',').next().unwrap_or_default().to_owned(),
            Target::Account(name) => name.clone(),
        };
        mend.edits.iter().map(|edit| format!("{target} {}", text(edit))).collect::<Vec<_>>()
    };
    plan.mends.iter().flat_map(of).collect()
}

fn made(spoil: impl FnOnce(&mut Patient)) -> Vec<String> {
    lines(&planned(spoil, &Setting::default(), None).expect("a plan"))
}

fn never_given(patient: &mut Patient) {
    with_aces(patient, "AI", "", "");
    patient.subject.containers.iter_mut().for_each(|above| above.descriptor = Some(sd("D:AI")));
}

fn grants(place: &str) -> [String; 3] {
    [("CR", RESET), ("WP", LOCKOUT), ("WP", PWD_LAST_SET)]
        .map(|(mask, what)| format!("{place} +(OA;CIIO;{mask};{what};{USER};{CONNECTOR})"))
}

#[test]
fn a_right_that_nobody_gave_is_given_on_the_user_s_own_ou_and_nothing_more() {
    assert_eq!(made(never_given), grants("OU=Sales"));
    let only_reset = made(|patient| {
        never_given(patient);
        let others = delegated("CIID").replace(RESET, CHANGE);
        with_aces(patient, "AI", "", &others);
    });
    assert_eq!(only_reset, grants("OU=Sales")[..1]);
    let person = made(|patient| {
        never_given(patient);
        patient.subject.class = keyback_ad::guid::INET_ORG_PERSON;
    });
    assert!(person.iter().all(|line| line.contains("4828cc14-1437-45bc-9b07-ad6f015e5f28")), "{person:?}");
}

#[test]
fn where_the_own_ou_is_no_place_the_user_alone_gets_it() {
    let on_user = [("CR", RESET), ("WP", LOCKOUT), ("WP", PWD_LAST_SET)]
        .map(|(mask, what)| format!("CN=ada +(OA;;{mask};{what};;{CONNECTOR})"));
    assert_eq!(
        made(|patient| {
            never_given(patient);
            with_aces(patient, "PAI", "", "");
        }),
        on_user,
        "closed"
    );
    for place in ["CN=Users,DC=ad,DC=example", "DC=ad,DC=example"] {
        let moved = made(|patient| {
            never_given(patient);
            let dn = |text: &str| Dn::parse(text).expect("a DN");
            patient.subject.user.dn = dn(&format!("CN=ada,{place}"));
            let head = patient.subject.containers.pop().expect("the head");
            patient.subject.containers.clear();
            if place.starts_with("CN=") {
                patient.subject.containers.push(Container { dn: dn(place), ..head.clone() });
            }
            patient.subject.containers.push(head);
        });
        assert_eq!(moved, on_user, "{place}");
    }
}

#[test]
fn another_place_is_taken_only_within_the_scope_and_where_it_arrives() {
    let scope = |dn: &str| Setting { scope: Some(vec![Dn::parse(dn).expect("a DN")]), ..Setting::default() };
    let staff = "OU=Staff,DC=ad,DC=example";
    let plan = planned(never_given, &scope(staff), None).expect("a plan");
    assert_eq!(plan.offer.as_ref().map(Dn::as_str), Some(staff));
    assert_eq!(lines(&plan), grants("OU=Sales"));
    let there = planned(never_given, &scope(staff), Some(staff)).expect("a plan");
    assert_eq!(lines(&there), grants("OU=Staff"));
    let narrow = scope("OU=Sales,OU=Staff,DC=ad,DC=example");
    assert!(planned(never_given, &narrow, Some(staff)).is_err(), "higher than the scope");
    for bad in ["DC=ad,DC=example", "OU=Other,DC=ad,DC=example"] {
        assert!(planned(never_given, &Setting::default(), Some(bad)).is_err(), "{bad}");
    }
    let closed = |patient: &mut Patient| {
        never_given(patient);
        patient.subject.containers[0].descriptor = Some(sd("D:PAI"));
    };
    assert!(planned(closed, &Setting::default(), Some(staff)).is_err(), "closed between");
}

#[test]
fn a_deny_goes_where_it_stands_and_those_behind_it_with_it() {
    let inherited = delegated("CIID");
    let deny = |who: &str| format!("(OD;;CR;{RESET};;{who})");
    let everyone_and_group = format!("{}{}", deny("WD"), deny(&format!("{DOMAIN}-513")));
    assert_eq!(
        made(|patient| with_aces(patient, "AI", &everyone_and_group, &inherited)),
        [format!("CN=ada -{}", deny("WD")), format!("CN=ada -{}", deny(&format!("{DOMAIN}-513")))]
    );
    let on_ou = format!("(OD;CIIO;CR;{RESET};{USER};{CONNECTOR})");
    let from_above = made(|patient| {
        let stamped = format!("(OD;CIID;CR;{RESET};{USER};{CONNECTOR})");
        with_aces(patient, "AI", "", &format!("{stamped}{inherited}"));
        patient.subject.containers[1].descriptor = Some(sd(&format!("D:AI{on_ou}{}", delegated("CIIO"))));
    });
    assert_eq!(from_above, [format!("OU=Staff -{on_ou}")]);
    let cannot_change = format!("(OD;;CR;{CHANGE};;WD)(OD;;CR;{CHANGE};;PS)");
    assert_eq!(
        made(|patient| with_aces(patient, "AI", &cannot_change, &inherited)),
        [format!("CN=ada -(OD;;CR;{CHANGE};;WD)"), format!("CN=ada -(OD;;CR;{CHANGE};;PS)")]
    );
}

#[test]
fn inheritance_comes_back_everywhere_between_and_a_former_administrator_s_trace_goes() {
    assert_eq!(made(|patient| with_aces(patient, "PAI", "", "")), ["CN=ada inherit"]);
    let former = made(|patient| {
        with_aces(patient, "PAI", "", "");
        patient.subject.user.admin_count = Some(1);
    });
    assert_eq!(former, ["CN=ada inherit", "CN=ada forget"]);
    let both = made(|patient| {
        with_aces(patient, "PAI", "", "");
        patient.subject.containers[0].descriptor = Some(sd("D:PAI"));
    });
    assert_eq!(both, ["CN=ada inherit", "OU=Sales inherit"]);
}

#[test]
fn of_two_objects_the_lower_one_is_changed_first() {
    let lines = made(|patient| {
        never_given(patient);
        let deny = format!("(OD;;WP;{PWD_LAST_SET};;{DOMAIN}-513)");
        let some = delegated("CIID").replace(RESET, CHANGE).replace(LOCKOUT, CHANGE);
        with_aces(patient, "AI", &deny, &some);
    });
    let [reset, unlock, _] = grants("OU=Sales");
    assert_eq!(lines, [format!("CN=ada -(OD;;WP;{PWD_LAST_SET};;{DOMAIN}-513)"), reset, unlock]);
}

#[test]
fn unexpire_is_given_at_the_domain_s_head_for_itself_alone() {
    let lines = made(|patient| patient.ground.domain_descriptor = Some(sd("D:AI(A;;RPLCRC;;;AU)")));
    assert_eq!(lines, [format!("DC=ad +(OA;;CR;ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501;;{CONNECTOR})")]);
}

fn refused(spoil: impl FnOnce(&mut Patient), setting: &Setting) -> Vec<Cause> {
    let plan = planned(spoil, setting, None).expect("a plan");
    assert_eq!(lines(&plan), Vec::<String>::new());
    assert!(plan.refused.iter().all(|refused| refused.why.ends_with('.')), "{plan:?}");
    plan.refused.iter().map(|refused| refused.cause).collect()
}

#[test]
fn what_is_not_the_least_or_not_proven_is_refused() {
    let none = Setting::default();
    let admin = |patient: &mut Patient| {
        never_given(patient);
        patient.subject.account.computed = Some(0x10);
        patient
            .subject
            .user
            .token_groups
            .iter_mut()
            .for_each(|groups| groups.push(sid(&format!("{DOMAIN}-512"))));
    };
    let causes = refused(admin, &none);
    assert!(
        causes.contains(&Cause::RightsProtectedObject) && causes.contains(&Cause::TargetLocked),
        "{causes:?}"
    );
    let broad = |patient: &mut Patient| with_aces(patient, "AI", "(D;;CR;;;WD)", &delegated("CIID"));
    let causes = refused(broad, &none);
    assert!(causes.contains(&Cause::RightsDenyAce), "{causes:?}");
    let unread = |patient: &mut Patient| patient.subject.descriptor = None;
    assert_eq!(refused(unread, &none), [Cause::RightsResetMissing]);
    let disabled = |patient: &mut Patient| patient.subject.account.control = Some(0x202);
    assert_eq!(refused(disabled, &none), [Cause::TargetDisabled]);
    let elsewhere = Setting {
        scope: Some(vec![Dn::parse("OU=Other,DC=ad,DC=example").expect("a DN")]),
        ..Setting::default()
    };
    let causes = refused(never_given, &elsewhere);
    assert!(causes.contains(&Cause::TargetOutOfScope) && causes.contains(&Cause::RightsResetMissing));
}

#[test]
fn what_the_connector_cannot_read_of_the_groups_the_account_that_mends_may() {
    let mut patient = healthy();
    with_aces(&mut patient, "PAI", "", "");
    let whole = patient.subject.user.clone();
    patient.subject.user.token_groups = None;
    let mut admin = whole.clone();
    admin.token_groups = Some(vec![sid(&format!("{DOMAIN}-512"))]);
    let examination = examined(patient);
    let name = UserName::parse("ada").expect("a name");
    let case = Case { name: &name, candidate: None, observed: None };
    let diagnosis = judge(&examination, &Setting::default(), &case, now());
    let planned = |seen| plan(&examination, &Setting::default(), &diagnosis, seen, None).expect("a plan");
    assert_eq!(lines(&planned(Some(&whole))), ["CN=ada inherit"]);
    for seen in [None, Some(&admin)] {
        let plan = planned(seen);
        assert_eq!(lines(&plan), Vec::<String>::new());
        assert!(plan.refused.iter().any(|refused| refused.cause == Cause::RightsInheritanceOff), "{plan:?}");
    }
}

#[test]
fn no_grant_is_more_than_one_right_and_none_is_for_an_object_of_the_system() {
    let plan = planned(never_given, &Setting::default(), None).expect("a plan");
    for mend in &plan.mends {
        for edit in &mend.edits {
            let Edit::Add(ace) = edit else { panic!("{edit:?}") };
            let rights = ace.rights().expect("rights");
            assert!(rights.object_type.is_some() && rights.mask.0.is_power_of_two(), "{ace:?}");
            assert_eq!(rights.sid, sid(CONNECTOR));
        }
    }
    let base = Dn::parse("DC=ad,DC=example").expect("a DN");
    for (place, forbidden) in [
        ("CN=AdminSDHolder,CN=System", true),
        ("CN=Administrators,CN=Builtin", true),
        ("CN=DC1,OU=Domain Controllers", true),
        ("CN=strict,CN=Password Settings Container,CN=System", false),
        ("OU=Staff", false),
    ] {
        let dn = Dn::parse(&format!("{place},{base}")).expect("a DN");
        assert_eq!(is_forbidden(&dn, &base), forbidden, "{place}");
    }
}
