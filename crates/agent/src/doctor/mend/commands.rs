//! The same changes as an administrator types them: samba-tool, dsacls, PowerShell.

use super::super::remedy::{cmd, powershell, sh};
use super::super::view::{escaped, ps_quoted, quoted};
use super::{Draft, Edit};
use keyback_ad::Sid;
use keyback_ad::descriptor::{AccessMask, Ace, AceFlags, Domains, Effect, Rights};
use keyback_core::diagnosis::Command;

/// Lines that do what a draft does. samba-tool cannot switch inheritance on or take adminCount away, and dsacls cannot
/// take one ACE away, only all of an account: there is no line of theirs then. `connector` is the account that is given
/// rights, as dsacls takes it.
pub fn commands(draft: &Draft, connector: &str, domain: Option<&Sid>) -> Vec<Command> {
    let dn = draft.object.dn.as_str();
    draft.mend.edits.iter().flat_map(|edit| of_edit(dn, edit, connector, domain)).collect()
}

fn of_edit(dn: &str, edit: &Edit, connector: &str, domain: Option<&Sid>) -> Vec<Command> {
    let (identity, path) = (ps_quoted(dn), ps_quoted(&format!("AD:{dn}")));
    let filter = quoted(&format!("(distinguishedName={})", escaped(dn)));
    let sddl = |ace: &Ace| quoted(&ace.to_sddl(domain.map(Domains::single)));
    let acl = |what: &str| powershell(format!("$p = {path}; $a = Get-Acl $p; {what}; Set-Acl $p $a"));
    match edit {
        Edit::Add(ace) => {
            let samba = sh(format!("samba-tool dsacl set --objectdn={} --sddl={}", quoted(dn), sddl(ace)));
            let rights = ace.rights();
            let windows = rights.into_iter().flat_map(|rights| {
                [
                    cmd(dsacls(dn, ace, rights, connector)),
                    acl(&format!("$a.AddAccessRule({})", rule(ace, rights))),
                ]
            });
            std::iter::once(samba).chain(windows).collect()
        }
        Edit::Remove(ace) => {
            let samba = sh(format!("samba-tool dsacl delete --objectdn={} --sddl={}", quoted(dn), sddl(ace)));
            let rights = ace.rights();
            let windows =
                rights.map(|rights| acl(&format!("$a.RemoveAccessRuleSpecific({})", rule(ace, rights))));
            std::iter::once(samba).chain(windows).collect()
        }
        Edit::Inherit => {
            vec![cmd(format!("dsacls \"{dn}\" /P:N")), acl("$a.SetAccessRuleProtection($false, $true)")]
        }
        Edit::Unlock => vec![
            sh(format!("samba-tool user unlock --filter={filter}")),
            powershell(format!("Unlock-ADAccount -Identity {identity}")),
        ],
        Edit::ForgetAdminCount => {
            vec![powershell(format!("Set-ADUser -Identity {identity} -Clear adminCount"))]
        }
        Edit::Enable => vec![
            sh(format!("samba-tool user enable --filter={filter}")),
            powershell(format!("Enable-ADAccount -Identity {identity}")),
        ],
    }
}

fn dsacls(dn: &str, ace: &Ace, rights: &Rights, connector: &str) -> String {
    let what =
        rights.object_type.map(|object| object.name().map_or_else(|| object.to_string(), ToOwned::to_owned));
    let bits = match rights.mask {
        AccessMask::CONTROL_ACCESS => "CA",
        AccessMask::WRITE_PROPERTY => "WP",
        _ => "GR",
    };
    let what = what.map(|what| format!(";{what}")).unwrap_or_default();
    let class = rights.inherited_object_type.and_then(keyback_ad::guid::Guid::name);
    let class = class.map(|class| format!(";{class}")).unwrap_or_default();
    let below = if ace.flags.contains(AceFlags::INHERIT_ONLY) { " /I:S" } else { "" };
    format!("dsacls \"{dn}\"{below} /G \"{connector}:{bits}{what}{class}\"")
}

/// System.DirectoryServices.ActiveDirectoryAccessRule.
fn rule(ace: &Ace, rights: &Rights) -> String {
    let bits = match rights.mask {
        AccessMask::CONTROL_ACCESS => "ExtendedRight",
        AccessMask::WRITE_PROPERTY => "WriteProperty",
        _ => "GenericRead",
    };
    let kind = if ace.kind.effect() == Effect::Deny { "Deny" } else { "Allow" };
    let has = |flag| ace.flags.contains(flag);
    let reach =
        match (has(AceFlags::CONTAINER_INHERIT), has(AceFlags::NO_PROPAGATE), has(AceFlags::INHERIT_ONLY)) {
            (false, _, _) => "None",
            (true, false, false) => "All",
            (true, false, true) => "Descendents",
            (true, true, false) => "SelfAndChildren",
            (true, true, true) => "Children",
        };
    let guid = |guid: keyback_ad::guid::Guid| format!(",[guid]'{guid}'");
    format!(
        "[DirectoryServices.ActiveDirectoryAccessRule]::new([Security.Principal.SecurityIdentifier]'{}',\
         '{bits}','{kind}'{},'{reach}'{})",
        rights.sid,
        rights.object_type.map(guid).unwrap_or_default(),
        rights.inherited_object_type.map(guid).unwrap_or_default(),
    )
}
