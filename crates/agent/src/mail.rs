//! Mails from the agent to a person's address of record: the code, and the notice afterwards.
//!
//! They say who asked for what, and carry no secret but the code. One recipient, taken from the directory.

use keyback_codes::{Cause, Explain};
use keyback_core::job::Operation;
use keyback_core::{CorrelationId, PlainCode, Timestamp};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, AsyncTransport, Message, Tokio1Executor};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long the gateway may take to accept one mail.
const LIMIT: Duration = Duration::from_secs(10);

/// Where mails go out, and in whose name.
pub struct MailConfig {
    /// `smtps://host`, `smtp://host?tls=required`, or `smtp://127.0.0.1:2525` without encryption.
    pub gateway: String,
    /// User name and password, where the gateway asks for them.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// `Help desk <help@example.org>`.
    pub from: String,
    /// The organisation's name, as the mails use it.
    pub organisation: String,
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The gateway's address is not one.
    #[error("`gateway` is not an SMTP address")]
    Gateway(#[source] lettre::transport::smtp::Error),
    /// The sender's address is not one.
    #[error("`from` is not a mail address: {0}")]
    Sender(String),
    /// What the directory holds is not one address.
    #[error("the user's mail attribute is not one mail address")]
    Recipient,
    /// The message could not be put together.
    #[error("the mail could not be put together")]
    Form(#[from] lettre::error::Error),
    /// The gateway refused or did not answer.
    #[error("the mail gateway did not take the mail")]
    Gone(#[source] lettre::transport::smtp::Error),
    /// The gateway took too long.
    #[error("the mail gateway did not answer within {} s", LIMIT.as_secs())]
    Slow,
}

impl Explain for MailError {
    fn cause(&self) -> Cause {
        match self {
            Self::Gateway(_) | Self::Sender(_) => Cause::ConfigInvalid,
            Self::Recipient => Cause::TargetNoMail,
            Self::Form(_) | Self::Gone(_) | Self::Slow => Cause::MailUnreachable,
        }
    }
}

/// Sends mails.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    organisation: String,
    #[cfg(feature = "simulation")]
    postman: Option<crate::simulation::Postman>,
}

/// An address that can be shown to strangers: `a•••@ad.example`.
pub fn mask(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            format!("{}•••@{domain}", local.chars().next().map(String::from).unwrap_or_default())
        }
        None => "•••".to_owned(),
    }
}

const fn wish(operation: Operation) -> &'static str {
    match operation {
        Operation::Reset => "set a new password for your account",
        Operation::Change => "change the password of your account",
        Operation::Unlock => "unlock your account",
        Operation::Register => "look after the ways in which you prove who you are",
    }
}

const fn deed(operation: Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::Reset => ("Your password was reset", "The password of your account was set anew."),
        Operation::Change => ("Your password was changed", "The password of your account was changed."),
        Operation::Unlock => {
            ("Your account was unlocked", "Your account was unlocked; its password is what it was.")
        }
        Operation::Register => {
            ("How you prove who you are was changed", "The ways in which you prove who you are were changed.")
        }
    }
}

