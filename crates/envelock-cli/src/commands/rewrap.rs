//! `envelock rewrap`: headers of messages in files, whose bodies stay.

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::output::{printable, shell_word};
use crate::version_name::VersionName;
use clap::Args;
use envelock::file::{self, FileChange, FileError, FileKind, MessageFile, MessageFileError};
use envelock::{
    Envelope, Error, GrantOptions, Keyring, MigratingKeyring, RewrapOptions, RewrapReport,
    SlotOutcome,
};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
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
        if self.dry_run {
            context.without_counts();
        }
        let keyring = context.keyring()?;
        let other = self.from.as_ref().or(self.add.as_ref());
        let other = other.map(|given| context.other_keyring(given)).transpose()?;
        let keys = self.keys(&keyring, other.as_ref())?;
        let output = context.output();
        let (mut left, mut last): (usize, Option<Failure>) = (0, None);
        let mut unprinted = None;
        for path in &self.files {
            let done = self.one(&keys, path).and_then(|done| {
                let (file, slots) = (printable(path), done.slots.join(", "));
                let printed = output.result(
                    || format!("{file}  {}  {slots}", done.change).trim_end().into(),
                    || {
                        json!({
                            "file": file, "change": done.change, "slots": done.slots,
                            "complete": done.is_complete, "dry_run": self.dry_run,
                        })
                    },
                );
                unprinted = unprinted.take().or(printed.err());
                if done.is_complete { Ok(()) } else { Err(incomplete()) }
            });
            if let Err(failure) = done {
                let failure = failure.of(printable(path)).of_file(path);
                left = left.saturating_add(1);
                if self.files.len() > 1 {
                    output.failure(&failure, &context.arguments());
                }
                last = Some(failure);
            }
        }
        context.flush([&keyring].into_iter().chain(&other));
        match last {
            None => unprinted.map_or(Ok(()), |failure| {
                if self.dry_run {
                    return Err(failure);
                }
                let done = format!("{} files are done", self.files.len());
                let files: Vec<String> = self.files.iter().map(|path| shell_word(path)).collect();
                let next = format!("`envelock inspect {}` shows the key of each", files.join(" "));
                Err(failure.after(done, next))
            }),
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
        let done = match (added, &self.remove) {
            (Some(to), _) => {
                Done::new(change_name(file::add_slot(envelope, path, to, self.grant_options())?))
            }
            (_, Some(name)) => Done::new(change_name(file::remove_name(envelope, path, name)?)),
            _ => {
                let done = file::rewrap(envelope, path, self.rewrap_options())?;
                Done::new(change_name(done.change())).with_slots(done.report())
            }
        };
        Ok(done)
    }

    /// Makes the new header in memory, and writes nothing.
    fn tried(&self, keys: &Keys, path: &Path) -> Result<Done, Failure> {
        let Keys { envelope, added } = keys;
        let message = MessageFile::open(path)?;
        let header = message.header();
        let done = |is_changed| match is_changed || message.is_torn() {
            true => Done::new("would change"),
            false => Done::new("unchanged"),
        };
        let done = match (added, &self.remove) {
            (Some(to), _) => {
                done(envelope.add_slot(header, to, self.grant_options())?.is_changed())
            }
            (_, Some(name)) => done(envelope.remove_name(header, name)?.is_changed()),
            _ => {
                let new = envelope.rewrap(header, self.rewrap_options())?;
                done(new.is_changed()).with_slots(new.report())
            }
        };
        check_writable(path)?;
        Ok(done)
    }

    fn grant_options(&self) -> GrantOptions<'_> {
        let named = self.from_compromised.iter();
        named.fold(GrantOptions::new(), |options, VersionName { key, version }| {
            options.from_compromised(key, *version)
        })
    }

    fn rewrap_options(&self) -> RewrapOptions<'_> {
        let named = self.from_compromised.iter();
        let options = named.fold(RewrapOptions::new(), |options, VersionName { key, version }| {
            options.from_compromised(key, *version)
        });
        match &self.retiring {
            Some(VersionName { key, version }) => options.retiring(key, *version),
            None => options,
        }
    }
}

impl Done {
    fn new(change: &'static str) -> Self {
        Done { change, slots: Vec::new(), is_complete: true }
    }

    fn with_slots(self, report: &RewrapReport) -> Self {
        Done { slots: slots(report), is_complete: report.is_complete(), ..self }
    }
}

/// Refuses a file that a rewrap would not write: a link, one of several names, one of another user.
fn check_writable(path: &Path) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::from_io(&error);
    let stat = path.symlink_metadata().map_err(io)?;
    let path_buf = path.to_path_buf();
    if stat.is_symlink() {
        let error = FileError::NotRegular { path: path_buf, kind: FileKind::Symlink };
        return Err(Error::from(MessageFileError::File(error)).into());
    }
    if stat.nlink() > 1 {
        let error = MessageFileError::HardLinks { path: path_buf, links: stat.nlink() };
        return Err(Error::from(error).into());
    }
    std::fs::File::options().write(true).open(path).map(drop).map_err(io)
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
        SlotOutcome::Trusted => "rewrapped by the service, and not proven".into(),
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
