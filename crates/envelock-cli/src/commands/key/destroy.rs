//! `envelock key destroy`: schedules a destruction, cancels it, or carries it out.

use super::change::ChangeArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::secrets::hexadecimal;
use crate::version_name::VersionName;
use clap::{ArgGroup, Args};
use envelock::keyset::{Change, Operation};
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

/// Arguments of `envelock key destroy`.
#[derive(Args)]
#[command(group = ArgGroup::new("when").args(["after", "due", "immediately", "cancel"]))]
pub struct Destroy {
    /// The version: `orders:3`. It has to be disabled.
    #[arg(value_name = "KEY:VERSION")]
    version: VersionName,
    /// Schedule the destruction in this many days, 7 to 30, in which it can be cancelled.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    after: u64,
    /// Carry out a destruction whose date has come. Final.
    #[arg(long)]
    due: bool,
    /// Destroy it now, whatever its date: an override, which `--yes` does not confirm. Final.
    #[arg(long)]
    immediately: bool,
    /// Cancel a scheduled destruction.
    #[arg(long)]
    cancel: bool,
    /// SHA-256 digest of the judgement, for a key that requires evidence.
    #[arg(long, value_name = "SHA256", value_parser = digest)]
    evidence: Option<[u8; 32]>,
    /// Do not ask for the name. Covers no override.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Destroy {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let keysets = keyring.lifecycle().keysets()?;
        // An alias may stand for another key when the question is answered.
        let VersionName { key, version } = &self.version.resolved(&keysets)?;
        let (name, final_step) = (format!("{key}:{version}"), "Messages under it are lost");
        let (operation, what) = match () {
            () if self.cancel => (Operation::CancelDestruction, None),
            () if self.due => {
                (Operation::Destroy, Some(format!("{name} will be destroyed. {final_step}")))
            }
            () if self.immediately => (
                Operation::DestroyImmediately,
                Some(format!("{name} will be destroyed now, before its date. {final_step}")),
            ),
            () => {
                // Saturates: more than 30 days are refused by the keyring.
                let after = Duration::from_secs(self.after.saturating_mul(DAY_SECONDS));
                let what = format!("{name} will be destroyed in {} days", self.after);
                (Operation::ScheduleDestruction { after }, Some(what))
            }
        };
        let changes = [Change::Version { key, version: *version, operation }];
        let change = self.change.since(&keysets);
        if let Some(what) = what {
            let may_skip = self.yes && !self.immediately;
            change.confirm(&keyring, &changes, self.evidence, (&what, &name), may_skip)?;
        }
        change.make_in(context, &keyring, &changes, self.evidence)
    }
}

/// Parses a digest.
pub fn digest(text: &str) -> Result<[u8; 32], String> {
    let bytes = hexadecimal(text.as_bytes());
    bytes
        .and_then(|bytes| bytes.as_slice().try_into().ok())
        .ok_or_else(|| "a SHA-256 digest has 64 hexadecimal digits".into())
}
