//! `keyback person import`: methods of many people at once, as an administrator hands out tokens.
//!
//! Every line is looked at before anything is done; one that is wrong stops all of them. What is brought counts after the
//! agent's `freeze_hours`, and each person is told by mail.

use crate::config::{Config, ConfigError, read_secret};
use crate::output::{self, BLIND, FOUND, Trouble};
use crate::{keyfiles, serve};
use data_encoding::BASE32_NOPAD;
use keyback_ad::{Dn, FindError, User};
use keyback_agent::Vault;
use keyback_core::methods::MOST_METHODS;
use keyback_core::{Clock, CorrelationId, MethodId, RecoveryCode, SystemClock, TotpSeed, UserName, Way, ids};
use keyback_store::{Brought, NewMethod, Store};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use zeroize::Zeroizing;

const HEAD: &str = "user,method,value";
/// What such a method is called on its person's page.
const NAME: &str = "Token";
/// And a pass.
const PASS_NAME: &str = "Pass of the help desk";

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Problem {
    /// Counted from one.
    line: usize,
    problem: String,
}

#[derive(Serialize)]
struct Report {
    lines: usize,
    imported: usize,
    problems: Vec<Problem>,
    /// Lines whose person could not be told by mail.
    not_told: Vec<usize>,
}

struct Line {
    number: usize,
    user: UserName,
    seed: TotpSeed,
}

/// One line, or what is wrong with it. Never says the value.
fn read_line(number: usize, text: &str) -> Result<Line, Problem> {
    let wrong = |problem: &str| Problem { line: number, problem: problem.to_owned() };
    if text.contains('"') {
        return Err(wrong("a field is quoted: write it without quotes"));
    }
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [user, method, value] = fields.as_slice() else { return Err(wrong("not three fields")) };
    let user = UserName::parse(user).map_err(|_| wrong("the first field is no user name"))?;
    if *method != Way::Totp.name() {
        return Err(wrong(
            "the second field is not `totp`: mail addresses come from the directory, sheets from their people",
        ));
    }
    let key: Zeroizing<String> = Zeroizing::new(
        value.chars().filter(|c| !matches!(c, ' ' | '=')).map(|c| c.to_ascii_uppercase()).collect(),
    );
    let bytes = BASE32_NOPAD.decode(key.as_bytes()).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| wrong("the third field is not Base32"))?;
    let seed = TotpSeed::from_bytes(&bytes)
        .ok_or_else(|| wrong("the key has not 160 bits (32 letters and digits)"))?;
    Ok(Line { number, user, seed })
}

fn read_lines(text: &str) -> (Vec<Line>, Vec<Problem>) {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end()));
    if lines.next().map(|(_, head)| head) != Some(HEAD) {
        return (Vec::new(), vec![Problem { line: 1, problem: format!("the first line is not `{HEAD}`") }]);
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        match read_line(number, line) {
            Ok(line) => good.push(line),
            Err(problem) => bad.push(problem),
        }
    }
    (good, bad)
}

/// What is wrong with bringing this to this user.
async fn judge(user: &User, scope: &[Dn], store: &Store, brought: usize) -> Result<Option<String>, Trouble> {
    if !scope.iter().any(|ou| user.dn.is_under(ou)) {
        return Ok(Some(format!(
            "{} lies in none of the OUs in `scope`",
            output::plain(&user.dn.to_string())
        )));
    }
    let has = store.list_methods(user.guid).await?.len();
    let too_many = has + brought > MOST_METHODS;
    Ok(too_many
        .then(|| format!("this person would have {} methods; {MOST_METHODS} is the most", has + brought)))
}

/// `keyback person import`.
pub async fn import(config: &Config, file: &Path, check: bool, json: bool) -> Result<ExitCode, Trouble> {
    let section = config.agent()?;
    config.server()?;
    let text = read_secret("list of methods", file).map_err(Trouble::from)?;
    let (lines, mut problems) = read_lines(&text);
    let directory = section.directory()?;
    let store = serve::open_store(config).await?;
    let unreadable = |error: FindError| Trouble::of(BLIND, &error);
    let scope = directory.resolve_scope(&section.scope).await.map_err(unreadable)?;
    let vault: Vault = keyfiles::vault(section)?;
    let freeze = section.proof.policy()?.freeze;
    let now = SystemClock.now();
    let mut brought = Vec::new();
    let mut people = Vec::new();
    let mut of_person = BTreeMap::new();
    let count = lines.len() + problems.len();
    for Line { number, user, seed } in lines {
        let found = match directory.find_user(&user).await {
            Ok(found) => found,
            Err(error @ FindError::Directory(_)) => return Err(unreadable(error)),
            Err(error) => {
                problems.push(Problem { line: number, problem: format!("{user}: {error}") });
                continue;
            }
        };
        let more = of_person.entry(found.guid).or_insert(0_usize);
        *more += 1;
        if let Some(problem) = judge(&found, &scope, &store, *more).await? {
            problems.push(Problem { line: number, problem });
            continue;
        }
        let (id, usable_at) = (MethodId::from_random(ids::random()), now.plus(freeze));
        let sealed = vault.bring(id, found.guid, seed, usable_at).ok_or(ConfigError::Missing("agent"))?;
        let new =
            NewMethod { id, object_guid: found.guid, way: Way::Totp, name: NAME.to_owned(), added_at: now };
        brought.push(Brought { new, usable_at, sealed: sealed.sealed });
        people.push((number, found));
    }
    problems.sort_by_key(|problem| problem.line);
    let mut report = Report { lines: count, imported: 0, problems, not_told: Vec::new() };
    if report.problems.is_empty() && !check {
        store.import_methods(&brought, now).await?;
        report.imported = brought.len();
        let what = "An administrator registered a token with which you can prove who you are.";
        report.not_told = tell(config, &people, what).await?;
    }
    show(&report, check, json)
}

