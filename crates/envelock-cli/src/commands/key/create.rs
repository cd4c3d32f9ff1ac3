//! `envelock key create`: a master key, in a new keyring or in an existing one.

use super::change::ChangeArguments;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::new_name;
use crate::output::printable;
use clap::Args;
use envelock::KeyVersion;
use envelock::keyset::{Change, Material};
use serde_json::json;
use std::io::ErrorKind;
use std::path::Path;

/// Arguments of `envelock key create`.
#[derive(Args)]
pub struct Create {
    /// The name of the key.
    key: String,
    /// Create the keyring, too. Without it the keyring has to exist, so that a directory that is not
    /// mounted is no new, empty keyring.
    #[arg(long, conflicts_with_all = ["dry_run", "if_unchanged_since"])]
    new_keyring: bool,
    /// Store the keys of a new keyring in the clear: for tests, and for media that are encrypted.
    #[arg(long, requires = "new_keyring")]
    unprotected: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Create {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let key = self.key.as_str();
        new_name::check("a key", key)?;
        let opening = context.opening(&context.keyring_name()?)?;
        let path = opening.path().map(printable).unwrap_or_default();
        if !self.new_keyring {
            let found = opening.path().map(Path::metadata);
            let is_missing = |error: std::io::Error| error.kind() == ErrorKind::NotFound;
            if found.is_some_and(|found| found.is_err_and(is_missing)) {
                let what = format!("there is no keyring {path}");
                let next = format!("`envelock key create {key} --new-keyring` makes one");
                return Err(Failure::new(Exit::CouldNotRun, what, next));
            }
            let (version, material) = (KeyVersion::FIRST, Material::Fresh);
            let change = Change::CreateKey { key, version, material };
            return self.change.make(context, &[change]);
        }
        // Before a person is asked for a passphrase.
        if opening.path().is_some_and(Path::exists) {
            let what = format!("{path} exists already");
            let next = format!("`envelock key create {key}` adds a key to it");
            return Err(Failure::usage(what, next));
        }
        let keyring = opening.create(key, self.unprotected)?;
        let keysets = keyring.lifecycle().keysets()?;
        let printed = context.output().result(
            || format!("{path}  created\n{key}:1  primary\nchange {}", keysets.change()),
            || json!({ "created": path, "key": key, "version": 1, "change": keysets.change() }),
        );
        printed.map_err(|failure| {
            failure.after(format!("{path} was created"), "`envelock key list` shows it")
        })
    }
}
