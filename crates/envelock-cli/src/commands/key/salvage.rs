//! `envelock key salvage`: the intact records of a damaged key file, in a new one.

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{printable, shell_word};
use clap::Args;
use envelock::Lifecycle as _;
use envelock::file::{FileKeyringOptions, Salvage as Salvaged};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `envelock key salvage`.
#[derive(Args)]
pub struct Salvage {
    /// The new key file, under the secret of the damaged one.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print what is intact, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Salvage {
    /// Writes what is intact to the new file. The damaged one is only read.
    ///
    /// # Errors
    ///
    /// The secret does not open the file, no version is intact, or something was damaged.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let given = context.keyring_name()?;
        let of = |failure: Failure| failure.of(format!("keyring {given}"));
        let (salvaged, protection) = context.opening(&given)?.salvage().map_err(of)?;
        let file = printable(&self.file);
        if salvaged.intact().is_empty() {
            self.print(context, &salvaged, None)?;
            let what = "no version is intact: nothing was written";
            let next = "take the key file from a backup; keep the damaged one";
            return Err(of(Failure::new(Exit::NotVerified, what, next)));
        }
        let change = match self.dry_run {
            true => None,
            false => {
                let options = FileKeyringOptions::new();
                let new = salvaged.create(&self.file, &protection, &options)?;
                Some(new.keysets()?.change())
            }
        };
        self.print(context, &salvaged, change)?;
        match salvaged.damaged().len() {
            0 => Ok(()),
            lines => {
                let what = format!("{lines} lines are damaged: {file} is without what they had");
                let next = format!(
                    "look for a backup with them before {} takes the place of the damaged file",
                    shell_word(&self.file)
                );
                Err(of(Failure::new(Exit::ItemsLeft, what, next)))
            }
        }
    }

    fn print(
        &self,
        context: &Context,
        salvaged: &Salvaged,
        change: Option<u64>,
    ) -> Result<(), Failure> {
        let file = printable(&self.file);
        context.output().result(
            || {
                let intact = salvaged.intact().iter();
                let mut lines: Vec<String> =
                    intact.map(|(key, version)| format!("{key}:{version}  intact")).collect();
                let damaged = salvaged.damaged().iter();
                lines.extend(
                    damaged.map(|it| format!("line {}  {}: {}", it.line, it.record, it.what)),
                );
                lines.extend(change.map(|change| format!("{file}  created\nchange {change}")));
                lines.join("\n")
            },
            || {
                let intact = salvaged.intact().iter();
                let intact = intact.map(|(key, version)| json!([key, version.number()]));
                let damaged = salvaged.damaged().iter().map(|it| {
                    let (record, why) = (it.record.to_string(), it.what.to_string());
                    json!({ "line": it.line, "record": record, "why": why })
                });
                json!({
                    "intact": intact.collect::<Vec<_>>(), "damaged": damaged.collect::<Vec<_>>(),
                    "created": change.map(|_| &file), "change": change,
                })
            },
        )
    }
}
