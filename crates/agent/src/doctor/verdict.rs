//! Which fault is named first.
//!
//! Confirmed before unknown before possible; what explains the answer that was seen before what does not; then in the
//! order in which faults are mended. A fault that another one explains is not a second fault.

use super::Observed;
use super::finding::Finding;
use keyback_codes::Cause;
use keyback_core::diagnosis::{Diagnosis, State, Verdict};
use keyback_core::{Failure, ServerReply};
use std::collections::BTreeSet;

/// So many facts are written beside a failure; the diagnosis has them all.
const LONGEST_PROOF: usize = 8;

/// The verdicts in order, and what is excluded.
pub(super) fn decide(
    findings: Vec<Finding>,
    excluded: &[Cause],
    observed: Option<&Observed>,
) -> (Vec<Verdict>, Vec<Cause>) {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|known| known.cause == finding.cause && known.fix == finding.fix) {
            Some(known) => merge(known, finding),
            None => merged.push(finding),
        }
    }
    let explained = |finding: &Finding| {
        merged.iter().any(|other| {
            let precise = other.state <= finding.state && replaces(other.cause).contains(&finding.cause);
            precise || hides(other, finding)
        })
    };
    let keep: Vec<bool> = merged.iter().map(|finding| !explained(finding)).collect();
    let mut keep = keep.into_iter();
    merged.retain(|_| keep.next().unwrap_or(true));
    // Stable: what the probes say first stays first among equals.
    merged.sort_by_key(|finding| {
        let explains = observed.is_some_and(|observed| explains(finding.cause, observed));
        (finding.state, !explains, place(finding.cause))
    });
    let accused: BTreeSet<Cause> = merged.iter().map(|finding| finding.cause).collect();
    let mut ruled_out: BTreeSet<Cause> = excluded.iter().copied().collect();
    ruled_out.extend(merged.iter().flat_map(|finding| &finding.rules_out));
    let ruled_out = ruled_out.difference(&accused).copied().collect();
    (merged.into_iter().map(Verdict::from).collect(), ruled_out)
}

/// The same fault, seen by two probes.
fn merge(known: &mut Finding, other: Finding) {
    known.state = known.state.min(other.state);
    for id in other.because {
        if !known.because.contains(&id) {
            known.because.push(id);
        }
    }
    known.rules_out.extend(other.rules_out);
}

/// The right to read is often delegated beside the right to reset, and cut off with it: what could not be read then is no
/// fault of its own.
fn hides(other: &Finding, finding: &Finding) -> bool {
    other.cause == Cause::RightsInheritanceOff
        && other.state == State::Confirmed
        && finding.cause == Cause::RightsProtectedObject
        && finding.state != State::Confirmed
}

