//! A browser without JavaScript, for tests, the demo and the bench: keeps cookies and its connection, follows 303, sends
//! what a browser sends, and fills in forms. Plain HTTP to a loopback address only.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No page takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug, Clone)]
pub struct Page {
    /// The path that it came from, after redirects.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Page {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What a person would read: the body without tags, entities resolved, blanks joined.
    pub fn words(&self) -> String {
        let (mut words, mut in_tag) = (String::new(), false);
        for c in self.text().chars() {
            match c {
                '<' => in_tag = true,
                '>' => {
                    in_tag = false;
                    words.push(' ');
                }
                _ if !in_tag => words.push(c),
                _ => {}
            }
        }
        unescape(&words).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The first form that posts, with what is filled in already.
    pub fn form(&self) -> Result<Form> {
        self.form_at("<form")
    }

    /// The same of the form that posts to `action`.
    pub fn form_to(&self, action: &str) -> Result<Form> {
        self.form_at(&format!("<form method=\"post\" action=\"{action}\""))
    }

    fn form_at(&self, begins: &str) -> Result<Form> {
        let html = self.text();
        let at = html.find(begins).with_context(|| format!("the page has no {begins}: {}", self.words()))?;
        let end = html[at..].find("</form>").map_or(html.len(), |end| at + end);
        let tags = tags(&html[at..end]);
        let action =
            tags.first().and_then(|tag| tag.get("action").cloned()).filter(|action| !action.is_empty());
        let mut fields = BTreeMap::new();
        for tag in &tags[1..] {
            if let (Some(name), "input") = (tag.get("name"), tag[""].as_str()) {
                fields.insert(name.clone(), tag.get("value").cloned().unwrap_or_default().into_bytes());
            }
        }
        Ok(Form { action: action.unwrap_or_else(|| self.path.clone()), fields })
    }
}

/// A form as it will be sent.
#[derive(Debug, Clone)]
pub struct Form {
    /// Where to.
    pub action: String,
    /// Name and value, the hidden ones among them.
    pub fields: BTreeMap<String, Vec<u8>>,
}

impl Form {
    /// Types `value` into a field that the form has.
    pub fn fill(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self> {
        let names: Vec<_> = self.fields.keys().cloned().collect();
        let field = self
            .fields
            .get_mut(name)
            .with_context(|| format!("the form has no field {name:?}, but {names:?}"))?;
        *field = value.as_ref().to_vec();
        Ok(self)
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(end) = rest.find(';').filter(|end| *end < 10) else {
            plain.push('&');
            rest = &rest[1..];
            continue;
        };
        let entity = &rest[1..end];
        let number = entity
            .strip_prefix("#x")
            .map(|hex| u32::from_str_radix(hex, 16))
            .or_else(|| entity.strip_prefix('#').map(str::parse));
        match (entity, number) {
            (_, Some(Ok(number))) => plain.extend(char::from_u32(number)),
            ("lt", _) => plain.push('<'),
            ("gt", _) => plain.push('>'),
            ("amp", _) => plain.push('&'),
            ("quot", _) => plain.push('"'),
            ("nbsp", _) => plain.push(' '),
            _ => plain.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    plain
}

/// Each tag's attributes; its name under the empty key.
fn tags(html: &str) -> Vec<BTreeMap<String, String>> {
    let mut found = Vec::new();
    for part in html.split('<').skip(1) {
        let part = part.split('>').next().unwrap_or_default();
        let (name, mut rest) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
        let mut tag = BTreeMap::from([(String::new(), name.to_ascii_lowercase())]);
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
            let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            let key = rest[..end].to_ascii_lowercase();
            rest = &rest[end..];
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix('=') {
                let (quote, after) = match after.chars().next() {
                    Some(quote @ ('"' | '\'')) => (Some(quote), &after[1..]),
                    _ => (None, after),
                };
                let end = after.find(|c: char| quote.map_or_else(|| c.is_whitespace(), |quote| c == quote));
                let end = end.unwrap_or(after.len());
                value = unescape(&after[..end]);
                rest = after.get(end + usize::from(quote.is_some())..).unwrap_or_default();
            }
            tag.insert(key, value);
        }
        found.push(tag);
    }
    found
}

fn encode(fields: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let escaped = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
                    text.push(char::from(*byte));
                }
                b' ' => text.push('+'),
                other => text.push_str(&format!("%{other:02X}")),
            }
            text
        })
    };
    let pairs: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name.as_bytes()), escaped(value)))
        .collect();
    pairs.join("&").into_bytes()
}

/// The browser.
pub struct Browser {
    origin: String,
    authority: String,
    cookies: BTreeMap<String, String>,
    connection: Option<BufReader<TcpStream>>,
}

impl Browser {
    /// For one origin: `http://127.0.0.1:8080`.
    pub fn new(origin: &str) -> Result<Self> {
        let authority =
            origin.strip_prefix("http://").context("plain http only")?.trim_end_matches('/').to_owned();
        Ok(Self {
            origin: format!("http://{authority}"),
            authority,
            cookies: BTreeMap::new(),
            connection: None,
        })
    }

    /// The cookies it holds.
    pub const fn cookies(&self) -> &BTreeMap<String, String> {
        &self.cookies
    }

    /// Opens a page, as a link does.
    pub fn open(&mut self, path: &str) -> Result<Page> {
        self.follow("GET", path, &[], None)
    }

