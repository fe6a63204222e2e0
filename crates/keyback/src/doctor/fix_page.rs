//! Changes as a person and a program read them: SDDL before and after, attribute by attribute, and the same as commands.

use super::page;
use crate::output;
use crate::page::Page;
use anstyle::{AnsiColor, Style};
use keyback_ad::descriptor::{Ace, Domains, SecurityDescriptor};
use keyback_ad::{Attribute, Sid, ValueChange};
use keyback_agent::doctor::mend::{self, Draft, Edit, Mend, Refused, Target};
use keyback_codes::Cause;
use keyback_core::ObjectGuid;
use keyback_core::diagnosis::Command;
use serde::Serialize;

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();

/// The changes of one object.
#[derive(Serialize)]
pub struct Shown {
    object: String,
    #[serde(rename = "objectGUID")]
    object_guid: Option<ObjectGuid>,
    causes: Vec<Cause>,
    edits: Vec<String>,
    values: Vec<ShownValue>,
    needs: Vec<String>,
    remarks: Vec<String>,
    commands: Vec<Command>,
}

/// One attribute as text; a descriptor as SDDL.
#[derive(Serialize)]
pub struct ShownValue {
    attribute: Attribute,
    before: Option<String>,
    after: Option<String>,
    /// How a terminal shows it: what goes, what comes, what stays.
    #[serde(skip)]
    lines: Vec<(char, String)>,
}

/// A fault that is left to people.
#[derive(Serialize)]
pub struct Refusal {
    cause: Cause,
    why: String,
}

impl From<&Refused> for Refusal {
    fn from(refused: &Refused) -> Self {
        Self { cause: refused.cause, why: refused.why.clone() }
    }
}

/// The changes, with what was read.
pub fn drafts(drafts: &[Draft], connector: &str, domain: Option<&Sid>) -> Vec<Shown> {
    let shown = |draft: &Draft| {
        let dn = draft.object.dn.as_str();
        Shown {
            object: dn.to_owned(),
            object_guid: Some(draft.object.guid),
            edits: draft.mend.edits.iter().map(|edit| in_words(edit, domain)).collect(),
            causes: draft.mend.causes.clone(),
            values: draft.changes.iter().map(|change| value(change, domain)).collect(),
            needs: draft.changes.iter().map(|change| needs(change.attribute, dn)).collect(),
            remarks: draft.mend.remarks.clone(),
            commands: mend::commands(draft, connector, domain),
        }
    };
    drafts.iter().map(shown).collect()
}

/// Changes of an object that could not be read yet.
pub fn unread(mend: &Mend) -> Shown {
    Shown {
        object: match &mend.target {
            Target::Object(dn) => dn.to_string(),
            Target::Account(name) => name.clone(),
        },
        object_guid: None,
        edits: mend.edits.iter().map(|edit| in_words(edit, None)).collect(),
        causes: mend.causes.clone(),
        values: Vec::new(),
        needs: Vec::new(),
        remarks: mend.remarks.clone(),
        commands: Vec::new(),
    }
}

/// The right that a change needs.
pub fn needs(attribute: Attribute, dn: &str) -> String {
    match attribute {
        Attribute::Descriptor => {
            format!("Modify permissions (WRITE_DAC) on {dn}: its owner and Domain Admins have it.")
        }
        Attribute::LockoutTime | Attribute::AdminCount | Attribute::UserAccountControl => {
            format!("Write {} on {dn}.", attribute.name())
        }
    }
}

fn in_words(edit: &Edit, domain: Option<&Sid>) -> String {
    let sddl = |ace: &Ace| ace.to_sddl(domain.map(Domains::single));
    match edit {
        Edit::Add(ace) => format!("add the ACE {}", sddl(ace)),
        Edit::Remove(ace) => format!("remove the ACE {}", sddl(ace)),
        Edit::Inherit => "switch inheritance on".to_owned(),
        Edit::Unlock => "set lockoutTime to 0".to_owned(),
        Edit::ForgetAdminCount => "remove adminCount".to_owned(),
        Edit::Enable => "take ACCOUNTDISABLE (2) out of userAccountControl".to_owned(),
    }
}

