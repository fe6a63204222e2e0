//! What one person's next password has to be like, as far as it is no secret: shown to them once they have proved who
//! they are, before they type.

use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// The rules for one person. `None` where one cannot be read: the directory decides in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRules {
    /// The least length, in UTF-16 units.
    pub min_length: Option<u32>,
    /// Three of five kinds of characters: upper case, lower case, digits, symbols, other letters.
    pub complexity: Option<bool>,
    /// How many passwords are remembered, the present one among them.
    pub history: Option<u32>,
    /// How old a password must be before the person may change it, in seconds.
    pub min_age_seconds: Option<u64>,
    /// The directory takes no new password before, for what the person wants to do.
    pub too_young_until: Option<Timestamp>,
    /// What may not stand in it, in lower case: account name, parts of the displayed name.
    pub names: Vec<String>,
    /// Common words and words of the organisation count next to nothing.
    pub blocklist: bool,
    /// It is looked up among passwords that are known from breaches.
    pub breached: bool,
}

impl PasswordRules {
    /// The longest that a password may be, in characters ([MS-SAMR] 3.1.1.7.2).
    pub const MAX_LENGTH: u32 = 256;
}
