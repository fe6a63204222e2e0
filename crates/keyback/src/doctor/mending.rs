//! What `--fix` and `--undo` share: their flags, who makes the changes, consent, and the undo file on disk.

use crate::config::read_secret;
use crate::output::{self, BLIND, FOUND, Trouble, USAGE};
use clap::Args;
use keyback_ad::{Connector, Directory, MendError};
use keyback_codes::Explain;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// An undo file holds a few descriptors of at most 64 KiB.
const LONGEST: u64 = 16 << 20;

/// Changing the directory.
#[derive(Args)]
pub struct Mending {
    /// Show the change that mends each fault, ask, make it, and look again
    #[arg(long, group = "mends")]
    pub fix: bool,
    /// Take back what --fix changed, from the file that it wrote
    #[arg(long, value_name = "FILE", group = "mends", conflicts_with = "user", requires = "fix_as")]
    pub undo: Option<PathBuf>,
    /// The account that makes the changes: its userPrincipalName. Without it --fix only shows them
    #[arg(long, value_name = "UPN", requires_all = ["fix_password_file", "mends"])]
    pub fix_as: Option<String>,
    /// A file with that account's password
    #[arg(long, value_name = "FILE", requires = "fix_as")]
    pub fix_password_file: Option<PathBuf>,
    /// Grant what is missing on this container above the user, instead of the user's own OU
    #[arg(long, value_name = "DN", requires = "fix")]
    pub fix_at: Option<String>,
    /// Where --fix writes the undo file [default: keyback-undo-USER-TIME.json here]
    #[arg(long, value_name = "FILE", requires = "fix")]
    pub undo_file: Option<PathBuf>,
    /// Agree to the changes without being asked
    #[arg(long, requires = "mends")]
    pub yes: bool,
}

impl Mending {
    /// The directory as the account that makes the changes; `None` where none was given.
    pub fn changer(&self, directory: &Directory) -> Result<Option<(Directory, &str)>, Trouble> {
        let (Some(name), Some(file)) = (&self.fix_as, &self.fix_password_file) else { return Ok(None) };
        let password = read_secret("password for --fix-as", file)?;
        let account = Connector::new(name.clone(), password).map_err(|error| Trouble::of(USAGE, &error))?;
        Ok(Some((directory.signed_in_as(account), name)))
    }

    /// Asks, where somebody is there to answer.
    /// # Errors
    /// Why nothing may be changed, as a sentence.
    pub fn consent(&self, question: &str, json: bool) -> Result<(), &'static str> {
        if self.yes {
            return Ok(());
        }
        if json || !std::io::stdin().is_terminal() {
            return Err("Nothing was changed: --yes agrees where nobody can be asked.");
        }
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{} Type yes to agree: ", output::plain(question)).and_then(|()| err.flush());
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        match read {
            Ok(_) if answer.trim() == "yes" => Ok(()),
            Ok(_) | Err(_) => Err("Nothing was changed: it was not agreed to."),
        }
    }
}

/// What went wrong while mending, with what to do about it.
pub fn trouble(error: &MendError) -> Trouble {
    let (exit, fix) = match error {
        MendError::Directory(error) => return Trouble::of(BLIND, error),
        MendError::Gone { .. } => {
            (BLIND, "Use an account that sees the object, or ask again: it may have been moved.")
        }
        MendError::Changed { .. } => (FOUND, "Ask again: the change is then made up from what is there now."),
        MendError::Refused { .. } => (
            FOUND,
            "Use an account that may change it; a domain controller's own rules cannot be mended here.",
        ),
        MendError::NoAnswer { .. } => (BLIND, "Ask again: doctor shows whether it was changed."),
    };
    Trouble { exit, text: output::chain(error), cause: Explain::cause(error), fix: fix.to_owned() }
}

/// Writes a new file that only we can read, and waits until it is on the disk.
/// # Errors
/// Never overwrites: whatever is there stays.
pub fn write_new(path: &Path, text: &str) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| {
        let text = format!("the undo file {} cannot be written: {error}", path.display());
        Trouble::usage(text, "Nothing was changed. Name another file with --undo-file.")
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(path); // half a file is of no use to anybody
        return Err(failed(error));
    }
    // The name as well: a file without one does not survive a power cut.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Reads an undo file.
pub fn read(path: &Path) -> Result<String, Trouble> {
    let failed = |error: std::io::Error| {
        let text = format!("the undo file {} cannot be read: {error}", path.display());
        Trouble::usage(text, "Give the file that keyback doctor --fix wrote.")
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
