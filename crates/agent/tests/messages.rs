//! The agent decides for itself: whatever a server with its own good keys asks, once and again.

use anyhow::{Context, Result};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_agent::passwords::{Blocklist, Breached};
use keyback_agent::{
    Agent, AgentKeys, AgentParts, Caps, Journal, MailConfig, Mailer, PasswordFilter, ProofPolicy,
    UnsealingKey, Vault,
};
use keyback_codes::Cause;
use keyback_core::heartbeat::{ASK_IS_GOOD, AgentState, Ask, Bytes32, Head, Heartbeat};
use keyback_core::job::Operation;
use keyback_core::keys::{SealingKey, SigningKey, VerifyingKey};
use keyback_core::message::{Body, Header, Reply, SUITE, VERSION, digest, seal};
use keyback_core::outcome::Outcome;
use keyback_core::turn::{Earlier, Turn, Voucher};
use keyback_core::{
    ChallengeId, Clock, CorrelationId, JobId, NewPassword, ObjectGuid, PasswordRules, PlainCode, SystemClock,
    TypedCode, UserName, ids,
};
use keyback_testkit::lab::{Lab, Samba, TestUser};
use keyback_testkit::mail::MailSink;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

fn directory(lab: &Lab) -> Result<Directory> {
    let (name, password) = lab.connector();
    let dc: DcAddress = format!("ldaps://{}", lab.fqdn()).parse()?;
    Ok(Directory::new(DirectoryConfig {
        dcs: vec![dc.at(lab.ip())],
        ca_pem: std::fs::read(lab.ca_file())?,
        connector: Connector::new(name.to_owned(), Zeroizing::new(password.to_owned()))?,
        base: None,
        limits: Limits::default(),
    })?)
}

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
        Self::with(lab, &format!("OU=Staff,{}", lab.base_dn()), Caps::default()).await
    }

    async fn with(lab: &Lab, scope: &str, caps: Caps) -> Result<Self> {
        let talk = Self::unasked(lab, scope, caps).await?;
        talk.beat(vec![]).await?;
        Ok(talk)
    }

    /// An agent that does not write every password.
    async fn judging(lab: &Lab, passwords: PasswordFilter) -> Result<Self> {
        let scope = format!("OU=Staff,{}", lab.base_dn());
        let talk = Self::made(lab, &scope, Caps::default(), passwords).await?;
        talk.beat(vec![]).await?;
        Ok(talk)
    }

    /// The server has not asked the agent for its state yet.
    async fn unasked(lab: &Lab, scope: &str, caps: Caps) -> Result<Self> {
        Self::made(lab, scope, caps, PasswordFilter::default()).await
    }

    async fn made(lab: &Lab, scope: &str, caps: Caps, passwords: PasswordFilter) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let sink = MailSink::start("127.0.0.1:0".parse()?).await?;
        let (server, signing) = (SigningKey::from_seed(&[1; 32])?, SigningKey::from_seed(&[2; 32])?);
        let unsealing = UnsealingKey::from_bytes(&[3; 32]);
        let (sealing, agent_key) =
            (SealingKey::from_bytes(*unsealing.public_bytes())?, signing.verifying_key());
        let directory = directory(lab)?;
        let (staff, _) = directory.find_container(scope).await?;
        let keys = AgentKeys::new(unsealing, signing, server.verifying_key())?;
        let keys = keys.beside(vec![peer().verifying_key()]);
        let parts = AgentParts {
            directory,
            connector: UserName::parse(lab.connector().0)?,
            scope: vec![staff],
            protected_groups: vec![],
            journal: Journal::open(&folder.path().join("journal"), SystemClock.now())?,
            passwords,
            proof: ProofPolicy::default(),
            vault: Vault::new([&[9; 32]]),
            mailer: Mailer::new(MailConfig {
                gateway: format!("smtp://{}", sink.address()),
                credentials: None,
                from: "help@example.org".to_owned(),
                organisation: "Test".to_owned(),
            })?,
            caps,
            clock: Arc::new(SystemClock),
            write_limit: Limits::default().write,
        };
        Ok(Self { agent: Agent::new(parts, keys), sink, server, sealing, agent_key, _folder: folder })
    }

    /// Asks after the agent's state, as the server that has seen these heads.
    async fn beat(&self, seen: Vec<Head>) -> Result<Heartbeat> {
        let now = SystemClock.now();
        let ask = Ask {
            version: VERSION,
            nonce: Bytes32(ids::random()),
            not_before: now,
            not_after: now.plus(ASK_IS_GOOD),
            sender: self.server.verifying_key().id(),
            recipient: self.sealing.id(),
            seen,
            successor: None,
        };
        let ask = ask.sign(&self.server);
        let answer = self.agent.handle(&ask).await.context("no heartbeat")?;
        Ok(Heartbeat::parse(&answer, &self.agent_key, &ask)?)
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
            turn: None,
        }
    }

    fn message(&self, header: &Header, body: &Body) -> Result<Vec<u8>> {
        Ok(seal(header, body, &self.sealing, self.agent_key.id(), &self.server)?)
    }

    async fn send(&self, job_id: JobId, message: &[u8]) -> Result<Outcome> {
        Ok(self.reply(job_id, message).await?.outcome)
    }

    async fn reply(&self, job_id: JobId, message: &[u8]) -> Result<Reply> {
        let reply = self.agent.handle(message).await.context("no reply")?;
        Ok(Reply::parse(&reply, &self.agent_key, job_id, &digest(message))?.0)
    }

    async fn ask(&self, body: &Body, whom: Option<ObjectGuid>) -> Result<Outcome> {
        let header = self.header(body, whom);
        self.send(header.job_id, &self.message(&header, body)?).await
    }

    /// A challenge whose code was asked for, and typed.
    async fn prove(&self, user: &TestUser) -> Result<ChallengeId> {
        Ok(self.accepted(user, Operation::Reset).await?.0)
    }

    /// The same for this operation, with the rules for the next password.
    async fn accepted(
        &self,
        user: &TestUser,
        operation: Operation,
    ) -> Result<(ChallengeId, Option<PasswordRules>)> {
        let ask = async |body: Body| {
            let header = Header { operation, ..self.header(&body, None) };
            self.send(header.job_id, &self.message(&header, &body)?).await
        };
        let asked = ask(Body::AskCode { user: UserName::parse(&user.sam)?, held: false }).await?;
        let Outcome::CodeSent { challenge, person, .. } = asked else { anyhow::bail!("{asked:?}") };
        assert_eq!(person.object_guid, user.guid);
        let mail = self.sink.take(&user.mail, |mail| mail.code().is_some()).context("no mail")?;
        let code = PlainCode::parse(&mail.code().context("no code")?).context("no code")?;
        let checked =
            ask(Body::CheckCode { challenge, code: TypedCode::Mailed(code), methods: None }).await?;
        let Outcome::CodeAccepted { rules, .. } = checked else { anyhow::bail!("{checked:?}") };
        Ok((challenge, rules))
    }
}

