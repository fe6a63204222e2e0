//! The rules that every entry keeps: `catalogue/README.md`, as tests over the data.

use keyback_codes::Cause;
use keyback_codes::catalogue::{Basis, Command, Entry, Shell};
use std::collections::{BTreeMap, BTreeSet};

const AADSTS: &str = include_str!("reference/aadsts-codes.tsv");
const EVENTS: &str = include_str!("reference/writeback-events.tsv");
const SUBCODES: &str = include_str!("reference/ad-subcodes.tsv");

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

/// What each entry of `list` breaks; the test fails with all of it at once.
fn none(list: &[String]) {
    assert!(list.is_empty(), "{} in all:\n{}", list.len(), list.join("\n"));
}

fn each(broken: impl Fn(&'static Entry) -> Vec<String>) {
    let named =
        |entry: &'static Entry| broken(entry).into_iter().map(|what| format!("{}: {what}", entry.address()));
    none(&Entry::all().iter().flat_map(named).collect::<Vec<_>>());
}

#[test]
fn every_row_of_the_reference_tables_resolves_by_number_and_by_name() {
    let mut missing = Vec::new();
    let mut look = |family: &str, code: &str, name: &str| {
        let by_number = Entry::find(family, code);
        if by_number.is_none() {
            missing.push(format!("{family} {code}"));
        } else if name != "-" && !Entry::by_key(name).any(|entry| Some(entry) == by_number) {
            missing.push(format!("{family} {code} by its name {name}"));
        }
    };
    for row in rows(AADSTS) {
        look("aadsts", row[0], row[1]);
    }
    for row in rows(EVENTS) {
        let family = match row[3] {
            "PasswordResetService" => "writeback-event",
            "ADSync" => "adsync-event",
            "Directory Synchronization" => "dirsync-event",
            "Microsoft-Windows-Security-Auditing" => "windows-event",
            _ => "password-protection-event",
        };
        look(family, row[0], row[1]);
    }
    for row in rows(SUBCODES) {
        let (family, name) = (row[0].to_lowercase(), row[2]);
        let first = row[1].split(' ').next().unwrap_or_default();
        match family.as_str() {
            "win32-ldap" => look("win32", row[1], name),
            "ad-bind" => look("ad-bind", row[1], name),
            // The table gives the shape as a pattern; the entry has a short name and keeps the pattern.
            "dsid" => {
                let mut shapes = Entry::all().iter().filter(|entry| entry.log_line == Some(row[1]));
                look("dsid", shapes.next().map_or(row[1], |entry| entry.code), "-");
            }
            "adsync-hr" => look("adsync-hr", row[1], "-"), // the third column is the meaning
            "nerr" | "ldap-client" => look(&family, first, name),
            family => look(family, row[1], name),
        }
    }
    none(&missing);
}

#[test]
fn every_cause_of_keyback_has_an_entry_and_every_cause_id_is_one_of_keyback() {
    let missing = Cause::ALL.iter().filter(|cause| Entry::find("keyback", cause.id()).is_none());
    none(&missing.map(|cause| cause.id().to_owned()).collect::<Vec<_>>());
    each(|entry| {
        let unknown = |id: &&str| Cause::try_from((*id).to_owned()).is_err();
        entry
            .causes
            .iter()
            .filter_map(|cause| cause.id)
            .filter(unknown)
            .map(|id| format!("no cause {id}"))
            .collect()
    });
}

#[test]
fn every_entry_has_a_cause_a_fix_and_a_relation_and_each_cause_can_be_confirmed_and_excluded() {
    each(|entry| {
        let mut broken = Vec::new();
        for (what, count) in
            [("cause", entry.causes.len()), ("fix", entry.fixes.len()), ("relation", entry.related.len())]
        {
            if count == 0 {
                broken.push(format!("no {what}"));
            }
        }
        for cause in entry.causes {
            if cause.confirm.len() < 12 || cause.exclude.len() < 12 {
                broken.push(format!("a cause without confirm or exclude: {}", cause.text));
            }
        }
        broken
    });
}

#[test]
fn the_entries_that_people_ask_for_most_are_full() {
    let mut thin = Vec::new();
    let mut full = |family: &str, codes: &[&str]| {
        for code in codes {
            let Some(entry) = Entry::find(family, code) else {
                thin.push(format!("{family}:{code} is missing"));
                continue;
            };
            let commands: usize = entry.fixes.iter().map(|fix| fix.commands.len()).sum();
            if entry.causes.len() < 2
                || commands == 0
                || entry.surfaces.is_empty()
                || entry.log_line.is_none()
            {
                thin.push(entry.address());
            }
        }
    };
    let public: Vec<String> =
        keyback_codes::PublicCode::ALL.iter().map(|code| code.number().to_string()).collect();
    full("aadsts", &public.iter().map(String::as_str).collect::<Vec<_>>());
    full(
        "aadsts",
        &[
            "50034", "50053", "50055", "50057", "50058", "50076", "50126", "50173", "53003", "65001",
            "65004", "70008", "90002", "160021", "700016", "700027", "7000215", "7000222",
        ],
    );
    full(
        "writeback-event",
        &["33001", "33002", "33003", "33004", "33005", "33006", "33007", "33008", "33009"],
    );
    full("writeback-event", &["31001", "31002", "31034", "31044", "32002"]);
    full("adsync-event", &["6329"]);
    full("win32", &["0000052D", "00002098", "00000056", "0000001F", "00000005"]);
    full("ad-bind", &["525", "52e", "530", "531", "532", "533", "701", "773", "775"]);
    full("ldap", &["19", "49", "50", "53"]);
    full("sspr", &["0029", "0030"]);
    full(
        "sspr-reason",
        &[
            "OnPremisesAdminActionRequired",
            "OnPremisesConnectivityError",
            "FuzzyPolicyViolationInvalidPassword",
        ],
    );
    full("adsync-hr", &["80230626", "80230619"]);
    full("adf", &["2200", "2108", "3204", "UserErrorFailedToGetAccessTokenByServicePrincipal"]);
    full(
        "powerbi",
        &[
            "ModelRefreshFailed_CredentialsNotSpecified",
            "DM_GWPipeline_Gateway_DataSourceAccessError",
            "DMTS_OAuthTokenRefreshFailedError",
            "DM_GWPipeline_Gateway_MashupDataAccessError",
            "DM_GWPipeline_Client_GatewayUnreachable",
        ],
    );
    none(&thin);
}

#[test]
fn no_sentence_is_cut_and_each_one_ends() {
    let sentence = |text: &'static str| {
        let ended = text.trim_end_matches([')', '"', '\'']).ends_with(['.', '!', '?']);
        let cut = text.ends_with("...") || text.ends_with('…') || text != text.trim() || text.contains("  ");
        (!ended || cut).then(|| format!("not a whole sentence: {text:?}"))
    };
    each(|entry| {
        let statements = entry.statements();
        let confirm = entry.causes.iter().flat_map(|cause| [cause.confirm, cause.exclude]);
        let mut broken: Vec<_> =
            statements.iter().map(|it| it.text).chain(confirm).filter_map(sentence).collect();
        if entry.title.chars().count() > 72 || entry.title.ends_with('.') || entry.title.is_empty() {
            broken.push(format!("title: {:?}", entry.title));
        }
        broken
    });
}

