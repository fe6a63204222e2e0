//! What a domain controller does about a question: sign-ins, searches, and the one modify.

#![expect(clippy::wildcard_enum_match_arm, reason = "LDAP has many operations, and few are asked")]

use super::*;

impl Inner {
    pub(super) fn execute(&mut self, dc: usize, message: &LdapMsg) -> Vec<LdapMsg> {
        match &message.op {
            LdapOp::BindRequest(bind) => {
                let LdapBindCred::Simple(password) = &bind.cred else { return Vec::new() };
                let (code, text) = self.bind(dc, &bind.dn, password);
                vec![ended(message, code, text)]
            }
            LdapOp::SearchRequest(search) => {
                let mut answers: Vec<LdapMsg> = self
                    .search(dc, search)
                    .into_iter()
                    .map(|entry| said(message, LdapOp::SearchResultEntry(entry)))
                    .collect();
                let missing = answers.is_empty() && search.base.starts_with("<GUID=");
                let code = if missing { LdapResultCode::NoSuchObject } else { LdapResultCode::Success };
                answers.push(ended(message, code, ""));
                answers
            }
            LdapOp::ModifyRequest(modify) => {
                let hints = message
                    .ctrl
                    .iter()
                    .any(|control| matches!(control, LdapControl::Unknown { oid, .. } if oid == HINTS));
                let (code, text) = self.modify(dc, &modify.dn, &modify.changes, hints);
                vec![ended(message, code, text)]
            }
            _ => Vec::new(),
        }
    }

    fn bind(&mut self, dc: usize, name: &str, password: &str) -> (LdapResultCode, &'static str) {
        let wrong = "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1";
        let locked =
            "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 775, v1db1";
        let known = |account: &&mut Account| account.dn().eq_ignore_ascii_case(name) || account.upn() == name;
        let Some(account) = self.dcs[dc].accounts.iter_mut().find(known) else {
            return (LdapResultCode::InvalidCredentials, wrong);
        };
        if account.locks() {
            return (LdapResultCode::InvalidCredentials, locked);
        }
        if account.password == password {
            account.bad = 0;
            return (LdapResultCode::Success, "");
        }
        account.bad += 1;
        let user = account.sam.clone();
        self.counted.push(Deed { dc, user, password: password.to_owned() });
        (LdapResultCode::InvalidCredentials, wrong)
    }

    pub(super) fn set_password(&mut self, dc: usize, index: usize, password: &str) {
        let tick = self.tick();
        let account = &mut self.dcs[dc].accounts[index];
        password.clone_into(&mut account.password);
        account.used.push(password.to_owned());
        account.key_version += 1;
        account.pwd_last_set = tick;
        let deed = Deed { dc, user: account.sam.clone(), password: password.to_owned() };
        self.set.push(deed);
    }

    fn modify(
        &mut self,
        dc: usize,
        dn: &str,
        changes: &[LdapModify],
        hints: bool,
    ) -> (LdapResultCode, &'static str) {
        let Some(index) = self.dcs[dc].accounts.iter().position(|account| is_named(dn, account)) else {
            return (LdapResultCode::NoSuchObject, "00002030: No such Base DN");
        };
        let wish = Wish::of(changes);
        let account = &self.dcs[dc].accounts[index];
        if wish.seen.as_ref().is_some_and(|seen| *seen != account.pwd_last_set.to_string()) {
            return (LdapResultCode::NoSuchAttribute, "00002085: modify/delete: no such value 'pwdLastSet'");
        }
        let refusal = if wish.old.is_some() || !self.hints {
            LdapResultCode::ConstraintViolation
        } else {
            LdapResultCode::UnwillingToPerform
        };
        if let Some(new) = &wish.new {
            if wish.old.as_ref().is_some_and(|old| *old != account.password) {
                let user = account.sam.clone();
                self.dcs[dc].accounts[index].bad += 1;
                self.counted.push(Deed { dc, user, password: new.clone() });
                let text = "00000056: Constraint violation - check_password_restrictions: The old password specified doesn't match!";
                return (LdapResultCode::ConstraintViolation, text);
            }
            if new.chars().count() < SHORTEST {
                let text = "0000052D: Unwilling to perform - check_password_restrictions: the password is too short. It should be equal or longer than 7 characters!";
                return (refusal, text);
            }
            if (hints || wish.old.is_some()) && account.used.contains(new) {
                let text = "0000052D: Unwilling to perform - check_password_restrictions: the password was already used (in history)!";
                return (refusal, text);
            }
            let new = new.clone();
            self.set_password(dc, index, &new);
        }
        if wish.unlock {
            let account = &mut self.dcs[dc].accounts[index];
            account.locked = 0;
            account.bad = 0;
        }
        (LdapResultCode::Success, "00000000: Success")
    }