/// What a cause explains: the same symptom, less precisely named.
const fn replaces(cause: Cause) -> &'static [Cause] {
    use Cause::{
        ConnectorBindFailed, DcUnreachable, PolicyFilterOrUnknown, PolicyHistory, RightsCannotChange,
        RightsDenyAce, RightsInheritanceOff, RightsPwdLastSetMissing, RightsResetMissing,
        RightsUnlockAttributeMissing, TargetNotFound,
    };
    match cause {
        // keyback leaves these alone whatever the DACL says, so what the DACL lacks mends nothing.
        Cause::RightsProtectedObject => &[
            RightsDenyAce,
            RightsInheritanceOff,
            RightsResetMissing,
            RightsUnlockAttributeMissing,
            RightsPwdLastSetMissing,
            RightsCannotChange,
        ],
        Cause::TargetDeleted => &[TargetNotFound],
        Cause::ConnectorDisabled | Cause::ConnectorLocked | Cause::ConnectorPasswordExpired => {
            &[ConnectorBindFailed]
        }
        Cause::PolicyLength
        | Cause::PolicyComplexity
        | Cause::PolicyContainsName
        | Cause::PolicyMinAge
        | Cause::PolicyPsoUnreadable => &[PolicyHistory, PolicyFilterOrUnknown],
        Cause::PolicyHistory => &[PolicyFilterOrUnknown],
        Cause::DcNameResolution | Cause::DcTlsUntrusted | Cause::DcTlsExpired | Cause::DcTlsNameMismatch => {
            &[DcUnreachable]
        }
        Cause::RightsResetMissing
        | Cause::RightsDenyAce
        | Cause::RightsInheritanceOff
        | Cause::RightsUnlockAttributeMissing
        | Cause::RightsPwdLastSetMissing
        | Cause::RightsCannotChange
        | Cause::PolicyFilterOrUnknown
        | Cause::PolicyHintsUnsupported
        | Cause::PolicyBanned
        | Cause::PolicyBreached
        | Cause::TargetDisabled
        | Cause::TargetLocked
        | Cause::TargetExpired
        | Cause::TargetNotFound
        | Cause::TargetOutOfScope
        | Cause::TargetDuplicateAnchor
        | Cause::TargetDuplicateProxyAddress
        | Cause::TargetDuplicateUpn
        | Cause::TargetReservedCharacters
        | Cause::ConnectorBindFailed
        | Cause::DcUnreachable
        | Cause::DcClockSkew
        | Cause::DcReadOnly
        | Cause::DcBusy
        | Cause::AgentOffline
        | Cause::AgentHeartbeatStale
        | Cause::AgentCapUser
        | Cause::AgentListsUnreadable
        | Cause::AgentCapAgent
        | Cause::AgentCapOu
        | Cause::AgentStopped
        | Cause::AgentQuarantined
        | Cause::AgentUnasked
        | Cause::KeyEnrolment
        | Cause::RelayUnreachable
        | Cause::WritebackDisabled
        | Cause::SyncStopped
        | Cause::SyncError
        | Cause::SyncStale
        | Cause::TargetWrongPassword
        | Cause::TargetNoMail
        | Cause::TargetOutrun
        | Cause::OutcomeUnknown
        | Cause::InputPassword
        | Cause::InputName
        | Cause::InputForm
        | Cause::ProofWrongCode
        | Cause::ProofExpired
        | Cause::ProofTooMany
        | Cause::ProofCodeUsed
        | Cause::ProofClockOff
        | Cause::ProofMethodFrozen
        | Cause::ProofWayNotAllowed
        | Cause::ProofPasswordTries
        | Cause::MailUnreachable
        | Cause::MessageRefused
        | Cause::ServerBusy
        | Cause::StoreUnavailable
        | Cause::JournalUnavailable
        | Cause::ConfigInvalid
        | Cause::ProtocolError
        | Cause::Unspecified => &[],
    }
}

/// The order of mending: what must work before the next can be tried.
const fn place(cause: Cause) -> u8 {
    match cause {
        Cause::DcNameResolution => 0,
        Cause::DcUnreachable | Cause::ProtocolError => 1,
        Cause::DcTlsExpired | Cause::DcTlsNameMismatch | Cause::DcTlsUntrusted => 2,
        Cause::DcBusy | Cause::DcClockSkew | Cause::DcReadOnly => 3,
        Cause::ConnectorDisabled
        | Cause::ConnectorLocked
        | Cause::ConnectorPasswordExpired
        | Cause::ConnectorBindFailed => 4,
        Cause::AgentOffline
        | Cause::AgentHeartbeatStale
        | Cause::AgentStopped
        | Cause::AgentQuarantined
        | Cause::AgentUnasked
        | Cause::KeyEnrolment
        | Cause::RelayUnreachable => 5,
        Cause::WritebackDisabled | Cause::SyncStopped | Cause::SyncError | Cause::SyncStale => 6,
        Cause::TargetDeleted | Cause::TargetNotFound => 10,
        Cause::TargetDuplicateUpn => 11,
        Cause::TargetDuplicateAnchor | Cause::TargetDuplicateProxyAddress => 12,
        Cause::TargetReservedCharacters => 13,
        Cause::TargetOutOfScope => 14,
        Cause::TargetNoMail => 15,
        Cause::RightsProtectedObject => 20,
        Cause::RightsInheritanceOff => 21,
        Cause::RightsDenyAce => 22,
        Cause::RightsResetMissing => 23,
        Cause::RightsUnlockAttributeMissing => 24,
        Cause::RightsPwdLastSetMissing => 25,
        Cause::RightsCannotChange => 26,
        Cause::TargetDisabled => 30,
        Cause::TargetExpired => 31,
        Cause::TargetLocked => 32,
        Cause::PolicyPsoUnreadable => 40,
        Cause::PolicyMinAge => 41,
        Cause::PolicyLength => 42,
        Cause::PolicyComplexity => 43,
        Cause::PolicyContainsName => 44,
        Cause::PolicyHistory => 45,
        Cause::PolicyBanned | Cause::PolicyBreached => 46,
        Cause::PolicyFilterOrUnknown | Cause::PolicyHintsUnsupported => 47,
        Cause::TargetWrongPassword
        | Cause::TargetOutrun
        | Cause::OutcomeUnknown
        | Cause::InputPassword
        | Cause::InputName
        | Cause::InputForm
        | Cause::ProofWrongCode
        | Cause::ProofExpired
        | Cause::ProofTooMany
        | Cause::ProofCodeUsed
        | Cause::ProofClockOff
        | Cause::ProofMethodFrozen
        | Cause::ProofWayNotAllowed
        | Cause::ProofPasswordTries
        | Cause::MailUnreachable
        | Cause::MessageRefused
        | Cause::ServerBusy
        | Cause::StoreUnavailable
        | Cause::JournalUnavailable
        | Cause::ConfigInvalid
        | Cause::AgentCapUser
        | Cause::AgentCapAgent
        | Cause::AgentCapOu
        | Cause::AgentListsUnreadable
        | Cause::Unspecified => 50,
    }
}

