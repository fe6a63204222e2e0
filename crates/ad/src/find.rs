//! Whom a name means: exactly one user, or a refusal. Never the first of two.

use crate::connection::{base_search, search};
use crate::descriptor::{Acl, SecurityDescriptor};
use crate::directory::{Dc, Directory, Inner, Use};
use crate::dn::Dn;
use crate::error::{DirectoryError, FindError, Step};
use crate::sid::Sid;
use crate::time::FileTime;
use crate::wire::Entry;
use keyback_core::{ObjectGuid, SourceAnchor, UserName};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapFilter, LdapOp, LdapSearchScope};

/// Attribute names as LDAP spells them.
pub(crate) mod attr {
    pub(crate) const OBJECT_GUID: &str = "objectGUID";
    pub(crate) const OBJECT_SID: &str = "objectSid";
    pub(crate) const OBJECT_CLASS: &str = "objectClass";
    pub(crate) const SAM_ACCOUNT_NAME: &str = "sAMAccountName";
    pub(crate) const USER_PRINCIPAL_NAME: &str = "userPrincipalName";
    pub(crate) const DISPLAY_NAME: &str = "displayName";
    pub(crate) const MAIL: &str = "mail";
    pub(crate) const PROXY_ADDRESSES: &str = "proxyAddresses";
    pub(crate) const CONSISTENCY_GUID: &str = "mS-DS-ConsistencyGuid";
    pub(crate) const USER_ACCOUNT_CONTROL: &str = "userAccountControl";
    pub(crate) const PWD_LAST_SET: &str = "pwdLastSet";
    pub(crate) const LOCKOUT_TIME: &str = "lockoutTime";
    pub(crate) const KEY_VERSION: &str = "msDS-KeyVersionNumber";
    pub(crate) const PRIMARY_GROUP_ID: &str = "primaryGroupID";
    pub(crate) const TOKEN_GROUPS: &str = "tokenGroups";
    pub(crate) const ADMIN_COUNT: &str = "adminCount";
    pub(crate) const IS_CRITICAL: &str = "isCriticalSystemObject";
    pub(crate) const UNICODE_PWD: &str = "unicodePwd";
    pub(crate) const DESCRIPTOR: &str = "nTSecurityDescriptor";
}

/// All that [`User`] shows. tokenGroups is computed, and only for a base search.
pub(crate) const USER: [&str; 17] = [
    attr::OBJECT_GUID,
    attr::OBJECT_SID,
    attr::OBJECT_CLASS,
    attr::SAM_ACCOUNT_NAME,
    attr::USER_PRINCIPAL_NAME,
    attr::DISPLAY_NAME,
    attr::MAIL,
    attr::CONSISTENCY_GUID,
    attr::USER_ACCOUNT_CONTROL,
    attr::PWD_LAST_SET,
    attr::LOCKOUT_TIME,
    attr::KEY_VERSION,
    attr::PRIMARY_GROUP_ID,
    attr::TOKEN_GROUPS,
    attr::ADMIN_COUNT,
    attr::IS_CRITICAL,
    attr::DESCRIPTOR,
];

/// [MS-ADTS] 3.1.1.3.4.1.11: of a security descriptor, only who may do what. Without it, a reader who may not see the
/// audit list is shown none of it.
pub(crate) fn only_dacl() -> LdapControl {
    LdapControl::Unknown {
        oid: "1.2.840.113556.1.4.801".to_owned(),
        criticality: true,
        value: Some(vec![0x30, 3, 2, 1, 4]),
    }
}

/// Enough to say which objects a name fits.
pub(crate) const CANDIDATES: i32 = 5;