    fn search(&self, dc: usize, search: &LdapSearchRequest) -> Vec<LdapSearchResultEntry> {
        let state = &self.dcs[dc];
        if search.base.is_empty() {
            let root = [
                ("defaultNamingContext", BASE.to_owned()),
                ("dnsHostName", Domain::name(dc)),
                ("vendorName", "Samba Team (https://www.samba.org)".to_owned()),
                ("supportedControl", if self.hints { HINTS } else { "1.2.840.113556.1.4.319" }.to_owned()),
            ];
            return vec![entry("", root.map(|(name, value)| (name, value.into_bytes())), &search.attrs)];
        }
        if search.base == format!("<GUID={OU}>") {
            let values =
                [("objectGUID", OU.to_wire().to_vec()), ("objectClass", b"organizationalUnit".to_vec())];
            return vec![entry(&format!("OU=Staff,{BASE}"), values, &search.attrs)];
        }
        if search.base == format!("CN=AdminSDHolder,CN=System,{BASE}") {
            let values = [("objectClass", b"container".to_vec()), ("nTSecurityDescriptor", descriptor(512))];
            return vec![entry(&search.base, values, &search.attrs)];
        }
        let mut wanted = Vec::new();
        equalities(&search.filter, &mut wanted);
        let found = state.accounts.iter().filter(|account| {
            is_named(&search.base, account)
                || (search.base.eq_ignore_ascii_case(BASE)
                    && wanted.iter().any(|(name, value)| has(account, name, value)))
        });
        found.map(|account| shown(account, &search.attrs)).collect()
    }
}

fn is_named(dn: &str, account: &Account) -> bool {
    dn.eq_ignore_ascii_case(&account.dn()) || dn == format!("<GUID={}>", account.guid)
}

fn has(account: &Account, attribute: &str, value: &str) -> bool {
    match attribute {
        "sAMAccountName" => value.eq_ignore_ascii_case(&account.sam),
        "userPrincipalName" | "mail" => value.eq_ignore_ascii_case(&account.upn()),
        _ => false,
    }
}

fn equalities<'a>(filter: &'a LdapFilter, into: &mut Vec<(&'a str, &'a str)>) {
    match filter {
        LdapFilter::And(parts) | LdapFilter::Or(parts) => {
            parts.iter().for_each(|part| equalities(part, into));
        }
        LdapFilter::Equality(name, value) => into.push((name, value)),
        _ => {}
    }
}

fn sid(rid: u32) -> Vec<u8> {
    let mut bytes = vec![1, 5, 0, 0, 0, 0, 0, 5];
    for part in [21, 1, 2, 3, rid] {
        bytes.extend(u32::to_le_bytes(part));
    }
    bytes
}

/// A DACL with one ACE: all to the account with this RID ([MS-DTYP] 2.4.6).
fn descriptor(rid: u32) -> Vec<u8> {
    let to = sid(rid);
    let ace = 8 + u16::try_from(to.len()).expect("a SID is short");
    let acl = 8 + ace;
    let mut bytes = vec![1, 0, 4, 0x80];
    bytes.extend([0u32, 0, 0, 20].map(u32::to_le_bytes).concat()); // no owner, group or SACL; the DACL is at 20
    bytes.extend([2, 0]);
    bytes.extend([acl, 1, 0].map(u16::to_le_bytes).concat());
    bytes.extend([0, 0]);
    bytes.extend(ace.to_le_bytes());
    bytes.extend(0x000f_01ffu32.to_le_bytes());
    bytes.extend(to);
    bytes
}

