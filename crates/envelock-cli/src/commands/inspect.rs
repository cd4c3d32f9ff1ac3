//! `envelock inspect`: what the headers of messages say.

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Output, printable, shell_word};
use clap::Args;
use envelock::{Error, Header, inspect};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    /// Prints each file's header. The others are printed if one could not be read or is no message.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let output = context.output();
        if let [file] = self.files.as_slice() {
            return print(output, file);
        }
        let mut failed: usize = 0;
        for file in &self.files {
            if let Err(failure) = print(output, file) {
                output.failure(&failure, "");
                failed = failed.saturating_add(1);
            }
        }
        if failed == 0 {
            return Ok(());
        }
        let what = format!("{failed} of {} files have no header to print", self.files.len());
        Err(Failure::new(Exit::ItemsLeft, what, "check the files above"))
    }
}

fn print(output: Output, path: &Path) -> Result<(), Failure> {
    let bytes = read_header(path).map_err(|failure| failure.of(printable(path)))?;
    let header = inspect(&bytes).map_err(|error| {
        let next = "check the path: a header is at the start of a message, or in a file of its own";
        Failure::from(error).of(printable(path)).with_next(next)
    })?;
    output.result(|| as_text(path, &header), || as_json(path, &header))?;
    if has_journal(path) {
        let what = format!(
            "{}: a change of this header was cut off; `envelock rewrap {}` finishes it",
            printable(path),
            shell_word(path)
        );
        output.progress(|| format!("note: {what}"), || json!({ "note": what }));
    }
    Ok(())
}

/// Reports whether a rewrap left its journal beside the message.
fn has_journal(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let mut journal = OsString::from(".");
    journal.extend([name, OsStr::new(".envelock-rewrap")]);
    path.with_file_name(journal).symlink_metadata().is_ok()
}

/// Returns the first bytes of a file: the whole header, and part of a body.
fn read_header(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::from_io(&error);
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut start = Vec::new();
    source.by_ref().take(FIRST_READ).read_to_end(&mut start).map_err(failed)?;
    if let Err(Error::Truncated { needed, .. }) = inspect(&start) {
        // 65,535 bytes at most: the format has no longer header.
        let missing = needed.saturating_sub(start.len() as u64);
        source.take(missing).read_to_end(&mut start).map_err(failed)?;
    }
    Ok(start)
}

fn as_text(path: &Path, header: &Header<'_>) -> String {
    let mut text = format!(
        "{}\n  unverified: anyone who can write the file can write all of this\n  suite        {}\n  \
         data key id  {}\n  header       {} bytes, padding {}",
        printable(path),
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
