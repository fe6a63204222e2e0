//! `keyback doctor USER --fix`: shows the least change that mends what doctor found, asks, makes it, and looks again.

use super::fix_page::{self, Shown};
use super::mending::{Mending, trouble, write_new};
use super::{exit, page};
use crate::output::{self, BLIND, FOUND, Trouble};
use crate::page::Page;
use keyback_ad::{Directory, Dn, Examination, Found, MendError, Mender, User};
use keyback_agent::doctor::mend::{self, Draft, Plan, Unfit};
use keyback_agent::doctor::undo::{Standing, Undo, standing};
use keyback_agent::doctor::{self, Case, Setting};
use keyback_core::diagnosis::Diagnosis;
use keyback_core::{Clock, SystemClock};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Nothing is wrong.
    Healthy,
    /// Something is wrong, and none of it is mended by keyback.
    Refused,
    /// The changes were shown and not made.
    Shown,
    /// They were made, and nothing is wrong any more.
    Mended,
    /// They were made, and something else is wrong.
    Changed,
    /// One could not be made.
    Failed,
}

/// `--fix --json`.
#[derive(Serialize)]
struct Report {
    outcome: Outcome,
    why: Option<String>,
    before: Diagnosis,
    changes: Vec<Shown>,
    refused: Vec<fix_page::Refusal>,
    fix_at: Option<String>,
    undo_file: Option<PathBuf>,
    after: Option<Diagnosis>,
}

/// `--fix`.
pub async fn run(
    options: &Mending,
    directory: &Directory,
    setting: &Setting,
    case: &Case<'_>,
    json: bool,
) -> Result<ExitCode, Trouble> {
    let at = options.fix_at.as_deref().map(Dn::parse).transpose().map_err(|_| {
        Trouble::usage("--fix-at is no distinguished name", "It reads OU=Staff,DC=ad,DC=example.")
    })?;
    let changer = options.changer(directory)?;
    let examination = directory.examine(case.name, &SystemClock).await;
    let before = doctor::judge(&examination, setting, case, SystemClock.now());
    let seen = match &changer {
        Some((changer, _)) => see(changer, &examination).await?,
        None => None,
    };
    let plan = mend::plan(&examination, setting, &before, seen.as_ref(), at.as_ref());
    let plan = plan.map_err(|error| {
        Trouble::usage(error.to_string(), "Leave --fix-at out, or name an OU between the user and the scope.")
    })?;
    let mut report = Report {
        outcome: if before.is_healthy() { Outcome::Healthy } else { Outcome::Refused },
        why: None,
        changes: Vec::new(),
        refused: plan.refused.iter().map(fix_page::Refusal::from).collect(),
        fix_at: plan.offer.as_ref().map(Dn::to_string),
        undo_file: None,
        after: None,
        before,
    };
    if plan.mends.is_empty() {
        show(&report, json);
        return finish(&report, json);
    }
    report.outcome = Outcome::Shown;
    let connector = examination.connector.as_str();
    let Some((changer, name)) = changer else {
        report.changes = match preview(directory, &report.before, &plan).await {
            Some((mender, drafts)) => fix_page::drafts(&drafts, connector, mender.domain_sid()),
            None => plan.mends.iter().map(fix_page::unread).collect(),
        };
        report.why =
            Some("Nothing was changed: --fix-as names the account that makes the changes.".to_owned());
        show(&report, json);
        return finish(&report, json);
    };
    let mender = changer.open_mender(report.before.dc.as_deref()).await;
    let mender = mender.map_err(|error| Trouble::of(BLIND, &error))?;
    let drafts = mend::prepare(&mender, &plan).await.map_err(|error| unfit(&error))?;
    report.changes = fix_page::drafts(&drafts, connector, mender.domain_sid());
    show(&report, json);
    if let Some(why) = not_allowed(&drafts, name) {
        report.why = Some(why);
        return finish(&report, json);
    }
    if let Err(why) = options.consent(&format!("Make these changes as {name}?"), json) {
        report.why = Some(why.to_owned());
        return finish(&report, json);
    }
    let path = options.undo_file.clone().unwrap_or_else(|| undo_path(&report.before));
    let undo = Undo::new(&drafts, &mender, case.name.as_str(), name, SystemClock.now());
    let text = undo.to_json().map_err(|error| Trouble::internal(error.to_string()))?;
    write_new(&path, &text)?;
    report.undo_file = Some(path.clone());
    if let Err(error) = apply(&changer, &mender, &drafts, &path).await {
        report.outcome = Outcome::Failed;
        if !path.exists() {
            report.undo_file = None;
        }
        report.why = Some(output::chain(&error));
        if json {
            output::say_json(&report)?;
            return Ok(ExitCode::from(trouble(&error).exit));
        }
        let mut trouble = trouble(&error);
        if let Some(path) = &report.undo_file {
            let undo = format!(" What was changed before it: keyback doctor --undo {}", path.display());
            trouble.fix.push_str(&output::plain(&undo));
        }
        return Err(trouble);
    }
    let after = doctor::diagnose(directory, setting, case, &SystemClock).await;
    report.outcome = if after.is_healthy() { Outcome::Mended } else { Outcome::Changed };
    report.after = Some(after);
    finish(&report, json)
}

