//! `walk-reset URL MAIL-URL USER MAIL-ADDRESS PASSWORD-FILE [CODE]`: one reset through the pages, told step by step, that
//! succeeds or ends with CODE. For the demo.

use anyhow::{Result, bail, ensure};
use keyback_testkit::browser::Browser;
use keyback_testkit::walk::{SinkPage, end_of, job_of, prove};
use std::time::Instant;

#[expect(clippy::print_stdout, reason = "the demo shows what is done")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ([url, mail_url, user, address, password_file], code) = (match arguments.as_slice() {
        [given @ .., code] if given.len() == 5 => (given, Some(code)),
        given => (given, None),
    }) else {
        bail!("usage: walk-reset URL MAIL-URL USER MAIL-ADDRESS PASSWORD-FILE [CODE]");
    };
    let password = std::fs::read_to_string(password_file)?;
    let (mut browser, mut mailbox) = (Browser::new(url)?, SinkPage::new(mail_url)?);
    println!("  opens {url}/reset and types the user name {user}");
    let page = prove(&mut browser, "reset", user, address, &mut mailbox)?;
    println!("  types the code that was mailed to {address}");
    let form = page.form()?.fill("new", password.trim_end())?.fill("repeat", password.trim_end())?;
    let started = Instant::now();
    let answer = browser.submit_only(&form)?;
    ensure!(answer.status == 202, "after the password: {} {}", answer.status, answer.words());
    let job = job_of(&answer)?;
    let page = end_of(&mut browser, &job)?;
    println!("  types a new password twice; the job {job} ended after {} ms", started.elapsed().as_millis());
    println!("  reads: {}", page.words());
    let expected = code.map_or("works now", String::as_str);
    ensure!(page.words().contains(expected), "that page should have said {expected}");
    Ok(())
}
