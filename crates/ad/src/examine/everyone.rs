//! Everybody in one pass: the same readings as for one user, in pages.
//!
//! What the server computes for each user is dear: on Samba 4.24.7 msDS-User-Account-Control-Computed, tokenGroups or
//! allowedAttributesEffective take each longer than all stored attributes together (9.0, 9.3 and 18.8 s of 20,000 users
//! against 3.6 s). So groups are read once from above ([`membership`](super::membership)), what lies above the users is
//! read once, and a user about whom that leaves any doubt is read alone, as [`Directory::examine`] does. Only
//! msDS-ResultantPSO is asked of everybody: who may not read the policies cannot compute it.
//!
//! The next page is asked for before this one is judged, so that the domain controller and we work at the same time.

use super::cache::{Cache, Draft};
use super::ground::{DESCRIPTOR, Ground, Root};
use super::membership::Membership;
use super::reach::{Dialled, Reach};
use super::session::{Session, descriptors};
use super::shared::{Name, Names};
use super::subject::{Container, Found, GLIMPSE, Glimpse, Holder, OTHERS, has_names, holder};
use super::{DcState, Examination, may_differ};
use crate::connection::{Answer, search};
use crate::directory::Directory;
use crate::dn::Dn;
use crate::error::DirectoryError;
use crate::find::{attr, people};
use crate::policy::Applies;
use crate::sid::Sid;
use crate::wire::{Entry, Match};
use keyback_core::{Clock, ObjectGuid, Timestamp};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapFilter, LdapSearchScope};
use std::collections::{HashMap, HashSet};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// What is read of everybody, with owner, group and DACL of the descriptor.
pub const EVERYONE: [&str; 18] = [
    attr::OBJECT_GUID,
    attr::OBJECT_SID,
    attr::OBJECT_CLASS,
    attr::SAM_ACCOUNT_NAME,
    attr::USER_PRINCIPAL_NAME,
    attr::DISPLAY_NAME,
    attr::MAIL,
    attr::PROXY_ADDRESSES,
    attr::CONSISTENCY_GUID,
    attr::USER_ACCOUNT_CONTROL,
    attr::PWD_LAST_SET,
    attr::LOCKOUT_TIME,
    attr::PRIMARY_GROUP_ID,
    attr::ADMIN_COUNT,
    attr::IS_CRITICAL,
    "accountExpires",
    DESCRIPTOR,
    RESULTANT_PSO,
];
const RESULTANT_PSO: &str = "msDS-ResultantPSO";

/// Objects in a page, for the first try and those after it. Windows gives no more than 1,000.
pub const PAGES: [i64; 3] = [500, 500, 100];
/// A page may take this many times as long as another read: before the first one the domain controller finds everybody.
const PATIENCE: u32 = 15;
/// Names in one question, and users in another.
const NAMES: usize = 20;
const CONTAINERS: usize = 100;
const AGAIN: usize = 50;

/// Whom a pass is about.
pub struct Wanted<'a> {
    /// The OUs; `None` is the whole domain, or what the configuration names as the base.
    pub scope: Option<&'a [Dn]>,
    /// Groups whose members have to be known, given the domain's SID.
    pub groups: &'a (dyn Fn(Option<&Sid>) -> Vec<Sid> + Sync),
}

/// Who is told of everybody.
pub trait Visitor {
    /// It begins, or begins anew after it was cut off: what was told before is void. Nobody was found yet.
    fn begin(&mut self, examination: &Examination);
    /// Names of so many people were read, in a domain that is wider than the scope.
    fn names(&mut self, people: u64);
    /// One user. `again`: a second time, and now with those who have one of its names; the first word is void.
    fn user(&mut self, examination: &Examination, again: bool);
}

/// How a pass ended.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Domain controllers and what holds for everybody; nobody is `found`.
    pub examination: Examination,
    /// Why it did not come to its end.
    pub error: Option<DirectoryError>,
    /// More names are shared than could be looked into.
    pub too_many_shared: bool,
}

