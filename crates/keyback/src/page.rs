//! A report for a terminal of any width: headings, wrapped paragraphs, labels, and commands that can be copied.

use anstyle::{AnsiColor, Style};
use keyback_codes::catalogue::{Severity, Shell};

/// A line longer than this is hard to read.
const WIDEST: usize = 100;
/// A headline.
pub const HEAD: Style = Style::new().bold();
/// What may be passed over.
pub const QUIET: Style = Style::new().dimmed();
const TYPED: Style = AnsiColor::Cyan.on_default();

const fn colour(severity: Severity) -> Style {
    match severity {
        Severity::None | Severity::Info => AnsiColor::Green.on_default(),
        Severity::Low => AnsiColor::Blue.on_default(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::High | Severity::Critical => AnsiColor::Red.on_default().bold(),
    }
}

/// Holds styles, which [`crate::output::say_styled`] leaves out where they do not belong.
pub struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// As wide as the terminal; where there is none, as wide as `COLUMNS` says, or 80.
    pub fn new() -> Self {
        let said = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let columns =
            terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).or_else(said).unwrap_or(80);
        Self { text: String::new(), width: columns.clamp(40, WIDEST) }
    }

    /// Columns.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// What was written, without blank lines at its end.
    pub fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end().len());
        self.text
    }

    /// As it is.
    pub fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// The first line of it all.
    pub fn title(&mut self, text: &str) {
        self.line(&format!("{HEAD}{text}{HEAD:#}"));
    }

    /// Over a part.
    pub fn heading(&mut self, text: &str) {
        self.line(&format!("\n{HEAD}{text}{HEAD:#}"));
    }

    /// A few words that stand out, and what follows them on the line.
    pub fn strong(&mut self, indent: &str, text: &str, rest: &str) {
        self.line(&format!("{indent}{HEAD}{text}{HEAD:#}{rest}"));
    }

    /// Between two answers.
    pub fn rule(&mut self) {
        self.line(&format!("\n{QUIET}{}{QUIET:#}\n", "─".repeat(self.width)));
    }

    /// At spaces only: a name, a SID or a time that is cut at a hyphen reads as another one.
    fn wrapped(&self) -> textwrap::Options<'static> {
        textwrap::Options::new(self.width)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
    }

    /// Wrapped, the first line behind `first`, the others below its text.
    pub fn paragraph(&mut self, first: &str, text: &str) {
        let rest = " ".repeat(first.chars().count());
        let options = self.wrapped().initial_indent(first).subsequent_indent(&rest);
        for line in textwrap::wrap(text, options) {
            self.line(&line);
        }
    }

    /// A paragraph that steps back.
    pub fn quiet(&mut self, first: &str, text: &str) {
        let options = self.wrapped().initial_indent(first).subsequent_indent(first);
        for line in textwrap::wrap(text, options) {
            self.line(&format!("{QUIET}{line}{QUIET:#}"));
        }
    }

    /// How bad, in its colour, and why.
    pub fn severity(&mut self, first: &str, severity: Severity, reason: &str) {
        self.marked(first, severity.word(), colour(severity), &format!("{severity}. {reason}"));
    }

    /// A paragraph with a word in a colour of its own: the first `mark` in it, or in what stands before it.
    pub fn marked(&mut self, first: &str, mark: &str, style: Style, text: &str) {
        let before = self.text.len();
        self.paragraph(first, text);
        let painted = format!("{style}{mark}{style:#}");
        let lines = self.text.split_off(before).replacen(mark, &painted, 1);
        self.text.push_str(&lines);
    }

    /// A text beside a label of some letters, or below one that is longer.
    pub fn labelled(&mut self, label: &str, text: &str) {
        if label.chars().count() > 16 {
            self.line(&format!("  {label}"));
            self.paragraph(&" ".repeat(19), text);
        } else {
            self.paragraph(&format!("  {label:<16} "), text);
        }
    }

    /// As it is typed: never wrapped, so that it can be copied.
    pub fn command(&mut self, shell: Shell, command: &str) {
        let prompt = match shell {
            Shell::Sh => "$",
            Shell::Powershell => "PS>",
            Shell::Cmd => "C:\\>",
        };
        self.line(&format!("       {QUIET}{prompt}{QUIET:#} {TYPED}{command}{TYPED:#}"));
    }
}