/// A user as one domain controller shows it to the connector account. An `Option` is `None` where the attribute is
/// absent *or unreadable*: the directory does not tell these apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The one key that survives renames and moves.
    pub guid: ObjectGuid,
    /// Where it lies now.
    pub dn: Dn,
    /// objectSid.
    pub sid: Sid,
    /// sAMAccountName.
    pub sam_account_name: String,
    /// userPrincipalName.
    pub user_principal_name: Option<String>,
    /// displayName.
    pub display_name: Option<String>,
    /// mail.
    pub mail: Option<String>,
    /// mS-DS-ConsistencyGuid where it has 16 bytes, else objectGUID.
    pub source_anchor: SourceAnchor,
    /// userAccountControl: 0x2 is disabled.
    pub user_account_control: Option<u32>,
    /// pwdLastSet; zero means "must change".
    pub pwd_last_set: Option<FileTime>,
    /// lockoutTime; says nothing by itself once the lockout duration is over.
    pub lockout_time: Option<FileTime>,
    /// msDS-KeyVersionNumber: one more after each password that is set.
    pub key_version: Option<i64>,
    /// RID of the primary group, which memberOf does not show.
    pub primary_group_id: Option<u32>,
    /// All groups, nested ones and the primary one too. `None` = unreadable.
    pub token_groups: Option<Vec<Sid>>,
    /// objectClass, from `top` to the most special.
    pub object_classes: Vec<String>,
    /// adminCount: a trace of protection, no proof.
    pub admin_count: Option<i64>,
    /// isCriticalSystemObject: krbtgt, Administrator, domain controllers.
    pub is_critical_system_object: bool,
    /// Who may do what to it.
    pub dacl: Option<Acl>,
    /// The domain controller that was asked.
    pub dc: String,
}

impl Directory {
    /// Finds whom a typed name means: GUID, DN, `DOMAIN\name`, userPrincipalName or mail address, sAMAccountName.
    pub async fn find_user(&self, name: &UserName) -> Result<User, FindError> {
        let mut round = self.inner.round(Use::Reads);
        while let Some(dc) = round.next() {
            match self.inner.find_on(&dc, name.as_str()).await {
                Err(FindError::Directory(error)) => round.failed(error)?,
                answered => {
                    round.served();
                    return answered;
                }
            }
        }
        Err(round.none_serves().into())
    }

    /// Reads the user with this objectGUID.
    pub async fn load_user(&self, guid: ObjectGuid) -> Result<User, FindError> {
        let mut round = self.inner.round(Use::Reads);
        while let Some(dc) = round.next() {
            match self.inner.load_on(&dc, &by_guid(guid)).await {
                Err(FindError::Directory(error)) => round.failed(error)?,
                answered => {
                    round.served();
                    return answered;
                }
            }
        }
        Err(round.none_serves().into())
    }

    /// Where each of these organisational units lies now.
    pub async fn resolve_scope(&self, ous: &[ObjectGuid]) -> Result<Vec<Dn>, FindError> {
        let mut dns = Vec::with_capacity(ous.len());
        for guid in ous {
            dns.push(self.container(&by_guid(*guid)).await?.1);
        }
        Ok(dns)
    }

    /// Who may do what to AdminSDHolder: what every protected object is given. `None` where it cannot be read.
    pub async fn read_admin_sd_holder(&self) -> Result<Option<Acl>, FindError> {
        let mut round = self.inner.round(Use::Reads);
        while let Some(dc) = round.next() {
            match self.inner.admin_sd_holder_on(&dc).await {
                Err(FindError::Directory(error)) => round.failed(error)?,
                Err(FindError::NotFound { .. }) => {
                    round.served();
                    return Ok(None);
                }
                answered => {
                    round.served();
                    return answered;
                }
            }
        }
        Err(round.none_serves().into())
    }

    /// Reads the objectGUID of a container, and its DN as the directory spells it.
    pub async fn find_container(&self, dn: &str) -> Result<(ObjectGuid, Dn), FindError> {
        if Dn::parse(dn).is_err() {
            return Err(FindError::NotFound { dc: String::new() });
        }
        self.container(dn).await
    }

