//! What happens next: one thing at a time, chosen by the seed among all that can happen.

use crate::model_dc::{Fate, Waits};
use crate::promises;
use crate::world::{AGENTS, DCS, Switches, USERS, World};
use anyhow::Result;
use keyback_core::relay::RelayError;
use keyback_testkit::random::Random;
use std::time::Duration;

/// Things that happen before everything is let run to its end.
const LONGEST: usize = 60;

#[derive(Debug, Clone, Copy)]
enum Action {
    /// Somebody does the next thing on the pages.
    Act(usize),
    Deliver(usize),
    /// The relay gives the agent a message once more: of a job that is open, or was over long ago.
    Repeat(usize),
    /// The relay alters a byte on the way to the agent.
    Alter(usize),
    NotTaken(usize),
    NoAnswer(usize),
    Answer(usize),
    LoseAnswer(usize),
    AlterAnswer(usize),
    /// The answer to one message comes as the answer to another.
    Misdirect(usize, usize),
    Decide(usize, Fate),
    Arrive(usize),
    Wait(u64),
    /// Seconds, in either direction.
    ServerClock(i64),
    AgentClock(i64),
    OfferDue,
    KillServer,
    KillAgent {
        agent: usize,
        power_cut: bool,
    },
    /// As SIGSTOP and SIGCONT would.
    StopAgent(usize),
    GoOnAgent(usize),
    SwitchDc(usize),
    SomebodyElse(u8),
    Replicate,
}

/// Rounds of 21 s until every job has ended, however far the server's clock was set back.
const LONGEST_END: usize = 200;

/// What can go wrong with this seed. Were everything to go wrong every time, little would ever come to its end.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Troubles {
    relay: bool,
    lines: bool,
    clocks: bool,
    kills: bool,
    dcs: bool,
    others: bool,
}

impl Troubles {
    fn of(random: &mut Random) -> Self {
        Self {
            relay: random.percent(60),
            lines: random.percent(80),
            clocks: random.percent(25),
            kills: random.percent(50),
            dcs: random.percent(30),
            others: random.percent(50),
        }
    }
}

/// What can happen now, and how likely each is.
fn possible(world: &World, troubles: Troubles) -> Vec<(usize, Action)> {
    let Troubles { relay, lines, clocks, kills, dcs, others } = troubles;
    let mut all = vec![
        (10, Action::OfferDue),
        (6, Action::Wait(2)),
        (2, Action::Wait(16)),
        (usize::from(relay), Action::Wait(61)),
        (usize::from(clocks), Action::ServerClock(-120)),
        (usize::from(clocks), Action::ServerClock(120)),
        (usize::from(clocks), Action::AgentClock(-120)),
        (usize::from(clocks), Action::AgentClock(120)),
        (2 * usize::from(kills), Action::KillServer),
        (1, Action::Replicate),
    ];
    for (agent, process) in world.agents.iter().enumerate() {
        all.push((2 * usize::from(kills), Action::KillAgent { agent, power_cut: false }));
        all.push((usize::from(kills), Action::KillAgent { agent, power_cut: true }));
        if process.stopped.is_stopped() {
            all.push((2, Action::GoOnAgent(agent)));
        } else if world.agents.len() > 1 {
            all.push((2 * usize::from(kills), Action::StopAgent(agent)));
        }
    }
    all.extend((0..world.people.len()).map(|person| (8, Action::Act(person))));
    if dcs {
        all.extend((0..DCS).map(|dc| (if world.domain.is_up(dc) { 1 } else { 4 }, Action::SwitchDc(dc))));
    }
    if others {
        all.extend((1..=USERS).map(|user| (2, Action::SomebodyElse(user))));
    }
    let letters = world.post.letters();
    for (number, letter) in letters.iter().enumerate() {
        if letter.is_open(world.server) {
            let first = letter.delivered == 0;
            if first || relay {
                all.push((if first { 20 } else { 1 }, Action::Deliver(number)));
            }
            if relay {
                all.push((1, Action::Alter(number)));
                all.push(if first { (1, Action::NotTaken(number)) } else { (3, Action::NoAnswer(number)) });
            }
        } else if relay && letters.len() - number < 4 {
            all.push((1, Action::Repeat(number)));
        }
    }
    let answers = world.post.answers().len();
    for answer in 0..answers {
        all.push((20, Action::Answer(answer)));
        if relay {
            all.extend([(3, Action::LoseAnswer(answer)), (1, Action::AlterAnswer(answer))]);
        }
        if relay && letters.len() > 1 {
            all.push((1, Action::Misdirect(answer, letters.len() - 1)));
        }
    }
    for question in 0..world.domain.waiting() {
        all.push((12, Action::Decide(question, Fate::Answered)));
        if lines {
            for (weight, fate) in
                [(2, Fate::Dropped), (3, Fate::Unanswered), (3, Fate::Late), (2, Fate::Busy)]
            {
                all.push((weight, Action::Decide(question, fate)));
            }
        }
    }
    all.extend((0..world.domain.late()).map(|late| (2, Action::Arrive(late))));
    all
}

