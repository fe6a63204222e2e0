//! `keyback doctor` without a configuration, against the lab.

use super::KEYBACK;
use anyhow::{Context, Result};
use keyback_testkit::lab::Lab;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The command without a configuration.
pub struct StandAlone {
    pub folder: tempfile::TempDir,
    pub flags: Vec<String>,
}

impl StandAlone {
    pub fn new(lab: &Lab, connector: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let this = Self { folder, flags: Vec::new() };
        let password = this.secret("connector", lab.connector().1)?;
        let flags = [
            ("--dc", format!("ldaps://{}", lab.fqdn())),
            ("--dc-address", lab.ip().to_string()),
            ("--ca", lab.ca_file().display().to_string()),
            ("--connector", format!("{connector}@{}", lab.env("AD_REALM").to_lowercase())),
            ("--password-file", password),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Ok(Self { flags, ..this })
    }

    pub fn secret(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path.display().to_string())
    }

    pub fn run(&self, more: &[&str]) -> Result<(i32, String, String)> {
        let output = Command::new(KEYBACK).arg("doctor").args(&self.flags).args(more).output()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes);
        Ok((output.status.code().context("a signal")?, text(output.stdout)?, text(output.stderr)?))
    }

    pub fn json(&self, more: &[&str]) -> Result<(i32, Value)> {
        let (exit, out, err) = self.run(&[more, &["--json"]].concat())?;
        Ok((exit, serde_json::from_str(&out).with_context(|| format!("{out}{err}"))?))
    }
}