/// One attribute's change.
pub fn value(change: &ValueChange, domain: Option<&Sid>) -> ShownValue {
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    let sddl = |descriptor: &SecurityDescriptor| descriptor.to_sddl(domain.map(Domains::single));
    let plain = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if change.attribute == Attribute::Descriptor {
        let read = |bytes: Option<&[u8]>| bytes.and_then(|bytes| SecurityDescriptor::decode(bytes).ok());
        let (old, new) = (read(before), read(after));
        let lines = old.iter().zip(&new).flat_map(|(old, new)| compare(old, new, domain)).collect();
        let text = |read: &Option<SecurityDescriptor>, bytes: Option<&[u8]>| {
            read.as_ref().map(sddl).or_else(|| bytes.map(|_| "(no descriptor)".to_owned()))
        };
        let (before, after) = (text(&old, before), text(&new, after));
        return ShownValue { attribute: change.attribute, before, after, lines };
    }
    let (before, after) = (before.map(plain), after.map(plain));
    let line = |mark, text: &Option<String>| (mark, text.clone().unwrap_or_else(|| "(absent)".to_owned()));
    let lines = vec![line('-', &before), line('+', &after)];
    ShownValue { attribute: change.attribute, before, after, lines }
}

/// Flags and explicit ACEs, in order. What is inherited is made by the server and is only counted.
fn compare(old: &SecurityDescriptor, new: &SecurityDescriptor, domain: Option<&Sid>) -> Vec<(char, String)> {
    let flags = |descriptor: &SecurityDescriptor| {
        format!("D:{}", if descriptor.is_protected() { "P (inheritance off)" } else { "(inheritance on)" })
    };
    let own = |descriptor: &SecurityDescriptor| -> Vec<Ace> {
        descriptor.aces().filter(|own| !own.ace.is_inherited()).map(|own| own.ace.clone()).collect()
    };
    let inherited = |descriptor: &SecurityDescriptor| descriptor.aces().count() - own(descriptor).len();
    let mut lines = Vec::new();
    if flags(old) == flags(new) {
        lines.push((' ', flags(old)));
    } else {
        lines.extend([('-', flags(old)), ('+', flags(new))]);
    }
    let (before, after) = (own(old), own(new));
    let text = |ace: &Ace| ace.to_sddl(domain.map(Domains::single));
    let (mut left, mut right) = (before.iter().peekable(), after.iter().peekable());
    loop {
        if let Some(gone) = left.next_if(|ace| !after.contains(ace)) {
            lines.push(('-', text(gone)));
        } else if let Some(come) = right.next_if(|ace| !before.contains(ace)) {
            lines.push(('+', text(come)));
        } else if let Some(stays) = right.next() {
            left.next();
            lines.push((' ', text(stays)));
        } else {
            break;
        }
    }
    lines.push((' ', format!("and {} inherited, which the server makes anew", inherited(old))));
    lines
}

/// What is changed, and what is not.
pub fn changes(page: &mut Page, changes: &[Shown], refused: &[Refusal], offer: Option<&str>) {
    if !changes.is_empty() {
        page.heading("WHAT --fix CHANGES");
    }
    for shown in changes {
        page.line("");
        let causes: Vec<&str> = shown.causes.iter().map(|cause| cause.id()).collect();
        page.strong("  ", &output::plain(&shown.object), "");
        page.paragraph("    for      ", &causes.join(", "));
        if shown.object_guid.is_none() {
            // Nothing was read, so there is no before and after.
            shown.edits.iter().for_each(|edit| page.line(&format!("    change   {}", output::plain(edit))));
        }
        if shown.values.is_empty() && shown.object_guid.is_some() {
            page.paragraph("             ", "Somebody has made this change already.");
        }
        shown.values.iter().for_each(|value| self::values(page, value));
        for text in &shown.needs {
            page.paragraph("    needs    ", &output::plain(text));
        }
        for text in &shown.remarks {
            page.paragraph("    note     ", &output::plain(text));
        }
        shown.commands.iter().for_each(|line| page::command(page, line));
    }
    if let Some(ou) = offer {
        page.line("");
        let text = format!("To cover everybody in scope at once: --fix-at '{ou}'");
        page.paragraph("  ", &output::plain(&text));
    }
    if !refused.is_empty() {
        page.heading("WHAT IT LEAVES TO YOU");
    }
    for refusal in refused {
        page.paragraph(&format!("  {}  ", refusal.cause), &output::plain(&refusal.why));
    }
}

/// One attribute, line by line. Never wrapped: it is to be compared.
pub fn values(page: &mut Page, value: &ShownValue) {
    page.line(&format!("    {}", value.attribute.name()));
    for (mark, text) in &value.lines {
        let style = match mark {
            '-' => REMOVED,
            '+' => ADDED,
            _ => Style::new(),
        };
        page.line(&format!("      {style}{mark} {}{style:#}", output::plain(text)));
    }
}