/// The user as the account that makes the changes sees it, where there is one.
async fn see(changer: &Directory, examination: &Examination) -> Result<Option<User>, Trouble> {
    let Some(Found::One(subject)) = &examination.found else { return Ok(None) };
    let user = changer.load_user(subject.user.guid).await;
    user.map(Some).map_err(|error| Trouble::of(BLIND, &error))
}

/// What the connector account can read of it, where it can sign in.
async fn preview(directory: &Directory, before: &Diagnosis, plan: &Plan) -> Option<(Mender, Vec<Draft>)> {
    before.dc.as_ref()?;
    let mender = directory.open_mender(before.dc.as_deref()).await.ok()?;
    let drafts = mend::prepare(&mender, plan).await.ok()?;
    Some((mender, drafts))
}

/// One modify an object. Takes the undo file away again where nothing was changed at all.
async fn apply(changer: &Directory, mender: &Mender, drafts: &[Draft], undo: &Path) -> Result<(), MendError> {
    let mut touched = false;
    for draft in drafts {
        let done = match draft.apply(mender).await {
            Err(MendError::NoAnswer { dn, source }) => match look_again(changer, mender, draft).await {
                Some(Standing::AsAfter) => Ok(()),
                Some(Standing::AsBefore | Standing::Changed) | None => {
                    touched = true;
                    Err(MendError::NoAnswer { dn, source })
                }
            },
            done => done,
        };
        if let Err(error) = done {
            if !touched {
                let _ = std::fs::remove_file(undo);
            }
            return Err(error);
        }
        touched |= !draft.changes.is_empty();
    }
    Ok(())
}

/// After an answer that did not come: what the object is now.
async fn look_again(changer: &Directory, mender: &Mender, draft: &Draft) -> Option<Standing> {
    let again = changer.open_mender(Some(mender.dc())).await.ok()?;
    let object = again.read_by_guid(draft.object.guid).await.ok()?;
    Some(standing(&draft.changes, &object))
}

fn not_allowed(drafts: &[Draft], name: &str) -> Option<String> {
    let needs: Vec<String> = drafts
        .iter()
        .flat_map(|draft| draft.not_allowed().into_iter().map(move |attribute| (draft, attribute)))
        .map(|(draft, attribute)| fix_page::needs(attribute, draft.object.dn.as_str()))
        .collect();
    (!needs.is_empty())
        .then(|| format!("Nothing was changed: {name} lacks what the change needs. {}", needs.join(" ")))
}

fn unfit(error: &Unfit) -> Trouble {
    match error {
        Unfit::Mend(error) => trouble(error),
        Unfit::Unreadable { .. } | Unfit::Full { .. } => Trouble {
            exit: FOUND,
            text: error.to_string(),
            cause: keyback_codes::Cause::Unspecified,
            fix: "Nothing was changed. Use an account that may read and change it, or mend it by hand."
                .to_owned(),
        },
    }
}

/// In the current folder, named after the user and the moment.
fn undo_path(before: &Diagnosis) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let user: String = before.user.asked.chars().map(|c| if plain(c) { c } else { '-' }).take(40).collect();
    let at: String = SystemClock.now().to_string().chars().filter(|c| plain(*c)).collect();
    PathBuf::from(format!("keyback-undo-{user}-{at}.json"))
}

/// What is wrong and what is to be changed, before anybody is asked.
fn show(report: &Report, json: bool) {
    if json {
        return;
    }
    let mut page = Page::new();
    page::verdicts(&mut page, &report.before);
    fix_page::changes(&mut page, &report.changes, &report.refused, report.fix_at.as_deref());
    output::say_styled(&page.finish());
}

fn finish(report: &Report, json: bool) -> Result<ExitCode, Trouble> {
    let code = match report.outcome {
        Outcome::Healthy | Outcome::Mended => 0,
        Outcome::Refused => exit(&report.before),
        Outcome::Shown | Outcome::Failed => FOUND,
        Outcome::Changed => report.after.as_ref().map_or(FOUND, exit),
    };
    if json {
        output::say_json(report)?;
    } else {
        let mut page = Page::new();
        if let Some(after) = &report.after {
            page.line("");
            page.title("AFTER THE CHANGE");
            page::verdicts(&mut page, after);
        }
        if let Some(path) = &report.undo_file {
            page.line("");
            let text = format!("keyback doctor --undo {} takes it back.", path.display());
            page.paragraph("", &output::plain(&text));
        }
        if let Some(why) = &report.why {
            page.line("");
            page.paragraph("", &output::plain(why));
        }
        output::say_styled(&page.finish());
    }
    Ok(ExitCode::from(code))
}
