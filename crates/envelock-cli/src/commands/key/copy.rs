//! `envelock key copy`: the versions of a key in another keyring.

use super::change;
use crate::context::Context;
use crate::failure::Failure;
use clap::Args;

/// Arguments of `envelock key copy`.
#[derive(Args)]
pub struct Copy {
    /// The name or an alias of the key.
    key: String,
    /// The keyring that gets what it lacks: versions of a key that is there are pending.
    #[arg(long, value_name = "KEYRING")]
    to: String,
}

impl Copy {
    /// Copies, and prints what changed in the other keyring.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let from = context.keyring()?.with_key(&self.key)?;
        let to = context.other_keyring(&self.to)?;
        let copied = from.file().copy_key(&*to.lifecycle());
        let outcome = copied.map_err(|error| {
            Failure::from(error).of(format!("copy from {} to {}", from.given, to.given))
        })?;
        change::print(context, &outcome, false)
    }
}