    /// The same with more headers, and without following redirects.
    pub fn fetch(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Page> {
        self.request("GET", path, headers, None)
    }

    /// Sends a form and follows where it leads.
    pub fn submit(&mut self, form: &Form) -> Result<Page> {
        self.follow("POST", &form.action, &[], Some(&encode(&form.fields)))
    }

    /// Sends a form and follows nowhere.
    pub fn submit_only(&mut self, form: &Form) -> Result<Page> {
        self.request("POST", &form.action, &[], Some(&encode(&form.fields)))
    }

    /// Waits on a stream of server-sent events until `enough` says so of one event's data.
    pub fn events(&mut self, path: &str, mut enough: impl FnMut(&str) -> bool) -> Result<()> {
        let head = self.head("GET", path, &[("Accept", "text/event-stream")], None);
        let mut stream = BufReader::new(TcpStream::connect(&self.authority)?);
        stream.get_ref().set_nodelay(true)?;
        stream.get_ref().set_read_timeout(Some(LIMIT))?;
        stream.get_mut().write_all(head.as_bytes())?;
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(stream.read_line(&mut line)? > 0, "the stream of events ended");
            if line.strip_prefix("data:").is_some_and(|data| enough(data.trim())) {
                return Ok(());
            }
        }
    }

    fn follow(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Page> {
        let mut page = self.request(method, path, headers, body)?;
        for _ in 0..5 {
            if !matches!(page.status, 301..=303 | 307 | 308) {
                return Ok(page);
            }
            let to = page.header("location").context("a redirect without a location")?;
            let to = to.strip_prefix(&self.origin).unwrap_or(to).to_owned();
            ensure!(to.starts_with('/'), "a redirect to another origin: {to}");
            page = self.request("GET", &to, &[], None)?;
        }
        bail!("redirected in circles at {path}")
    }

    fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.authority);
        if !headers.iter().any(|(name, _)| *name == "Accept") {
            head.push_str("Accept: text/html\r\n");
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            head.push_str(&format!("Cookie: {}\r\n", pairs.join("; ")));
        }
        if let Some(body) = body {
            head.push_str(&format!(
                "Origin: {}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                self.origin,
                body.len()
            ));
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        head
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Page> {
        let mut message = self.head(method, path, headers, body).into_bytes();
        message.extend_from_slice(body.unwrap_or_default());
        let kept = self.connection.is_some();
        let page = match self.exchange(path, &message) {
            // The server may have closed a kept connection; what it did not read it did not do.
            Err(_) if kept && method == "GET" => self.exchange(path, &message)?,
            page => page?,
        };
        for (_, cookie) in page.headers.iter().filter(|(name, _)| name == "set-cookie") {
            if let Some((name, value)) = cookie.split(';').next().and_then(|pair| pair.split_once('=')) {
                if value.is_empty() {
                    self.cookies.remove(name);
                } else {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        Ok(page)
    }

    fn exchange(&mut self, path: &str, message: &[u8]) -> Result<Page> {
        let mut connection = if let Some(kept) = self.connection.take().filter(is_open) {
            kept
        } else {
            let stream = TcpStream::connect(&self.authority)
                .with_context(|| format!("connecting to {}", self.authority))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LIMIT))?;
            BufReader::new(stream)
        };
        connection.get_mut().write_all(message)?;
        let mut line = String::new();
        ensure!(connection.read_line(&mut line)? > 0, "the server closed the connection");
        let status =
            line.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            connection.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let page = Page { path: path.to_owned(), status, headers, body: Vec::new() };
        let mut body = Vec::new();
        if page.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            loop {
                line.clear();
                connection.read_line(&mut line)?;
                let length = u64::from_str_radix(line.trim(), 16).context("a chunk's length")?;
                (&mut connection).take(length).read_to_end(&mut body)?;
                line.clear();
                connection.read_line(&mut line)?;
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = page.header("content-length").and_then(|length| length.parse().ok()) {
            (&mut connection).take(length).read_to_end(&mut body)?;
        } else if !matches!(status, 204 | 304) {
            connection.read_to_end(&mut body)?;
        }
        if page.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        Ok(Page { body, ..page })
    }
}

/// Whether the server has not closed a connection that was kept, as far as it can be known before asking.
fn is_open(kept: &BufReader<TcpStream>) -> bool {
    let stream = kept.get_ref();
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let waiting = looked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    waiting && stream.set_nonblocking(false).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> Page {
        Page { path: "/here".to_owned(), status: 200, headers: vec![], body: html.as_bytes().to_vec() }
    }

    #[test]
    fn a_form_keeps_its_hidden_fields_and_is_sent_encoded() -> Result<()> {
        let page = page(
            "<p>x<form method=post action=\"/a&amp;b\"><input type='hidden' name=token value=\"a&#34;b\">\
             <input name=user autofocus></form><form action=/other></form>",
        );
        let form = page.form()?.fill("user", "é +")?;
        assert_eq!(form.action, "/a&b");
        assert_eq!(encode(&form.fields), b"token=a%22b&user=%C3%A9+%2B");
        assert!(form.fill("nothing", "").is_err());
        Ok(())
    }

    #[test]
    fn words_are_what_a_person_reads() {
        assert_eq!(page("<h1>Tom &amp; Ann</h1>\n <p>&lt;b&gt;</p>").words(), "Tom & Ann <b>");
    }
}
