//! What mends a fault: a sentence, and the commands with the names filled in.

use super::mend::is_automatic;
use super::view::{ps_quoted, quoted};
use keyback_ad::Ground;
use keyback_ad::descriptor::Server;
use keyback_codes::Cause;
use keyback_core::diagnosis::{Command, Remedy, Shell};

/// What the catalogue says, where nothing better is known.
pub(super) fn general(cause: Cause) -> Remedy {
    Remedy { text: cause.fix().text.to_owned(), commands: Vec::new(), automatic: is_automatic(cause) }
}

/// A sentence and commands.
pub(super) fn with(cause: Cause, text: impl Into<String>, commands: Vec<Command>) -> Remedy {
    Remedy { text: text.into(), commands, automatic: is_automatic(cause) }
}

pub(super) fn sh(line: impl Into<String>) -> Command {
    Command { shell: Shell::Sh, line: line.into() }
}

pub(super) fn powershell(line: impl Into<String>) -> Command {
    Command { shell: Shell::Powershell, line: line.into() }
}

pub(super) fn cmd(line: impl Into<String>) -> Command {
    Command { shell: Shell::Cmd, line: line.into() }
}

/// One of the two that fits the server, the likelier one first.
pub(super) fn by_server(ground: &Ground, samba: Command, windows: Vec<Command>) -> Vec<Command> {
    match ground.server {
        Server::Samba => vec![samba],
        Server::Windows => windows,
    }
}

/// Adds one ACE to an object: `ace` in SDDL for Samba, `grant` as dsacls writes it.
pub(super) fn grant(ground: &Ground, dn: &str, ace: &str, grant: &str) -> Vec<Command> {
    by_server(
        ground,
        sh(format!("samba-tool dsacl set --objectdn={} --sddl={}", quoted(dn), quoted(ace))),
        vec![cmd(format!("dsacls \"{dn}\" /I:S /G \"{grant}\""))],
    )
}

/// Sets something on an account.
pub(super) fn on_account(ground: &Ground, samba: &str, sam: &str, windows: &str) -> Vec<Command> {
    by_server(
        ground,
        sh(format!("samba-tool user {samba} {}", quoted(sam))),
        vec![powershell(format!("{windows} -Identity {}", ps_quoted(sam)))],
    )
}
