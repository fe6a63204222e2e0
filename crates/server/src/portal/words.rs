//! What the pages say, where it depends on what the person wants. The rest stands in the templates.

use keyback_codes::Cause;
use keyback_core::job::{JobState, Operation};
use keyback_core::{Failure, Way};

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

static REGISTER: Words = Words {
    ask_path: "/register",
    code_path: "/register/code",
    finish_path: "/register/password",
    title: "Be ready for next time",
    lead: "Set up an authenticator app or recovery codes, and you can help yourself without your mail. First tell us who you are.",
    last_step: "Password",
    finish_title: "Type your password",
    finish_lead: "So that nobody but you changes how you prove who you are.",
    finish_button: "Sign in",
    working: "We are checking your password",
    done: "You are signed in.",
    done_lead: "",
    done_tips: &[],
};

pub(crate) const fn of(operation: Operation) -> &'static Words {
    match operation {
        Operation::Reset => &RESET,
        Operation::Change => &CHANGE,
        Operation::Unlock => &UNLOCK,
        Operation::Register => &REGISTER,
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
pub(crate) const HAVE_A_CODE: &str = "I have an app or another code";
pub(crate) const TYPE_HELD: &str = "Type the 6-digit code that your authenticator app shows now, or one of your recovery codes, or the code that your help desk gave you.";
pub(crate) const ONE_MORE: &str = "That code was right. This needs one more.";
pub(crate) const HELD_LABEL: &str = "Your code";
pub(crate) const HELD_LOST: &str = "Neither at hand?";
pub(crate) const HELD_LOST_TODO: &str = "You can start again and have a code mailed to you. If that is not enough for what you want to do, your help desk can help you.";
pub(crate) const NOT_HELD: &str =
    "That is not such a code. An app shows 6 digits; a recovery code has 16 letters and digits.";
pub(crate) const WRONG_HELD: &str = "That code is not right. Type the one that your app shows now, or a recovery code that you have not used.";
pub(crate) const FROZEN: &str = "That code is right, but you added this only lately: it counts after a while. Use another way until then.";
pub(crate) const READY: &str = "If a mailed code is your only way in, have a second one ready:";
pub(crate) const READY_LINK: &str = "set up an app or recovery codes";
pub(crate) const USED_CODE: &str =
    "That code was used already. Wait until your app shows the next one, or take another recovery code.";

/// A code of another moment: the phone's clock is so many seconds ahead.
pub(crate) fn clock_off(seconds: i64) -> String {
    let minutes = seconds.unsigned_abs().div_ceil(60);
    let s = if minutes == 1 { "" } else { "s" };
    let way = if seconds < 0 { "behind" } else { "ahead" };
    format!(
        "The clock of your phone is {minutes} minute{s} {way}, so its codes do not fit. Let the phone set its time by the \
         network, then type the code that it shows."
    )
}

// /register, after the password.
pub(crate) const METHODS_TITLE: &str = "Ways to prove who you are";
pub(crate) const METHODS_LEAD: &str = "When you forget your password, one of these lets you set a new one. Have two, so that losing one does no harm.";
pub(crate) const COUNTS_FROM: &str = "New. Counts from:";
pub(crate) const METHODS_NONE: &str = "You have none yet besides your mail.";
pub(crate) const ADD_APP: &str = "Add an authenticator app";
pub(crate) const MAKE_SHEET: &str = "Make recovery codes";
pub(crate) const MAKE_SHEET_AGAIN: &str = "Make new recovery codes";
pub(crate) const SHEET_REPLACES: &str = "The codes that you have now count no more then.";
pub(crate) const TEST_TITLE: &str = "Try one";
pub(crate) const TEST_LEAD: &str =
    "See that it works before you need it. A recovery code is used up by this.";
pub(crate) const TESTED: &str = "That code was right.";
pub(crate) const ADDED: &str = "Added.";
pub(crate) const REMOVED: &str = "Removed. It counts no more.";
pub(crate) const NOT_FINISHED: &str =
    "Your organisation's directory does not answer yet. Look again in a minute whether it was done.";
pub(crate) const APP_TITLE: &str = "Add an authenticator app";
pub(crate) const APP_LEAD: &str =
    "Open the app on your phone, choose to add an account, and point the camera at this picture.";
pub(crate) const APP_BY_HAND: &str = "No camera? Type this key into the app:";
pub(crate) const APP_CODE_LABEL: &str = "The 6 digits that the app shows now";
pub(crate) const NAME_LABEL: &str = "What do you call it?";
pub(crate) const NAME_GIVEN: &str = "My phone";
pub(crate) const BAD_METHOD_NAME: &str = "Give it a name of up to 40 characters, on one line.";
pub(crate) const NOT_SIX_DIGITS: &str = "The app shows 6 digits. Type all of them.";
pub(crate) const WRONG_APP_CODE: &str =
    "That is not the code of this key. Type the one that the app shows now.";
pub(crate) const TOO_MANY_METHODS: &str = "You have as many as one person can have. Remove one first.";
pub(crate) const SHEET_TITLE: &str = "Your recovery codes";
pub(crate) const SHEET_LEAD: &str = "Print this page or write the codes down, and keep them away from your computer. Each one works once. They are shown only now.";
pub(crate) const SHEET_NAME: &str = "Recovery codes";
pub(crate) const SHEET_DONE: &str = "I have kept them";
pub(crate) const NOT_YOUR_PASSWORD: &str = "That is not your password. Type it as you do for Windows.";
pub(crate) const PASSWORD_TRIES: &str = "We do not try your password now: another wrong one could lock your account. Sign in to Windows once, or wait half an hour.";

/// What a method is, in a list.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass references")]
pub(crate) const fn way(way: &Way) -> &'static str {
    match way {
        Way::Mail => "Code by mail",
        Way::Totp => "Authenticator app",
        Way::Recovery => "Recovery codes",
        Way::Pass => "Pass of the help desk",
    }
}

/// Why a step of `/register` was not done.
pub(crate) fn not_registered(failure: &Failure, seconds_off: i64) -> String {
    let known = [
        (Cause::ProofWrongCode, WRONG_APP_CODE),
        (Cause::ProofCodeUsed, USED_CODE),
        (Cause::ProofMethodFrozen, FROZEN),
        (Cause::TargetWrongPassword, NOT_YOUR_PASSWORD),
        (Cause::ProofPasswordTries, PASSWORD_TRIES),
    ];
    if failure.cause == Cause::ProofClockOff {
        return clock_off(seconds_off);
    }
    known.iter().find(|(cause, _)| *cause == failure.cause).map_or_else(
        || {
            let (what, todo) = for_person(failure);
            format!("{what} {todo}")
        },
        |(_, words)| (*words).to_owned(),
    )
}
