//! What the scheduler once found, each as a scene of its own: the same steps every time.

use crate::in_a_world;
use crate::model_dc::{Fate, Waits, first_password};
use crate::world::{Known, Person, Switches, World};
use anyhow::{Context, Result, ensure};
use keyback_core::JobId;
use keyback_core::job::{JobState, Operation};
use std::time::Duration;

const NEW: &str = "Job-1-Pass!";
const WRITES_WAIT: Waits = Waits { reads: 0, binds: 0, writes: 100 };

/// Somebody has proved who they are, and submits a password; with `current`, by a change. The message is not delivered.
async fn submitted(operation: Operation, current: Option<&str>) -> Result<(World, JobId)> {
    let mut world = World::new(1, Switches::ALL_ON, 1).await?;
    world.people = vec![Person::new(1, operation)];
    world.prove().await?;
    world.domain.set_waits(WRITES_WAIT);
    let ticket = world.people[0].ticket.context("a ticket")?;
    let flow = world.store.find_flow(ticket, world.jobs.now()).await?.context("a flow")?;
    let job = world.submit_password(0, &flow, NEW.to_owned(), current.map(str::to_owned)).await?;
    world.rest().await;
    Ok((world, job))
}

impl World {
    /// Hands the newest message over, and comes to rest.
    async fn deliver_newest(&mut self) -> Result<()> {
        let letter = self.post.letters().len() - 1;
        let bytes = self.post.letters()[letter].bytes.clone();
        self.hand_over(letter, bytes);
        self.go_on().await
    }

    /// Gives the server the oldest answer.
    async fn answer(&mut self) -> Result<()> {
        let answered = self.post.answers().remove(0);
        let bytes = answered.bytes.context("an answer")?;
        self.post.end(answered.letter, self.server, Ok(bytes));
        self.go_on().await
    }

    async fn offer_again(&mut self) -> Result<()> {
        self.wait(Duration::from_secs(21)).await;
        self.jobs.offer_due().await?;
        self.go_on().await?;
        self.deliver_newest().await
    }

    async fn decide(&mut self, fate: Fate) -> Result<()> {
        ensure!(self.domain.waiting() == 1, "one question waits: {:#?}", self.log);
        self.domain.decide(0, fate);
        self.go_on().await
    }

    async fn go_on(&mut self) -> Result<()> {
        // The scenes lose answers on purpose.
        self.disturb();
        self.known.values_mut().for_each(|known| known.unheard = true);
        let broken = self.settle_down().await?;
        ensure!(broken.is_none(), "{broken:?}\n{}", self.log.join("\n"));
        Ok(())
    }

    /// Lets everything work until the job has ended.
    async fn end_of(&mut self, job: JobId) -> Result<&Known> {
        let broken = self.run_out().await?;
        ensure!(broken.is_none(), "{broken:?}\n{}", self.log.join("\n"));
        self.known.get(&job).context("the job")
    }
}

fn cause(known: &Known) -> &'static str {
    known.state.failure().map_or("", |failure| failure.cause.id())
}

fn succeeded(known: &Known) -> bool {
    matches!(known.state, JobState::Succeeded { .. })
}

/// Fault: the line to the DC breaks before the DC reads the modify => settled as not done, sent again, one change
#[test]
fn a_modify_that_was_lost_is_sent_again() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Reset, None).await?;
        world.deliver_newest().await?;
        world.decide(Fate::Dropped).await?;
        world.answer().await?;
        assert!(succeeded(world.end_of(job).await?));
        assert_eq!(world.domain.times_set(NEW), 1);
        Ok(())
    })
}

/// Fault: the answer to a change with a wrong current password is lost => never sent twice, one bad-password count
#[test]
fn a_change_is_sent_once() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Change, Some("Wrong-Pass-1!")).await?;
        world.deliver_newest().await?;
        world.decide(Fate::Unanswered).await?;
        world.answer().await?;
        assert_eq!(cause(world.end_of(job).await?), "outcome.unknown");
        assert_eq!((world.domain.times_set(NEW), world.domain.times_counted(NEW)), (0, 1));
        Ok(())
    })
}

