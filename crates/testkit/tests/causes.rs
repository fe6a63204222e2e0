//! docs/causes.md says of every cause how the lab makes it, or why it does not, and who tests it then. It is written by
//! this test: `KEYBACK_WRITE_DOCS=1 cargo nextest run -p keyback-testkit --test causes`.

use anyhow::{Context, Result, ensure};
use keyback_codes::Cause;
use keyback_testkit::lab::{Breakage, Hits, Lab};
use std::fmt::Write;
use std::path::Path;

/// Tests of causes that `lab/break` does not make.
const TESTED: [(&str, &[Cause]); 14] = [
    ("crates/ad/tests/directory/connect.rs", &[Cause::OutcomeUnknown]),
    (
        "crates/ad/tests/directory/write.rs",
        &[Cause::PolicyHintsUnsupported, Cause::TargetWrongPassword, Cause::TargetOutrun],
    ),
    (
        "crates/agent/src/doctor/keyback.rs",
        &[Cause::AgentOffline, Cause::AgentHeartbeatStale, Cause::WritebackDisabled],
    ),
    ("crates/agent/tests/doctor/hostile.rs", &[Cause::DcBusy, Cause::ProtocolError]),
    ("crates/agent/tests/doctor/others.rs", &[Cause::DcNameResolution, Cause::DcReadOnly]),
    (
        "crates/agent/tests/messages.rs",
        &[
            Cause::MessageRefused,
            Cause::ProofWrongCode,
            Cause::ProofExpired,
            Cause::ProofTooMany,
            Cause::AgentCapAgent,
            Cause::AgentStopped,
            Cause::AgentQuarantined,
            Cause::AgentUnasked,
            Cause::PolicyBanned,
            Cause::PolicyBreached,
            Cause::AgentListsUnreadable,
        ],
    ),
    ("crates/agent/src/caps.rs", &[Cause::AgentCapOu]),
    ("crates/keyback/tests/keys.rs", &[Cause::AgentCapUser, Cause::KeyEnrolment]),
    (
        "crates/keyback/tests/register.rs",
        &[
            Cause::ProofCodeUsed,
            Cause::ProofClockOff,
            Cause::ProofPasswordTries,
            Cause::ProofMethodFrozen,
            Cause::ProofWayNotAllowed,
        ],
    ),
    ("crates/core/src/ids.rs", &[Cause::InputName]),
    ("crates/core/src/secrets.rs", &[Cause::InputPassword]),
    ("crates/keyback/src/config.rs", &[Cause::ConfigInvalid]),
    ("crates/server/tests/portal/faults.rs", &[Cause::StoreUnavailable]),
    ("crates/server/tests/portal/flow.rs", &[Cause::MailUnreachable]),
];

const HEAD: &str = "\
# Causes, and what the lab makes of them

Written by `crates/testkit/tests/causes.rs` from `lab/break --list`; a test fails when it is out of date.

What the lab makes is tested thus, on both Samba versions unless a row says 4.24 only: broken, `keyback doctor` names it as
the first confirmed verdict, without a refusal to explain, with Samba's answer, and with that answer cut to its code as Windows
sends it; mended, doctor names nothing and a reset succeeds (`crates/agent/tests/doctor/breaks.rs`). One exception:
`policy.history` cannot be told from a password filter by the code alone, since nobody can read a history; then
`policy.filter_or_unknown` comes first and `policy.history` second, as unknown.

| Cause | The lab | Shows on | Tested in |
|---|---|---|---|
";

fn row(breakage: &Breakage) -> String {
    let id = breakage.cause.as_str();
    let tested = TESTED.iter().find(|(_, causes)| causes.iter().any(|cause| cause.id() == id));
    let shows = if breakage.only_4_24 { "4.24 only" } else { "both" };
    if let Some(hits) = breakage.hits {
        let whom = if hits == Hits::User { "one user" } else { "everybody" };
        format!(
            "| `{id}` | makes it for {whom}: {} | {shows} | `crates/agent/tests/doctor/breaks.rs` |\n",
            breakage.what
        )
    } else {
        let why = breakage.what.trim_start_matches("not in the lab: ");
        let tested = tested.map_or_else(|| "nothing yet".to_owned(), |(file, _)| format!("`{file}`"));
        format!("| `{id}` | does not: {why} | - | {tested} |\n")
    }
}

#[test]
fn the_table_of_causes_is_up_to_date() -> Result<()> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut table = HEAD.to_owned();
    for breakage in Lab::breakages()? {
        write!(table, "{}", row(&breakage))?;
    }
    let file = project.join("docs/causes.md");
    if std::env::var_os("KEYBACK_WRITE_DOCS").is_some() {
        std::fs::write(&file, &table)?;
    }
    ensure!(
        std::fs::read_to_string(&file)? == table,
        "docs/causes.md is out of date: KEYBACK_WRITE_DOCS=1 writes it"
    );
    for (file, causes) in TESTED {
        let text = std::fs::read_to_string(project.join(file)).with_context(|| file.to_owned())?;
        for cause in causes {
            let named =
                text.contains(&format!("Cause::{cause:?}")) || text.contains(&format!("{:?}", cause.id()));
            ensure!(named, "{file} does not name {}", cause.id());
        }
    }
    Ok(())
}
