//! What holds for every user: the domain controller, the connector account's token and state, the domain's head, and
//! AdminSDHolder.

use super::session::{Session, descriptors};
use super::subject::{ACCOUNT, Account, Container};
use crate::connection::{ROOT_DSE, RootDse, base_search, search};
use crate::descriptor::{SecurityDescriptor, Server, Token};
use crate::dn::Dn;
use crate::error::{DirectoryError, Step};
use crate::find::attr;
use crate::policy::{self, Policy};
use crate::sid::Sid;
use crate::wire::{Entry, Match};
use keyback_core::{Clock, Timestamp};
use ldap3_proto::proto::{LdapFilter, LdapSearchScope};

/// The connector account as it sees itself.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Where it lies.
    pub dn: String,
    /// userPrincipalName, else sAMAccountName.
    pub name: Option<String>,
    /// Its state.
    pub account: Account,
}

/// What holds for every user of one examination.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The domain controller, as the configuration names it.
    pub dc: String,
    /// The domain.
    pub base: Dn,
    /// What the domain controller calls itself.
    pub dns_host_name: Option<String>,
    /// Samba names its vendor, Windows does not.
    pub vendor: Option<String>,
    /// Whose access check it runs.
    pub server: Server,
    /// Its clock when it was read, and ours.
    pub current_time: Option<Timestamp>,
    /// Seconds by which its clock is ahead of ours; negative when it is behind. Exact to a second.
    pub clock_ahead: Option<i64>,
    /// Whether a reset can obey history and minimum age.
    pub policy_hints: bool,
    /// isSynchronized: whether it has finished its first replication.
    pub synchronized: Option<bool>,
    /// domainFunctionality ([MS-ADTS] 6.1.4.3).
    pub functional_level: Option<u32>,
    /// Whether it is a read-only domain controller.
    pub read_only: Option<bool>,
    /// The connector account to an access check. `None`: the rootDSE does not show it.
    pub token: Option<Token>,
    /// The connector account's own SID.
    pub connector_sid: Option<Sid>,
    /// The connector account's state; `None` where it cannot see itself.
    pub connector: Option<Connector>,
    /// The domain's SID.
    pub domain_sid: Option<Sid>,
    /// The domain's own rules.
    pub domain_policy: Option<Policy>,
    /// Who may do what to the domain's head.
    pub domain_descriptor: Option<SecurityDescriptor>,
    /// What every protected account has.
    pub admin_sd_holder: Option<SecurityDescriptor>,
}

/// What the rootDSE showed.
pub(super) struct Root {
    pub(super) base: Dn,
    pub(super) facts: RootDse,
    clock_ahead: Option<i64>,
    synchronized: Option<bool>,
    functional_level: Option<u32>,
    /// In the server's order: the account itself comes first.
    token_groups: Vec<Sid>,
}