impl Directory {
    /// Reads everybody who is wanted, from one domain controller, and tells `visitor`. Where it is cut off it begins anew,
    /// twice at most. Changes nothing.
    pub async fn examine_everyone(
        &self,
        wanted: &Wanted<'_>,
        clock: &dyn Clock,
        visitor: &mut (dyn Visitor + Send),
    ) -> Passed {
        let mut last = None;
        for page in PAGES {
            let passed = self.pass(wanted, page, clock, visitor).await;
            let again = passed.examination.ground.is_some() && passed.error.as_ref().is_some_and(may_pass);
            if !again {
                return passed;
            }
            if let Some(error) = &passed.error {
                tracing::warn!(dc = error.dc(), %error, "the pass begins anew");
            }
            last = Some(passed);
        }
        last.unwrap_or_else(|| unreachable!("there is a first try"))
    }

    async fn pass(
        &self,
        wanted: &Wanted<'_>,
        page: i64,
        clock: &dyn Clock,
        visitor: &mut (dyn Visitor + Send),
    ) -> Passed {
        let started = Instant::now();
        let mut reach = Reach::start(&self.inner);
        let mut chosen: Option<(Session<'_>, Root, Ground)> = None;
        while let Some((index, Dialled { connection, certificate })) = reach.next().await {
            let session = Session::new(&self.inner, index, connection);
            let read = prepare(&session, clock).await;
            let state = reach.state(index);
            state.certificate = certificate;
            match read {
                Ok((root, ground)) => {
                    state.read_only = ground.read_only;
                    let writable = ground.read_only != Some(true);
                    if chosen.is_none() || writable {
                        chosen = Some((session, root, ground));
                    }
                    if writable {
                        break;
                    }
                }
                Err(error) => {
                    let everywhere =
                        matches!(error, DirectoryError::BindRefused { .. }) && !may_differ(&error);
                    state.error = Some(error);
                    if everywhere {
                        break;
                    }
                }
            }
        }
        let dcs = reach.finish(started).await;
        let mut examination = self.nobody(dcs, chosen.as_ref().map(|(_, _, ground)| ground.clone()));
        let Some((session, root, _)) = &chosen else {
            examination.took = started.elapsed();
            return Passed { examination, error: None, too_many_shared: false };
        };
        visitor.begin(&examination);
        let mut pass = Pass {
            session,
            root,
            page,
            membership: Membership::default(),
            cache: Cache::default(),
            read_at: examination.ground.as_ref().and_then(|ground| ground.current_time),
            examination,
            started,
            visitor,
        };
        let ended = pass.run(wanted).await;
        let (error, too_many_shared) = match ended {
            Ok(too_many) => (None, too_many),
            Err(error) => (Some(error), false),
        };
        let mut examination = pass.examination;
        examination.found = None;
        examination.questions = session.questions();
        examination.took = started.elapsed();
        Passed { examination, error, too_many_shared }
    }

    fn nobody(&self, dcs: Vec<DcState>, ground: Option<Ground>) -> Examination {
        let connector = self.inner.connector.name.clone();
        Examination { dcs, connector, ground, found: None, questions: 0, took: Duration::ZERO }
    }
}

/// Whether another try may end better.
fn may_pass(error: &DirectoryError) -> bool {
    !matches!(error, DirectoryError::Refused { .. } | DirectoryError::BindRefused { .. })
}

async fn prepare(session: &Session<'_>, clock: &dyn Clock) -> Result<(Root, Ground), DirectoryError> {
    session.sign_in().await?;
    let root = session.read_root(clock).await?;
    let (read_only, ground) = tokio::join!(session.read_kind(&root), session.read_ground(&root, &[]));
    let ground = Ground { read_only: read_only?, ..ground?.0 };
    Ok((root, ground))
}

/// A user as a page shows it.
struct Sketch {
    draft: Draft,
    glimpse: Option<Glimpse>,
    /// What a page shows does not settle everything.
    doubtful: bool,
}

impl Sketch {
    fn unreadable(dn: String, attribute: &'static str) -> Self {
        let found = Found::Unreadable { dn, attribute };
        Self { draft: Draft { found, descriptor: None, above: None }, glimpse: None, doubtful: false }
    }
}

/// What was read for a page beside it.
struct Lacking {
    above: Vec<(String, Vec<Container>)>,
    policies: Vec<(String, Option<Applies>)>,
    /// Of doubtful ones, all of it; nothing where it is gone.
    alone: Vec<(usize, Option<Entry>)>,
}

/// One pass, on one connection.
struct Pass<'a> {
    session: &'a Session<'a>,
    root: &'a Root,
    page: i64,
    membership: Membership,
    cache: Cache,
    examination: Examination,
    started: Instant,
    /// The domain controller's clock when the pass began.
    read_at: Option<Timestamp>,
    visitor: &'a mut (dyn Visitor + Send),
}

