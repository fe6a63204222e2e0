//! Turns: when each of several agents has a job.

use super::AgentPin;
use keyback_core::Timestamp;
use keyback_core::job::JobState;
use keyback_core::message::{self, Header};
use keyback_core::turn::{self, Earlier, Turn};
use keyback_store::Job;
use std::time::Duration;

/// The header of the copy that is offered next.
pub(super) fn next_offer(job: &Job, now: Timestamp) -> Option<Header> {
    let attempt = match job.state {
        JobState::Queued { attempt, .. } | JobState::Doubtful { attempt, .. } => attempt.saturating_add(1),
        JobState::Running { .. }
        | JobState::Succeeded { .. }
        | JobState::Refused { .. }
        | JobState::Exhausted { .. } => return None,
    };
    message::peek_header(turn::copy_for(job.message.as_deref()?, attempt, now)?)
}

/// One header for each agent. Where an agent vouches for the proof, each has a time of its own, and the last one all that
/// is left: who began late must not meet who looks whether it began.
pub(super) fn headers(
    whole: &Header,
    to: &[AgentPin],
    longest: Duration,
    voucher: Option<&String>,
) -> Vec<Header> {
    let count = u32::try_from(to.len()).unwrap_or(u32::MAX).max(1);
    let length = longest.min(whole.not_after.since(whole.not_before) / count);
    let mut earlier = Vec::new();
    let mut not_before = whole.not_before;
    let headers = to.iter().enumerate().map(|(number, pin)| {
        let last = number + 1 == to.len();
        let mut header = Header { recipient: pin.sealing.id(), ..whole.clone() };
        let Some(voucher) = voucher.filter(|_| count > 1) else { return header };
        header.not_before = not_before;
        if !last {
            header.not_after = not_before.plus(length);
        }
        header.turn = Some(Turn { earlier: earlier.clone(), last, voucher: voucher.clone() });
        earlier.push(Earlier { agent: pin.verifying.id(), until: header.not_after });
        not_before = header.not_after;
        header
    });
    headers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::seal::tests::pin;
    use keyback_core::job::{Kind, Operation};
    use keyback_core::{CorrelationId, JobId};

    #[test]
    fn each_agent_has_its_turn_after_the_other_and_the_last_one_what_is_left() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let whole = Header {
            version: message::VERSION,
            suite: message::SUITE,
            kind: Kind::Reset,
            job_id: JobId::from_random([1; 16]),
            object_guid: None,
            source_anchor: None,
            operation: Operation::Reset,
            not_before: at(0),
            not_after: at(300),
            correlation_id: CorrelationId::from_random([2; 16]),
            sender: pin(9).verifying.id(),
            recipient: pin(1).sealing.id(),
            head: None,
            turn: None,
        };
        let pins = [pin(1), pin(2), pin(3)];
        let minute = Duration::from_mins(1);
        let turns = headers(&whole, &pins, minute, Some(&"voucher".to_owned()));
        let times: Vec<_> = turns.iter().map(|header| (header.not_before, header.not_after)).collect();
        assert_eq!(times, [(at(0), at(60)), (at(60), at(120)), (at(120), at(300))]);
        let turn = turns[2].turn.clone().unwrap();
        let earlier: Vec<_> = turn.earlier.iter().map(|earlier| (earlier.agent, earlier.until)).collect();
        assert_eq!(earlier, [(pins[0].verifying.id(), at(60)), (pins[1].verifying.id(), at(120))]);
        assert!(turn.last && !turns[1].turn.as_ref().unwrap().last);
        assert!(turns.iter().zip(&pins).all(|(header, pin)| header.recipient == pin.sealing.id()));
        // A deadline that is near is shared out; without a voucher, or alone, nobody has a turn.
        let near =
            headers(&Header { not_after: at(30), ..whole.clone() }, &pins, minute, Some(&String::new()));
        assert_eq!((near[1].not_before, near[2].not_after), (at(10), at(30)));
        assert!(headers(&whole, &pins, minute, None).iter().all(|header| header.turn.is_none()));
        assert_eq!(headers(&whole, &pins[..1], minute, Some(&String::new())), std::slice::from_ref(&whole));
    }
}