/// `keyback pass create`.
pub async fn create_pass(
    config: &Config,
    user: &UserName,
    hours: u32,
    json: bool,
) -> Result<ExitCode, Trouble> {
    let section = config.agent()?;
    config.server()?;
    let directory = section.directory()?;
    let unreadable = |error: FindError| Trouble::of(BLIND, &error);
    let found = directory.find_user(user).await.map_err(unreadable)?;
    let scope = directory.resolve_scope(&section.scope).await.map_err(unreadable)?;
    let store = serve::open_store(config).await?;
    if let Some(problem) = judge(&found, &scope, &store, 1).await? {
        output::say(&problem);
        return Ok(ExitCode::from(FOUND));
    }
    let now = SystemClock.now();
    let expires_at = now.plus(Duration::from_hours(u64::from(hours)));
    let (id, code) =
        (MethodId::from_random(ids::random()), RecoveryCode::mint(&Zeroizing::new(ids::random())));
    let sealed = keyfiles::vault(section)?.pass(id, found.guid, &code, (now, expires_at));
    let sealed = sealed.ok_or(ConfigError::Missing("agent"))?.sealed;
    let name = PASS_NAME.to_owned();
    let new = NewMethod { id, object_guid: found.guid, way: Way::Pass, name, added_at: now };
    store.import_methods(&[Brought { new, usable_at: now, sealed }], now).await?;
    let what = "The help desk made a pass for you: a code with which you can prove who you are, once.";
    let people = [(1, found)];
    let told = tell(config, &people, what).await?.is_empty();
    let code = code.grouped();
    if json {
        let document =
            serde_json::json!({ "pass": code.as_str(), "expires_at": expires_at.to_string(), "told": told });
        output::say_json(&document)?;
    } else {
        output::say(&format!("{}  good for once, until {expires_at}", code.as_str()));
        output::note(
            "Hand it over in person: it opens this account. The person types it behind \u{201c}I have an app or another code\u{201d}.",
        );
        if !told {
            output::note("No mail reached the person.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Mails everybody whom something was brought; the lines of those whom no mail reached.
async fn tell(config: &Config, people: &[(usize, User)], what: &str) -> Result<Vec<usize>, Trouble> {
    let mailer = serve::mailer(config.agent()?, &config.organisation.name)?;
    let mut not_told = Vec::new();
    for (number, user) in people {
        let id = CorrelationId::from_random(ids::random());
        let sent = match &user.mail {
            Some(to) => mailer.send_change(to, what, id, SystemClock.now()).await.is_ok(),
            None => false,
        };
        if !sent {
            not_told.push(*number);
        }
    }
    Ok(not_told)
}

fn show(report: &Report, check: bool, json: bool) -> Result<ExitCode, Trouble> {
    if json {
        output::say_json(report)?;
    } else if report.problems.is_empty() {
        let done = if check { "would be imported" } else { "were imported" };
        let count = if check { report.lines } else { report.imported };
        output::say(&format!("{count} methods {done}."));
        for line in &report.not_told {
            output::note(&format!("line {line}: no mail reached its person"));
        }
    } else {
        for Problem { line, problem } in &report.problems {
            output::say(&format!("line {line}: {problem}"));
        }
        output::say(&format!(
            "Nothing was done: {} of {} lines are wrong.",
            report.problems.len(),
            report.lines
        ));
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_judged_and_no_value_is_told() {
        let key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
        let text = format!(
            "{HEAD}\nada,totp,{key}\n\nbob@ad.example,totp,jbsw y3dp ehpk 3pxp jbsw y3dp ehpk 3pxp\nada,mail,a@b\n\
             ada,totp,JBSWY3DP\nada,totp\n\"ada\",totp,{key}\nada,totp,{key}1\n,totp,{key}\n"
        );
        let (good, bad) = read_lines(&text);
        let good: Vec<_> = good.iter().map(|line| (line.number, line.user.as_str())).collect();
        assert_eq!(good, [(2, "ada"), (4, "bob@ad.example")]);
        assert_eq!(bad.iter().map(|problem| problem.line).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
        assert!(!bad.iter().any(|problem| problem.problem.contains("JBSW")));
        assert_eq!(read_lines("user;method;value\nx").1.len(), 1);
        assert_eq!(read_lines("").1.len(), 1);
    }
}
