//! `envelock rewrap`: headers of messages in files, whose bodies stay.

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::output::printable;
use crate::version_name::VersionName;
use clap::Args;
use envelock::file::{self, FileChange, MessageFile};
use envelock::{
    Envelope, GrantOptions, Keyring, MigratingKeyring, RewrapOptions, RewrapReport, SlotOutcome,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `envelock rewrap`.
#[derive(Args)]
pub struct Rewrap {
    /// Messages, or headers that are stored apart.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Rewrap slots under this version although it is compromised; can be repeated. That restores no
    /// secrecy: the data keys may be known.
    #[arg(long, value_name = "KEY:VERSION")]
    from_compromised: Vec<VersionName>,
    /// Fail for a file that this version would still open.
    #[arg(long, value_name = "KEY:VERSION")]
    retiring: Option<VersionName>,
    /// Move messages of this keyring to the keyring of `-k`, key by key of one name.
    #[arg(long, value_name = "KEYRING")]
    from: Option<String>,
    /// Add slots of this keyring, which alone can then decrypt; existing slots stay.
    #[arg(long, value_name = "KEYRING", conflicts_with_all = ["retiring", "from", "remove"])]
    add: Option<String>,
    /// Remove the slots of this key, if another slot opens.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["retiring", "from", "from_compromised"])]
    remove: Option<String>,
}

/// The keyrings of a call.
struct Keys {
    envelope: Envelope<Arc<dyn Keyring>>,
    added: Option<Arc<dyn Keyring>>,
}

/// What was done with one file.
struct Done {
    change: &'static str,
    slots: Vec<String>,
    is_complete: bool,
}

impl Rewrap {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let other = self.from.as_ref().or(self.add.as_ref());
        let other = other.map(|given| context.other_keyring(given)).transpose()?;
        let keys = self.keys(&keyring, other.as_ref())?;
        let output = context.output();
        let (mut left, mut last): (usize, Option<Failure>) = (0, None);
        for path in &self.files {
            let done = self.one(&keys, path).and_then(|done| {
                let (file, slots) = (printable(path), done.slots.join(", "));
                output.result(
                    || format!("{file}  {}  {slots}", done.change).trim_end().into(),
                    || {
                        json!({
                            "file": file, "change": done.change, "slots": done.slots,
                            "complete": done.is_complete, "dry_run": self.dry_run,
                        })
                    },
                )?;
                if done.is_complete { Ok(()) } else { Err(incomplete()) }
            });
            if let Err(failure) = done {
                let failure = failure.of(printable(path));
                left = left.saturating_add(1);
                if self.files.len() > 1 {
                    output.failure(&failure, context.keyring_argument());
                }
                last = Some(failure);
            }
        }
        keyring.flush()?;
        other.iter().try_for_each(OpenKeyring::flush)?;
        match last {
            None => Ok(()),
            Some(failure) if self.files.len() == 1 => Err(failure),
            Some(_) => {
                let what = format!("{left} of {} files are left", self.files.len());
                Err(Failure::new(
                    Exit::ItemsLeft,
                    what,
                    "remove the causes above, and run it again",
                ))
            }
        }
    }

    fn keys(&self, keyring: &OpenKeyring, other: Option<&OpenKeyring>) -> Result<Keys, Failure> {
        Ok(match (other, &self.from) {
            (Some(from), Some(_)) => {
                let both = MigratingKeyring::new(keyring.lifecycle()).with(from.lifecycle())?;
                Keys { envelope: Envelope::new(Arc::new(both)), added: None }
            }
            (added, _) => Keys {
                envelope: keyring.envelope(),
                added: added.map(|added| -> Arc<dyn Keyring> { added.lifecycle() }),
            },
        })
    }

    fn one(&self, keys: &Keys, path: &Path) -> Result<Done, Failure> {
        let Keys { envelope, added } = keys;
        if self.dry_run {
            return self.tried(keys, path);
        }
        let changed =
            |change| Done { change: change_name(change), slots: Vec::new(), is_complete: true };
        if let Some(to) = added {
            let mut options = GrantOptions::new();
            for VersionName { key, version } in &self.from_compromised {
                options = options.from_compromised(key, *version);
            }
            return Ok(changed(file::add_slot(envelope, path, to, options)?));
        }
        if let Some(name) = &self.remove {
            return Ok(changed(file::remove_name(envelope, path, name)?));
        }
        let mut options = RewrapOptions::new();
        for VersionName { key, version } in &self.from_compromised {
            options = options.from_compromised(key, *version);
        }
        if let Some(VersionName { key, version }) = &self.retiring {
            options = options.retiring(key, *version);
        }
        let done = file::rewrap(envelope, path, options)?;
        Ok(Done {
            change: change_name(done.change()),
            slots: slots(done.report()),
            is_complete: done.report().is_complete(),
        })
    }

    /// Judges by labels, without a call to a back end.
    fn tried(&self, keys: &Keys, path: &Path) -> Result<Done, Failure> {
        let message = MessageFile::open(path)?;
        let header = envelock::inspect(message.header())?;
        let is_due = match (&self.remove, &keys.added) {
            (Some(name), _) => header.slots().any(|slot| slot.label.name.as_str() == name),
            // Whether the slots are there already, only the call itself finds out.
            (None, Some(_)) => true,
            (None, None) => keys.envelope.needs_rewrap(message.header())?,
        };
        let change = if is_due { "would change" } else { "unchanged" };
        Ok(Done { change, slots: Vec::new(), is_complete: true })
    }
}

fn incomplete() -> Failure {
    Failure::new(
        Exit::ItemsLeft,
        "a slot of this keyring was left",
        "`envelock key list` shows the versions; make the one of that slot available, and run it again",
    )
}

fn change_name(change: FileChange) -> &'static str {
    match change {
        FileChange::Unchanged => "unchanged",
        FileChange::InPlace => "in place",
        FileChange::Copied => "copied",
        _ => "changed",
    }
}

/// Returns the outcome of each slot.
fn slots(report: &RewrapReport) -> Vec<String> {
    let name = |slot: &SlotOutcome| match slot {
        SlotOutcome::Rewrapped => "rewrapped".into(),
        SlotOutcome::Merged => "merged".into(),
        SlotOutcome::Superseded => "superseded".into(),
        SlotOutcome::Current => "current".into(),
        SlotOutcome::Labelled => "current by its label".into(),
        SlotOutcome::NotMine => "of another keyring".into(),
        SlotOutcome::Refused(refusal) => format!("left, {refusal}"),
        SlotOutcome::NotVerified => "left, damaged or forged".into(),
        SlotOutcome::Backend(error) => format!("left, {error}"),
        other => format!("{other:?}"),
    };
    report.slots().iter().map(name).collect()
}
