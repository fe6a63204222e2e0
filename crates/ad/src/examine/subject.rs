//! One user: its own attributes, what lies above it, who else has its names, and what is left of one that was deleted.

use super::ground::{DESCRIPTOR, Ground, Root, descriptor};
use super::session::{Session, descriptors, show_deleted};
use super::shared::Name;
use crate::connection::{base_search, search};
use crate::descriptor::SecurityDescriptor;
use crate::directory::Dc;
use crate::dn::Dn;
use crate::error::{DirectoryError, FindError, Step};
use crate::find::{self, Form, User, attr, by_guid, equals, form_of, people};
use crate::guid::{self, Guid};
use crate::policy::{self, Applies, Policy};
use crate::time::{FileTime, decode_generalized_time};
use crate::wire::{Entry, Match};
use keyback_core::{ObjectGuid, Timestamp, UserName};
use ldap3_proto::proto::{LdapFilter, LdapSearchScope, LdapSubstringFilter};

/// At most so many addresses are looked for elsewhere.
const ADDRESSES: usize = 100;
/// At most so many others are shown.
pub(super) const OTHERS: i32 = 20;

/// What [`Account`] is read from.
pub(super) const ACCOUNT: [&str; 6] = [
    attr::USER_ACCOUNT_CONTROL,
    "msDS-User-Account-Control-Computed",
    attr::LOCKOUT_TIME,
    "accountExpires",
    attr::PWD_LAST_SET,
    "msDS-UserPasswordExpiryTimeComputed",
];

/// Whether somebody could sign in with an account. `None` where absent or unreadable; userAccountControl is never absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// userAccountControl.
    pub control: Option<u32>,
    /// msDS-User-Account-Control-Computed: 0x10 locked, 0x800000 password expired.
    pub computed: Option<u32>,
    /// lockoutTime.
    pub lockout_time: Option<FileTime>,
    /// accountExpires.
    pub expires: Option<FileTime>,
    /// pwdLastSet.
    pub pwd_last_set: Option<FileTime>,
    /// msDS-UserPasswordExpiryTimeComputed.
    pub password_expires: Option<FileTime>,
}

impl Account {
    pub(super) fn decode(entry: &Entry) -> Self {
        let time = |attribute| entry.number(attribute).map(FileTime::from_ticks);
        let bits = |attribute| entry.number::<i32>(attribute).map(i32::cast_unsigned);
        Self {
            control: bits(attr::USER_ACCOUNT_CONTROL),
            computed: bits("msDS-User-Account-Control-Computed"),
            lockout_time: time(attr::LOCKOUT_TIME),
            expires: time("accountExpires"),
            pwd_last_set: time(attr::PWD_LAST_SET),
            password_expires: time("msDS-UserPasswordExpiryTimeComputed"),
        }
    }
}

/// Something above the user.
#[derive(Debug, Clone)]
pub struct Container {
    /// Where it lies.
    pub dn: Dn,
    /// Whether the connector account can see it at all.
    pub visible: bool,
    /// Who may do what to it. `None`: cannot be read.
    pub descriptor: Option<SecurityDescriptor>,
}

/// Somebody who has one of the user's names too, or to whom an ambiguous name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// objectGUID.
    pub guid: Option<ObjectGuid>,
    /// Where it lies.
    pub dn: String,
    /// sAMAccountName.
    pub sam_account_name: Option<String>,
    /// userPrincipalName.
    pub user_principal_name: Option<String>,
    /// mail.
    pub mail: Option<String>,
    /// proxyAddresses.
    pub proxy_addresses: Vec<String>,
    /// mS-DS-ConsistencyGuid.
    pub consistency_guid: Option<[u8; 16]>,
}

/// What is left of a deleted user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// objectGUID.
    pub guid: Option<ObjectGuid>,
    /// Where it lies now.
    pub dn: String,
    /// sAMAccountName.
    pub sam_account_name: Option<String>,
    /// lastKnownParent.
    pub last_known_parent: Option<String>,
    /// whenChanged: it was deleted then or before.
    pub when_changed: Option<Timestamp>,
}