/// Sends a question off without waiting for its answer.
async fn begin<F: Future>(question: &mut Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match question.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

impl Pass<'_> {
    /// True: more names are shared than could be looked into.
    async fn run(&mut self, wanted: &Wanted<'_>) -> Result<bool, DirectoryError> {
        if let Some(ground) = &self.examination.ground {
            let groups = (wanted.groups)(ground.domain_sid.as_ref());
            self.membership = self.session.read_membership(self.root, ground, &groups).await?;
        }
        let base = self.session.inner.base.as_ref().unwrap_or(&self.root.base);
        let places = places(base, wanted.scope);
        let mut names = Names::new(self.root.base.dns_domain());
        // Who shares a name may lie outside of the scope.
        let whole = places.iter().any(|place| self.root.base.is_under(place));
        if !whole {
            self.read_names(&mut names).await?;
        }
        for place in &places {
            self.read_place(place, whole.then_some(&mut names)).await?;
        }
        let (twice, too_many) = names.seen_twice();
        self.look_again(&twice, &places).await?;
        Ok(too_many)
    }

    async fn read_names(&mut self, names: &mut Names) -> Result<(), DirectoryError> {
        let attributes: Vec<&str> = GLIMPSE.into_iter().filter(|name| *name != RESULTANT_PSO).collect();
        let (mut people, mut cookie) = (0, Vec::new());
        loop {
            let answer =
                self.session.page(self.root.base.as_str(), &attributes, self.page, cookie, None).await?;
            answer.entries.iter().filter(|entry| has_names(entry)).for_each(|entry| {
                names.pass(&holder(entry));
            });
            people += answer.entries.len() as u64;
            self.visitor.names(people);
            cookie = answer.cookie;
            if cookie.is_empty() {
                return Ok(());
            }
        }
    }

    async fn read_place(&mut self, place: &Dn, mut names: Option<&mut Names>) -> Result<(), DirectoryError> {
        let (session, size) = (self.session, self.page);
        let page = |cookie| session.page(place.as_str(), &EVERYONE, size, cookie, None);
        let mut answer = page(Vec::new()).await?;
        loop {
            let Answer { entries, cookie, .. } = answer;
            if let Some(names) = &mut names {
                entries.iter().filter(|entry| has_names(entry)).for_each(|entry| names.pass(&holder(entry)));
            }
            let sketches = self.sketch(entries);
            let mut next =
                pin!(async { if cookie.is_empty() { Ok(None) } else { page(cookie).await.map(Some) } });
            // What this page lacks is asked for first: Samba answers one question of a connection after the other.
            let (lacking, early) = {
                let mut lacking = pin!(self.read_lacking(&sketches));
                let at_once = begin(&mut lacking).await;
                let early = begin(&mut next).await;
                match at_once {
                    Some(lacking) => (lacking?, early),
                    None => (lacking.await?, early),
                }
            };
            for (draft, _) in self.complete(sketches, lacking) {
                self.tell(draft, false);
            }
            let ended = match early {
                Some(ended) => ended?,
                None => next.await?,
            };
            match ended {
                Some(page) => answer = page,
                None => return Ok(()),
            }
        }
    }

    /// Decodes a page, as far as it goes without asking.
    fn sketch(&mut self, entries: Vec<Entry>) -> Vec<Sketch> {
        self.cache.trim();
        let Some(ground) = &self.examination.ground else { return Vec::new() };
        let mut sketches = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let descriptor = take(&mut entry, DESCRIPTOR).and_then(|bytes| self.cache.place(bytes));
            let Some(glimpse) = Glimpse::of(&self.session.dc, &entry) else {
                let dn = crate::reply::clean(entry.dn.as_bytes());
                sketches.push(Sketch::unreadable(dn, attr::OBJECT_GUID));
                continue;
            };
            let found = self.session.subject(&entry, &glimpse, ground, Vec::new(), Vec::new(), None);
            let mut found = match found {
                Ok(Found::Nobody { .. } | Found::Several(_)) | Err(_) => {
                    sketches.push(Sketch::unreadable(glimpse.holder.dn, attr::OBJECT_CLASS));
                    continue;
                }
                Ok(found) => found,
            };
            let mut doubtful = false;
            if let Found::One(subject) = &mut found {
                let open = descriptor.zip(ground.token.as_ref()).is_some_and(|(place, token)| {
                    self.cache.is_open(place, subject.class, token, ground.server)
                });
                let locked = subject.account.lockout_time.is_some_and(|since| !since.is_zero());
                doubtful = !open || locked || subject.account.control.is_none() || !self.membership.complete;
                let domain = subject.user.sid.domain();
                let primary = domain.zip(subject.user.primary_group_id).map(|(sid, rid)| sid.with_rid(rid));
                subject.user.token_groups = Some(self.membership.of(subject.user.guid, primary.as_ref()));
            }
            let above = glimpse.dn.parent().map(|parent| parent.as_str().to_owned());
            sketches.push(Sketch {
                draft: Draft { found, descriptor, above },
                glimpse: Some(glimpse),
                doubtful,
            });
        }
        sketches
    }

    /// Asks for what a page lacks: what lies above its users, policies, and all of users about whom there is a doubt.
    async fn read_lacking(&self, sketches: &[Sketch]) -> Result<Lacking, DirectoryError> {
        let glimpses = || sketches.iter().filter_map(|sketch| sketch.glimpse.as_ref());
        let mut chains: HashMap<&str, Vec<Dn>> = HashMap::new();
        for sketch in sketches {
            if let (Some(glimpse), Some(parent)) = (&sketch.glimpse, sketch.draft.above.as_deref())
                && !self.cache.knows_above(parent)
                && !chains.contains_key(parent)
            {
                chains.insert(parent, glimpse.containers(&self.root.base));
            }
        }
        let mut unknown: Vec<&Dn> = chains.values().flatten().collect();
        unknown.sort_unstable_by_key(|dn| dn.as_str());
        unknown.dedup_by_key(|dn| dn.as_str());
        let unknown: Vec<Dn> = unknown.into_iter().cloned().collect();
        let containers = async {
            let mut containers = HashMap::new();
            for batch in unknown.chunks(CONTAINERS) {
                let read = self.session.read_containers(self.root, batch).await?;
                containers
                    .extend(read.into_iter().map(|container| (container.dn.as_str().to_owned(), container)));
            }
            Ok::<_, DirectoryError>(containers)
        };
        let policies: HashSet<&str> = glimpses()
            .filter_map(|glimpse| glimpse.pso.as_deref())
            .filter(|pso| !self.cache.policies.contains_key(*pso))
            .collect();
        let policies = futures_util::future::try_join_all(policies.into_iter().map(async |pso| {
            Ok::<_, DirectoryError>((pso.to_owned(), self.session.read_pso(Some(pso)).await?))
        }));
        let doubts = sketches.iter().enumerate().filter(|(_, sketch)| sketch.doubtful);
        let doubts = futures_util::future::try_join_all(doubts.map(async |(index, sketch)| {
            let entry = match &sketch.glimpse {
                Some(glimpse) => self.session.read_subject(glimpse).await?,
                None => None,
            };
            Ok::<_, DirectoryError>((index, entry))
        }));
        let (containers, policies, alone) = tokio::try_join!(containers, policies, doubts)?;
        let above = chains.into_iter().map(|(parent, chain)| {
            let chain = chain.iter().filter_map(|dn| containers.get(dn.as_str()).cloned()).collect();
            (parent.to_owned(), chain)
        });
        Ok(Lacking { above: above.collect(), policies, alone })
    }

    /// Puts together what was read.
    fn complete(&mut self, sketches: Vec<Sketch>, lacking: Lacking) -> Vec<(Draft, Option<Glimpse>)> {
        for (parent, containers) in lacking.above {
            self.cache.keep_above(parent, containers);
        }
        self.cache.policies.extend(lacking.policies);
        let mut alone: HashMap<usize, Option<Entry>> = lacking.alone.into_iter().collect();
        let mut drafts = Vec::with_capacity(sketches.len());
        for (index, sketch) in sketches.into_iter().enumerate() {
            let Sketch { mut draft, glimpse, .. } = sketch;
            let policy = glimpse.as_ref().and_then(|glimpse| glimpse.pso.as_deref());
            let policy = policy.and_then(|pso| self.cache.policies.get(pso).cloned().flatten());
            match (alone.remove(&index), &glimpse, &self.examination.ground) {
                (None, _, _) => {
                    if let (Found::One(subject), Some(policy)) = (&mut draft.found, policy) {
                        subject.applies = Some(policy);
                    }
                }
                (Some(None), _, _) => continue, // deleted between two questions
                (Some(Some(entry)), Some(glimpse), Some(ground)) => {
                    let found = self.session.subject(&entry, glimpse, ground, Vec::new(), Vec::new(), policy);
                    draft.found = found.unwrap_or_else(|_| Found::Unreadable {
                        dn: glimpse.holder.dn.clone(),
                        attribute: attr::OBJECT_CLASS,
                    });
                    draft.descriptor = None;
                }
                (Some(Some(_)), _, _) => {}
            }
            drafts.push((draft, glimpse));
        }
        drafts
    }

    fn tell(&mut self, mut draft: Draft, again: bool) {
        self.cache.lend(&mut draft);
        if let Some(ground) = &mut self.examination.ground {
            ground.current_time = self.read_at.map(|at| at.plus(self.started.elapsed()));
        }
        self.examination.found = Some(draft.found);
        self.visitor.user(&self.examination, again);
        if let Some(found) = self.examination.found.take() {
            self.cache.take_back(Draft { found, ..draft });
        }
    }

    /// Finds out who shares the names that may have been seen twice, and tells of these users a second time.
    async fn look_again(&mut self, twice: &[Name], places: &[Dn]) -> Result<(), DirectoryError> {
        let domain = self.root.base.dns_domain();
        let mut sharing: HashMap<Name, Vec<Holder>> = HashMap::new();
        let mut affected: HashSet<ObjectGuid> = HashSet::new();
        for batch in twice.chunks(NAMES) {
            let asked: HashSet<&Name> = batch.iter().collect();
            let terms: Vec<Match> = batch.iter().flat_map(|name| name.terms(&domain)).collect();
            let mut holders: HashMap<&Name, (Vec<Holder>, Vec<ObjectGuid>)> = HashMap::new();
            let mut cookie = Vec::new();
            loop {
                let any = Some(Match::Any(terms.clone()));
                let base = self.root.base.as_str();
                let answer = self.session.page(base, &GLIMPSE, self.page, cookie, any).await?;
                for entry in answer.entries.iter().filter(|entry| has_names(entry)) {
                    let holder = holder(entry);
                    let in_scope =
                        Dn::parse(&holder.dn).is_ok_and(|dn| places.iter().any(|place| dn.is_under(place)));
                    for name in Name::all_of(&holder, &domain) {
                        let Some(name) = asked.get(&name) else { continue };
                        let (some, wanted) = holders.entry(name).or_default();
                        if some.len() <= usize::try_from(OTHERS).unwrap_or(0) {
                            some.push(holder.clone());
                        }
                        wanted.extend(holder.guid.filter(|_| in_scope));
                    }
                }
                cookie = answer.cookie;
                if cookie.is_empty() {
                    break;
                }
            }
            for (name, (some, wanted)) in holders {
                if some.len() > 1 {
                    affected.extend(wanted);
                    sharing.insert(name.clone(), some);
                }
            }
        }
        let affected: Vec<ObjectGuid> = affected.into_iter().collect();
        for batch in affected.chunks(AGAIN) {
            let terms = batch.iter().map(|guid| Match::Equals(attr::OBJECT_GUID, guid.to_wire().to_vec()));
            let any = Some(Match::Any(terms.collect()));
            let base = self.root.base.as_str();
            let answer = self.session.page(base, &EVERYONE, self.page, Vec::new(), any).await?;
            let sketches = self.sketch(answer.entries);
            let lacking = self.read_lacking(&sketches).await?;
            for (mut draft, glimpse) in self.complete(sketches, lacking) {
                if let (Found::One(subject), Some(own)) = (&mut draft.found, glimpse) {
                    subject.holders = others(&own.holder, &sharing, &domain);
                }
                self.tell(draft, true);
            }
        }
        Ok(())
    }
}

