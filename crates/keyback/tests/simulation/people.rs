//! What people do on the pages: ask for a code, type it, choose a password, and choose another one when it was refused.

use crate::model_dc::first_password;
use crate::world::{Known, Person, World};
use anyhow::{Context, Result, bail};
use keyback_core::job::{JobState, Operation};
use keyback_core::message::Body;
use keyback_core::secrets::PlainTicket;
use keyback_core::{CurrentPassword, JobId, NewPassword, TicketHash, TypedCode, UserName};
use keyback_server::jobs::{CodeCheck, JobsError, Tickets};
use keyback_store::Flow;
use std::sync::PoisonError;
use zeroize::Zeroizing;

/// After so many nobody begins again.
const FLOWS: u32 = 2;
const PASSWORDS: u32 = 2;

/// From one browser.
fn new_ticket() -> TicketHash {
    PlainTicket::mint().hash_for(b"browser")
}

impl World {
    /// Does the next thing that this person can do, if there is one.
    pub async fn act(&mut self, number: usize) -> Result<()> {
        let now = self.jobs.now();
        let flow = match self.people[number].ticket {
            Some(ticket) => self.store.find_flow(ticket, now).await?,
            None => None,
        };
        match flow {
            None => self.begin(number).await,
            Some(flow) if flow.proof_until.is_some_and(|until| until > now) => {
                self.submit(number, &flow).await
            }
            Some(flow) if flow.challenge.is_some() && !self.people[number].checking => {
                self.type_code(number, &flow).await
            }
            Some(_) if self.random.percent(10) => self.begin(number).await,
            Some(_) => Ok(()),
        }
    }

    async fn begin(&mut self, number: usize) -> Result<()> {
        let ticket = new_ticket();
        let person = &mut self.people[number];
        if person.flows == FLOWS {
            return Ok(());
        }
        person.flows += 1;
        person.ticket = Some(ticket);
        person.checking = false;
        let (operation, name) = (person.operation, format!("u{}", person.user));
        self.log.push(format!("  person {number} asks for a code to {operation}"));
        let name = UserName::parse(&name).context("a name")?;
        let correlation_id = match self.jobs.ask_code(ticket, operation, name, false, None).await {
            Err(JobsError::TurnedAway(_)) => return Ok(()), // asked too often
            asked => asked?,
        };
        for job in self.store.list_flow_jobs(correlation_id).await? {
            self.meet(job.id, None).await?;
        }
        Ok(())
    }

    async fn type_code(&mut self, number: usize, flow: &Flow) -> Result<()> {
        let address = format!("u{}@ad.example", self.people[number].user);
        let code = {
            let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
            let mut codes = mails.iter().rev().filter(|(to, _)| *to == address);
            codes.find_map(|(_, subject)| subject.strip_suffix(" is your code")).map(str::to_owned)
        };
        let Some(code) = code else { return Ok(()) };
        self.log.push(format!("  person {number} types the code"));
        self.people[number].checking = true;
        let code = TypedCode::parse(&code).context("a code")?;
        let person = &self.people[number];
        let tickets = Tickets { presented: person.ticket.context("a ticket")?, next: new_ticket() };
        let checked = match self.jobs.check_code(flow, code, None, tickets).await {
            Err(JobsError::TurnedAway(_)) => return Ok(()), // asked for and typed too often
            checked => checked?,
        };
        self.people[number].ticket = Some(tickets.next);
        let CodeCheck::Begun(job) = checked else { bail!("the first code of a flow: {checked:?}") };
        self.meet(job, None).await
    }

    async fn submit(&mut self, number: usize, flow: &Flow) -> Result<()> {
        let Person { user, operation, submitted, .. } = self.people[number];
        if submitted == PASSWORDS {
            return Ok(());
        }
        self.people[number].submitted += 1;
        self.passwords += 1;
        // The domain controller refuses what is shorter than seven characters.
        let password = if self.random.percent(15) {
            format!("J{}", self.passwords)
        } else {
            format!("Job-{}-Pass!", self.passwords)
        };
        let current = match operation {
            Operation::Reset | Operation::Unlock | Operation::Register => None,
            Operation::Change if self.random.percent(70) => Some(self.domain.password(user)),
            Operation::Change => Some(first_password(user)),
        };
        self.submit_password(number, flow, password, current).await.map(drop)
    }

    /// Submits this very password; with the `current` one, a change.
    pub async fn submit_password(
        &mut self,
        number: usize,
        flow: &Flow,
        password: String,
        current: Option<String>,
    ) -> Result<JobId> {
        let challenge = flow.challenge.context("a proof rests on a challenge")?;
        let new = NewPassword::parse(Zeroizing::new(password.clone().into_bytes()))?;
        let body = match current {
            None => Body::Reset { challenge, new },
            Some(current) => {
                let current = CurrentPassword::parse(Zeroizing::new(current.into_bytes()))?;
                Body::Change { challenge, current, new }
            }
        };
        let job = self.jobs.submit(flow, body, None).await?;
        let joined = if self.known.contains_key(&job) { ", and another job is open" } else { "" };
        self.log.push(format!("  person {number} submits {password:?}{joined}"));
        self.meet(job, Some(password)).await?;
        Ok(job)
    }

    async fn meet(&mut self, id: JobId, password: Option<String>) -> Result<()> {
        if self.known.contains_key(&id) {
            return Ok(());
        }
        let job = self.store.find_job(id).await?.context("a job that was begun is there")?;
        assert!(matches!(job.state, JobState::Running { .. }), "{job:?}");
        let name = format!("{} {}", job.kind, self.known.len() + 1);
        let known = Known {
            name,
            password,
            correlation_id: job.correlation_id,
            state: job.state,
            disturbed: false,
            unheard: false,
        };
        self.known.insert(id, known);
        Ok(())
    }
}