/// Of another agent, which this one has pinned.
fn peer() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).expect("a seed")
}

fn new(text: &str) -> Result<NewPassword> {
    Ok(NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec()))?)
}

fn cause(outcome: &Outcome) -> Option<Cause> {
    match outcome {
        Outcome::Refused(failure) | Outcome::Retry(failure) | Outcome::Unknown(failure) => {
            Some(failure.cause)
        }
        Outcome::Done(_)
        | Outcome::CodeSent { .. }
        | Outcome::CodeAccepted { .. }
        | Outcome::MoreProof { .. }
        | Outcome::SignedIn { .. }
        | Outcome::Kept { .. }
        | Outcome::Tested { .. }
        | Outcome::Removed { .. } => None,
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
        | Body::CheckCode { challenge, .. }
        | Body::CheckPassword { challenge, .. }
        | Body::AddTotp { challenge, .. }
        | Body::AddRecovery { challenge, .. }
        | Body::TestMethod { challenge, .. }
        | Body::RemoveMethod { challenge, .. } => *challenge,
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
    let asked = talk.ask(&Body::AskCode { user: UserName::parse(&user.sam)?, held: false }, None).await?;
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
    let asked = talk.ask(&Body::AskCode { user: UserName::parse(&user.sam)?, held: false }, None).await?;
    let Outcome::CodeSent { challenge, .. } = asked else { anyhow::bail!("{asked:?}") };
    let right = talk
        .sink
        .take(&user.mail, |mail| mail.code().is_some())
        .and_then(|mail| mail.code())
        .context("code")?;
    let wrong = if right == "00000000" { "11111111" } else { "00000000" };
    for _ in 0..5 {
        let code = PlainCode::parse(wrong).context("code")?;
        let answer = talk
            .ask(&Body::CheckCode { challenge, code: TypedCode::Mailed(code), methods: None }, None)
            .await?;
        assert_eq!(cause(&answer), Some(Cause::ProofWrongCode));
    }
    let code = PlainCode::parse(&right).context("code")?;
    let answer =
        talk.ask(&Body::CheckCode { challenge, code: TypedCode::Mailed(code), methods: None }, None).await?;
    assert_eq!(cause(&answer), Some(Cause::ProofTooMany));
    Ok(())
}

/// Fault: messages are forged, altered or too old => refused, the refusal bound to those very bytes
#[tokio::test(flavor = "multi_thread")]
async fn forged_altered_and_stale_messages_are_refused() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut talk = Talk::new(&lab).await?;
    let body = Body::AskCode { user: UserName::parse("ada")?, held: false };
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

/// Fault: the target is a member of a protected group, or carries AdminSDHolder's DACL => refused
/// Members of each protected group, directly and through another group, and what is no person.
#[tokio::test(flavor = "multi_thread")]
async fn the_membership_matrix_is_refused_on_both_versions() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let base = lab.base_dn();
        let talk = Talk::with(&lab, base, Caps::default()).await?;
        let user = lab.add_user("matrix")?;
        let ask = async |name: &str| -> Result<Option<Cause>> {
            Ok(cause(&talk.ask(&Body::AskCode { user: UserName::parse(name)?, held: false }, None).await?))
        };
        assert_eq!(ask(&user.sam).await?, None, "in no group");
        let nested = format!("CN=nest-{},OU=Staff,{base}", user.sam);
        lab.modify(&format!(
            "dn: {nested}\nchangetype: add\nobjectClass: group\nsAMAccountName: nest-{}\n",
            user.sam
        ))?;
        let member = |group: &str, verb: &str, who: &str| {
            lab.modify(&format!("dn: {group}\nchangetype: modify\n{verb}: member\nmember: {who}\n"))
        };
        let builtin = [
            "Administrators",
            "Account Operators",
            "Server Operators",
            "Print Operators",
            "Backup Operators",
            "Replicator",
        ];
        let domain = [
            "Domain Admins",
            "Schema Admins",
            "Enterprise Admins",
            "Domain Controllers",
            "Read-only Domain Controllers",
        ];
        let groups = builtin.map(|group| format!("CN={group},CN=Builtin,{base}")).into_iter();
        for group in groups.chain(domain.map(|group| format!("CN={group},CN=Users,{base}"))) {
            for who in [&user.dn, &nested] {
                member(&group, "add", who)?;
                if *who == nested {
                    member(&nested, "add", &user.dn)?;
                }
                let refused = ask(&user.sam).await?;
                if *who == nested {
                    member(&nested, "delete", &user.dn)?;
                }
                member(&group, "delete", who)?;
                assert_eq!(refused, Some(Cause::RightsProtectedObject), "{samba:?} {group} {who}");
            }
        }
        let admins = format!("CN=Domain Admins,CN=Users,{base}");
        member(&admins, "add", &user.dn)?;
        let primary = |rid: u32| {
            let dn = &user.dn;
            lab.modify(&format!(
                "dn: {dn}\nchangetype: modify\nreplace: primaryGroupID\nprimaryGroupID: {rid}\n"
            ))
        };
        primary(512)?;
        assert_eq!(ask(&user.sam).await?, Some(Cause::RightsProtectedObject), "{samba:?} primary group");
        primary(513)?;
        let _ = member(&admins, "delete", &user.dn); // one version takes it out by itself
        assert_eq!(ask(&user.sam).await?, None, "{samba:?} as it was");
        let stamped = lab.break_("rights.inheritance_off:former", Some(&user))?;
        assert_eq!(
            ask(&user.sam).await?,
            Some(Cause::RightsInheritanceOff),
            "{samba:?} AdminSDHolder's DACL"
        );
        stamped.mend()?;
        let (connector, _) = lab.connector();
        let host = lab.fqdn().split('.').next().unwrap_or_default().to_uppercase();
        for name in [
            "Administrator".to_owned(),
            format!("CN=krbtgt,CN=Users,{base}"),
            format!("CN={host},OU=Domain Controllers,{base}"),
            connector.to_owned(),
        ] {
            assert_eq!(ask(&name).await?, Some(Cause::RightsProtectedObject), "{samba:?} {name}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_ou_stays_in_scope_and_a_moved_user_falls_out_though_proven() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let base = lab.base_dn();
        let name = format!("Scope{:x}", std::process::id());
        let ou = format!("OU={name},{base}");
        lab.modify(&format!("dn: {ou}\nchangetype: add\nobjectClass: organizationalUnit\n"))?;
        let talk = Talk::with(&lab, &ou, Caps::default()).await?;
        let user = lab.add_user_in(&format!("OU={name}"), "moved", "Start-Pass1!", "")?;
        let outsider = lab.add_user("outside")?;
        let asked =
            talk.ask(&Body::AskCode { user: UserName::parse(&outsider.sam)?, held: false }, None).await?;
        assert_eq!(cause(&asked), Some(Cause::TargetOutOfScope));
        let rename = |dn: &str, rdn: &str, above: &str| {
            lab.modify(&format!(
                "dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\nnewsuperior: {above}\n"
            ))
        };
        rename(&ou, &format!("OU={name}New"), base)?;
        // A second agent on the same file, as after a restart: it resolves the objectGUID anew.
        let again = Talk::with(&lab, &format!("OU={name}New,{base}"), Caps::default()).await?;
        let challenge = again.prove(&user).await?;
        rename(
            &format!("CN={},OU={name}New,{base}", user.sam),
            &format!("CN={}", user.sam),
            &format!("OU=Staff,{base}"),
        )?;
        let before =
            lab.key_version(&TestUser { dn: format!("CN={},OU=Staff,{base}", user.sam), ..user.clone() })?;
        let body = Body::Reset { challenge, new: new("Moved-Pass-1!")? };
        assert_eq!(cause(&again.ask(&body, Some(user.guid)).await?), Some(Cause::TargetOutOfScope));
        let after =
            lab.key_version(&TestUser { dn: format!("CN={},OU=Staff,{base}", user.sam), ..user.clone() })?;
        assert_eq!(before, after);
        lab.modify(&format!("dn: OU={name}New,{base}\nchangetype: delete\n"))?;
    }
    Ok(())
}

/// Fault: a server drives resets of many people => the agent's caps refuse, a burst stops it
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_and_then_a_burst_stop_the_writes_and_a_repeated_refusal_stays_one() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let caps = Caps { agent_hour: 1, burst: 1, ..Caps::default() };
    let talk = Talk::with(&lab, &format!("OU=Staff,{}", lab.base_dn()), caps).await?;
    let reset = async |password: &str| -> Result<(TestUser, Header, Vec<u8>)> {
        let user = lab.add_user("cap")?;
        let body = Body::Reset { challenge: talk.prove(&user).await?, new: new(password)? };
        let header = talk.header(&body, Some(user.guid));
        let message = talk.message(&header, &body)?;
        Ok((user, header, message))
    };
    let (_, header, message) = reset("Cap-Pass-1!").await?;
    let done = talk.send(header.job_id, &message).await?;
    assert!(matches!(done, Outcome::Done(_)), "{done:?}");
    let (user, header, message) = reset("Cap-Pass-2!").await?;
    let before = lab.key_version(&user)?;
    let refused = talk.send(header.job_id, &message).await?;
    assert_eq!(cause(&refused), Some(Cause::AgentCapAgent));
    let Outcome::Refused(failure) = &refused else { anyhow::bail!("{refused:?}") };
    let shown: Vec<_> = failure.evidence.iter().map(|seen| seen.attribute.as_str()).collect();
    assert_eq!(shown, ["cap", "cap ends"]);
    for _ in 0..100 {
        assert_eq!(talk.send(header.job_id, &message).await?, refused);
    }
    assert!(
        matches!(talk.beat(vec![]).await?.state, AgentState::Running),
        "a hundred times one job is no burst"
    );
    let (_, header, message) = reset("Cap-Pass-3!").await?;
    assert_eq!(cause(&talk.send(header.job_id, &message).await?), Some(Cause::AgentCapAgent));
    assert!(matches!(talk.beat(vec![]).await?.state, AgentState::Stopped { refused: 2, .. }));
    let (_, header, message) = reset("Cap-Pass-4!").await?;
    assert_eq!(cause(&talk.send(header.job_id, &message).await?), Some(Cause::AgentStopped));
    assert!(talk.agent.journal().resume(SystemClock.now()).await?);
    let (_, header, message) = reset("Cap-Pass-5!").await?;
    assert!(matches!(talk.send(header.job_id, &message).await?, Outcome::Done(_)));
    assert_eq!(lab.key_version(&user)?, before, "what was refused stays refused");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_writes_only_after_its_server_has_compared_journals() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let talk = Talk::unasked(&lab, &format!("OU=Staff,{}", lab.base_dn()), Caps::default()).await?;
    let user = lab.add_user("quar")?;
    let challenge = talk.prove(&user).await?;
    let early = Body::Reset { challenge, new: new("Unasked-Pass-1!")? };
    let answer = talk.ask(&early, Some(user.guid)).await?;
    assert!(matches!(answer, Outcome::Retry(_)) && cause(&answer) == Some(Cause::AgentUnasked), "{answer:?}");
    let beat = talk.beat(vec![]).await?;
    assert_eq!((beat.state, beat.server), (AgentState::Running, talk.server.verifying_key().id()));
    let ahead = Head { sequence: beat.head.sequence + 1, ..beat.head };
    assert!(matches!(talk.beat(vec![ahead]).await?.state, AgentState::Quarantined { .. }));
    let body = Body::Reset { challenge, new: new("Quarantine-1!")? };
    assert_eq!(cause(&talk.ask(&body, Some(user.guid)).await?), Some(Cause::AgentQuarantined));
    assert!(talk.agent.journal().confirm(SystemClock.now()).await?);
    let beat = talk.beat(vec![ahead]).await?;
    assert!(beat.state == AgentState::Running && beat.head.sequence > ahead.sequence);
    assert!(matches!(talk.ask(&body, Some(user.guid)).await?, Outcome::Done(_)));
    Ok(())
}