    async fn container(&self, base: &str) -> Result<(ObjectGuid, Dn), FindError> {
        let mut round = self.inner.round(Use::Reads);
        while let Some(dc) = round.next() {
            match self.inner.entry(&dc, base, &[attr::OBJECT_GUID]).await {
                Err(FindError::Directory(error)) => round.failed(error)?,
                Err(error) => {
                    round.served();
                    return Err(error);
                }
                Ok(entry) => {
                    round.served();
                    return Ok((guid(&dc, &entry)?, dn(&dc, &entry.dn)?));
                }
            }
        }
        Err(round.none_serves().into())
    }
}

/// A base that survives renames and moves.
pub(crate) fn by_guid(guid: ObjectGuid) -> String {
    format!("<GUID={guid}>")
}

/// What a typed name may be.
pub(crate) enum Form<'a> {
    /// Read this object.
    Base(String),
    /// Search the users for this.
    Filter(LdapFilter),
    /// A sAMAccountName of this domain, by its DNS or its NetBIOS name.
    Qualified { domain: &'a str, account: &'a str },
}

/// What `name` may be, where users are looked for below `base`.
pub(crate) fn form_of<'a>(name: &'a str, base: &Dn) -> Form<'a> {
    let unbraced = name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(name);
    if let Some(guid) = unbraced.parse::<ObjectGuid>().ok().filter(|_| unbraced.len() == 36) {
        return Form::Base(by_guid(guid));
    }
    if Dn::parse(name).is_ok_and(|dn| dn.is_under(base)) {
        return Form::Base(name.to_owned());
    }
    if let Some((domain, account)) = name.split_once('\\') {
        return Form::Qualified { domain, account };
    }
    let Some((account, suffix)) = name.rsplit_once('@') else {
        return Form::Filter(equals(attr::SAM_ACCOUNT_NAME, name));
    };
    let mut any = vec![
        equals(attr::USER_PRINCIPAL_NAME, name),
        equals(attr::MAIL, name),
        equals(attr::PROXY_ADDRESSES, &format!("smtp:{name}")),
    ];
    // Every account has this name too, whatever its userPrincipalName says ([MS-ADTS] 5.1.1.1.1).
    if suffix.eq_ignore_ascii_case(&base.dns_domain()) && !account.is_empty() {
        any.push(equals(attr::SAM_ACCOUNT_NAME, account));
    }
    Form::Filter(LdapFilter::Or(any))
}

/// Only people: objectCategory=person leaves computers and managed service accounts out and keeps inetOrgPerson in.
pub(crate) fn people(filter: LdapFilter) -> LdapFilter {
    LdapFilter::And(vec![equals("objectCategory", "person"), equals(attr::OBJECT_CLASS, "user"), filter])
}

/// Where the NetBIOS name of the domain stands.
pub(crate) fn netbios_search(base: &Dn, configuration: Option<&str>) -> LdapOp {
    let of_domain =
        LdapFilter::And(vec![equals(attr::OBJECT_CLASS, "crossRef"), equals("nCName", base.as_str())]);
    let partitions = format!("CN=Partitions,{}", configuration.unwrap_or_default());
    search(&partitions, LdapSearchScope::OneLevel, of_domain, 1, &["nETBIOSName"])
}

pub(crate) fn equals(attribute: &str, value: &str) -> LdapFilter {
    // A value of its own in BER: nothing in it is ever read as a part of the filter.
    LdapFilter::Equality(attribute.to_owned(), value.to_owned())
}