/// One user with everything that decides about a reset.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Names, groups, state.
    pub user: User,
    /// State once more, with what the server computes.
    pub account: Account,
    /// The class whose ACEs it inherits.
    pub class: Guid,
    /// Its own descriptor. `None`: cannot be read.
    pub descriptor: Option<SecurityDescriptor>,
    /// allowedAttributesEffective: what the server says that the connector account may write. `None`: not shown.
    pub writable: Option<Vec<String>>,
    /// proxyAddresses.
    pub proxy_addresses: Vec<String>,
    /// mS-DS-ConsistencyGuid.
    pub consistency_guid: Option<[u8; 16]>,
    /// What lies above, the nearest first, the domain's head last.
    pub containers: Vec<Container>,
    /// The rules that apply. `None`: not even the domain's can be read.
    pub applies: Option<Applies>,
    /// Other users who have one of its names or its anchor.
    pub holders: Vec<Holder>,
}

/// Whom a name means.
#[derive(Debug, Clone)]
pub enum Found {
    /// Exactly one.
    One(Box<Subject>),
    /// Nobody whom the connector account can see.
    Nobody {
        /// Deleted ones that had this name.
        tombstones: Vec<Tombstone>,
    },
    /// More than one.
    Several(Vec<Holder>),
    /// One that does not show what every user has.
    Unreadable {
        /// Where it lies.
        dn: String,
        /// What is not shown.
        attribute: &'static str,
    },
}

/// Enough of a user to know what to ask next.
pub(super) struct Glimpse {
    pub(super) guid: ObjectGuid,
    pub(super) dn: Dn,
    pub(super) holder: Holder,
    pub(super) pso: Option<String>,
}

pub(super) enum Seen {
    Nobody,
    Several(Vec<Holder>),
    One(Box<Glimpse>),
}

pub(super) const GLIMPSE: [&str; 8] = [
    attr::OBJECT_GUID,
    attr::OBJECT_CLASS,
    attr::SAM_ACCOUNT_NAME,
    attr::USER_PRINCIPAL_NAME,
    attr::MAIL,
    attr::PROXY_ADDRESSES,
    attr::CONSISTENCY_GUID,
    "msDS-ResultantPSO",
];

impl Glimpse {
    /// `None`: it does not show what every object has.
    pub(super) fn of(dc: &Dc, entry: &Entry) -> Option<Self> {
        let (guid, dn) = (find::guid(dc, entry).ok()?, find::dn(dc, &entry.dn).ok()?);
        let pso = entry.text("msDS-ResultantPSO").map(ToOwned::to_owned);
        Some(Self { guid, dn, holder: holder(entry), pso })
    }

    /// What lies above, up to the domain's head.
    pub(super) fn containers(&self, base: &Dn) -> Vec<Dn> {
        let up = std::iter::successors(self.dn.parent(), Dn::parent);
        up.take_while(|dn| dn.is_under(base)).collect()
    }
}

/// Contacts may share an address with a user; computers and groups have no name that a person types.
pub(super) fn has_names(entry: &Entry) -> bool {
    let classes = entry.texts(attr::OBJECT_CLASS);
    let is = |class: &str| classes.iter().any(|known| known.eq_ignore_ascii_case(class));
    is("user") && !is("computer")
}

pub(super) fn holder(entry: &Entry) -> Holder {
    let text = |attribute| entry.bytes(attribute).map(crate::reply::clean);
    let addresses = entry.values(attr::PROXY_ADDRESSES).iter();
    Holder {
        guid: find::wire_guid(entry.bytes(attr::OBJECT_GUID)).map(ObjectGuid::from_wire),
        dn: crate::reply::clean(entry.dn.as_bytes()),
        sam_account_name: text(attr::SAM_ACCOUNT_NAME),
        user_principal_name: text(attr::USER_PRINCIPAL_NAME),
        mail: text(attr::MAIL),
        proxy_addresses: addresses.map(|value| crate::reply::clean(value)).collect(),
        consistency_guid: find::wire_guid(entry.bytes(attr::CONSISTENCY_GUID)),
    }
}

/// The class whose ACEs an object inherits: the most special one, where it is one of ours.
fn class_of(classes: &[String]) -> Guid {
    match classes.last().map(|class| class.to_ascii_lowercase()).as_deref() {
        Some("inetorgperson") => guid::INET_ORG_PERSON,
        Some("computer") => guid::COMPUTER,
        Some("msds-groupmanagedserviceaccount") => guid::GROUP_MANAGED_SERVICE_ACCOUNT,
        Some("msds-managedserviceaccount") => guid::MANAGED_SERVICE_ACCOUNT,
        Some(_) | None => guid::USER,
    }
}

