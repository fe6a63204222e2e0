//! `audit verify`: the first broken link, or that there is none.

use super::agents_head;
use crate::config::Config;
use crate::keyfiles;
use crate::output::{self, FOUND, Trouble};
use keyback_core::audit::{Broken, Head, Keys, Step, Verified, Verifier};
use keyback_store::Store;
use serde_json::json;
use std::process::ExitCode;

/// Links read at once; what was done to a broken one is judged by as many behind it.
const PAGE: u32 = 1_000;

/// Goes through the whole chain.
async fn verify(store: &Store, keys: Keys, seen: Option<Head>) -> Result<Result<Verified, Broken>, Trouble> {
    let checkpoint = store.audit_checkpoint().await?;
    let mut verifier = match Verifier::new(keys, checkpoint.as_ref()) {
        Ok(verifier) => verifier,
        Err(broken) => return Ok(Err(broken)),
    };
    let mut after = 0;
    loop {
        let links = store.read_links(after, PAGE).await?;
        let Some((last, _)) = links.last() else { return Ok(verifier.finish(seen)) };
        after = last.number;
        for (link, clear) in &links {
            match verifier.push(link, clear.as_ref()) {
                Step::Holds => {}
                Step::Broken(broken) => return Ok(Err(broken)),
                Step::LookBehind => {
                    let following = store.read_links(link.number, PAGE).await?;
                    let following: Vec<_> = following.into_iter().map(|(link, _)| link).collect();
                    return Ok(Err(verifier.diagnose(link, &following)));
                }
            }
        }
    }
}

/// `audit verify`.
pub async fn run(
    store: &Store,
    config: &Config,
    head: Option<Head>,
    as_document: bool,
) -> Result<ExitCode, Trouble> {
    let keys = keyfiles::audit_keys(config.server()?)?;
    let mut compared = head.is_some();
    let seen = if head.is_none() && config.agent.is_some() {
        match agents_head(config) {
            Ok(seen) => {
                compared = true;
                seen
            }
            Err(trouble) => {
                output::note(&format!("The agent's journal was not compared: {}", trouble.text));
                None
            }
        }
    } else {
        head
    };
    let found = verify(store, keys, seen).await?;
    if as_document {
        let (verified, broken) = (found.as_ref().ok(), found.as_ref().err());
        output::say_json(&json!({
            "whole": found.is_ok(),
            "broken": broken,
            "rows": verified.map(|verified| verified.rows),
            "countersigned": verified.map(|verified| verified.countersigned),
            "erased": verified.map(|verified| verified.erased),
            "from": verified.map(|verified| verified.from),
            "head": verified.map(|verified| verified.head),
            "vouched": verified.map(|verified| verified.vouched),
            "compared_with_agent": compared,
        }))?;
    }
    match found {
        Ok(verified) => {
            if !as_document {
                output::say(&describe(&verified, compared));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            if !as_document {
                output::say(&format!("The audit chain is broken.\n{broken}"));
            }
            Ok(ExitCode::from(FOUND))
        }
    }
}

fn describe(verified: &Verified, compared: bool) -> String {
    let Verified { rows, countersigned, erased, from, head, vouched } = verified;
    let mut text =
        format!("The audit chain is whole: {rows} rows, {countersigned} of them signed by the agent");
    if *erased > 0 {
        text.push_str(&format!(", {erased} without personal data"));
    }
    if *from > 0 {
        text.push_str(&format!("; rows up to {from} were pruned"));
    }
    text.push_str(&format!(".\nHead {head}; the agent vouches for everything up to row {vouched}."));
    if !compared {
        text.push_str(
            "\nNot compared with the agent's journal: run `keyback audit head` beside the agent, and give what it prints \
             to --head here. Without that, rows cut off the end are not noticed.",
        );
    }
    text
}
