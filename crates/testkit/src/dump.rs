//! The whole domain, object by object, to be compared: each object, deleted ones too, with its descriptor.

use crate::lab::Lab;
use anyhow::{Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What no directory forgets, what counts up, what a sign-in writes, and what each DC notes about its partners.
const PASSES: [&str; 12] = [
    "uSNChanged",
    "whenChanged",
    "rIDNextRID",
    "rIDAvailablePool",
    "rIDPreviousAllocationPool",
    "dSCorePropagationData",
    "logonCount",
    "lastLogon",
    "lastLogonTimestamp",
    "repsTo",
    "repsFrom",
    "replUpToDateVector",
];

/// The attribute lines of each object's LDIF.
#[derive(Debug, Default)]
pub struct Dump(BTreeMap<String, BTreeSet<String>>);

impl Dump {
    /// As Administrator sees it now.
    pub fn of(lab: &Lab) -> Result<Self> {
        let admin = lab.administrator();
        let mut command = Command::new("ldapsearch");
        command.env("LDAPTLS_CACERT", lab.ca_file()).args(["-LLL", "-x", "-H", lab.env("AD_LDAPS")]);
        command.args(["-o", "ldif-wrap=no", "-D", admin.name, "-w", admin.password, "-b", lab.base_dn()]);
        // descriptor without SACL; deleted objects too
        command.args(["-E", "!1.2.840.113556.1.4.801=::MAMCAQc=", "-E", "!1.2.840.113556.1.4.417"]);
        let output = command.args(["(objectClass=*)", "*", "nTSecurityDescriptor"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let objects = text.split("\n\n").filter(|object| object.trim_start().starts_with("dn:"));
        let objects = objects.map(|object| {
            let mut lines = object.trim_start().lines().map(str::to_owned);
            let dn = lines.next().unwrap_or_default();
            let passes = |line: &str| PASSES.iter().any(|name| line.starts_with(&format!("{name}:")));
            (dn, lines.filter(|line| !passes(line)).collect())
        });
        Ok(Self(objects.collect()))
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.0.len()
    }
}

/// What was there only before and only after, a line each.
pub fn differences(before: &Dump, after: &Dump) -> Vec<String> {
    let none = BTreeSet::new();
    let names: BTreeSet<_> = before.0.keys().chain(after.0.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (old, new) = (before.0.get(name).unwrap_or(&none), after.0.get(name).unwrap_or(&none));
        found.extend(old.difference(new).map(|line| format!("{name}\n - {line}")));
        found.extend(new.difference(old).map(|line| format!("{name}\n + {line}")));
    }
    found
}