/// How the user stands at the domain controller, in the other agent's words.
async fn voucher_for(lab: &Lab, user: &TestUser) -> Result<Voucher> {
    let pin = directory(lab)?.begin_write(user.guid).await?.pin().clone();
    Ok(Voucher {
        version: VERSION,
        agent: peer().verifying_key().id(),
        challenge: ChallengeId::from_random(ids::random()),
        object_guid: user.guid,
        operation: Operation::Reset,
        expires_at: SystemClock.now().plus(Duration::from_mins(10)),
        dc: pin.dc,
        key_version: pin.key_version,
        pwd_last_set: pin.pwd_last_set.map(keyback_ad::FileTime::as_ticks),
    })
}

impl Talk {
    /// Asks for a reset that the other agent may have begun.
    async fn take_over(&self, voucher: &Voucher, by: &SigningKey, whom: ObjectGuid) -> Result<Outcome> {
        let body = Body::Reset { challenge: voucher.challenge, new: new("Taken-Over-1!")? };
        let header = self.header(&body, Some(whom));
        let earlier = vec![Earlier { agent: peer().verifying_key().id(), until: header.not_before }];
        let turn = Some(Turn { earlier, last: true, voucher: voucher.sign(by) });
        let header = Header { turn, ..header };
        self.send(header.job_id, &self.message(&header, &body)?).await
    }
}