/// Everybody else who has one of its names.
fn others(own: &Holder, sharing: &HashMap<Name, Vec<Holder>>, domain: &str) -> Vec<Holder> {
    let mut names: Vec<Name> = Name::all_of(own, domain).into_iter().collect();
    names.sort();
    let mut others: Vec<Holder> = Vec::new();
    for holder in names.iter().filter_map(|name| sharing.get(name)).flatten() {
        if holder.guid != own.guid && !others.iter().any(|known| known.guid == holder.guid) {
            others.push(holder.clone());
        }
    }
    others.truncate(usize::try_from(OTHERS).unwrap_or(0));
    others
}

/// Where to look: the scope as far as it lies below the base, nothing twice.
fn places(base: &Dn, scope: Option<&[Dn]>) -> Vec<Dn> {
    let Some(scope) = scope else { return vec![base.clone()] };
    if scope.iter().any(|ou| base.is_under(ou)) {
        return vec![base.clone()];
    }
    let mut places: Vec<Dn> = Vec::new();
    for ou in scope.iter().filter(|ou| ou.is_under(base)) {
        if !places.iter().any(|known| ou.is_under(known)) {
            places.retain(|known| !known.is_under(ou));
            places.push(ou.clone());
        }
    }
    places
}

/// The first value, taken out.
fn take(entry: &mut Entry, attribute: &str) -> Option<Vec<u8>> {
    let at = entry.attributes.iter().position(|(name, _)| name.eq_ignore_ascii_case(attribute))?;
    entry.attributes.swap_remove(at).1.into_iter().next()
}

