//! Escaping of foreign text for one line of a log.

use core::error::Error;
use core::fmt::{self, Write};

/// An error with its sources, on one line. Every character is escaped that could end a line, colour a
/// terminal or hide text, since an attacker may control the text of a backend.
pub(super) struct Causes<'a>(pub(super) &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = Some(self.0);
        let mut separator = "";
        while let Some(error) = next {
            write!(Escaping(f), "{separator}{error}")?;
            separator = ": ";
            next = error.source();
        }
        Ok(())
    }
}

/// A name, escaped like [`Causes`]. Names of keysets need no escape.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaping(f).write_str(self.0)
    }
}

struct Escaping<'f, 'b>(&'f mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| match character {
            // Quotes delimit nothing here.
            '"' | '\'' => self.0.write_char(character),
            other => write!(self.0, "{}", other.escape_debug()),
        })
    }
}