/// Fault: a taken-over server hands a job to the second agent with a voucher that is not for it => nothing is written
#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_vouches_for_counts_for_that_user_that_operation_and_that_state_once() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let talk = Talk::new(&lab).await?;
        let (user, other) = (lab.add_user("vouched")?, lab.add_user("other")?);
        let before = lab.key_version(&user)?;
        let good = voucher_for(&lab, &user).await?;
        let signing = peer();
        let stranger = SigningKey::from_seed(&[8; 32])?;
        let own = SigningKey::from_seed(&[2; 32])?;
        let in_the_past = SystemClock.now();
        let cases = [
            (good.clone(), &stranger, "signed by nobody that is pinned"),
            (
                Voucher { agent: own.verifying_key().id(), ..good.clone() },
                &own,
                "its own, and not remembered",
            ),
            (Voucher { object_guid: other.guid, ..good.clone() }, &signing, "of another user"),
            (Voucher { operation: Operation::Unlock, ..good.clone() }, &signing, "for another operation"),
            (Voucher { expires_at: in_the_past, ..good.clone() }, &signing, "over"),
            (
                Voucher { dc: "elsewhere".to_owned(), ..good.clone() },
                &signing,
                "at another domain controller",
            ),
            (
                Voucher { key_version: Some(before - 2), ..good.clone() },
                &signing,
                "from before two passwords",
            ),
        ];
        for (voucher, by, what) in cases {
            // What was taken over once is never certain not to have been done: another challenge each time.
            let voucher = Voucher { challenge: ChallengeId::from_random(ids::random()), ..voucher };
            let outcome = talk.take_over(&voucher, by, user.guid).await?;
            assert!(matches!(outcome, Outcome::Unknown(_)), "{what}: {outcome:?}");
            assert_eq!(lab.key_version(&user)?, before, "{what}");
        }
        let outcome = talk.take_over(&good, &signing, user.guid).await?;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        assert_eq!(lab.key_version(&user)?, before + 1);
        let again = talk.take_over(&good, &signing, user.guid).await?;
        assert!(matches!(again, Outcome::Unknown(_)), "a proof is worth one change: {again:?}");
        assert_eq!(lab.key_version(&user)?, before + 1);
    }
    Ok(())
}

