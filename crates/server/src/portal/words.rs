//! What the pages say, where it depends on what the person wants. The rest stands in the templates.

use keyback_core::Failure;
use keyback_core::job::{JobState, Operation};

/// The words of one operation.
pub(crate) struct Words {
    pub(crate) ask_path: &'static str,
    pub(crate) code_path: &'static str,
    pub(crate) finish_path: &'static str,
    pub(crate) title: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) last_step: &'static str,
    pub(crate) finish_title: &'static str,
    pub(crate) finish_lead: &'static str,
    pub(crate) finish_button: &'static str,
    pub(crate) working: &'static str,
    pub(crate) done: &'static str,
    pub(crate) done_lead: &'static str,
    pub(crate) done_tips: &'static [&'static str],
}

const NEW_PASSWORD_TIPS: &[&str] = &[
    "Your phone, mail and other devices may ask for the new password.",
    "On some of them the old one may still work for up to an hour.",
];

static RESET: Words = Words {
    ask_path: "/reset",
    code_path: "/reset/code",
    finish_path: "/reset/password",
    title: "Forgot password",
    lead: "Tell us who you are. We mail a code to the address that your organisation has on file, and then you choose a new password.",
    last_step: "New password",
    finish_title: "Choose a new password",
    finish_lead: "Four unrelated words are easy to remember and hard to guess.",
    finish_button: "Set new password",
    working: "We are setting your password",
    done: "Your new password works now.",
    done_lead: "Sign in to Windows with it.",
    done_tips: NEW_PASSWORD_TIPS,
};

static CHANGE: Words = Words {
    ask_path: "/change",
    code_path: "/change/code",
    finish_path: "/change/password",
    title: "Change password",
    lead: "You know your password and want another one. First we mail a code to the address that your organisation has on file.",
    last_step: "New password",
    finish_title: "Change your password",
    finish_lead: "Four unrelated words are easy to remember and hard to guess.",
    finish_button: "Change password",
    working: "We are changing your password",
    done: "Your new password works now.",
    done_lead: "Sign in to Windows with it.",
    done_tips: NEW_PASSWORD_TIPS,
};

static UNLOCK: Words = Words {
    ask_path: "/unlock",
    code_path: "/unlock/code",
    finish_path: "/unlock/confirm",
    title: "Unlock account",
    lead: "Too many wrong tries lock an account for a while. Tell us who you are, and we mail a code to the address that your organisation has on file.",
    last_step: "Unlock",
    finish_title: "Unlock your account",
    finish_lead: "Your password stays the same. If you do not remember it, choose “Forgot password” instead: that unlocks the account too.",
    finish_button: "Unlock my account",
    working: "We are unlocking your account",
    done: "Your account is unlocked.",
    done_lead: "Sign in to Windows with the password that you have.",
    done_tips: &[
        "Wait a moment before you sign in if your office is far away: the news needs some seconds to get there.",
        "A phone that still has an old password can lock the account again. Correct it there too.",
    ],
};

pub(crate) const fn of(operation: Operation) -> &'static Words {
    match operation {
        Operation::Reset => &RESET,
        Operation::Change => &CHANGE,
        Operation::Unlock => &UNLOCK,
    }
}

/// When the job that ended was begun by another request for the same user.
pub(crate) const JOINED: &str = "Another request for this account was already on its way, and that one was carried out. If your new password does not work, use the one from the other request.";

/// While a job is tried again.
pub(crate) const WAITING: &str = "Your organisation's directory does not answer yet";

/// Under [`WAITING`].
pub(crate) fn keep_trying(minutes: u64) -> String {
    match minutes {
        0 | 1 => "We keep trying for another minute. You can leave this page open.".to_owned(),
        more => format!("We keep trying for another {more} minutes. You can leave this page open."),
    }
}

/// The cause's words, unless the code is another one than the cause's own.
pub(crate) fn for_person(failure: &Failure) -> (&'static str, &'static str) {
    if failure.code == failure.cause.code() { failure.cause.for_person() } else { failure.code.for_person() }
}

/// A state in a person's words, for programs that read `title`.
pub(crate) fn state(operation: Operation, state: &JobState) -> &'static str {
    match state {
        JobState::Running { .. } => of(operation).working,
        JobState::Queued { .. } | JobState::Doubtful { .. } => WAITING,
        JobState::Succeeded { .. } => of(operation).done,
        JobState::Refused { why: failure, .. } | JobState::Exhausted { last: failure, .. } => {
            for_person(failure).0
        }
    }
}

pub(crate) const BAD_NAME: &str = "Type your user name or mail address: up to 256 characters, on one line.";
pub(crate) const NOT_EIGHT_DIGITS: &str = "The code has 8 digits. Type it as it stands in the mail.";
pub(crate) const WRONG_CODE: &str =
    "That code is not right, or it is too old. Look for the newest mail and type its code.";
pub(crate) const TOO_MANY_CODES: &str = "Too many codes were wrong. Start again, and we mail you a new one.";
pub(crate) const NOT_THE_SAME: &str = "The two new passwords are not the same. Type both again.";
