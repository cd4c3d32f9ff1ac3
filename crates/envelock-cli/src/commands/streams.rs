//! Where a command reads from and writes to: files, or standard input and output.

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, printable};
use clap::Args;
use envelock::file::NewFileOptions;
use serde_json::json;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The input of a command.
#[derive(Args)]
pub struct Input {
    /// The file to read; `-` is standard input.
    #[arg(value_name = "INPUT", default_value = "-")]
    input: PathBuf,
}

impl Input {
    fn is_standard_input(&self) -> bool {
        self.input == Path::new("-")
    }

    /// Refuses a secret from the same standard input.
    pub fn check(&self, context: &Context) -> Result<(), Failure> {
        if self.is_standard_input() { context.secrets().check_standard_input() } else { Ok(()) }
    }

    /// The path, which standard input has too.
    pub fn path(&self) -> &Path {
        if self.is_standard_input() { Path::new("/dev/stdin") } else { &self.input }
    }

    /// Opens the input.
    pub fn open(&self) -> Result<File, Failure> {
        let file = match self.is_standard_input() {
            true => io::stdin().as_fd().try_clone_to_owned().map(File::from),
            false => File::open(&self.input),
        };
        file.map_err(|error| Failure::io(printable(self.path()), &error))
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
    StandardOutput(File),
}

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
        let file = stdout.as_fd().try_clone_to_owned();
        let file = file.map_err(|error| Failure::io("standard output", &error))?;
        Ok(NewFile::StandardOutput(file.into()))
    }

    /// Prints what was written.
    pub fn print(&self, output: Output, path: &Path, len: u64) -> Result<(), Failure> {
        let name = printable(path);
        output.result(|| format!("{name}  {len} bytes"), || json!({ "file": name, "bytes": len }))
    }
}
