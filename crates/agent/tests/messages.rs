//! The agent decides for itself: whatever a server with its own good keys asks, once and again.

use anyhow::{Context, Result};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_agent::{Agent, AgentKeys, AgentParts, Journal, MailConfig, Mailer, UnsealingKey};
use keyback_codes::Cause;
use keyback_core::job::Operation;
use keyback_core::keys::{SealingKey, SigningKey, VerifyingKey};
use keyback_core::message::{Body, Header, Reply, SUITE, VERSION, digest, seal};
use keyback_core::outcome::Outcome;
use keyback_core::{
    ChallengeId, Clock, CorrelationId, JobId, NewPassword, ObjectGuid, PlainCode, SystemClock, UserName, ids,
};
use keyback_testkit::lab::{Lab, Samba, TestUser};
use keyback_testkit::mail::MailSink;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// An agent on the lab, and a server's keys to talk to it with.
struct Talk {
    agent: Agent,
    sink: MailSink,
    server: SigningKey,
    sealing: SealingKey,
    agent_key: VerifyingKey,
    _folder: tempfile::TempDir,
}

impl Talk {
    async fn new(lab: &Lab) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let sink = MailSink::start("127.0.0.1:0".parse()?).await?;
        let (server, signing) = (SigningKey::from_seed(&[1; 32])?, SigningKey::from_seed(&[2; 32])?);
        let unsealing = UnsealingKey::from_bytes(&[3; 32]);
        let (sealing, agent_key) =
            (SealingKey::from_bytes(*unsealing.public_bytes())?, signing.verifying_key());
        let (name, password) = lab.connector();
        let dc: DcAddress = format!("ldaps://{}", lab.fqdn()).parse()?;
        let directory = Directory::new(DirectoryConfig {
            dcs: vec![dc.at(lab.ip())],
            ca_pem: std::fs::read(lab.ca_file())?,
            connector: Connector::new(name.to_owned(), Zeroizing::new(password.to_owned()))?,
            base: None,
            limits: Limits::default(),
        })?;
        let (staff, _) = directory.find_container(&format!("OU=Staff,{}", lab.base_dn())).await?;
        let agent = Agent::new(AgentParts {
            keys: AgentKeys::new(unsealing, signing, server.verifying_key())?,
            directory,
            connector: UserName::parse(name)?,
            scope: vec![staff],
            protected_groups: vec![],
            journal: Journal::open(&folder.path().join("journal"), SystemClock.now())?,
            mailer: Mailer::new(MailConfig {
                gateway: format!("smtp://{}", sink.address()),
                credentials: None,
                from: "help@example.org".to_owned(),
                organisation: "Test".to_owned(),
            })?,
            clock: Arc::new(SystemClock),
            write_limit: Limits::default().write,
        });
        Ok(Self { agent, sink, server, sealing, agent_key, _folder: folder })
    }

    fn header(&self, body: &Body, object_guid: Option<ObjectGuid>) -> Header {
        let now = SystemClock.now();
        Header {
            version: VERSION,
            suite: SUITE,
            kind: body.kind(),
            job_id: JobId::from_random(ids::random()),
            object_guid,
            source_anchor: None,
            operation: Operation::Reset,
            not_before: now,
            not_after: now.plus(Duration::from_mins(5)),
            correlation_id: CorrelationId::from_random(ids::random()),
            sender: self.server.verifying_key().id(),
            recipient: self.sealing.id(),
            head: None,
        }
    }

    fn message(&self, header: &Header, body: &Body) -> Result<Vec<u8>> {
        Ok(seal(header, body, &self.sealing, self.agent_key.id(), &self.server)?)
    }

    async fn send(&self, job_id: JobId, message: &[u8]) -> Result<Outcome> {
        let reply = self.agent.handle(message).await.context("no reply")?;
        Ok(Reply::parse(&reply, &self.agent_key, job_id, &digest(message))?.0.outcome)
    }

    async fn ask(&self, body: &Body, whom: Option<ObjectGuid>) -> Result<Outcome> {
        let header = self.header(body, whom);
        self.send(header.job_id, &self.message(&header, body)?).await
    }

    /// A challenge whose code was asked for, and typed.
    async fn prove(&self, user: &TestUser) -> Result<ChallengeId> {
        let asked = self.ask(&Body::AskCode { user: UserName::parse(&user.sam)? }, None).await?;
        let Outcome::CodeSent { challenge, person, .. } = asked else { anyhow::bail!("{asked:?}") };
        assert_eq!(person.object_guid, user.guid);
        let mail = self.sink.take(&user.mail, |mail| mail.code().is_some()).context("no mail")?;
        let code = PlainCode::parse(&mail.code().context("no code")?).context("no code")?;
        let checked = self.ask(&Body::CheckCode { challenge, code }, None).await?;
        assert!(matches!(checked, Outcome::CodeAccepted { .. }), "{checked:?}");
        Ok(challenge)
    }
}

fn new(text: &str) -> Result<NewPassword> {
    Ok(NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec()))?)
}

fn cause(outcome: &Outcome) -> Option<Cause> {
    match outcome {
        Outcome::Refused(failure) | Outcome::Retry(failure) | Outcome::Unknown(failure) => {
            Some(failure.cause)
        }
        Outcome::Done(_) | Outcome::CodeSent { .. } | Outcome::CodeAccepted { .. } => None,
    }
}