impl Inner {
    async fn find_on(&self, dc: &Dc, name: &str) -> Result<User, FindError> {
        let nobody = || FindError::NotFound { dc: dc.name.clone() };
        let base = self.base(dc).await?;
        let filter = match form_of(name, &base) {
            Form::Base(base) => return self.load_on(dc, &base).await,
            Form::Filter(filter) => filter,
            Form::Qualified { domain, account } => {
                let ours = domain.eq_ignore_ascii_case(&base.dns_domain())
                    || domain.eq_ignore_ascii_case(self.netbios_name(dc).await?);
                if !ours || account.is_empty() || account.contains('\\') {
                    return Err(nobody());
                }
                equals(attr::SAM_ACCOUNT_NAME, account)
            }
        };
        let mut found = self.search_users(dc, filter).await?;
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(nobody()),
            (Some((guid, _)), true) => self.load_on(dc, &by_guid(guid)).await,
            (Some(last), false) => {
                let dns = found.into_iter().chain([last]).map(|(_, dn)| dn).collect();
                Err(FindError::Several { dc: dc.name.clone(), dns })
            }
        }
    }

    /// Where users are looked for.
    async fn base(&self, dc: &Dc) -> Result<Dn, DirectoryError> {
        match &self.base {
            Some(base) => Ok(base.clone()),
            None => Ok(self.connection(dc, Use::Reads).await?.facts.base.clone()),
        }
    }

    /// The NetBIOS name of the domain. Read once; empty where the domain does not show it.
    async fn netbios_name(&self, dc: &Dc) -> Result<&str, DirectoryError> {
        let read = async || {
            let answer =
                self.read_with(dc, |facts| netbios_search(&facts.base, facts.configuration.as_deref()), &[]);
            let answer = answer.await?;
            let name = answer.entries.first().and_then(|entry| entry.text("nETBIOSName"));
            Ok::<_, DirectoryError>(name.unwrap_or_default().to_owned())
        };
        self.netbios_name.get_or_try_init(read).await.map(String::as_str)
    }

    async fn search_users(&self, dc: &Dc, filter: LdapFilter) -> Result<Vec<(ObjectGuid, Dn)>, FindError> {
        let base = self.base(dc).await?;
        let op =
            search(base.as_str(), LdapSearchScope::Subtree, people(filter), CANDIDATES, &[attr::OBJECT_GUID]);
        let answer = self.read(dc, op).await?;
        match answer.reply.result {
            // 4: more than the size limit, so several in any case.
            0 | 4 => answer.entries.iter().map(|entry| Ok((guid(dc, entry)?, dn(dc, &entry.dn)?))).collect(),
            32 => Ok(Vec::new()),
            _ => {
                Err(DirectoryError::Refused { dc: dc.name.clone(), step: Step::Read, reply: answer.reply }
                    .into())
            }
        }
    }

    async fn admin_sd_holder_on(&self, dc: &Dc) -> Result<Option<Acl>, FindError> {
        let domain = self.connection(dc, Use::Reads).await?.facts.base.clone();
        let holder = format!("CN=AdminSDHolder,CN=System,{domain}");
        Ok(dacl(&self.entry_with(dc, &holder, &[attr::DESCRIPTOR], &[only_dacl()]).await?))
    }

    /// Reads the user at `base`.
    pub(crate) async fn load_on(&self, dc: &Dc, base: &str) -> Result<User, FindError> {
        decode_user(dc, &self.entry_with(dc, base, &USER, &[only_dacl()]).await?)
    }

    /// Reads one object.
    pub(crate) async fn entry(&self, dc: &Dc, base: &str, attributes: &[&str]) -> Result<Entry, FindError> {
        self.entry_with(dc, base, attributes, &[]).await
    }

    async fn entry_with(
        &self,
        dc: &Dc,
        base: &str,
        attributes: &[&str],
        controls: &[LdapControl],
    ) -> Result<Entry, FindError> {
        let mut answer = self.read_with(dc, |_| base_search(base, attributes), controls).await?;
        match (answer.reply.result, answer.entries.pop()) {
            (0, Some(entry)) => Ok(entry),
            // 34: Samba and Windows refuse the syntax of a DN that cannot exist.
            (0 | 10 | 32 | 34, _) => Err(FindError::NotFound { dc: dc.name.clone() }),
            _ => {
                Err(DirectoryError::Refused { dc: dc.name.clone(), step: Step::Read, reply: answer.reply }
                    .into())
            }
        }
    }
}

