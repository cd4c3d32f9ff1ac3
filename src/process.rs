//! Which process this is: after `fork` two hold one data key and one nonce.

use crate::error::Error;

/// The process that began an encryption, by its id. Where there is no `fork`, any process.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    #[cfg(all(feature = "std", unix))]
    id: u32,
}

impl Origin {
    /// This process.
    pub(crate) fn here() -> Self {
        Origin {
            #[cfg(all(feature = "std", unix))]
            id: std::process::id(),
        }
    }

    /// [`Error::Forked`] in another process.
    pub(crate) fn check(self) -> Result<(), Error> {
        #[cfg(all(feature = "std", unix))]
        if self.id != std::process::id() {
            return Err(Error::Forked);
        }
        Ok(())
    }
}
