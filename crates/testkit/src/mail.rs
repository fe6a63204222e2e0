//! A mail sink: takes every mail over SMTP, keeps it, delivers nothing. It can refuse, or take its time, on demand.

use anyhow::{Context, Result};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// No mail and no line is longer.
const MOST: u64 = 1 << 20;

/// A mail as it arrived.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body.
    pub raw: String,
}

impl Mail {
    /// A header's value, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.raw.split("\r\n\r\n").next()?.replace("\r\n ", " ");
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// The body as text, its transfer encoding undone.
    pub fn text(&self) -> String {
        use base64::Engine;
        let body = self.raw.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let bytes = match self
            .header("Content-Transfer-Encoding")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "base64" => {
                let joined: String = body.split_whitespace().collect();
                base64::engine::general_purpose::STANDARD.decode(joined).unwrap_or_default()
            }
            "quoted-printable" => unquote(body),
            _ => body.as_bytes().to_vec(),
        };
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    }

    /// The first run of eight digits, blanks between them ignored: the code, where the mail carries one.
    pub fn code(&self) -> Option<String> {
        self.text().lines().find_map(|line| {
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            (line.contains("code:") && digits.len() == 8).then_some(digits)
        })
    }
}

fn unquote(body: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = body.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'=' {
            bytes.push(byte);
        } else if let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        } else if let Some((digits, after)) = rest.split_at_checked(2) {
            let digits =
                std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.extend(digits);
            rest = after;
        }
    }
    bytes
}

/// How the sink behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes every mail.
    Willing,
    /// Refuses every recipient.
    Refusing,
    /// Never answers.
    Silent,
}

#[derive(Debug)]
struct Inner {
    mails: Mutex<Vec<Mail>>,
    mood: Mutex<Mood>,
    arrived: Notify,
}

/// The sink. Cheap to clone; it listens as long as its runtime lives.
#[derive(Debug, Clone)]
pub struct MailSink {
    address: SocketAddr,
    inner: Arc<Inner>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MailSink {
    /// Listens; port 0 takes a free one.
    pub async fn start(address: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("{address} cannot be listened on"))?;
        let inner = Arc::new(Inner {
            mails: Mutex::default(),
            mood: Mutex::new(Mood::Willing),
            arrived: Notify::new(),
        });
        let sink = Self { address: listener.local_addr()?, inner };
        let takes = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sink = takes.clone();
                tokio::spawn(async move { sink.talk(stream).await });
            }
        });
        Ok(sink)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set_mood(&self, mood: Mood) {
        *locked(&self.inner.mood) = mood;
    }

    /// Everything that came, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        locked(&self.inner.mails).clone()
    }

    /// The newest mail to an address.
    pub fn latest(&self, to: &str) -> Option<Mail> {
        let mails = locked(&self.inner.mails);
        mails.iter().rev().find(|mail| mail.to.iter().any(|known| known.eq_ignore_ascii_case(to))).cloned()
    }

    /// The newest mail to an address that `fits`, taken out of the sink.
    pub fn take(&self, to: &str, fits: impl Fn(&Mail) -> bool) -> Option<Mail> {
        let mut mails = locked(&self.inner.mails);
        let at = mails
            .iter()
            .rposition(|mail| mail.to.iter().any(|known| known.eq_ignore_ascii_case(to)) && fits(mail))?;
        Some(mails.remove(at))
    }

    /// The first mail to `to` that `fits`, as soon as it is there.
    pub async fn wait_for(&self, to: &str, limit: Duration, fits: impl Fn(&Mail) -> bool) -> Result<Mail> {
        let wait = async {
            loop {
                let arrived = self.inner.arrived.notified();
                if let Some(mail) = self.latest(to).filter(|mail| fits(mail)) {
                    return mail;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(limit, wait)
            .await
            .with_context(|| format!("no such mail to {to} within {limit:?}"))
    }

    async fn talk(&self, mut stream: TcpStream) -> io::Result<()> {
        let (from, mut to) = stream.split();
        let mut from = BufReader::new(from.take(16 * MOST));
        let mood = *locked(&self.inner.mood);
        if mood == Mood::Silent {
            // Holds the line until the other side hangs up.
            let mut nothing = Vec::new();
            from.read_to_end(&mut nothing).await?;
            return Ok(());
        }
        to.write_all(b"220 mail sink\r\n").await?;
        let mut recipients = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            if from.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let command = text.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer: &[u8] = match command.as_str() {
                "EHLO" => b"250-mail sink\r\n250 8BITMIME\r\n",
                "HELO" | "MAIL" | "NOOP" => b"250 OK\r\n",
                "RSET" => {
                    recipients.clear();
                    b"250 OK\r\n"
                }
                "RCPT" if mood == Mood::Refusing => b"550 5.7.1 refused on demand\r\n",
                "RCPT" => {
                    let address = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                    recipients.extend(address.map(|(address, _)| address.to_owned()));
                    b"250 OK\r\n"
                }
                "DATA" => {
                    to.write_all(b"354 go on\r\n").await?;
                    let raw = read_data(&mut from).await?;
                    locked(&self.inner.mails).push(Mail { to: std::mem::take(&mut recipients), raw });
                    self.inner.arrived.notify_waiters();
                    b"250 kept\r\n"
                }
                "QUIT" => {
                    to.write_all(b"221 bye\r\n").await?;
                    return Ok(());
                }
                _ => b"500 what?\r\n",
            };
            to.write_all(answer).await?;
        }
    }
}

async fn read_data(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut raw = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(String::from_utf8_lossy(&raw).into_owned());
        }
        raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_read_whatever_its_encoding() {
        let mail = |encoding: &str, body: &str| Mail {
            to: vec![],
            raw: format!("Subject: a\r\n b\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}"),
        };
        assert_eq!(mail("7bit", "x\r\n").text(), "x\n");
        assert_eq!(mail("quoted-printable", "caf=C3=A9 =\r\nx").text(), "café x");
        assert_eq!(mail("base64", "Y2Fmw6k=\r\n").text(), "café");
        assert_eq!(mail("7bit", "").header("subject").as_deref(), Some("a b"));
        assert_eq!(mail("7bit", "Tel 12345678\r\nYour code:  1234 5678").code().as_deref(), Some("12345678"));
    }
}