/// Fault: the answer to a right change is lost => settled by one bind, one change
#[test]
fn a_change_whose_answer_was_lost_is_found_out() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Change, Some(&first_password(1))).await?;
        world.deliver_newest().await?;
        world.decide(Fate::Unanswered).await?;
        world.answer().await?;
        assert!(succeeded(world.end_of(job).await?));
        assert_eq!((world.domain.times_set(NEW), world.domain.times_counted(NEW)), (1, 0));
        Ok(())
    })
}

/// Fault: a copy of a refused message arrives when its reason has passed, after a power cut => nothing is done
#[test]
fn a_refusal_holds_for_later_copies() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Reset, None).await?;
        world.agent_clock.jump(-120_000_000);
        world.deliver_newest().await?;
        world.answer().await?;
        world.agent_clock.jump(120_000_000);
        world.kill_agent(0, true).await?;
        world.domain.set_waits(Waits::NONE);
        world.deliver_newest().await?;
        assert_eq!(cause(world.end_of(job).await?), "message.refused");
        assert_eq!(world.domain.times_set(NEW), 0);
        Ok(())
    })
}

/// Fault: the answer is lost and somebody else sets a password on top of ours => called unknown, not refused
#[test]
fn two_passwords_since_say_nothing_about_the_first() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Reset, None).await?;
        world.deliver_newest().await?;
        world.decide(Fate::Unanswered).await?;
        world.domain.set_behind_our_back(1, "Else-1-Pass!");
        world.answer().await?;
        assert_eq!(cause(world.end_of(job).await?), "outcome.unknown");
        assert_eq!((world.domain.times_set(NEW), world.domain.times_counted(NEW)), (1, 0));
        Ok(())
    })
}

/// Fault: a DC is busy with the second modify while the first is on its way => the first is not forgotten, one change
#[test]
fn a_busy_dc_does_not_make_the_first_modify_forgotten() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Reset, None).await?;
        world.deliver_newest().await?;
        world.decide(Fate::Late).await?;
        world.wait(Duration::from_secs(16)).await;
        world.go_on().await?;
        world.answer().await?;
        world.offer_again().await?;
        world.decide(Fate::Busy).await?;
        world.answer().await?;
        world.domain.arrive(0);
        assert!(succeeded(world.end_of(job).await?));
        assert_eq!(world.domain.times_set(NEW), 1);
        Ok(())
    })
}

/// Fault: the answer to the bind that settles a job is lost => no second bind, one bad-password count
#[test]
fn whose_password_it_is_is_asked_once() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Reset, None).await?;
        world.deliver_newest().await?;
        world.decide(Fate::Dropped).await?;
        world.answer().await?;
        world.domain.set_behind_our_back(1, "Else-1-Pass!");
        world.domain.set_waits(Waits { binds: 100, ..WRITES_WAIT });
        world.offer_again().await?;
        world.decide(Fate::Unanswered).await?;
        world.answer().await?;
        assert_eq!(cause(world.end_of(job).await?), "outcome.unknown");
        assert_eq!((world.domain.times_set(NEW), world.domain.times_counted(NEW)), (0, 1));
        Ok(())
    })
}

/// Fault: somebody sets a password between the agent's look and its modify => refused at once, nothing counted
#[test]
fn a_modify_that_comes_too_late_is_refused() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Reset, None).await?;
        world.deliver_newest().await?;
        world.domain.set_behind_our_back(1, "Else-1-Pass!");
        world.decide(Fate::Answered).await?;
        world.answer().await?;
        assert_eq!(cause(world.end_of(job).await?), "target.outrun");
        assert_eq!((world.domain.times_set(NEW), world.domain.times_counted(NEW)), (0, 0));
        Ok(())
    })
}

/// Fault: the agent's answer comes when the server has given its lease up => it counts all the same
#[test]
fn an_answer_counts_although_its_lease_is_over() -> Result<()> {
    in_a_world(async {
        let (mut world, job) = submitted(Operation::Reset, None).await?;
        world.domain.set_waits(Waits::NONE);
        world.deliver_newest().await?;
        world.server_clock.jump(61_000_000);
        world.jobs.offer_due().await?;
        world.go_on().await?;
        assert!(matches!(world.known[&job].state, JobState::Doubtful { .. }));
        world.answer().await?;
        assert!(succeeded(&world.known[&job]));
        Ok(())
    })
}
