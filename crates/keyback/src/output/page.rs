//! A page for a terminal, with styles that the caller may strip.

use anstyle::{AnsiColor, Style};

/// A headline.
pub const HEAD: Style = Style::new().bold();
/// What may be passed over.
pub const QUIET: Style = Style::new().dimmed();
const TYPED: Style = AnsiColor::Cyan.on_default();

/// Text in the making.
pub struct Page {
    pub text: String,
    pub width: usize,
    /// Whether a word that is longer than a line is broken.
    pub breaks: bool,
}

impl Page {
    pub const fn new(width: usize) -> Self {
        Self { text: String::new(), width, breaks: false }
    }

    pub fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    pub fn heading(&mut self, text: &str) {
        self.line(&format!("\n{HEAD}{text}{HEAD:#}"));
    }

    /// Wrapped, the first line behind `first`, the others below its text.
    pub fn paragraph(&mut self, first: &str, text: &str) {
        let rest = " ".repeat(first.chars().count());
        let options = textwrap::Options::new(self.width)
            .initial_indent(first)
            .subsequent_indent(&rest)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .break_words(self.breaks);
        for line in textwrap::wrap(text, options) {
            self.line(&line);
        }
    }

    /// A paragraph behind a mark that has a colour of its own.
    pub fn marked(&mut self, first: &str, mark: &str, style: Style, text: &str) {
        let before = self.text.len();
        self.paragraph(first, text);
        let painted = format!("{style}{mark}{style:#}");
        let lines = self.text.split_off(before).replacen(mark, &painted, 1);
        self.text.push_str(&lines);
    }

    /// As it is typed: never wrapped, so that it can be copied.
    pub fn command(&mut self, prompt: &str, command: &str) {
        self.line(&format!("       {QUIET}{prompt}{QUIET:#} {TYPED}{command}{TYPED:#}"));
    }

    /// The text, without blank lines at its end.
    pub fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end().len());
        self.text
    }
}
