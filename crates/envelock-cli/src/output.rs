//! Results on standard output, progress and errors on standard error, as text or as JSON.

use crate::failure::Failure;
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Where and in which form a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Output { json }
    }

    /// Whether each result is a JSON object on a line of its own.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints one result on standard output: text of one or more lines, or a JSON object on one line.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written. A reader that has left is no error.
    pub fn result(
        self,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        let mut line = if self.json { json().to_string() } else { text() };
        if !line.ends_with('\n') {
            line.push('\n');
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::io("standard output", &error))
            }
            _ => Ok(()),
        }
    }

    /// Prints progress on standard error, in the same two forms.
    pub fn progress(self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        let line = if self.json { json().to_string() } else { text() };
        // Nobody can be told that standard error is closed.
        drop(writeln!(io::stderr().lock(), "{line}"));
    }

    /// Prints a failure and returns its exit code. `arguments` are the global ones, which the commands
    /// of the next step get too.
    pub fn failure(self, failure: &Failure, arguments: &str) -> ExitCode {
        let next = failure.next.replace("`envelock ", &format!("`envelock{arguments} "));
        self.progress(
            || visible(&format!("envelock: {}\nnext: {next}", failure.what)),
            || json!({ "error": failure.what, "next": next, "exit": failure.exit as u8 }),
        );
        failure.exit.into()
    }
}

/// Returns a path as one word of a shell's command line.
pub fn shell_word(path: &Path) -> String {
    let text = printable(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns a path as text without control characters: a file name can hold the commands of a terminal.
pub fn printable(path: &Path) -> String {
    visible(&path.to_string_lossy()).replace('\n', "\u{fffd}")
}

/// Returns lines of text without other control characters, and without those that turn the direction of what
/// follows.
fn visible(text: &str) -> String {
    let is_visible = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c == '\n' || !c.is_control() && !turns
    };
    text.chars().map(|c| if is_visible(c) { c } else { '\u{fffd}' }).collect()
}
