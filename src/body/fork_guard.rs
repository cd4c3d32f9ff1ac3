//! Detection of a child process: after `fork` two processes have one data key and one nonce.

use crate::error::Error;

/// The id of the process that began an encryption. On targets without `fork` any process passes.
#[derive(Clone, Copy)]
pub(crate) struct ForkGuard {
    #[cfg(all(feature = "std", unix))]
    process: u32,
}

impl ForkGuard {
    /// Remembers the current process.
    pub(crate) fn new() -> Self {
        ForkGuard {
            #[cfg(all(feature = "std", unix))]
            process: std::process::id(),
        }
    }

    /// Returns [`Error::Forked`] in any other process.
    pub(crate) fn check(self) -> Result<(), Error> {
        #[cfg(all(feature = "std", unix))]
        if self.process != std::process::id() {
            return Err(Error::Forked);
        }
        Ok(())
    }
}
