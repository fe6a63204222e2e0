//! What many users have in common: descriptors, what lies above, policies. Kept between pages, and bounded.

use super::subject::{Container, Found};
use crate::descriptor::{Question, SecurityDescriptor, Server, Token};
use crate::guid::{self, Guid};
use crate::policy::Applies;
use std::collections::HashMap;

/// Descriptors, and containers, that are kept: about 10 kB each.
const MOST: usize = 2_000;

/// A user who still lacks what is kept for many.
pub(super) struct Draft {
    pub(super) found: Found,
    pub(super) descriptor: Option<usize>,
    /// Key of what lies above: the parent's DN.
    pub(super) above: Option<String>,
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Cache {
    places: HashMap<Vec<u8>, usize>,
    descriptors: Vec<Option<SecurityDescriptor>>,
    /// Whether an object of this class with this descriptor shows what a page needs.
    open: HashMap<(usize, Guid), bool>,
    above: HashMap<String, Vec<Container>>,
    containers: usize,
    pub(super) policies: HashMap<String, Option<Applies>>,
}

impl Cache {
    /// Forgets what is too much. Places from before mean nothing afterwards.
    pub(super) fn trim(&mut self) {
        if self.descriptors.len() > MOST {
            self.places.clear();
            self.descriptors.clear();
            self.open.clear();
        }
        if self.containers > MOST {
            self.above.clear();
            self.containers = 0;
        }
    }

    /// The place of this descriptor; equal ones are decoded once. `None`: it is none.
    pub(super) fn place(&mut self, bytes: Vec<u8>) -> Option<usize> {
        if let Some(place) = self.places.get(&bytes) {
            return Some(*place);
        }
        let descriptor = SecurityDescriptor::decode(&bytes).ok()?;
        let place = self.descriptors.len();
        self.descriptors.push(Some(descriptor));
        self.places.insert(bytes, place);
        Some(place)
    }

    /// Whether tokenGroups and lockoutTime can be read: a user who has no lockoutTime looks like one who does not show it.
    pub(super) fn is_open(&mut self, place: usize, class: Guid, token: &Token, server: Server) -> bool {
        let Some(Some(descriptor)) = self.descriptors.get(place) else { return false };
        *self.open.entry((place, class)).or_insert_with(|| {
            let reads = |set, attribute| {
                let question = Question::read_property(class, set, attribute);
                let decision = descriptor.check(token, None, &question, server);
                decision.granted && decision.is_certain()
            };
            reads(Some(guid::REMOTE_ACCESS), guid::TOKEN_GROUPS) && reads(None, guid::LOCKOUT_TIME)
        })
    }

    pub(super) fn knows_above(&self, parent: &str) -> bool {
        self.above.contains_key(parent)
    }

    pub(super) fn keep_above(&mut self, parent: String, containers: Vec<Container>) {
        self.containers += containers.len();
        self.above.insert(parent, containers);
    }

    /// Lends what the draft lacks; [`take_back`](Self::take_back) has to follow.
    pub(super) fn lend(&mut self, draft: &mut Draft) {
        if let Found::One(subject) = &mut draft.found {
            if let Some(place) = draft.descriptor {
                subject.descriptor = self.descriptors.get_mut(place).and_then(Option::take);
            }
            if let Some(above) = draft.above.as_ref().and_then(|parent| self.above.get_mut(parent)) {
                subject.containers = std::mem::take(above);
            }
        }
    }

    pub(super) fn take_back(&mut self, draft: Draft) {
        if let Found::One(subject) = draft.found {
            if let Some(place) = draft.descriptor.and_then(|place| self.descriptors.get_mut(place)) {
                *place = subject.descriptor;
            }
            if let Some(above) = draft.above.and_then(|parent| self.above.get_mut(&parent)) {
                *above = subject.containers;
            }
        }
    }
}