/// Which family of causes an answer belongs to, by codes alone: a Windows domain controller says no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symptom {
    NoRight,
    Rule,
    Locked,
    Gone,
    Elsewhere,
    SignIn,
    Busy,
    Other,
}

/// Reference: LDAP results and sub-codes of a refused password operation, on Windows and both Sambas.
const fn symptom(reply: &ServerReply) -> Symptom {
    match (reply.result, reply.win32) {
        (_, Some(0x52d)) => Symptom::Rule,
        (_, Some(0x775)) => Symptom::Locked,
        // 19: a change without the right to it, 0000202F on Windows, no sub-code on Samba.
        (50, _) | (_, Some(0x5 | 0x2098)) | (19, Some(0x202f) | None) => Symptom::NoRight,
        (32, _) => Symptom::Gone,
        (10, _) => Symptom::Elsewhere,
        (49, _) => Symptom::SignIn,
        (51 | 52, _) => Symptom::Busy,
        _ => Symptom::Other,
    }
}

/// Whether this cause makes a domain controller answer so.
fn explains(cause: Cause, observed: &Observed) -> bool {
    if observed.cause == Some(cause) {
        return true;
    }
    let family = cause.id().split_once('.').map_or("", |(family, _)| family);
    match symptom(&observed.reply) {
        Symptom::NoRight => family == "rights" || cause == Cause::TargetNotFound,
        Symptom::Rule => family == "policy",
        Symptom::Locked => cause == Cause::TargetLocked,
        Symptom::Gone => matches!(cause, Cause::TargetDeleted | Cause::TargetNotFound),
        Symptom::Elsewhere => cause == Cause::DcReadOnly,
        Symptom::SignIn => family == "connector",
        Symptom::Busy => cause == Cause::DcBusy,
        Symptom::Other => false,
    }
}

/// A failure with the cause that doctor has proved, where the answer that was seen leaves several open, and with what
/// proves it.
pub(crate) fn refine(mut failure: Failure, observed: Option<&Observed>, diagnosis: &Diagnosis) -> Failure {
    let Some(verdict) = diagnosis.verdicts.first().filter(|verdict| verdict.state == State::Confirmed) else {
        return failure;
    };
    let leaves_open =
        observed.is_some_and(|observed| observed.cause.is_none() && explains(verdict.cause, observed));
    if leaves_open || replaces(verdict.cause).contains(&failure.cause) {
        failure.cause = verdict.cause;
        failure.code = verdict.code;
    }
    if failure.cause == verdict.cause {
        let facts = verdict.because.iter().filter_map(|id| diagnosis.observation(id));
        let facts = facts.flat_map(|seen| &seen.facts).take(LONGEST_PROOF);
        for fact in facts {
            if !failure.evidence.contains(fact) {
                failure.evidence.push(fact.clone());
            }
        }
    }
    failure
}

