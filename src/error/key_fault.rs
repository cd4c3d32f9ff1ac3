//! What keeps a change from being made to a master key or an alias.

use crate::format::KeyVersion;
use crate::keyset::VersionState;
use core::fmt;

/// What keeps a change from being made to a master key or an alias as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// The key was erased: its versions are destroyed, it takes no other, and its name stays taken.
    Erased,
    /// The record of a version was to be removed that is not destroyed.
    RecordNeeded {
        /// The lowest such version.
        version: KeyVersion,
        /// Its state.
        state: VersionState,
    },
    /// The alias has stood for 256 other keys, whose messages it still opens. Remove the alias, and
    /// it forgets them.
    FormerKeys,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFault::Erased => f.write_str("was erased"),
            KeyFault::RecordNeeded { version, state } => {
                write!(f, "version {version} is {state}: its record cannot be removed")
            }
            KeyFault::FormerKeys => f.write_str("has stood for as many keys as an alias can"),
        }
    }
}
