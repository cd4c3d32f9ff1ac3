//! Questions to a person on the terminal, whatever standard input and output are.

use crate::failure::{Exit, Failure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{Read, Write};
use zeroize::Zeroizing;

/// Most bytes of a typed line.
const MAX_LINE: usize = 4096;

/// The terminal of this process.
pub struct Terminal(File);

impl Terminal {
    /// Opens the terminal, if this process has one.
    pub fn open() -> Option<Self> {
        File::options().read(true).write(true).open("/dev/tty").ok().map(Terminal)
    }

    /// Asks for a secret, which is not shown.
    ///
    /// # Errors
    ///
    /// Ctrl-C or Ctrl-D; the terminal fails.
    pub fn ask_secret(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let hidden = Hidden::begin(&self.0)?;
        self.print(question)?;
        let line = self.read_keys();
        drop(hidden);
        // The line end was not shown either.
        self.print("\n")?;
        line
    }

    /// Asks for a line of text.
    ///
    /// # Errors
    ///
    /// Ctrl-D; the terminal fails.
    pub fn ask_line(&self, question: &str) -> Result<String, Failure> {
        self.print(question)?;
        let mut line = Vec::new();
        loop {
            match self.read_byte()? {
                Some(b'\n') => return Ok(String::from_utf8_lossy(&line).into_owned()),
                Some(byte) if line.len() < MAX_LINE => line.push(byte),
                Some(_) => {}
                None => return Err(cancelled()),
            }
        }
    }

    /// Reads keys up to Enter from a terminal without line editing.
    fn read_keys(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
        loop {
            match self.read_byte()? {
                Some(b'\n' | b'\r') => return Ok(line),
                // Ctrl-C, Ctrl-D, Ctrl-\.
                None | Some(0x03 | 0x04 | 0x1c) => return Err(cancelled()),
                // Backspace removes a character of UTF-8.
                Some(0x08 | 0x7f) => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
                // Ctrl-U
                Some(0x15) => line.clear(),
                Some(byte) if line.len() < MAX_LINE => line.push(byte),
                Some(_) => return Err(Failure::usage("the line is too long", "type less")),
            }
        }
    }

    fn read_byte(&self) -> Result<Option<u8>, Failure> {
        let mut byte = Zeroizing::new([0]);
        loop {
            match (&self.0).read(byte.as_mut_slice()) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(byte.first().copied()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::io("terminal", &error)),
            }
        }
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        let written = (&self.0).write_all(text.as_bytes());
        written.map_err(|error| Failure::io("terminal", &error))
    }
}

fn cancelled() -> Failure {
    Failure::new(
        Exit::Stopped,
        "cancelled",
        "nothing was changed; run the command again when ready",
    )
}

/// A terminal that shows no keys and raises no signals, until drop.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(terminal: &'a File) -> Result<Self, Failure> {
        let failed = |error: rustix::io::Errno| Failure::io("terminal", &error.into());
        let before = tcgetattr(terminal).map_err(failed)?;
        let mut hidden = before.clone();
        // Without signals Ctrl-C does not leave a terminal that shows nothing.
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(terminal, OptionalActions::Flush, &hidden).map_err(failed)?;
        Ok(Hidden { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Nothing else can be done about a terminal that has gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}