impl Mailer {
    /// Checks the addresses; nothing is sent yet.
    pub fn new(config: MailConfig) -> Result<Self, MailError> {
        let from = config.from.parse().map_err(|_| MailError::Sender(config.from.clone()))?;
        let gateway =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.gateway).map_err(MailError::Gateway)?;
        let gateway = match config.credentials {
            Some((user, password)) => gateway.credentials(Credentials::new(user, password.to_string())),
            None => gateway,
        };
        let transport = gateway.timeout(Some(LIMIT)).build();
        Ok(Self {
            transport,
            from,
            organisation: config.organisation,
            #[cfg(feature = "simulation")]
            postman: None,
        })
    }

    /// The same, with somebody else who takes the mails.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn simulated(self, postman: crate::simulation::Postman) -> Self {
        Self { postman: Some(postman), ..self }
    }

    /// Whether the gateway answers.
    pub async fn probe(&self) -> Result<(), MailError> {
        match tokio::time::timeout(LIMIT, self.transport.test_connection()).await {
            Ok(answer) => answer.map(drop).map_err(MailError::Gone),
            Err(_) => Err(MailError::Slow),
        }
    }

    /// Mails a code.
    pub async fn send_code(
        &self,
        to: &str,
        code: &PlainCode,
        operation: Operation,
        correlation_id: CorrelationId,
        expires_at: Timestamp,
    ) -> Result<(), MailError> {
        let (first, second) = code.expose().split_at(PlainCode::DIGITS / 2);
        let text = format!(
            "Hello,\n\n\
             somebody, we hope you, asked {organisation} to {wish}.\n\n\
             Your code:  {first} {second}\n\n\
             Type it on the page that asked for it. It is good until {expires_at} and for this one purpose.\n\n\
             Nobody from {organisation} will ever ask you for this code. If it was not you who asked, you need do\n\
             nothing: without the code nothing changes. If it happens again, tell your help desk.\n\n\
             Correlation ID: {correlation_id}\n",
            organisation = self.organisation,
            wish = wish(operation),
        );
        self.send(to, format!("{first} {second} is your code"), text).await
    }

    /// Tells that something was done.
    pub async fn send_notice(
        &self,
        to: &str,
        operation: Operation,
        correlation_id: CorrelationId,
        at: Timestamp,
    ) -> Result<(), MailError> {
        let (subject, deed) = deed(operation);
        let text = format!(
            "Hello,\n\n\
             {deed}\n\
             This was done at {at}, through the self-service page of {organisation}.\n\n\
             If it was you, all is well. If it was not, call your help desk now and quote this number:\n\n\
             Correlation ID: {correlation_id}\n",
            organisation = self.organisation,
        );
        self.send(to, subject.to_owned(), text).await
    }

    /// Tells that a way to prove oneself was added or removed.
    pub async fn send_change(
        &self,
        to: &str,
        what: &str,
        correlation_id: CorrelationId,
        at: Timestamp,
    ) -> Result<(), MailError> {
        let (subject, deed) = deed(Operation::Register);
        let text = format!(
            "Hello,\n\n\
             {deed}\n\
             {what}\n\
             This was done at {at}, through the self-service page of {organisation}.\n\n\
             If it was you, all is well. If it was not, call your help desk now and quote this number:\n\n\
             Correlation ID: {correlation_id}\n",
            organisation = self.organisation,
        );
        self.send(to, subject.to_owned(), text).await
    }

    async fn send(&self, to: &str, subject: String, text: String) -> Result<(), MailError> {
        #[cfg(feature = "simulation")]
        if let Some(postman) = &self.postman {
            postman(to, &subject);
            return Ok(());
        }
        let to: Address = to.parse().map_err(|_| MailError::Recipient)?;
        let mail = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)?;
        match tokio::time::timeout(LIMIT, self.transport.send(mail)).await {
            Ok(sent) => sent.map(drop).map_err(MailError::Gone),
            Err(_) => Err(MailError::Slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_address_keeps_one_letter_and_the_domain() {
        assert_eq!(mask("ada@ad.example"), "a•••@ad.example");
        assert_eq!(mask("é@x"), "é•••@x");
        assert_eq!(mask("@x"), "•••@x");
        assert_eq!(mask("nothing"), "•••");
    }

    #[tokio::test] // lettre's pool wants a runtime as soon as it is made
    async fn addresses_that_are_none_are_refused_at_the_start() {
        let config = |gateway: &str, from: &str| MailConfig {
            gateway: gateway.to_owned(),
            credentials: None,
            from: from.to_owned(),
            organisation: "Example".to_owned(),
        };
        assert!(Mailer::new(config("smtp://127.0.0.1:2525", "Help <help@example.org>")).is_ok());
        assert!(matches!(Mailer::new(config("http://x", "help@example.org")), Err(MailError::Gateway(_))));
        assert!(matches!(Mailer::new(config("smtp://x", "help\r\nBcc: all@x")), Err(MailError::Sender(_))));
    }
}