fn shown(account: &Account, wanted: &[String]) -> LdapSearchResultEntry {
    let text = |value: &str| value.as_bytes().to_vec();
    let mut values = vec![
        ("objectGUID", account.guid.to_wire().to_vec()),
        ("nTSecurityDescriptor", descriptor(1105)),
        ("objectSid", sid(1100 + u32::from(account.rid))),
        ("objectClass", text("user")),
        ("sAMAccountName", text(&account.sam)),
        ("userPrincipalName", text(&account.upn())),
        ("mail", text(&account.upn())),
        ("userAccountControl", text("512")),
        ("pwdLastSet", text(&account.pwd_last_set.to_string())),
        ("msDS-KeyVersionNumber", text(&account.key_version.to_string())),
        ("badPwdCount", text(&account.bad.to_string())),
        ("primaryGroupID", text("513")),
        ("tokenGroups", sid(513)),
    ];
    if account.locked != 0 {
        values.push(("lockoutTime", text(&account.locked.to_string())));
    }
    entry(&account.dn(), values, wanted)
}

fn entry<'a>(
    dn: &str,
    values: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
    wanted: &[String],
) -> LdapSearchResultEntry {
    let attributes = values
        .into_iter()
        .filter(|(name, _)| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)))
        .map(|(name, value)| LdapPartialAttribute { atype: name.to_owned(), vals: vec![value] });
    LdapSearchResultEntry { dn: dn.to_owned(), attributes: attributes.collect() }
}

/// What a modify asks for.
#[derive(Default)]
struct Wish {
    seen: Option<String>,
    old: Option<String>,
    new: Option<String>,
    unlock: bool,
}

impl Wish {
    fn of(changes: &[LdapModify]) -> Self {
        let mut wish = Self::default();
        for change in changes {
            let value = change.modification.vals.first().map(Vec::as_slice).unwrap_or_default();
            let digits = || String::from_utf8_lossy(value).into_owned();
            match (change.modification.atype.as_str(), &change.operation) {
                ("pwdLastSet", LdapModifyType::Delete) => wish.seen = Some(digits()),
                ("unicodePwd", LdapModifyType::Delete) => wish.old = Some(unquoted(value)),
                ("unicodePwd", _) => wish.new = Some(unquoted(value)),
                ("lockoutTime", _) => wish.unlock = true,
                _ => {}
            }
        }
        wish
    }
}

fn unquoted(value: &[u8]) -> String {
    let units: Vec<u16> = value.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16_lossy(&units).trim_matches('"').to_owned()
}

impl Question {
    /// Of a write.
    pub(super) fn password(&self) -> Option<String> {
        match &self.message.op {
            LdapOp::ModifyRequest(modify) => Wish::of(&modify.changes).new,
            _ => None,
        }
    }
}

/// As the schedule's log has it.
impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dc{} q{} ", self.dc, self.number)?;
        match &self.message.op {
            LdapOp::BindRequest(bind) => write!(f, "bind {}", bind.dn),
            LdapOp::SearchRequest(search) => write!(f, "search {:?}", search.base),
            LdapOp::ModifyRequest(modify) => {
                let wish = Wish::of(&modify.changes);
                let compare = if wish.seen.is_some() { "" } else { " without comparing" };
                write!(f, "modify to {:?}{compare}", wish.new.as_deref().unwrap_or_default())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

fn said(question: &LdapMsg, op: LdapOp) -> LdapMsg {
    LdapMsg { msgid: question.msgid, op, ctrl: Vec::new() }
}

pub(super) fn ended(question: &LdapMsg, code: LdapResultCode, text: &str) -> LdapMsg {
    let result =
        LdapResult { code, matcheddn: String::new(), message: text.to_owned(), referral: Vec::new() };
    let op = match &question.op {
        LdapOp::BindRequest(_) => LdapOp::BindResponse(LdapBindResponse { res: result, saslcreds: None }),
        LdapOp::SearchRequest(_) => LdapOp::SearchResultDone(result),
        _ => LdapOp::ModifyResponse(result),
    };
    said(question, op)
}

pub(super) fn result_of(answers: &[LdapMsg]) -> String {
    let mut text = String::new();
    for answer in answers {
        let result = match &answer.op {
            LdapOp::BindResponse(bind) => &bind.res,
            LdapOp::SearchResultDone(result) | LdapOp::ModifyResponse(result) => result,
            _ => continue,
        };
        let _ = write!(text, "{:?} {:.60}", result.code, result.message); // a String takes everything
    }
    text
}
