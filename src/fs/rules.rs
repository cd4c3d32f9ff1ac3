//! The owners and modes of files that are read and written.

use super::directory::{FileKind, FileStat};

/// Rights of the group and of everybody else.
const OTHERS: u32 = 0o077;

/// The accepted owners and modes of a key file, its lock file, and a file with a passphrase or PIN.
///
/// By default a file has to be a regular one, closed to everybody but its owner. A key file and
/// its lock file have to belong to root or to the user of this process, besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileRules {
    others: bool,
    owner: Option<u32>,
}

impl FileRules {
    /// Returns the default rules.
    pub const fn new() -> Self {
        FileRules { others: false, owner: None }
    }

    /// Accepts a file that others than its owner may read or write, as its mode or its access
    /// control list says: platforms hand out files by group (0440, 0640, 0660 on a volume with
    /// `fsGroup`), and some media keep no modes.
    ///
    /// A user who may read a key file reads what its protection leaves readable; one who may write it
    /// can at least destroy it.
    #[must_use]
    pub const fn allow_permissions(mut self) -> Self {
        self.others = true;
        self
    }

    /// Accepts a key file of the user `uid`, too: one that a sidecar writes, or that a tool of root's
    /// opens for a service. A later call replaces an earlier one.
    ///
    /// That user can replace the file by any other. Only a protection by a secret that the user does
    /// not have keeps such a file from opening.
    #[must_use]
    pub const fn allow_owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Reports whether a file, link or directory of `uid` is accepted as one of `user`.
    pub(crate) fn accepts_owner(&self, uid: u32, user: u32) -> bool {
        // Root can read and change every file anyway.
        uid == user || uid == 0 || self.owner == Some(uid)
    }

    /// Refuses by kind, owner and mode, in this order.
    pub(crate) fn check(&self, stat: &FileStat, user: u32) -> Result<(), RuleFault> {
        if stat.kind != FileKind::Regular {
            return Err(RuleFault::Kind(stat.kind));
        }
        if !self.accepts_owner(stat.uid, user) {
            return Err(RuleFault::Owner(stat.uid));
        }
        self.check_mode(stat.mode)
    }

    /// Refuses a mode that gives rights to others than the owner.
    pub(crate) fn check_mode(&self, mode: u32) -> Result<(), RuleFault> {
        match mode & OTHERS {
            0 => Ok(()),
            _ if self.others => Ok(()),
            _ => Err(RuleFault::Mode(mode)),
        }
    }
}

/// Why the rules refuse a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleFault {
    /// Its kind, which is not regular.
    Kind(FileKind),
    /// Its owner.
    Owner(u32),
    /// Its permission bits.
    Mode(u32),
}
