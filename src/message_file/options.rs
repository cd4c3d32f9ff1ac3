//! How a file that is encrypted or decrypted gets its name.

/// How [`encrypt_file_with`](crate::Envelope::encrypt_file_with) and
/// [`decrypt_file_with`](crate::Envelope::decrypt_file_with) write their file.
///
/// By default nothing is ever replaced, and the file is readable for its owner alone.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring, file::NewFileOptions};
///
/// # let path = std::env::temp_dir().join(format!("envelock-options-{}", std::process::id()));
/// # std::fs::create_dir(&path)?;
/// # let (plain, message) = (path.join("plain"), path.join("message"));
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// std::fs::write(&plain, b"hello")?;
/// envelope.encrypt_file(&plain, &message, Aad::none())?;
/// std::fs::write(&plain, b"hello again")?;
/// let replacing = NewFileOptions::new().replace();
/// envelope.encrypt_file_with(&plain, &message, Aad::none(), replacing)?;
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
    /// A new file of mode 0600, which replaces nothing.
    pub const fn new() -> Self {
        NewFileOptions { replaces: false, mode: OWNER_ONLY }
    }

    /// Replaces a regular file that has the name, atomically: at every moment the name stands for the
    /// old file or for the new one, whole. Owner, group, mode and access control list stay as they
    /// are. The old file needs to be writable, and its lock is waited for, so that no rewrap of it is
    /// lost or undone. Its other names, if it has any, go on to stand for it.
    pub const fn replace(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Gives a file that replaces none these permission bits, whatever the umask; `0o777` at most
    /// count.
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
