//! The ways through keyback's pages, as a person takes them with a browser that has no JavaScript.

use crate::browser::{Browser, Page};
use anyhow::{Context, Result, bail, ensure};
use std::time::{Duration, Instant};

/// How long a code, or a job's end, is waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// Where mailed codes are read.
pub trait Mailbox {
    /// The newest code mailed to `address`, when there is one that was not taken before.
    fn take_code(&mut self, address: &str) -> Result<Option<String>>;
}

/// Reads the page of a `mail-sink` process, and takes each mail once.
pub struct SinkPage {
    browser: Browser,
    taken: String,
}

impl SinkPage {
    /// At `http://127.0.0.1:8025`.
    pub fn new(origin: &str) -> Result<Self> {
        Ok(Self { browser: Browser::new(origin)?, taken: String::new() })
    }
}

impl Mailbox for SinkPage {
    fn take_code(&mut self, address: &str) -> Result<Option<String>> {
        let page = self.browser.open(&format!("/latest?to={address}"))?;
        let text = page.text();
        if page.status != 200 || text == self.taken {
            return Ok(None);
        }
        let line = text.lines().find(|line| line.contains("code:"));
        let code: Option<String> = line.map(|line| line.chars().filter(char::is_ascii_digit).collect());
        self.taken = text;
        Ok(code)
    }
}

impl Mailbox for crate::mail::MailSink {
    fn take_code(&mut self, address: &str) -> Result<Option<String>> {
        Ok(self.take(address, |mail| mail.code().is_some()).and_then(|mail| mail.code()))
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(10)); // another process's doing, seen only by looking again
    }
    bail!("{what} did not come within {LIMIT:?}")
}

/// Names the user and types the code that was mailed; the page that asks for the new password, or to confirm.
pub fn prove(
    browser: &mut Browser,
    operation: &str,
    user: &str,
    mail: &str,
    mailbox: &mut impl Mailbox,
) -> Result<Page> {
    mailbox.take_code(mail)?; // an earlier mail's code is worth nothing now
    let ask = browser.open(&format!("/{operation}"))?;
    let code_page = browser.submit(&ask.form()?.fill("user", user)?)?;
    ensure!(code_page.status == 200, "after the name: {} {}", code_page.status, code_page.words());
    let code = until("the mailed code", || mailbox.take_code(mail))?;
    // While the agent checks, or cannot be reached, the page has no form and is looked at again.
    until("the next page", || {
        let page = browser.open(&format!("/{operation}/code"))?;
        if !page.path.ends_with("/code") {
            return Ok(Some(page));
        }
        let Ok(form) = page.form() else { return Ok(None) };
        let page = browser.submit(&form.fill("code", &code)?)?;
        Ok((page.status == 200 && !page.path.ends_with("/code")).then_some(page))
    })
}

/// The job that an answer is about.
pub fn job_of(page: &Page) -> Result<String> {
    let path =
        page.header("location").or_else(|| page.path.starts_with("/jobs/").then_some(page.path.as_str()));
    let id = path.and_then(|path| path.split("/jobs/").nth(1)).map(str::to_owned);
    id.with_context(|| format!("no job: {} {}", page.status, page.words()))
}

/// Waits on a job's page until it has ended; what it says then.
pub fn end_of(browser: &mut Browser, job: &str) -> Result<Page> {
    until("the end of the job", || {
        let state = browser.fetch(&format!("/jobs/{job}"), &[("Accept", "application/json")])?.text();
        let open =
            ["queued", "running", "doubtful"].iter().any(|open| state.contains(&format!("\"{open}\"")));
        if open { Ok(None) } else { browser.open(&format!("/jobs/{job}")).map(Some) }
    })
}

/// A whole reset; the page of its end.
pub fn reset(
    browser: &mut Browser,
    user: &str,
    mail: &str,
    new: &str,
    mailbox: &mut impl Mailbox,
) -> Result<Page> {
    let page = prove(browser, "reset", user, mail, mailbox)?;
    let answer = browser.submit_only(&page.form()?.fill("new", new)?.fill("repeat", new)?)?;
    ensure!(answer.status == 202, "after the password: {} {}", answer.status, answer.words());
    end_of(browser, &job_of(&answer)?)
}