fn unreadable(dc: &Dc, entry: &Entry, attribute: &'static str) -> FindError {
    FindError::Unreadable { dc: dc.name.clone(), dn: crate::reply::clean(entry.dn.as_bytes()), attribute }
}

pub(crate) fn wire_guid(value: Option<&[u8]>) -> Option<[u8; 16]> {
    value.and_then(|bytes| bytes.try_into().ok())
}

pub(crate) fn guid(dc: &Dc, entry: &Entry) -> Result<ObjectGuid, FindError> {
    let bytes = wire_guid(entry.bytes(attr::OBJECT_GUID));
    bytes.map(ObjectGuid::from_wire).ok_or_else(|| unreadable(dc, entry, attr::OBJECT_GUID))
}

pub(crate) fn dn(dc: &Dc, text: &str) -> Result<Dn, FindError> {
    Dn::parse(text).map_err(|_| {
        let reason = "an object's DN is no DN".to_owned();
        DirectoryError::Protocol { dc: dc.name.clone(), step: Step::Read, reason }.into()
    })
}

/// `None` where it is not shown, or is none. A NULL DACL, which lets everybody do everything, is `None` too.
fn dacl(entry: &Entry) -> Option<Acl> {
    SecurityDescriptor::decode(entry.bytes(attr::DESCRIPTOR)?).ok()?.dacl
}

pub(crate) fn decode_user(dc: &Dc, entry: &Entry) -> Result<User, FindError> {
    let guid = guid(dc, entry)?;
    let object_classes = entry.texts(attr::OBJECT_CLASS);
    // A DN or a GUID may name anything; only users have passwords that are ours to set.
    if !object_classes.iter().any(|class| class.eq_ignore_ascii_case("user")) {
        return Err(FindError::NotFound { dc: dc.name.clone() });
    }
    let text = |attribute| entry.text(attribute).map(ToOwned::to_owned);
    let file_time = |attribute| entry.number(attribute).map(FileTime::from_ticks);
    let groups = entry.values(attr::TOKEN_GROUPS);
    let groups: Option<Vec<Sid>> = groups.iter().map(|sid| Sid::decode(sid).ok()).collect();
    Ok(User {
        guid,
        dn: dn(dc, &entry.dn)?,
        sid: entry
            .bytes(attr::OBJECT_SID)
            .and_then(|sid| Sid::decode(sid).ok())
            .ok_or_else(|| unreadable(dc, entry, attr::OBJECT_SID))?,
        sam_account_name: text(attr::SAM_ACCOUNT_NAME)
            .ok_or_else(|| unreadable(dc, entry, attr::SAM_ACCOUNT_NAME))?,
        user_principal_name: text(attr::USER_PRINCIPAL_NAME),
        display_name: text(attr::DISPLAY_NAME),
        mail: text(attr::MAIL),
        source_anchor: SourceAnchor::from_wire(
            wire_guid(entry.bytes(attr::CONSISTENCY_GUID)).unwrap_or(guid.to_wire()),
        ),
        // Stored signed, shown as such: -2147483648 is a flag.
        user_account_control: entry.number(attr::USER_ACCOUNT_CONTROL).map(i32::cast_unsigned),
        pwd_last_set: file_time(attr::PWD_LAST_SET),
        lockout_time: file_time(attr::LOCKOUT_TIME),
        key_version: entry.number(attr::KEY_VERSION),
        primary_group_id: entry.number(attr::PRIMARY_GROUP_ID),
        // Every user is in its primary group at least, so none at all means that it cannot be read.
        token_groups: groups.filter(|groups| !groups.is_empty()),
        object_classes,
        admin_count: entry.number(attr::ADMIN_COUNT),
        is_critical_system_object: entry.text(attr::IS_CRITICAL) == Some("TRUE"),
        dacl: dacl(entry),
        dc: dc.name.clone(),
    })
}