#[test]
fn no_sentence_of_a_fix_stands_in_more_than_three_entries() {
    let mut seen = BTreeMap::<&str, BTreeSet<String>>::new();
    for entry in Entry::all() {
        for fix in entry.fixes {
            seen.entry(fix.text).or_default().insert(entry.address());
        }
    }
    let repeated = seen.into_iter().filter(|(_, at)| at.len() > 3);
    none(&repeated.map(|(text, at)| format!("{text} {at:?}")).collect::<Vec<_>>());
}

#[test]
fn whatever_is_documented_or_measured_names_its_source() {
    each(|entry| {
        let bare = entry
            .statements()
            .into_iter()
            .filter(|it| it.basis != Basis::Ours && it.source.is_none_or(str::is_empty));
        bare.map(|it| format!("no source: {}", it.text)).collect()
    });
}

#[test]
fn every_related_code_exists_and_is_another_one() {
    each(|entry| {
        let exists = |code: &str| code.split_once(':').and_then(|(family, code)| Entry::find(family, code));
        let wrong =
            entry.related.iter().filter(|related| exists(related.code).is_none_or(|other| other == entry));
        wrong.map(|related| format!("related to {}", related.code)).collect()
    });
}

#[test]
fn severity_is_the_same_for_refusals_of_the_same_kind() {
    let severity = |code| Entry::find("aadsts", code).map(|entry| entry.severity().0);
    assert_eq!(severity("120002"), severity("120004"));
    assert!(severity("120004").is_some());
    each(|entry| {
        let (_, reason) = entry.severity();
        if reason.ends_with('.') { Vec::new() } else { vec![reason] }
    });
}

/// Quotes closed, brackets closed, and a first word that such a shell knows.
fn parses(command: &Command) -> bool {
    let mut quote = None;
    let mut open = Vec::new();
    for c in command.line.chars() {
        match (quote, c) {
            (Some(mark), c) if mark == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '{' | '[') => open.push(c),
            (None, ')' | '}' | ']') => {
                let matching = match c {
                    ')' => '(',
                    '}' => '{',
                    _ => '[',
                };
                if open.pop() != Some(matching) {
                    return false;
                }
            }
            (Some(_) | None, _) => {}
        }
    }
    let first = command.line.split_whitespace().next().unwrap_or_default();
    let known = match command.shell {
        Shell::Sh => {
            "keyback ldapsearch ldapmodify ldapwhoami samba-tool openssl curl dig host nslookup kinit klist kvno date chronyc timedatectl \
             grep journalctl systemctl az nc ss ping jq cat df getent kpasswd smbclient wbinfo rpcclient ldbsearch sudo zgrep tail ls stat \
             id net dbt databricks hostname testparm smbcontrol tcpdump traceroute"
                .split_whitespace()
                .any(|word| word == first)
        }
        Shell::Cmd => {
            "dsacls w32tm nltest netdom repadmin net dcdiag klist gpupdate gpresult dsregcmd certutil setspn whoami wevtutil ipconfig \
             nslookup sc reg ping netstat netsh auditpol secedit portqry"
                .split_whitespace()
                .any(|word| word == first)
        }
        Shell::Powershell => {
            let cmdlet = first.trim_start_matches(['(', '[', '$', '&']);
            let (verb, noun) = cmdlet.split_once('-').unwrap_or_default();
            verb.starts_with(char::is_uppercase) && noun.starts_with(char::is_uppercase)
        }
    };
    known && quote.is_none() && open.is_empty() && !command.line.contains('\n')
}

#[test]
fn every_command_parses() {
    each(|entry| {
        let commands = entry.fixes.iter().flat_map(|fix| fix.commands);
        commands
            .filter(|command| !parses(command))
            .map(|command| format!("{}: {}", command.shell, command.line))
            .collect()
    });
}
