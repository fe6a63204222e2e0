//! What doctor found: what was read, what it proves, and what mends it.
//!
//! The form is `doctor --json` (fields may be added, never renamed). A job that was refused carries the same thing.

use crate::ids::ObjectGuid;
use crate::outcome::Evidence;
use keyback_codes::{Cause, PublicCode};
use serde::{Deserialize, Serialize};

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// It was read, and nothing is wrong with it.
    Ok,
    /// It was read, and it is wrong or worth a word.
    Found,
    /// It could not be read.
    Unknown,
    /// The question does not arise here.
    NotApplicable,
}

/// What one probe read, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Unique within one diagnosis; verdicts refer to it.
    pub id: String,
    /// Which probe: `rights.reset`.
    pub probe: String,
    /// How it ended.
    pub outcome: ProbeOutcome,
    /// What that means, in a sentence.
    pub summary: String,
    /// The domain controller that was asked.
    pub dc: Option<String>,
    /// The object that was read.
    pub dn: Option<String>,
    /// What was read.
    pub facts: Vec<Evidence>,
    /// Of what could not be read: the right that would let it be read.
    pub needs: Option<String>,
    /// The command that shows the same to an administrator.
    pub reproduce: String,
}

/// How sure a verdict is, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// What was read proves it.
    Confirmed,
    /// What would prove or exclude it could not be read.
    Unknown,
    /// Nothing excludes it, and nothing proves it.
    Possible,
}

/// Where a command is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    /// A POSIX shell, on the machine of keyback or of a Samba domain controller.
    Sh,
    /// PowerShell with the ActiveDirectory module.
    Powershell,
    /// The Windows command line.
    Cmd,
}

/// One command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Where it is typed.
    pub shell: Shell,
    /// As it is typed.
    pub line: String,
}

/// What mends a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// In a sentence.
    pub text: String,
    /// Commands that do it, any one of them.
    pub commands: Vec<Command>,
    /// Whether keyback can do it itself when it is told to.
    pub automatic: bool,
}

/// One fault, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it is.
    pub cause: Cause,
    /// How sure.
    pub state: State,
    /// The public code that a job ends with for this reason.
    pub code: PublicCode,
    /// The fault in plain words, with the names that matter here.
    pub summary: String,
    /// The observations that prove it.
    pub because: Vec<String>,
    /// Causes with the same symptom that those observations exclude.
    pub rules_out: Vec<Cause>,
    /// What to do.
    pub fix: Remedy,
}

/// Whom it is about; fields are empty where nobody was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Patient {
    /// As it was asked for.
    pub asked: String,
    /// distinguishedName.
    pub dn: Option<String>,
    /// objectGUID.
    #[serde(rename = "objectGUID")]
    pub object_guid: Option<ObjectGuid>,
    /// userPrincipalName.
    #[serde(rename = "userPrincipalName")]
    pub user_principal_name: Option<String>,
}

/// All that doctor has to say about one user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Whom it is about.
    pub user: Patient,
    /// The faults, the first to mend first. None: healthy.
    pub verdicts: Vec<Verdict>,
    /// Causes that were looked for and are excluded.
    pub ruled_out: Vec<Cause>,
    /// What was read.
    pub observations: Vec<Observation>,
    /// The domain controller that answered.
    pub dc: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// LDAP questions that were asked, the sign-in among them.
    pub round_trips: u32,
}

impl Diagnosis {
    /// Whether a reset of this user by keyback should succeed.
    pub fn is_healthy(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// The same in at most `longest` bytes of JSON: if need be without the observations that prove nothing. `None`
    /// where even that is longer.
    #[must_use]
    pub fn within(mut self, longest: usize) -> Option<Self> {
        let fits = |diagnosis: &Self| serde_json::to_vec(diagnosis).is_ok_and(|json| json.len() <= longest);
        if !fits(&self) {
            let because: Vec<&String> = self.verdicts.iter().flat_map(|verdict| &verdict.because).collect();
            self.observations.retain(|seen| because.contains(&&seen.id));
        }
        fits(&self).then_some(self)
    }

    /// The observation that a verdict refers to.
    pub fn observation(&self, id: &str) -> Option<&Observation> {
        self.observations.iter().find(|observation| observation.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Diagnosis {
        Diagnosis {
            user: Patient { asked: "ada".to_owned(), ..Patient::default() },
            verdicts: vec![Verdict {
                cause: Cause::RightsDenyAce,
                state: State::Confirmed,
                code: Cause::RightsDenyAce.code(),
                summary: "A deny ACE.".to_owned(),
                because: vec!["rights.reset".to_owned()],
                rules_out: vec![Cause::RightsResetMissing],
                fix: Remedy {
                    text: "Remove it.".to_owned(),
                    commands: vec![Command { shell: Shell::Sh, line: "true".to_owned() }],
                    automatic: false,
                },
            }],
            ruled_out: vec![],
            observations: vec![],
            dc: None,
            seconds: 0.1,
            round_trips: 1,
        }
    }

    #[test]
    fn what_proves_nothing_is_left_out_first() {
        let seen = |id: &str, summary: &str| Observation {
            id: id.to_owned(),
            probe: id.to_owned(),
            outcome: ProbeOutcome::Found,
            summary: summary.to_owned(),
            dc: None,
            dn: None,
            facts: vec![],
            needs: None,
            reproduce: String::new(),
        };
        let mut whole = example();
        whole.observations = vec![seen("rights.reset", "denied"), seen("policy.length", &"x".repeat(2000))];
        let length = serde_json::to_vec(&whole).unwrap().len();
        assert_eq!(whole.clone().within(length).as_ref(), Some(&whole));
        let shorter = whole.clone().within(length - 1).unwrap();
        assert_eq!(shorter.observations, whole.observations[..1]);
        assert_eq!(whole.within(100), None);
    }

    #[test]
    fn the_json_has_the_names_that_programs_rely_on() {
        let diagnosis = example();
        let json = serde_json::to_value(&diagnosis).expect("it serialises");
        assert_eq!(json["user"]["objectGUID"], serde_json::Value::Null);
        assert_eq!(json["verdicts"][0]["cause"], "rights.deny_ace");
        assert_eq!(json["verdicts"][0]["state"], "confirmed");
        assert_eq!(json["verdicts"][0]["code"], "AADSTS120015");
        assert_eq!(json["verdicts"][0]["fix"]["commands"][0]["shell"], "sh");
        assert_eq!(serde_json::from_value::<Diagnosis>(json).expect("it reads back"), diagnosis);
    }
}
