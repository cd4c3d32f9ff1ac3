//! `envelock inspect`: what the headers of messages say.

use clap::Args;
use envelock::{Error, Header, inspect};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Holds nearly every header, so that most files take one read.
const FIRST_READ: u64 = 4096;

/// Arguments of `envelock inspect`.
#[derive(Args)]
pub struct Inspect {
    /// Messages, or headers that are stored apart; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Inspect {
    /// Prints each file's header. Returns failure if one could not be read or is no message; the
    /// others are printed all the same.
    pub fn run(&self, json: bool) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for path in &self.files {
            let printed = read_header(path).and_then(|bytes| {
                let header = inspect(&bytes)?;
                let text =
                    if json { as_json(path, &header).to_string() } else { as_text(path, &header) };
                Ok(writeln!(io::stdout().lock(), "{text}")?)
            });
            match printed {
                Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return code;
                }
                Err(failure) => {
                    eprintln!("envelock: {}: {failure}", path.display());
                    code = ExitCode::FAILURE;
                }
                Ok(()) => {}
            }
        }
        code
    }
}

/// Why a header was not printed.
enum Failure {
    Io(io::Error),
    Message(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Message(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Io(error) => error.fmt(f),
            Failure::Message(error) => error.fmt(f),
        }
    }
}

/// Returns the first bytes of a file: the whole header, and part of a body.
fn read_header(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path)?)
    };
    let mut start = Vec::new();
    source.by_ref().take(FIRST_READ).read_to_end(&mut start)?;
    if let Err(Error::Truncated { needed, .. }) = inspect(&start) {
        // 65,535 bytes at most: the format has no longer header.
        let missing = needed.saturating_sub(start.len() as u64);
        source.take(missing).read_to_end(&mut start)?;
    }
    Ok(start)
}

fn as_text(path: &Path, header: &Header<'_>) -> String {
    let mut text = format!(
        "{}\n  unverified: anyone who can write the file can write all of this\n  suite        {}\n  \
         data key id  {}\n  header       {} bytes, padding {}",
        path.display(),
        header.suite(),
        header.data_key_id(),
        header.len(),
        header.padding_len(),
    );
    for (index, slot) in header.slots().enumerate() {
        let label = slot.label;
        text += &format!(
            "\n  slot {index:<2}      key {} version {}\n               {}, master key id {}",
            label.name, label.version, label.algorithm, label.master_key_id,
        );
    }
    text
}

fn as_json(path: &Path, header: &Header<'_>) -> Value {
    let slots: Vec<Value> = header
        .slots()
        .map(|slot| {
            json!({
                "key": slot.label.name.to_string(),
                "version": slot.label.version.number(),
                "algorithm": slot.label.algorithm.to_string(),
                "master_key_id": slot.label.master_key_id.to_string(),
            })
        })
        .collect();
    json!({
        "file": path.to_string_lossy(),
        "verified": false,
        "suite": header.suite().to_string(),
        "data_key_id": header.data_key_id().to_string(),
        "header_len": header.len(),
        "padding_len": header.padding_len(),
        "slots": slots,
    })
}
