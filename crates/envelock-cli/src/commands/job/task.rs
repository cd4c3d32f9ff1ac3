//! What a job does to each item: its options, its task and its keys.

use super::reencrypt::{ReencryptOptions, associated_data};
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::version_name::VersionName;
use clap::Args;
use envelock::Keyring;
use envelock_ops::{EnvelopeOperation, Task, UndoIndex};
use std::sync::Arc;

/// The operation of a job with the keys of this call.
pub type Keys = EnvelopeOperation<Arc<dyn Keyring>>;

/// What is done to each item. Without options, slots are rewrapped under whatever is primary.
#[derive(Args, Clone, Debug, Default)]
pub struct TaskOptions {
    /// Rewrap under this version, which must be primary; `primary` for whatever is.
    #[arg(long, value_name = "KEY:VERSION")]
    to: Vec<String>,
    /// Rewrap from this compromised version, too.
    #[arg(long, value_name = "KEY:VERSION")]
    from_compromised: Vec<VersionName>,
    /// The version that must not open the new header.
    #[arg(long, value_name = "KEY:VERSION")]
    retiring: Option<VersionName>,
    /// Add a slot of this keyring instead: a name or a locator.
    #[arg(long, value_name = "KEYRING", conflicts_with_all = ["to", "retiring"])]
    pub add: Option<String>,
    /// Remove the slots of this key instead.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["to", "retiring", "add", "from_compromised"])]
    remove: Option<String>,
    #[command(flatten)]
    pub reencrypt: ReencryptOptions,
}

impl TaskOptions {
    /// Refuses to retire what new headers are under.
    ///
    /// # Errors
    ///
    /// The version of `--retiring` is the primary, or the keyring does not have it.
    pub fn check_retiring(&self, keyring: &OpenKeyring) -> Result<(), Failure> {
        let Some(retiring) = &self.retiring else { return Ok(()) };
        if keyring.is_primary(retiring)? {
            let what = format!("{retiring} is the primary: new headers are under it");
            let next = format!("`envelock key rotate {}` makes another one", retiring.key);
            return Err(Failure::new(Exit::Refused, what, next));
        }
        Ok(())
    }

    /// Returns the task.
    ///
    /// # Errors
    ///
    /// `--to` is no version, or `--re-encrypt` no cause.
    pub fn task(&self) -> Result<Task, Failure> {
        let from_compromised = self.from_compromised.iter().map(of_ops).collect();
        if let Some(name) = &self.remove {
            return Ok(Task::RemoveName { name: name.clone() });
        }
        if self.add.is_some() {
            return Ok(Task::AddName { from_compromised });
        }
        let mut to = Vec::new();
        for text in self.to.iter().filter(|text| *text != "primary") {
            let version: VersionName = text.parse().map_err(|fault: String| {
                Failure::usage(fault, "`--to primary`, or `--to orders:4`")
            })?;
            to.push(of_ops(&version));
        }
        if let Some(cause) = self.reencrypt.cause()? {
            return Ok(Task::Reencrypt { to, cause });
        }
        let retiring = self.retiring.as_ref().map(of_ops);
        Ok(Task::Rewrap { to, from_compromised, retiring, trusts_backend: false })
    }
}

/// Returns a version as the engine names it.
pub fn of_ops(version: &VersionName) -> envelock_ops::VersionName {
    envelock_ops::VersionName::new(&version.key, version.version)
}

/// Returns the operation of a task: `add` is the keyring of slots that are added, `undo` has what is restored, `aad` is the
/// template of associated data.
pub fn keys(
    keyring: &OpenKeyring,
    task: &Task,
    add: Option<&OpenKeyring>,
    undo: Option<UndoIndex>,
    aad: Option<&str>,
) -> Keys {
    let mut keys = EnvelopeOperation::new(keyring.envelope(), task.clone());
    if let Some(add) = add {
        let other: Arc<dyn Keyring> = add.lifecycle();
        keys = keys.adding(other);
    }
    if let Some(undo) = undo {
        keys = keys.restoring(undo);
    }
    if let Some(aad) = aad.map(String::from) {
        keys = keys.associated_data(move |item| associated_data(&aad, item));
    }
    keys
}