/// SHA-1 of `Breached-Pass-77!`, found there three times.
const BREACHED: &str = "634F59C8388F8168D03AEDBA01721DD66A4F82E5";

#[tokio::test(flavor = "multi_thread")]
async fn an_unwanted_password_is_refused_before_the_write_by_its_cause_and_the_proof_pays_for_it()
-> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let folder = tempfile::tempdir()?;
    let hashes = folder.path().join("hashes.txt");
    std::fs::write(&hashes, format!("{BREACHED}:3\n"))?;
    let words = ["Contoso".to_owned()];
    let filter = PasswordFilter::new(Blocklist::of(["marmot"]), &words, Some(Breached::open(&hashes, 3)?))?;
    let talk = Talk::judging(&lab, filter).await?;
    let user = lab.add_user("listed")?;
    let before = lab.key_version(&user)?;
    let (challenge, rules) = talk.accepted(&user, Operation::Reset).await?;
    let rules = rules.context("no rules")?;
    assert!(rules.blocklist && rules.breached && rules.names.contains(&user.sam), "{rules:?}");
    let name = format!("Xy7!{}-Kite", user.sam.to_uppercase());
    for (typed, cause, code) in [
        ("M4rmot!1", Cause::PolicyBanned, 120_018),
        ("C0nt0$o-and-four-Kites", Cause::PolicyBanned, 120_002),
        (name.as_str(), Cause::PolicyContainsName, 120_003),
        ("Breached-Pass-77!", Cause::PolicyBreached, 120_002),
    ] {
        let body = Body::Reset { challenge, new: new(typed)? };
        let header = talk.header(&body, Some(user.guid));
        let message = talk.message(&header, &body)?;
        let reply = talk.reply(header.job_id, &message).await?;
        let failure = reply.outcome.failure().context("no refusal")?;
        assert_eq!((failure.cause, failure.code.number()), (cause, code), "{typed}");
        assert!(failure.reply.is_none(), "the directory was asked: {failure:?}");
        let diagnosis = reply.diagnosis.context("no diagnosis")?;
        assert_eq!(diagnosis.verdicts.first().map(|verdict| verdict.cause), Some(cause), "{diagnosis:?}");
        let written =
            format!("{}{}", serde_json::to_string(&reply.outcome)?, serde_json::to_string(&diagnosis)?);
        assert!(!written.contains(typed) && !written.to_lowercase().contains("marmot"), "{written}");
        assert_eq!(talk.send(header.job_id, &message).await?, reply.outcome, "a copy is answered alike");
    }
    assert_eq!(lab.key_version(&user)?, before);
    // Four tries were spent; the fifth is the last.
    let good = Body::Reset { challenge, new: new("Kite-over-7-Lakes!")? };
    let done = talk.ask(&good, Some(user.guid)).await?;
    assert!(matches!(done, Outcome::Done(_)), "{done:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_unwanted_passwords_use_up_a_proof() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let talk = Talk::judging(&lab, PasswordFilter::new(Blocklist::of(["marmot"]), &[], None)?).await?;
    let user = lab.add_user("spent")?;
    let challenge = talk.prove(&user).await?;
    for _ in 0..5 {
        let body = Body::Reset { challenge, new: new("Marmot-7")? };
        assert_eq!(cause(&talk.ask(&body, Some(user.guid)).await?), Some(Cause::PolicyBanned));
    }
    let good = Body::Reset { challenge, new: new("Kite-over-7-Lakes!")? };
    assert_eq!(cause(&talk.ask(&good, Some(user.guid)).await?), Some(Cause::ProofExpired));
    Ok(())
}

