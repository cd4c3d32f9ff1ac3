//! Options of a file that is encrypted or decrypted.

/// How [`encrypt`](crate::file::encrypt) and [`decrypt`](crate::file::decrypt) write their file.
///
/// By default no file is replaced, and only the owner can read the new one.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring, file::{self, NewFileOptions}};
///
/// # let path = std::env::temp_dir().join(format!("envelock-options-{}", std::process::id()));
/// # std::fs::create_dir(&path)?;
/// # let (plain, message) = (path.join("plain"), path.join("message"));
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// std::fs::write(&plain, b"hello")?;
/// file::encrypt(&envelope, &plain, &message, Aad::none(), NewFileOptions::new())?;
/// std::fs::write(&plain, b"hello again")?;
/// let replacing = NewFileOptions::new().replace();
/// file::encrypt(&envelope, &plain, &message, Aad::none(), replacing)?;
/// # std::fs::remove_dir_all(&path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewFileOptions {
    pub(super) replaces: bool,
    pub(super) mode: u32,
}

/// Read and write for the owner, nothing for anybody else.
pub(super) const OWNER_ONLY: u32 = 0o600;

impl NewFileOptions {
    /// Returns the options for a new file of mode 0600 that replaces none.
    pub const fn new() -> Self {
        NewFileOptions { replaces: false, mode: OWNER_ONLY }
    }

    /// Replaces a regular file that has the name, atomically: the name always belongs to the old file
    /// or to the new one, complete. Owner, group, mode and access control list stay. The old file
    /// has to be writable, and the call waits for its lock, so that no rewrap of it is lost or undone.
    /// Its other hard links keep the old file.
    pub const fn replace(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Sets the permission bits of a file that replaces none, whatever the umask. Bits beyond `0o777`
    /// are ignored.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }
}

impl Default for NewFileOptions {
    fn default() -> Self {
        NewFileOptions::new()
    }
}