/// Fault: a message is delivered a hundred times => one change
#[tokio::test(flavor = "multi_thread")]
async fn a_message_repeated_a_hundred_times_changes_the_password_once() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let talk = Talk::new(&lab).await?;
        let user = lab.add_user("rep")?;
        let before = lab.key_version(&user)?;
        let body = Body::Reset { challenge: talk.prove(&user).await?, new: new("Repeat-Pass-1!")? };
        let header = talk.header(&body, Some(user.guid));
        let message = talk.message(&header, &body)?;
        let first = talk.send(header.job_id, &message).await?;
        assert!(matches!(first, Outcome::Done(_)), "{first:?}");
        for _ in 0..100 {
            assert_eq!(talk.send(header.job_id, &message).await?, first);
        }
        assert_eq!(lab.key_version(&user)?, before + 1);
        // A proof is worth one change: another job that rests on it is refused.
        let again = Body::Reset { challenge: header_challenge(&body), new: new("Repeat-Pass-2!")? };
        assert_eq!(cause(&talk.ask(&again, Some(user.guid)).await?), Some(Cause::ProofExpired));
    }
    Ok(())
}

fn header_challenge(body: &Body) -> ChallengeId {
    match body {
        Body::Reset { challenge, .. }
        | Body::Change { challenge, .. }
        | Body::Unlock { challenge }
        | Body::CheckCode { challenge, .. } => *challenge,
        Body::AskCode { .. } => ChallengeId::from_random([0; 16]),
    }
}

/// Fault: the server is taken over and asks with its own good keys => nothing is written without a proof of that very user
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_good_keys_gets_nothing_written_without_a_proof_of_that_very_user() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let talk = Talk::new(&lab).await?;
    let (user, other) = (lab.add_user("idle")?, lab.add_user("other")?);
    let before = lab.key_version(&user)?;
    let proof_of_other = talk.prove(&other).await?;
    for challenge in [ChallengeId::from_random(ids::random()), proof_of_other] {
        let body = Body::Reset { challenge, new: new("Stolen-Pass-1!")? };
        assert_eq!(cause(&talk.ask(&body, Some(user.guid)).await?), Some(Cause::ProofExpired));
    }
    // A code that was asked for and not typed proves nothing.
    let asked = talk.ask(&Body::AskCode { user: UserName::parse(&user.sam)? }, None).await?;
    let Outcome::CodeSent { challenge, .. } = asked else { anyhow::bail!("{asked:?}") };
    let body = Body::Reset { challenge, new: new("Stolen-Pass-1!")? };
    assert_eq!(cause(&talk.ask(&body, Some(user.guid)).await?), Some(Cause::ProofExpired));
    // Nor does a proof for a reset allow an unlock.
    let unlock = Body::Unlock { challenge: proof_of_other };
    let header = Header { operation: Operation::Unlock, ..talk.header(&unlock, Some(other.guid)) };
    let answer = talk.send(header.job_id, &talk.message(&header, &unlock)?).await?;
    assert_eq!(cause(&answer), Some(Cause::ProofExpired));
    assert_eq!(lab.key_version(&user)?, before);
    Ok(())
}

/// Fault: codes are guessed => five tries end the challenge
#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_codes_end_a_challenge_and_the_right_one_comes_too_late() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let talk = Talk::new(&lab).await?;
    let user = lab.add_user("guess")?;
    let asked = talk.ask(&Body::AskCode { user: UserName::parse(&user.sam)? }, None).await?;
    let Outcome::CodeSent { challenge, .. } = asked else { anyhow::bail!("{asked:?}") };
    let right = talk
        .sink
        .take(&user.mail, |mail| mail.code().is_some())
        .and_then(|mail| mail.code())
        .context("code")?;
    let wrong = if right == "00000000" { "11111111" } else { "00000000" };
    for _ in 0..5 {
        let code = PlainCode::parse(wrong).context("code")?;
        let answer = talk.ask(&Body::CheckCode { challenge, code }, None).await?;
        assert_eq!(cause(&answer), Some(Cause::ProofWrongCode));
    }
    let code = PlainCode::parse(&right).context("code")?;
    let answer = talk.ask(&Body::CheckCode { challenge, code }, None).await?;
    assert_eq!(cause(&answer), Some(Cause::ProofTooMany));
    Ok(())
}

/// Fault: messages are forged, altered or too old => refused, the refusal bound to those very bytes
#[tokio::test(flavor = "multi_thread")]
async fn forged_altered_and_stale_messages_are_refused() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut talk = Talk::new(&lab).await?;
    let body = Body::AskCode { user: UserName::parse("ada")? };
    let header = talk.header(&body, None);
    let stale = Header { not_before: header.not_before.plus(Duration::from_mins(1)), ..header.clone() };
    let message = talk.message(&stale, &body)?;
    assert_eq!(cause(&talk.send(stale.job_id, &message).await?), Some(Cause::MessageRefused));
    let mut altered = talk.message(&header, &body)?;
    let last = altered.len() - 100;
    altered[last] ^= 1;
    assert_eq!(cause(&talk.send(header.job_id, &altered).await?), Some(Cause::MessageRefused));
    assert_eq!(talk.agent.handle(b"not a message").await, None);
    talk.server = SigningKey::from_seed(&[9; 32])?;
    let forged = talk.message(&header, &body)?;
    assert_eq!(cause(&talk.send(header.job_id, &forged).await?), Some(Cause::MessageRefused));
    assert!(talk.sink.mails().is_empty());
    Ok(())
}