impl World {
    fn choose(&mut self, troubles: Troubles) -> Action {
        let possible = possible(self, troubles);
        let mut at = self.random.below(possible.iter().map(|(weight, _)| weight).sum());
        for (weight, action) in &possible {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *action,
            }
        }
        Action::OfferDue
    }

    fn touch(&mut self, letter: usize, unheard: bool) {
        let job = self.post.letters()[letter].job;
        if let Some(known) = self.known.get_mut(&job) {
            known.disturbed = true;
            known.unheard |= unheard;
        }
    }

    /// Nothing that was under way will be heard of.
    fn break_off(&mut self) {
        self.disturb();
        for known in self.known.values_mut().filter(|known| known.state.finished_at().is_none()) {
            known.unheard = true;
        }
    }

    async fn take(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Act(person) => self.act(person).await?,
            Action::Deliver(letter) | Action::Repeat(letter) => {
                let bytes = self.post.letters()[letter].bytes.clone();
                self.hand_over(letter, bytes);
            }
            Action::Alter(letter) => {
                self.touch(letter, true);
                let mut bytes = self.post.letters()[letter].bytes.clone();
                self.alter(&mut bytes);
                self.hand_over(letter, bytes);
            }
            Action::NotTaken(letter) => {
                self.touch(letter, false);
                self.post.end(letter, self.server, Err(RelayError::NotTaken));
            }
            Action::NoAnswer(letter) => {
                self.touch(letter, true);
                self.post.end(letter, self.server, Err(RelayError::NoAnswer));
            }
            Action::Answer(answer) => {
                let answered = self.post.answers().remove(answer);
                let bytes = answered.bytes.ok_or(RelayError::NoAnswer);
                if bytes.is_err() {
                    self.touch(answered.letter, true);
                }
                self.post.end(answered.letter, self.server, bytes);
            }
            Action::LoseAnswer(answer) => {
                let letter = self.post.answers().remove(answer).letter;
                self.touch(letter, true);
            }
            Action::AlterAnswer(answer) => {
                let answered = self.post.answers().remove(answer);
                self.touch(answered.letter, true);
                if let Some(mut bytes) = answered.bytes {
                    self.alter(&mut bytes);
                    self.post.end(answered.letter, self.server, Ok(bytes));
                }
            }
            Action::Misdirect(answer, letter) => {
                let answered = self.post.answers().remove(answer);
                self.touch(answered.letter, true);
                self.touch(letter, true);
                self.post.end(letter, self.server, answered.bytes.ok_or(RelayError::NoAnswer));
            }
            Action::Decide(question, fate) => {
                if fate != Fate::Answered {
                    self.disturb();
                }
                self.domain.decide(question, fate);
            }
            Action::Arrive(late) => self.domain.arrive(late),
            Action::Wait(seconds) => {
                if seconds > 10 {
                    self.disturb();
                }
                self.wait(Duration::from_secs(seconds)).await;
            }
            Action::ServerClock(seconds) => {
                self.disturb();
                self.server_clock.jump(seconds * 1_000_000);
            }
            Action::AgentClock(seconds) => {
                self.disturb();
                self.agent_clock.jump(seconds * 1_000_000);
            }
            Action::OfferDue => drop(self.jobs.offer_due().await?),
            Action::KillServer => {
                self.break_off();
                self.kill_server().await?;
            }
            Action::KillAgent { agent, power_cut } => {
                self.break_off();
                self.kill_agent(agent, power_cut).await?;
            }
            Action::StopAgent(agent) => {
                self.break_off();
                self.agents[agent].stopped.set(true);
            }
            Action::GoOnAgent(agent) => self.agents[agent].stopped.set(false),
            Action::SwitchDc(dc) => {
                self.disturb();
                self.domain.set_up(dc, !self.domain.is_up(dc));
            }
            Action::SomebodyElse(user) => {
                self.passwords += 1;
                let password = format!("Else-{}-Pass!", self.passwords);
                self.disturb();
                self.domain.set_behind_our_back(user, &password);
            }
            Action::Replicate => self.domain.replicate(),
        }
        Ok(())
    }

    fn alter(&mut self, bytes: &mut [u8]) {
        let at = self.random.below(bytes.len());
        bytes[at] ^= 1 << self.random.below(8);
    }

    /// Comes to rest, writes down what the domain controllers saw, and looks at every promise.
    pub async fn settle_down(&mut self) -> Result<Option<String>> {
        self.rest().await;
        let said = self.domain.take_log();
        self.log.extend(said);
        let moved = self.moved().await?;
        promises::after_a_step(self, moved).await
    }

    /// Everybody proves who they are, and nothing goes wrong yet.
    pub async fn prove(&mut self) -> Result<()> {
        for person in 0..self.people.len() {
            for _ in ["asks for a code", "types it"] {
                self.act(person).await?;
                self.settle_down().await?;
                let letter = self.post.letters().len() - 1;
                self.take(Action::Deliver(letter)).await?;
                self.settle_down().await?;
                self.take(Action::Answer(0)).await?;
                self.settle_down().await?;
            }
        }
        Ok(())
    }

    /// Nothing stands in the way any more, and time goes on until every job has ended.
    pub async fn run_out(&mut self) -> Result<Option<String>> {
        self.log.push("everything works".to_owned());
        self.domain.set_waits(Waits::NONE);
        (0..DCS).for_each(|dc| self.domain.set_up(dc, true));
        for round in 0..LONGEST_END {
            for agent in 0..self.agents.len() {
                // An agent that goes on late finds the world as the others have left it.
                let goes_on = round > 40 || self.random.percent(30);
                if self.agents[agent].stopped.is_stopped() && goes_on {
                    self.take(Action::GoOnAgent(agent)).await?;
                    if let Some(broken) = self.settle_down().await? {
                        return Ok(Some(broken));
                    }
                }
            }
            while self.domain.waiting() > 0 {
                self.domain.decide(0, Fate::Answered);
                if let Some(broken) = self.settle_down().await? {
                    return Ok(Some(broken));
                }
            }
            while self.domain.late() > 0 && (round > 40 || self.random.percent(30)) {
                self.domain.arrive(0);
                if let Some(broken) = self.settle_down().await? {
                    return Ok(Some(broken));
                }
            }
            let letters = self.post.letters().len();
            for letter in 0..letters {
                let (open, delivered) = {
                    let letter = &self.post.letters()[letter];
                    (letter.is_open(self.server), letter.delivered)
                };
                if open && self.handled() == 0 && self.post.answers().is_empty() {
                    if delivered == 0 || self.random.percent(50) {
                        self.take(Action::Deliver(letter)).await?;
                    } else {
                        self.take(Action::NoAnswer(letter)).await?;
                    }
                    if let Some(broken) = self.settle_down().await? {
                        return Ok(Some(broken));
                    }
                }
                while !self.post.answers().is_empty() {
                    self.take(Action::Answer(0)).await?;
                    if let Some(broken) = self.settle_down().await? {
                        return Ok(Some(broken));
                    }
                }
            }
            self.take(Action::OfferDue).await?;
            if let Some(broken) = self.settle_down().await? {
                return Ok(Some(broken));
            }
            let open = self.known.values().any(|known| known.state.finished_at().is_none());
            let stopped = self.agents.iter().any(|agent| agent.stopped.is_stopped());
            if !open && !stopped && self.domain.late() == 0 && self.post.open(self.server) == 0 {
                break;
            }
            if self.post.letters().iter().all(|letter| !letter.is_open(self.server) || letter.delivered > 0) {
                self.disturb();
                self.wait(Duration::from_secs(21)).await;
            }
            if let Some(broken) = self.settle_down().await? {
                return Ok(Some(broken));
            }
        }
        promises::at_the_end(self).await
    }
}

/// One seed, from its first step to its last. The promise that was broken, if one was, and all that happened.
pub async fn play(seed: u64, switches: Switches) -> Result<(Option<String>, World)> {
    let agents = if seed.is_multiple_of(3) { AGENTS } else { 1 };
    let mut world = World::new(seed, switches, agents).await?;
    let troubles = Troubles::of(&mut world.random);
    world.log.push(format!("{troubles:?}"));
    if world.random.percent(80) {
        world.prove().await?;
    }
    let waits = Waits {
        reads: *world.random.pick(&[0, 5, 30]),
        binds: *world.random.pick(&[0, 50, 100]),
        writes: *world.random.pick(&[30, 80, 100]),
    };
    world.domain.set_waits(waits);
    let steps = 10 + world.random.below(LONGEST - 10);
    for step in 0..steps {
        let action = world.choose(troubles);
        world.log.push(format!("{step} {action:?}"));
        world.take(action).await?;
        let broken = world.settle_down().await?;
        if broken.is_some() {
            return Ok((broken, world));
        }
    }
    let broken = world.run_out().await?;
    Ok((broken, world))
}