impl Session<'_> {
    pub(super) async fn find(&self, root: &Root, name: &str) -> Result<Seen, DirectoryError> {
        let base = self.inner.base.as_ref().unwrap_or(&root.base);
        let op = match form_of(name, base) {
            Form::Base(base) => base_search(&base, &GLIMPSE),
            Form::Filter(filter) => {
                search(base.as_str(), LdapSearchScope::Subtree, people(filter), OTHERS, &GLIMPSE)
            }
            Form::Qualified { domain, account } => {
                let ours = domain.eq_ignore_ascii_case(&root.base.dns_domain())
                    || domain.eq_ignore_ascii_case(&self.read_netbios_name(root).await?);
                if !ours || account.is_empty() || account.contains('\\') {
                    return Ok(Seen::Nobody);
                }
                let filter = people(equals(attr::SAM_ACCOUNT_NAME, account));
                search(base.as_str(), LdapSearchScope::Subtree, filter, OTHERS, &GLIMPSE)
            }
        };
        let answer = self.ask(Step::Read, op, Vec::new()).await?;
        let entries = match answer.reply.result {
            // 4: more than the size limit, so several in any case.
            0 | 4 => answer.entries,
            10 | 32 | 34 => return Ok(Seen::Nobody),
            _ => return Err(self.refused(answer)),
        };
        let is_user = |entry: &&Entry| {
            let classes = entry.texts(attr::OBJECT_CLASS);
            classes.iter().any(|class| class.eq_ignore_ascii_case("user"))
        };
        match entries.iter().filter(is_user).collect::<Vec<_>>().as_slice() {
            [] => Ok(Seen::Nobody),
            [entry] => {
                let glimpse = Glimpse::of(&self.dc, entry);
                Ok(glimpse.map_or(Seen::Nobody, |glimpse| Seen::One(Box::new(glimpse))))
            }
            several => Ok(Seen::Several(several.iter().map(|entry| holder(entry)).collect())),
        }
    }

    async fn read_netbios_name(&self, root: &Root) -> Result<String, DirectoryError> {
        let op = find::netbios_search(&root.base, root.facts.configuration.as_deref());
        let answer = self.ask(Step::Read, op, Vec::new()).await?;
        let name = answer.entries.first().and_then(|entry| entry.text("nETBIOSName"));
        Ok(name.unwrap_or_default().to_owned())
    }

    pub(super) async fn read_subject(&self, glimpse: &Glimpse) -> Result<Option<Entry>, DirectoryError> {
        let more = [DESCRIPTOR, "allowedAttributesEffective", attr::PROXY_ADDRESSES];
        let attributes: Vec<&str> = find::USER.into_iter().chain(ACCOUNT).chain(more).collect();
        let op = base_search(&by_guid(glimpse.guid), &attributes);
        let mut answer = self.ask(Step::Read, op, vec![descriptors()]).await?;
        match answer.reply.result {
            0 => Ok(answer.entries.pop()),
            32 => Ok(None),
            _ => Err(self.refused(answer)),
        }
    }

    pub(super) fn subject(
        &self,
        entry: &Entry,
        glimpse: &Glimpse,
        ground: &Ground,
        containers: Vec<Container>,
        holders: Vec<Holder>,
        pso: Option<Applies>,
    ) -> Result<Found, DirectoryError> {
        let user = match find::decode_user(&self.dc, entry) {
            Ok(user) => user,
            Err(FindError::Unreadable { dn, attribute, .. }) => {
                return Ok(Found::Unreadable { dn, attribute });
            }
            Err(FindError::Directory(error)) => return Err(error),
            Err(FindError::NotFound { .. } | FindError::Several { .. }) => {
                return Ok(Found::Nobody { tombstones: Vec::new() });
            }
        };
        let domain = ground.domain_policy.clone().filter(is_readable).map(Applies::Policy);
        let writable = entry.texts("allowedAttributesEffective");
        Ok(Found::One(Box::new(Subject {
            account: Account::decode(entry),
            class: class_of(&user.object_classes),
            descriptor: descriptor(entry),
            // An empty list is not sent at all, as one that cannot be read is not; tokenGroups tells whether it could be.
            writable: Some(writable).filter(|list| !list.is_empty()),
            proxy_addresses: glimpse.holder.proxy_addresses.clone(),
            consistency_guid: glimpse.holder.consistency_guid,
            containers,
            applies: pso.or(domain),
            holders,
            user,
        })))
    }

    /// The rules of the fine-grained policy that applies. `None`: none applies.
    pub(super) async fn read_pso(&self, pso: Option<&str>) -> Result<Option<Applies>, DirectoryError> {
        let Some(dn) = pso else { return Ok(None) };
        let answer = self.ask(Step::Read, base_search(dn, &policy::PSO), Vec::new()).await?;
        let policy = answer.entries.first().map(policy::pso_policy);
        let unreadable = || Applies::UnreadablePso(crate::reply::clean(dn.as_bytes()));
        // Without the right the object itself may still be there, and empty (measured on Samba 4.17.12).
        Ok(Some(policy.filter(is_readable).map_or_else(unreadable, Applies::Policy)))
    }

    /// Everybody else who has one of this user's names, addresses or its anchor.
    pub(super) async fn find_holders(
        &self,
        root: &Root,
        glimpse: &Glimpse,
    ) -> Result<Vec<Holder>, DirectoryError> {
        let own = &glimpse.holder;
        let domain = root.base.dns_domain();
        let anchor = Name::Anchor(own.consistency_guid.unwrap_or(glimpse.guid.to_wire()));
        let typed = own.user_principal_name.iter().chain(&own.mail).cloned().map(Name::Typed);
        let addresses = own.proxy_addresses.iter().take(ADDRESSES).cloned().map(Name::Address);
        let names = std::iter::once(anchor).chain(typed).chain(addresses);
        let any = names.flat_map(|name| name.terms(&domain)).collect();
        let nothing = LdapFilter::Present("objectClass".to_owned());
        let op = search(root.base.as_str(), LdapSearchScope::Subtree, nothing, OTHERS, &GLIMPSE);
        let answer = self.ask_matching(op, Match::Any(any), Vec::new()).await?;
        let others = answer.entries.iter().filter(|entry| has_names(entry));
        Ok(others.map(holder).filter(|other| other.guid != Some(glimpse.guid)).collect())
    }

    /// Looks among the deleted for one that had this name. A tombstone keeps objectGUID, sAMAccountName and its name; not
    /// userPrincipalName and mail (measured on Samba 4.17.12), so there the part before the @ is looked for.
    pub(super) async fn find_deleted(
        &self,
        root: &Root,
        name: &UserName,
    ) -> Result<Vec<Tombstone>, DirectoryError> {
        let attributes =
            [attr::OBJECT_GUID, attr::SAM_ACCOUNT_NAME, "lastKnownParent", "whenChanged", "isDeleted"];
        let home = format!("CN=Deleted Objects,{}", root.base);
        let among = |filter| search(&home, LdapSearchScope::OneLevel, filter, OTHERS, &attributes);
        let op = match form_of(name.as_str(), &root.base) {
            Form::Base(base) => match Dn::parse(&base) {
                Ok(dn) if !base.starts_with('<') => {
                    let initial = Some(dn.name().unwrap_or_default());
                    let begins = LdapSubstringFilter { initial, ..LdapSubstringFilter::default() };
                    among(LdapFilter::Substring("name".to_owned(), begins))
                }
                Ok(_) | Err(_) => base_search(&base, &attributes),
            },
            Form::Qualified { account, .. } => among(equals(attr::SAM_ACCOUNT_NAME, account)),
            Form::Filter(_) => {
                let account = name.as_str().rsplit_once('@').map_or(name.as_str(), |(account, _)| account);
                among(equals(attr::SAM_ACCOUNT_NAME, account))
            }
        };
        let answer = self.ask(Step::Read, op, vec![show_deleted()]).await?;
        let text = |entry: &Entry, attribute| entry.bytes(attribute).map(crate::reply::clean);
        let deleted = answer.entries.iter().filter(|entry| entry.text("isDeleted") == Some("TRUE"));
        Ok(deleted
            .map(|entry| Tombstone {
                guid: find::wire_guid(entry.bytes(attr::OBJECT_GUID)).map(ObjectGuid::from_wire),
                dn: crate::reply::clean(entry.dn.as_bytes()),
                sam_account_name: text(entry, attr::SAM_ACCOUNT_NAME),
                last_known_parent: text(entry, "lastKnownParent"),
                when_changed: entry.text("whenChanged").and_then(decode_generalized_time),
            })
            .collect())
    }
}

fn is_readable(policy: &Policy) -> bool {
    policy.min_length.is_some() || policy.complexity.is_some() || policy.history.is_some()
}