/// Fault: the list of breached passwords goes away while the agent runs => nothing is written, tried again
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_cannot_be_looked_up_is_not_written() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let folder = tempfile::tempdir()?;
    for range in 0..64 {
        std::fs::write(folder.path().join(format!("{:05X}.txt", range * 0x4000)), "")?;
    }
    let filter = PasswordFilter::new(Blocklist::default(), &[], Some(Breached::open(folder.path(), 1)?))?;
    let talk = Talk::judging(&lab, filter).await?;
    let user = lab.add_user("lost")?;
    let before = lab.key_version(&user)?;
    let body = Body::Reset { challenge: talk.prove(&user).await?, new: new("Kite-over-7-Lakes!")? };
    let answer = talk.ask(&body, Some(user.guid)).await?;
    assert!(matches!(answer, Outcome::Retry(_)), "{answer:?}");
    assert_eq!(cause(&answer), Some(Cause::AgentListsUnreadable));
    assert_eq!(lab.key_version(&user)?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_code_is_answered_with_the_rules_for_that_very_user() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let talk = Talk::new(&lab).await?;
    let plain = talk.accepted(&lab.add_user("ruled")?, Operation::Reset).await?.1.context("no rules")?;
    assert_eq!((plain.blocklist, plain.breached, plain.too_young_until), (false, false, None));
    let user = lab.add_user("ruledpso")?;
    let broken = lab.break_("policy.min_age", Some(&user))?;
    for operation in [Operation::Change, Operation::Reset] {
        let rules = talk.accepted(&user, operation).await?.1.context("no rules")?;
        let until = rules.too_young_until.context("old enough")?;
        let hours = until.since(SystemClock.now()).as_secs() / 3600;
        assert!((22..=24).contains(&hours), "{operation:?} {rules:?}");
        assert_eq!(rules.min_age_seconds, Some(86_400));
    }
    drop(broken);
    let user = lab.add_user("ruledlong")?;
    let _broken = lab.break_("policy.length", Some(&user))?;
    let rules = talk.accepted(&user, Operation::Reset).await?.1.context("no rules")?;
    assert_eq!(rules.min_length, Some(20), "{rules:?}");
    assert_eq!(talk.accepted(&user, Operation::Unlock).await?.1, None, "an unlock wants no password");
    Ok(())
}