/// Whether the answer says that a rule about passwords was broken.
pub(super) fn is_about_a_rule(observed: &Observed) -> bool {
    symptom(&observed.reply) == Symptom::Rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyback_core::job::Operation;

    fn found(cause: Cause, state: State) -> Finding {
        Finding::new(cause, state, "It is so.", &["x"])
    }

    fn refused(result: u32, win32: Option<u32>) -> Observed {
        let reply = ServerReply { result, win32, bind_data: None, text: String::new() };
        Observed { operation: Operation::Reset, reply, cause: None }
    }

    fn order(findings: &[(Cause, State)], observed: Option<&Observed>) -> Vec<Cause> {
        let findings = findings.iter().map(|(cause, state)| found(*cause, *state)).collect();
        decide(findings, &[], observed).0.into_iter().map(|verdict| verdict.cause).collect()
    }

    #[test]
    fn faults_are_named_by_certainty_then_by_the_answer_seen_then_in_the_order_of_mending() {
        use Cause::*;
        use State::{Confirmed, Possible, Unknown};
        let rule = refused(53, Some(0x52d));
        let right = refused(50, None);
        let locked = refused(19, Some(0x775));
        for (findings, observed, expected) in [
            (
                vec![(PolicyLength, Confirmed), (RightsResetMissing, Confirmed)],
                None,
                vec![RightsResetMissing, PolicyLength],
            ),
            (
                vec![(TargetLocked, Confirmed), (RightsDenyAce, Confirmed)],
                None,
                vec![RightsDenyAce, TargetLocked],
            ),
            (
                vec![(TargetDisabled, Confirmed), (PolicyMinAge, Confirmed)],
                None,
                vec![TargetDisabled, PolicyMinAge],
            ),
            (
                vec![(RightsResetMissing, Confirmed), (RightsInheritanceOff, Confirmed)],
                None,
                vec![RightsInheritanceOff, RightsResetMissing],
            ),
            (
                vec![(TargetExpired, Confirmed), (DcClockSkew, Confirmed)],
                None,
                vec![DcClockSkew, TargetExpired],
            ),
            (
                vec![(RightsDenyAce, Confirmed), (TargetOutOfScope, Confirmed)],
                None,
                vec![TargetOutOfScope, RightsDenyAce],
            ),
            (
                vec![(ConnectorPasswordExpired, Confirmed), (DcReadOnly, Confirmed)],
                None,
                vec![DcReadOnly, ConnectorPasswordExpired],
            ),
            (
                vec![(RightsResetMissing, Unknown), (PolicyLength, Confirmed)],
                None,
                vec![PolicyLength, RightsResetMissing],
            ),
            (
                vec![(PolicyContainsName, Possible), (RightsDenyAce, Unknown)],
                None,
                vec![RightsDenyAce, PolicyContainsName],
            ),
            (
                vec![(TargetLocked, Confirmed), (PolicyLength, Confirmed)],
                Some(&rule),
                vec![PolicyLength, TargetLocked],
            ),
            (
                vec![(TargetLocked, Confirmed), (RightsResetMissing, Confirmed)],
                Some(&right),
                vec![RightsResetMissing, TargetLocked],
            ),
            (
                vec![(RightsCannotChange, Confirmed), (TargetLocked, Confirmed)],
                Some(&locked),
                vec![TargetLocked, RightsCannotChange],
            ),
            (
                vec![(RightsProtectedObject, Confirmed), (PolicyLength, Confirmed)],
                None,
                vec![RightsProtectedObject, PolicyLength],
            ),
        ] {
            assert_eq!(order(&findings, observed), expected);
        }
    }

    #[test]
    fn what_is_explained_is_no_second_fault_unless_the_explanation_is_less_sure() {
        use Cause::*;
        use State::{Confirmed, Unknown};
        for (findings, expected) in [
            (
                vec![
                    (RightsProtectedObject, Confirmed),
                    (RightsResetMissing, Confirmed),
                    (RightsInheritanceOff, Confirmed),
                ],
                vec![RightsProtectedObject],
            ),
            (
                vec![(RightsProtectedObject, Unknown), (RightsResetMissing, Confirmed)],
                vec![RightsResetMissing, RightsProtectedObject],
            ),
            (vec![(TargetNotFound, Confirmed), (TargetDeleted, Confirmed)], vec![TargetDeleted]),
            (vec![(PolicyFilterOrUnknown, Confirmed), (PolicyComplexity, Confirmed)], vec![PolicyComplexity]),
            (vec![(DcUnreachable, Confirmed), (DcTlsExpired, Confirmed)], vec![DcTlsExpired]),
        ] {
            assert_eq!(order(&findings, None), expected);
        }
    }

    #[test]
    fn the_same_fault_seen_twice_is_one_with_both_proofs() {
        let mut other = found(Cause::RightsDenyAce, State::Confirmed);
        other.because = vec!["y".to_owned()];
        let (verdicts, _) = decide(vec![found(Cause::RightsDenyAce, State::Unknown), other], &[], None);
        assert_eq!(verdicts.len(), 1);
        assert_eq!(verdicts[0].state, State::Confirmed);
        assert_eq!(verdicts[0].because, ["x", "y"]);
    }

    #[test]
    fn what_is_accused_is_never_ruled_out() {
        let mut finding = found(Cause::RightsDenyAce, State::Confirmed);
        finding.rules_out = vec![Cause::RightsResetMissing];
        let (_, ruled_out) = decide(vec![finding], &[Cause::RightsDenyAce, Cause::TargetLocked], None);
        assert_eq!(ruled_out, [Cause::RightsResetMissing, Cause::TargetLocked]);
    }
}
