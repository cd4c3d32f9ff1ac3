//! Where a command reads from and writes to: files, or standard input and output.

use crate::closed;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Output, printable, shell_word};
use clap::Args;
use envelock::Error;
use envelock::file::{MessageFileError, NewFileOptions};
use serde_json::json;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The input of a command.
#[derive(Args)]
pub struct Input {
    /// The file to read; `-` is standard input.
    #[arg(value_name = "INPUT", default_value = "-")]
    input: PathBuf,
}

impl Input {
    pub fn is_standard_input(&self) -> bool {
        self.input == Path::new("-")
    }

    /// Refuses a secret from the same standard input.
    pub fn check(&self, context: &Context) -> Result<(), Failure> {
        context.use_file(self.path());
        if !self.is_standard_input() {
            return Ok(());
        }
        closed::check_standard_input()?;
        context.secrets().check_standard_input()
    }

    /// The path, which standard input has too, though it is never opened by it.
    pub fn path(&self) -> &Path {
        if self.is_standard_input() { Path::new("/dev/stdin") } else { &self.input }
    }

    /// Opens the input. Standard input goes on where it is, whatever it is.
    pub fn open(&self) -> Result<Named, Failure> {
        let (name, file) = match self.is_standard_input() {
            true => {
                ("standard input".into(), io::stdin().as_fd().try_clone_to_owned().map(File::from))
            }
            false => (printable(&self.input), File::open(&self.input)),
        };
        let file = file.map_err(|error| Failure::io(&name, &error))?;
        Ok(Named { name, file })
    }

    /// Puts in front what an error is about: the message or the keyring. Errors of files name their file.
    pub fn failure(&self, error: Error, keyring: &str) -> Failure {
        let failure = self.unnamed_failure(error, keyring);
        if self.is_standard_input() { failure } else { failure.of_file(self.path()) }
    }

    fn unnamed_failure(&self, error: Error, keyring: &str) -> Failure {
        let names_its_file = error.backend::<MessageFileError>().is_some();
        match &error {
            Error::Io { .. } => Failure::from(error),
            _ if names_its_file => Failure::from(error),
            Error::Backend(_)
            | Error::Lifecycle(_)
            | Error::NoPrimary
            | Error::WrapLimit { .. } => Failure::from(error).of(format!("keyring {keyring}")),
            _ => Failure::from(error).of(printable(self.path())),
        }
    }
}

/// An open file whose errors name it.
pub struct Named {
    name: String,
    pub file: File,
}

impl Named {
    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.name))
    }
}

impl Read for Named {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes).map_err(|error| self.named(error))
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| self.named(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| self.named(error))
    }
}

/// The output of a command.
#[derive(Args)]
pub struct Target {
    /// The file to write, which appears complete or not at all; `-` is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Replace the file if there is one.
    #[arg(long, requires = "output")]
    replace: bool,
}

/// An output that was checked.
pub enum NewFile {
    At(PathBuf, NewFileOptions),
    StandardOutput(Named),
}

impl NewFile {
    /// Refuses an output that is one of the files `in_use`, a key file, or for a plaintext a file to which others
    /// have access: its mode stays.
    ///
    /// # Errors
    ///
    /// As said; the file cannot be read.
    pub fn check(&self, in_use: &[PathBuf], is_plaintext: bool) -> Result<(), Failure> {
        let (name, stat) = match self {
            NewFile::At(path, _) => (printable(path), path.metadata()),
            NewFile::StandardOutput(Named { name, file }) => (name.clone(), file.metadata()),
        };
        let Some(stat) = stat.ok().filter(|stat| stat.is_file()) else { return Ok(()) };
        let is_same = |path: &&PathBuf| {
            path.metadata().is_ok_and(|it| (it.dev(), it.ino()) == (stat.dev(), stat.ino()))
        };
        if let Some(used) = in_use.iter().find(is_same) {
            let what = format!("{name} is {}, which this command reads", printable(used));
            return Err(Failure::usage(what, "choose another output"));
        }
        let NewFile::At(path, _) = self else { return Ok(()) };
        if is_key_file(path).map_err(|error| Failure::io(&name, &error))? {
            let what = format!("{name} is a key file, and messages need its keys");
            return Err(Failure::new(Exit::Refused, what, "choose another output"));
        }
        let mode = stat.mode() & 0o777;
        if is_plaintext && mode & 0o077 != 0 {
            let what = format!("others have access to {name}: mode {mode:04o}, which stays");
            let next = format!("`chmod 600 {}`, or choose another output", shell_word(path));
            return Err(Failure::new(Exit::Refused, what, next));
        }
        Ok(())
    }
}

/// Whether a file begins as key files of all versions do.
fn is_key_file(path: &Path) -> io::Result<bool> {
    let mut start = Zeroizing::new(Vec::with_capacity(KEY_FILE_START));
    File::open(path)?.take(KEY_FILE_START as u64).read_to_end(&mut start)?;
    let has = |text: &[u8]| start.windows(text.len()).any(|window| window == text);
    Ok(has(b"\"record\"") && has(b"\"envelock key file\""))
}

/// Holds the first fields of a key file.
const KEY_FILE_START: usize = 256;

impl Target {
    /// Refuses, before a keyring is opened, a file that exists, and a terminal for bytes.
    pub fn check(&self, is_binary: bool) -> Result<NewFile, Failure> {
        if self.output != Path::new("-") {
            let options = NewFileOptions::new();
            let options = if self.replace { options.replace() } else { options };
            if !self.replace && self.output.symlink_metadata().is_ok() {
                let what = format!("{} exists already", printable(&self.output));
                let next = "choose another name, or pass `--replace`";
                return Err(Failure::usage(what, next));
            }
            return Ok(NewFile::At(self.output.clone(), options));
        }
        let stdout = io::stdout();
        if is_binary && stdout.is_terminal() {
            let what = "a message is binary, and standard output is a terminal";
            return Err(Failure::usage(what, "name a file: `-o FILE`, or redirect: `> FILE`"));
        }
        closed::check_standard_output()?;
        let file = stdout.as_fd().try_clone_to_owned();
        let file = file.map_err(|error| Failure::io("standard output", &error))?;
        Ok(NewFile::StandardOutput(Named { name: "standard output".into(), file: file.into() }))
    }

    /// Prints what was written.
    pub fn print(&self, output: Output, path: &Path, len: u64) -> Result<(), Failure> {
        let name = printable(path);
        let printed = output
            .result(|| format!("{name}  {len} bytes"), || json!({ "file": name, "bytes": len }));
        printed.map_err(|failure| {
            failure.after(format!("{name} is complete"), "use the file as it is")
        })
    }
}