impl Session<'_> {
    pub(super) async fn read_root(&self, clock: &dyn Clock) -> Result<Root, DirectoryError> {
        let attributes: Vec<&str> =
            ROOT_DSE.into_iter().chain(["tokenGroups", "isSynchronized", "domainFunctionality"]).collect();
        let asked_at = clock.now();
        let answer = self.ask(Step::RootDse, base_search("", &attributes), Vec::new()).await?;
        // The domain controller read its clock somewhere between the question and the answer.
        let ours = asked_at.plus(clock.now().since(asked_at) / 2);
        let facts = RootDse::decode(&self.dc.name, &answer)?;
        let entry = answer.entries.first();
        let sids = entry.map(|entry| entry.values("tokenGroups")).unwrap_or_default();
        Ok(Root {
            base: facts.base.clone(),
            clock_ahead: facts
                .current_time
                .map(|theirs| theirs.as_micros().saturating_sub(ours.as_micros()).div_euclid(1_000_000)),
            synchronized: entry
                .and_then(|entry| entry.text("isSynchronized"))
                .map(|value| value.eq_ignore_ascii_case("TRUE")),
            functional_level: entry.and_then(|entry| entry.number("domainFunctionality")),
            token_groups: sids.iter().filter_map(|sid| Sid::decode(sid).ok()).collect(),
            facts,
        })
    }

    /// Whether it is read-only. Samba's does not announce the capability that Windows' does; this attribute both have.
    pub(super) async fn read_kind(&self, root: &Root) -> Result<Option<bool>, DirectoryError> {
        let Some(service) = &root.facts.ds_service_name else { return Ok(None) };
        let answer = self.ask(Step::Read, base_search(service, &["msDS-isRODC"]), Vec::new()).await?;
        Ok(answer.entries.first().and_then(|entry| entry.text("msDS-isRODC")).map(|value| value == "TRUE"))
    }

    /// In one search: the domain's head, AdminSDHolder, the connector account, and the containers above the user.
    pub(super) async fn read_ground(
        &self,
        root: &Root,
        containers: &[Dn],
    ) -> Result<(Ground, Vec<Container>), DirectoryError> {
        let holder = format!("CN=AdminSDHolder,CN=System,{}", root.base);
        let own = root.token_groups.first();
        let mut any = vec![Match::text(DN, root.base.as_str()), Match::text(DN, &holder)];
        any.extend(own.map(|sid| Match::Equals(attr::OBJECT_SID, sid.encode())));
        any.extend(containers.iter().map(|dn| Match::text(DN, dn.as_str())));
        let attributes: Vec<&str> =
            [attr::OBJECT_SID, attr::SAM_ACCOUNT_NAME, attr::USER_PRINCIPAL_NAME, DESCRIPTOR]
                .into_iter()
                .chain(policy::DOMAIN)
                .chain(ACCOUNT)
                .collect();
        let nothing = LdapFilter::Present("objectClass".to_owned());
        let op = search(root.base.as_str(), LdapSearchScope::Subtree, nothing, 0, &attributes);
        let answer = self.ask_matching(op, Match::Any(any), vec![descriptors()]).await?;
        let entries = answer.entries.iter().filter_map(|entry| Some((Dn::parse(&entry.dn).ok()?, entry)));
        let entries: Vec<(Dn, &Entry)> = entries.collect();
        let named = |dn: &Dn| entries.iter().find(|(found, _)| found == dn).map(|(_, entry)| *entry);
        let head = named(&root.base);
        let sid_of = |entry: &Entry| entry.bytes(attr::OBJECT_SID).and_then(|sid| Sid::decode(sid).ok());
        let connector = own.and_then(|own| {
            let (_, entry) = entries.iter().find(|(_, entry)| sid_of(entry).as_ref() == Some(own))?;
            let name = entry.text(attr::USER_PRINCIPAL_NAME).or(entry.text(attr::SAM_ACCOUNT_NAME));
            Some(Connector {
                dn: crate::reply::clean(entry.dn.as_bytes()),
                name: name.map(|name| crate::reply::clean(name.as_bytes())),
                account: Account::decode(entry),
            })
        });
        let containers = containers.iter().map(|dn| container(dn, named(dn))).collect();
        let samba = root.facts.vendor.as_ref().is_some_and(|vendor| vendor.contains("Samba"));
        let ground = Ground {
            dc: self.dc.name.clone(),
            dns_host_name: root.facts.dns_host_name.clone(),
            vendor: root.facts.vendor.clone(),
            server: if samba { Server::Samba } else { Server::Windows },
            current_time: root.facts.current_time,
            clock_ahead: root.clock_ahead,
            policy_hints: root.facts.policy_hints.is_some(),
            synchronized: root.synchronized,
            functional_level: root.functional_level,
            read_only: None,
            connector_sid: own.cloned(),
            token: own.is_some().then(|| Token::of_root_dse(root.token_groups.iter().cloned())),
            connector,
            domain_sid: head.and_then(sid_of),
            domain_policy: head.map(policy::domain_policy),
            domain_descriptor: head.and_then(descriptor),
            admin_sd_holder: Dn::parse(&holder).ok().and_then(|dn| named(&dn)).and_then(descriptor),
            base: root.base.clone(),
        };
        Ok((ground, containers))
    }

    /// Containers alone, in the order asked for.
    pub(super) async fn read_containers(
        &self,
        root: &Root,
        containers: &[Dn],
    ) -> Result<Vec<Container>, DirectoryError> {
        let any = containers.iter().map(|dn| Match::text(DN, dn.as_str())).collect();
        let nothing = LdapFilter::Present("objectClass".to_owned());
        let op = search(root.base.as_str(), LdapSearchScope::Subtree, nothing, 0, &[DESCRIPTOR]);
        let answer = self.ask_matching(op, Match::Any(any), vec![descriptors()]).await?;
        if answer.reply.result != 0 {
            return Err(self.refused(answer));
        }
        let entries = answer.entries.iter().filter_map(|entry| Some((Dn::parse(&entry.dn).ok()?, entry)));
        let entries: Vec<(Dn, &Entry)> = entries.collect();
        let named = |dn: &Dn| entries.iter().find(|(found, _)| found == dn).map(|(_, entry)| *entry);
        Ok(containers.iter().map(|dn| container(dn, named(dn))).collect())
    }
}

fn container(dn: &Dn, entry: Option<&Entry>) -> Container {
    Container { dn: dn.clone(), visible: entry.is_some(), descriptor: entry.and_then(descriptor) }
}

pub(super) const DN: &str = "distinguishedName";
pub(super) const DESCRIPTOR: &str = attr::DESCRIPTOR;

/// `None` where it is not shown, or is none.
pub(super) fn descriptor(entry: &Entry) -> Option<SecurityDescriptor> {
    entry.bytes(DESCRIPTOR).and_then(|bytes| SecurityDescriptor::decode(bytes).ok())
}