impl Session<'_> {
    /// A page of the people below `base`, or of whatever matches.
    async fn page(
        &self,
        base: &str,
        attributes: &[&str],
        size: i64,
        cookie: Vec<u8>,
        matching: Option<Match>,
    ) -> Result<Answer, DirectoryError> {
        let mut controls = vec![LdapControl::SimplePagedResults { size, cookie }];
        controls.extend(attributes.contains(&DESCRIPTOR).then(descriptors));
        let filter = people(LdapFilter::Present(attr::OBJECT_CLASS.to_owned()));
        let op = search(base, LdapSearchScope::Subtree, filter, 0, attributes);
        let answer = self.ask_patiently(op, matching, controls, self.inner.limits.read * PATIENCE).await?;
        if answer.reply.result == 0 { Ok(answer) } else { Err(self.refused(answer)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).expect("a DN")
    }

    #[test]
    fn nobody_is_looked_for_twice_or_outside_of_the_base() {
        let base = dn("DC=ad,DC=example");
        let [staff, sales, service, foreign] = [
            "OU=Staff,DC=ad,DC=example",
            "ou=sales,ou=staff,dc=ad,dc=example",
            "OU=Service,DC=ad,DC=example",
            "OU=Staff,DC=b",
        ]
        .map(dn);
        let of = |scope: &[&Dn]| {
            let scope: Vec<Dn> = scope.iter().map(|dn| (*dn).clone()).collect();
            places(&base, Some(&scope))
        };
        assert_eq!(places(&base, None), std::slice::from_ref(&base));
        assert_eq!(of(&[&sales, &staff, &service, &foreign]), [staff.clone(), service]);
        assert_eq!(of(&[&staff, &base, &sales]), std::slice::from_ref(&base));
        assert_eq!(of(&[&foreign]), []);
        assert_eq!(places(&sales, Some(&[staff])), std::slice::from_ref(&sales));
    }
}
