//! `envelock decrypt`: a message to a file or to standard output.

use super::associated_data::AssociatedData;
use super::streams::{Input, Named, NewFile, Target};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use clap::Args;
use envelock::file::MessageFile;
use envelock::{Aad, Envelope, Error, Keyring, file};
use std::fs::File;
use std::io::{IsTerminal, Seek, SeekFrom, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// Longest plaintext that a terminal shows.
const MAX_SHOWN: usize = 1 << 20;

/// Arguments of `envelock decrypt`.
#[derive(Args)]
pub struct Decrypt {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    associated_data: AssociatedData,
}

impl Decrypt {
    /// Decrypts. A file appears only once the whole message is verified; what standard output got before a
    /// failure is not the whole plaintext.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.input.check(context)?;
        let target = self.target.check(false)?;
        let aad = self.associated_data.bytes(context)?;
        let keyring = context.keyring()?;
        target.check(&context.files_in_use(), true)?;
        let (envelope, keyring) = (keyring.envelope(), keyring.given.as_str());
        let aad = Aad::new(&aad);
        match target {
            NewFile::At(path, options) => {
                let len = match self.input.is_standard_input() {
                    true => file::decrypt_from(&envelope, self.input.open()?, &path, aad, options),
                    false => file::decrypt(&envelope, self.input.path(), &path, aad, options),
                };
                let len = len.map_err(|error| self.input.failure(error, keyring))?;
                self.target.print(context.output(), &path, len)
            }
            NewFile::StandardOutput(sink) if sink.file.is_terminal() => {
                self.show(&envelope, keyring, sink.file, aad)
            }
            NewFile::StandardOutput(sink) => {
                let mut sink = Counted { sink, has_bytes: false };
                self.copy(&envelope, keyring, &mut sink, aad).map_err(|mut failure| {
                    if sink.has_bytes {
                        failure.what += "; what was written is not the whole plaintext: discard it";
                    }
                    failure
                })
            }
        }
    }

    /// Writes the plaintext to a pipe or a redirect, while it is read.
    fn copy(
        &self,
        envelope: &Envelope<impl Keyring>,
        keyring: &str,
        sink: impl Write,
        aad: Aad<'_>,
    ) -> Result<(), Failure> {
        let path = self.input.path();
        let copied = match self.input.is_standard_input() || !path.is_file() {
            true => envelope.decrypt_copy(self.input.open()?, sink, aad).map(drop),
            false => copy_file(path, envelope, sink, aad),
        };
        copied.map_err(|error| self.input.failure(error, keyring))
    }

    /// Shows text on a terminal, once all of it is verified.
    fn show(
        &self,
        envelope: &Envelope<impl Keyring>,
        keyring: &str,
        mut terminal: File,
        aad: Aad<'_>,
    ) -> Result<(), Failure> {
        let mut text = Shown(Zeroizing::new(Vec::with_capacity(MAX_SHOWN)));
        let copied = self.copy(envelope, keyring, &mut text, aad);
        let is_text = |bytes: &[u8]| {
            let shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
            std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(shown))
        };
        if text.0.len() == MAX_SHOWN || copied.is_ok() && !is_text(&text.0) {
            let what = "the plaintext is binary or long, and standard output is a terminal";
            return Err(Failure::new(
                Exit::Usage,
                what,
                "name a file: `-o FILE`, or redirect: `> FILE`",
            ));
        }
        copied?;
        terminal.write_all(&text.0).map_err(|error| Failure::io("standard output", &error))
    }
}

/// Copies the plaintext of a message in a file, whose header a crash can have torn.
fn copy_file(
    path: &Path,
    envelope: &Envelope<impl Keyring>,
    sink: impl Write,
    aad: Aad<'_>,
) -> Result<(), Error> {
    let mut message = MessageFile::open(path)?;
    let key = match (envelope.open(message.header()), message.former_header()) {
        // The keyring may not know the version of a new header that a crash tore.
        (Err(_), Some(former)) => envelope.open(former)?,
        (key, _) => key?,
    };
    let start = message.header().len() as u64;
    message.seek(SeekFrom::Start(start))?;
    key.decrypt_copy(message, sink, aad).map(drop)
}

/// A sink that knows whether anything was written.
struct Counted {
    sink: Named,
    has_bytes: bool,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.has_bytes |= written > 0;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

/// Keeps what is written in one buffer of fixed size.
struct Shown(Zeroizing<Vec<u8>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = MAX_SHOWN.saturating_sub(self.0.len()).min(bytes.len());
        self.0.extend_from_slice(bytes.get(..room).unwrap_or_default());
        // A full buffer ends the copy.
        Ok(room)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
