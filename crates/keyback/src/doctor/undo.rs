//! `keyback doctor --undo FILE`: puts back what `--fix` changed, if nobody changed it since.

use super::fix_page::{self, ShownValue};
use super::mending::{self, Mending, trouble};
use crate::output::{self, BLIND, FOUND, Trouble};
use crate::page::Page;
use keyback_ad::{Directory, Mender, Object, ValueChange};
use keyback_agent::doctor::undo::{Changed, Standing, Undo, reversed, standing};
use keyback_core::ObjectGuid;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Everything is as it was before.
    Undone,
    /// It was so already.
    NothingToUndo,
    /// Somebody changed an object since; nothing was written.
    ChangedSince,
    /// It was shown and not agreed to.
    Shown,
}

/// `--undo --json`.
#[derive(Serialize)]
struct Report {
    outcome: Outcome,
    why: Option<String>,
    file: PathBuf,
    objects: Vec<Shown>,
}

/// One object.
#[derive(Serialize)]
struct Shown {
    object: String,
    #[serde(rename = "objectGUID")]
    object_guid: ObjectGuid,
    standing: &'static str,
    /// From what is there now to what was there before the change.
    values: Vec<ShownValue>,
    /// Whether the bytes are those of before. Absent: nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_for_byte: Option<bool>,
}

/// An object, what was changed of it, and what takes that back.
struct Reversal {
    object: Object,
    recorded: Vec<ValueChange>,
    standing: Standing,
    back: Vec<ValueChange>,
}

/// `--undo`.
pub async fn run(options: &Mending, directory: &Directory, json: bool) -> Result<ExitCode, Trouble> {
    let (Some(file), Some((changer, name))) = (&options.undo, options.changer(directory)?) else {
        return Err(Trouble::usage(
            "--undo needs --fix-as and --fix-password-file",
            "Name an account that may change it.",
        ));
    };
    let text = mending::read(file)?;
    let unusable = |error: keyback_agent::doctor::undo::NotUndo| {
        Trouble::usage(error.to_string(), "Nothing was changed. Use the file as keyback wrote it.")
    };
    let undo = Undo::parse(&text).map_err(unusable)?;
    let mender = changer.open_mender(Some(&undo.dc)).await.map_err(|error| Trouble::of(BLIND, &error))?;
    if !undo.is_of(&mender) {
        let text = format!("the undo file is about {}, and this is {}", undo.domain, mender.base());
        return Err(Trouble::usage(text, "Nothing was changed. Name a domain controller of that domain."));
    }
    let mut reversals = Vec::with_capacity(undo.changes.len());
    for changed in &undo.changes {
        reversals.push(look(&mender, changed, unusable).await?);
    }
    let objects = reversals.iter().map(|reversal| shown(reversal, &mender)).collect();
    let mut report = Report { outcome: Outcome::Shown, why: None, file: file.clone(), objects };
    let is = |wanted| move |reversal: &Reversal| reversal.standing == wanted;
    if reversals.iter().all(is(Standing::AsBefore)) {
        report.outcome = Outcome::NothingToUndo;
        report.why = Some("Everything is as it was before the change: there is nothing to undo.".to_owned());
        return finish(&report, json, true);
    }
    if reversals.iter().any(is(Standing::Changed)) {
        report.outcome = Outcome::ChangedSince;
        report.why =
            Some("Nothing was changed: somebody changed an object since, as shown above.".to_owned());
        return finish(&report, json, true);
    }
    if !json {
        output::say_styled(&page(&report));
    }
    if let Err(why) = options.consent(&format!("Put this back as {name}?"), json) {
        report.why = Some(why.to_owned());
        return finish(&report, json, false);
    }
    for reversal in reversals.iter().filter(|reversal| reversal.standing == Standing::AsAfter) {
        mender.write(&reversal.object, &reversal.back).await.map_err(|error| trouble(&error))?;
    }
    // At the end: what is put back above changes the inherited ACEs below.
    for (reversal, shown) in reversals.iter().zip(&mut report.objects) {
        let now = mender.read_by_guid(reversal.object.guid).await.map_err(|error| trouble(&error))?;
        let mut recorded = reversal.recorded.iter();
        let same = recorded.all(|change| now.value(change.attribute) == change.before.as_deref());
        shown.byte_for_byte = Some(same);
    }
    report.outcome = Outcome::Undone;
    let exact = report.objects.iter().all(|object| object.byte_for_byte != Some(false));
    report.why = Some(if exact {
        "Everything is as it was before the change, byte for byte.".to_owned()
    } else {
        "What was changed is put back; what is inherited from above has changed since.".to_owned()
    });
    finish(&report, json, false)
}

async fn look(
    mender: &Mender,
    changed: &Changed,
    unusable: impl Fn(keyback_agent::doctor::undo::NotUndo) -> Trouble,
) -> Result<Reversal, Trouble> {
    let recorded = changed.values().map_err(unusable)?;
    let object = mender.read_by_guid(changed.object_guid).await.map_err(|error| trouble(&error))?;
    let standing = standing(&recorded, &object);
    let back = reversed(recorded.clone(), &object);
    Ok(Reversal { object, recorded, standing, back })
}

fn shown(reversal: &Reversal, mender: &Mender) -> Shown {
    let domain = mender.domain_sid();
    // Where somebody changed it, the difference to what keyback left is what matters.
    let since = |change: &ValueChange| ValueChange {
        before: change.after.clone(),
        after: reversal.object.value(change.attribute).map(<[u8]>::to_vec),
        attribute: change.attribute,
    };
    let (standing, values) = match reversal.standing {
        Standing::AsBefore => ("as_before", Vec::new()),
        Standing::AsAfter => ("as_after", reversal.back.clone()),
        Standing::Changed => ("changed_since", reversal.recorded.iter().map(since).collect()),
    };
    Shown {
        object: reversal.object.dn.to_string(),
        object_guid: reversal.object.guid,
        standing,
        values: values.iter().map(|change| fix_page::value(change, domain)).collect(),
        byte_for_byte: None,
    }
}

fn page(report: &Report) -> String {
    let mut page = Page::new();
    for object in report.objects.iter().filter(|object| !object.values.is_empty()) {
        let since = if object.standing == "changed_since" {
            "  changed since (- as keyback left it, + now)"
        } else {
            ""
        };
        page.strong("", &output::plain(&object.object), since);
        object.values.iter().for_each(|value| fix_page::values(&mut page, value));
        page.line("");
    }
    page.finish()
}

fn finish(report: &Report, json: bool, with_objects: bool) -> Result<ExitCode, Trouble> {
    if json {
        output::say_json(report)?;
    } else {
        if with_objects && report.outcome == Outcome::ChangedSince {
            output::say_styled(&page(report));
        }
        let mut page = Page::new();
        page.paragraph("", report.why.as_deref().unwrap_or_default());
        output::say_styled(&page.finish());
    }
    Ok(ExitCode::from(match report.outcome {
        Outcome::Undone | Outcome::NothingToUndo => 0,
        Outcome::ChangedSince | Outcome::Shown => FOUND,
    }))
}
