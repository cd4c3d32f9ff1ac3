//! `envelock key copy`: the versions of a key in another keyring.

use super::change::{self, ChangeArguments};
use crate::context::Context;
use crate::failure::Failure;
use crate::open_keyring::OpenKeyring;
use clap::Args;
use envelock::format::Slot;
use envelock::keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext};
use envelock::keyset::{Change, ChangeOptions, ChangeOutcome, KeysetMap, LifecycleError};
use envelock::{DataKey, Error, Keyring, Lifecycle, SlotLabel};
use std::sync::Arc;

/// Arguments of `envelock key copy`.
#[derive(Args)]
pub struct Copy {
    /// The name or an alias of the key.
    key: String,
    /// The keyring that gets what it lacks: versions of a key that is there are pending.
    #[arg(long, value_name = "KEYRING")]
    to: String,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Copy {
    /// Copies, or tries it, and prints what changed in the other keyring.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let from = context.keyring()?.with_key(&self.key)?;
        let to = context.other_keyring(&self.to)?;
        let target = Target { keys: to.lifecycle(), to: &to, arguments: &self.change };
        let outcome = from.file()?.copy_key(&target).map_err(|error| {
            Failure::from(error).of(format!("copy from {} to {}", from.given, to.given))
        })?;
        change::print(context, &outcome, self.change.dry_run)
    }
}

/// The keyring that gets the copy, whose change is made as the arguments say.
struct Target<'a> {
    keys: Arc<dyn Lifecycle>,
    to: &'a OpenKeyring,
    arguments: &'a ChangeArguments,
}

impl Lifecycle for Target<'_> {
    fn key(&self) -> &str {
        self.keys.key()
    }

    /// Refuses records of another change than the caller knows, also where nothing is left to copy.
    fn keysets(&self) -> Result<KeysetMap, Error> {
        let keysets = self.keys.keysets()?;
        let found = keysets.change();
        match self.arguments.if_unchanged_since.filter(|expected| *expected != found) {
            Some(expected) => Err(LifecycleError::Conflict { expected, found }.into()),
            None => Ok(keysets),
        }
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        _: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        self.arguments.make_or_try(self.to, changes, options)
    }
}

impl Keyring for Target<'_> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keys.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.keys.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.keys.unwrap(slot, context, data_key)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keys.freshness(label)
    }
}
