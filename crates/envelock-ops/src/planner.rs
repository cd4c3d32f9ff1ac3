//! Whether a message needs a rewrap or a new encryption, and why.

use crate::definition::VersionName;
use envelock::Header;
use serde::{Deserialize, Serialize};

/// Why messages may have to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A rotation without an incident.
    Routine {
        /// The primary version.
        primary: VersionName,
    },
    /// The material of a version is known to others.
    VersionLeaked {
        /// The version that leaked.
        version: VersionName,
        /// When another version became primary, so that nothing was wrapped under this one afterwards, in seconds
        /// since 1970; `None` if it is primary still.
        retired: Option<u64>,
        /// Whether headers can have been read by those who know the version: the present ones, or old ones in a
        /// backup or an undo log.
        headers_exposed: bool,
    },
    /// Data keys of messages are known to others: a memory dump of a process that opened them, for example.
    DataKeyLeaked,
    /// A suite is not to be used any more.
    SuiteDeprecated {
        /// The id of the suite.
        suite: u8,
    },
    /// Messages are to open with another key alone.
    Move {
        /// The name of the key that is left.
        from: String,
        /// The name of the key that they move to.
        to: String,
    },
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A rewrap: a new header, the same body. [`Task::Rewrap`](crate::Task::Rewrap).
    Rewrap,
    /// A slot of the other key, then the removal of the first name: [`Task::AddName`](crate::Task::AddName) and
    /// [`Task::RemoveName`](crate::Task::RemoveName).
    AddAndRemove,
    /// The removal alone: the other key has its slot.
    Remove,
    /// A new encryption under a new data key: [`Task::Reencrypt`](crate::Task::Reencrypt). A rewrap before it lets the version be destroyed earlier, and
    /// protects nothing.
    Reencrypt,
}

/// What is to be done with a message, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// What is to be done.
    pub need: Need,
    /// Why, in one sentence.
    pub why: &'static str,
}

/// Returns what a message needs because of `cause`.
///
/// `header` is unverified, so the advice is for a plan: take a census that opens before anything is destroyed.
/// `body_written` is when the body was encrypted, in seconds since 1970, if the store knows it. The time of the file does not do, since a rewrap
/// changes it. Without it, every message counts as old enough.
///
/// ```
/// use envelock::{Aad, Envelope, KeyVersion, Lifecycle, MemoryKeyring};
/// use envelock_ops::{Cause, Need, VersionName, advise};
///
/// # fn main() -> Result<(), envelock::Error> {
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// let message = envelope.encrypt(b"payload", Aad::none())?;
/// let header = envelock::inspect(&message)?;
/// let primary = envelope.keyring().rotate()?;
/// let primary = VersionName::new("orders", primary);
/// let advice = advise(&Cause::Routine { primary }, &header, None);
/// assert_eq!(advice.need, Need::Rewrap);
/// assert_eq!(advise(&Cause::DataKeyLeaked, &header, None).need, Need::Reencrypt);
/// # Ok(())
/// # }
/// ```
pub fn advise(cause: &Cause, header: &Header<'_>, body_written: Option<u64>) -> Advice {
    let mut labels = header.slots().map(|slot| slot.label);
    let has = |name: &str| header.slots().any(|slot| slot.label.name.as_str() == name);
    let (need, why) = match cause {
        Cause::Routine { primary: VersionName { name, version } } => {
            match labels.any(|l| l.name.as_str() == name && l.version.number() != *version) {
                true => (Need::Rewrap, "a slot is not under the primary version"),
                false => (Need::Nothing, "no slot of the key is under another version"),
            }
        }
        Cause::VersionLeaked { version, retired, headers_exposed } => {
            let is_under = labels.any(|label| version.is_of(&label));
            leaked(is_under, *retired, *headers_exposed, body_written)
        }
        Cause::DataKeyLeaked => (
            Need::Reencrypt,
            "the data key opens the body under any header, and a rewrap keeps the data key",
        ),
        Cause::SuiteDeprecated { suite } if header.suite().id() == *suite => {
            (Need::Reencrypt, "the suite is that of the body, which a rewrap does not touch")
        }
        Cause::SuiteDeprecated { .. } => (Need::Nothing, "the body has another suite"),
        Cause::Move { from, .. } if !has(from) => {
            (Need::Nothing, "no slot is of the key that is left")
        }
        Cause::Move { to, .. } if has(to) => (Need::Remove, "the other key has a slot already"),
        Cause::Move { .. } => (Need::AddAndRemove, "the only slots are of the key that is left"),
    };
    Advice { need, why }
}

/// The radius of a leak is not what is under the version now: a rewrap keeps the data key, so an old header still
/// opens the message.
fn leaked(
    is_under: bool,
    retired: Option<u64>,
    headers_exposed: bool,
    body_written: Option<u64>,
) -> (Need, &'static str) {
    let is_newer = retired.zip(body_written).is_some_and(|(retired, written)| written > retired);
    match (is_under, headers_exposed) {
        (false, _) if is_newer => (
            Need::Nothing,
            "the body was written after the version was retired, so it was never under it",
        ),
        (true, true) => (
            Need::Reencrypt,
            "the header is under the version, and those who know the version can have read the header",
        ),
        (false, true) => (
            Need::Reencrypt,
            "the message can have been under the version before a rewrap, and old headers open it still",
        ),
        (true, false) => (
            Need::Rewrap,
            "no header was exposed: none under the version must be left; a new encryption is a matter of policy",
        ),
        (false, false) => {
            (Need::Nothing, "no header was exposed, and this one is not under the version")
        }
    }
}
