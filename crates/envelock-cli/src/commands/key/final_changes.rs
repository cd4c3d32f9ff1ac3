//! `envelock key erase`, `remove-records`, `require-evidence`, `waive-evidence`, `correct-dates`: rules about the destruction
//! of keys, and what is left of them.

use super::change::ChangeArguments;
use super::destroy::digest;
use crate::context::Context;
use crate::failure::Failure;
use crate::version_name::VersionName;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use envelock::keyset::Change;

/// Arguments of `envelock key erase`.
#[derive(Args)]
pub struct Erase {
    /// The name or an alias of the key.
    key: String,
    /// SHA-256 digest of the judgement, for a key that requires evidence.
    #[arg(long, value_name = "SHA256", value_parser = digest)]
    evidence: Option<[u8; 32]>,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Erase {
    /// Destroys all versions of a key. A person types its name: nothing skips that.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let keysets = keyring.lifecycle().keysets()?;
        let key = name(&keysets, &self.key)?;
        let changes = [Change::EraseKey { key: &key }];
        let change = self.change.since(&keysets);
        let what = format!(
            "All versions of {key} will be destroyed now. Every message under it is lost, and its name is not used again"
        );
        change.confirm(&keyring, &changes, self.evidence, (&what, &key), false)?;
        change.make_in(context, &keyring, &changes, self.evidence)
    }
}

/// Arguments of `envelock key remove-records`.
#[derive(Args)]
pub struct RemoveRecords {
    /// The last version whose record is removed: `orders:3`. It and all before it have to be destroyed.
    #[arg(value_name = "KEY:VERSION")]
    through: VersionName,
    /// Do not ask for the name.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

impl RemoveRecords {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let keysets = keyring.lifecycle().keysets()?;
        let through = self.through.resolved(&keysets)?;
        let changes = [Change::RemoveRecords { key: &through.key, through: through.version }];
        let change = self.change.since(&keysets);
        let name = through.to_string();
        let what =
            format!("The records of versions up to {name} will be removed, with their dates");
        change.confirm(&keyring, &changes, None, (&what, &name), self.yes)?;
        change.make_in(context, &keyring, &changes, None)
    }
}

/// Arguments of `envelock key require-evidence`.
#[derive(Args)]
pub struct RequireEvidence {
    /// The name or an alias of the key.
    key: String,
    #[command(flatten)]
    change: ChangeArguments,
}

impl RequireEvidence {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.change.make(context, &[Change::RequireEvidence { key: &self.key }])
    }
}

/// Arguments of `envelock key waive-evidence`.
#[derive(Args)]
pub struct WaiveEvidence {
    /// The name or an alias of the key.
    key: String,
    /// Why, which stays on record with the date.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    change: ChangeArguments,
}

impl WaiveEvidence {
    /// Waives the evidence: an override, which a person confirms.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let keysets = keyring.lifecycle().keysets()?;
        let key = name(&keysets, &self.key)?;
        let changes = [Change::WaiveEvidence { key: &key, reason: &self.reason }];
        let change = self.change.since(&keysets);
        let what = format!("Versions of {key} will be destroyed without evidence from now on");
        change.confirm(&keyring, &changes, None, (&what, &key), false)?;
        change.make_in(context, &keyring, &changes, None)
    }
}

/// Arguments of `envelock key correct-dates`.
#[derive(Args)]
pub struct CorrectDates {
    /// The name or an alias of the key.
    key: String,
    #[command(flatten)]
    change: ChangeArguments,
}

impl CorrectDates {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.change.make(context, &[Change::CorrectDates { key: &self.key }])
    }
}

/// Returns the name of a key that is named by an alias, too: an alias may stand for another key when the question is answered.
fn name(keysets: &envelock::keyset::KeysetMap, given: &str) -> Result<String, Failure> {
    let keyset = keysets.resolve(given).map_err(envelock::Error::from)?;
    Ok(keyset.name().to_string())
}
