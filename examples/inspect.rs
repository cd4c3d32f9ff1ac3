//! Says what the headers of files claim, without any key.
//!
//! ```text
//! cargo run --example inspect FILE...
//! ```
//!
//! Reads the first 4 KiB of each file, and more only if the header says that it is longer. Exits
//! with 1 if a file could not be read or is no message, with 2 if none is given.

use envelock::{Error, Header, SlotLabel, inspect};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Holds nearly every header there is.
const FIRST_READ: u64 = 4096;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: inspect FILE...");
        return ExitCode::from(2);
    }
    let mut code = ExitCode::SUCCESS;
    for file in &files {
        if let Err(error) = inspect_file(Path::new(file)) {
            eprintln!("{}: {error}", Path::new(file).display());
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn inspect_file(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(FIRST_READ).read_to_end(&mut start)?;
    if let Err(Error::Truncated { needed, .. }) = inspect(&start) {
        // At most 65,535 bytes: the format has no longer header.
        let more = needed.saturating_sub(start.len() as u64);
        (&mut file).take(more).read_to_end(&mut start)?;
    }
    let header = inspect(&start)?;
    let len = file.metadata()?.len();
    describe(path, &header, len.saturating_sub(header.len() as u64))?;
    Ok(())
}

fn describe(path: &Path, header: &Header<'_>, body_len: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", path.display())?;
    writeln!(out, "  unverified: whoever can write the file can have written all of this")?;
    writeln!(out, "  suite        {}", header.suite())?;
    writeln!(out, "  data key id  {}", header.data_key_id())?;
    writeln!(out, "  header       {} bytes, padding {}", header.len(), header.padding_len())?;
    writeln!(out, "  body         {body_len} bytes")?;
    for (index, slot) in header.slots().enumerate() {
        let SlotLabel { name, version, master_key_id, algorithm } = slot.label;
        writeln!(out, "  slot {index:<2}      key {name} version {version}")?;
        writeln!(out, "               {algorithm}, master key id {master_key_id}")?;
    }
    Ok(())
}
