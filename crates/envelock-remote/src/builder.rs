//! The options of a remote keyring.

use crate::backend::Backend;
use crate::call::CallOptions;
use crate::inner::{Inner, ServiceKey};
use crate::keyring::RemoteKeyring;
use crate::metadata::Ages;
use crate::service::Service;
use envelock::format::InvalidKeyName;
use std::fmt;
use std::time::Duration;

/// The options of a [`RemoteKeyring`].
///
/// | option | default |
/// |---|---|
/// | [`also_opens`](Self::also_opens) | no other key |
/// | [`fresh_for`](Self::fresh_for) | a minute |
/// | [`stale_for`](Self::stale_for) | an hour |
/// | [`calls`](Self::calls) | those of [`CallOptions`] |
/// | [`unproven_wraps`](Self::unproven_wraps) | wraps are proven |
#[must_use = "`build` makes the keyring"]
pub struct RemoteKeyringBuilder<B> {
    backend: B,
    key: String,
    others: Vec<String>,
    ages: Ages,
    proves_wraps: bool,
    calls: CallOptions,
}

impl<B: Backend> RemoteKeyringBuilder<B> {
    pub(crate) fn new(backend: B, key: &str) -> Self {
        let ages = Ages { fresh: Duration::from_secs(60), stale: Duration::from_secs(3600) };
        let (key, others) = (key.into(), Vec::new());
        RemoteKeyringBuilder {
            backend,
            key,
            others,
            ages,
            proves_wraps: true,
            calls: CallOptions::default(),
        }
    }

    /// Opens messages of the master key `name`, too. A rewrap leaves them under that key.
    pub fn also_opens(mut self, name: &str) -> Self {
        self.others.push(name.into());
        self
    }

    /// Sets the age until which metadata is used without loading it again.
    ///
    /// For so long a version that was disabled or marked as compromised at the service may be used as before, as far
    /// as the service itself permits that. A rotation is noticed at once by the first wrap.
    pub fn fresh_for(mut self, age: Duration) -> Self {
        self.ages.fresh = age;
        self
    }

    /// Sets for how much longer metadata is used if it cannot be loaded again. Then each operation fails with the
    /// error of the load.
    pub fn stale_for(mut self, time: Duration) -> Self {
        self.ages.stale = time;
        self
    }

    /// Sets how the service is called: how many calls at once, how long, and how often again.
    pub fn calls(mut self, options: CallOptions) -> Self {
        self.calls = options;
        self
    }

    /// Writes slots without decrypting their wrapped keys first, which saves one of the two calls of an encryption.
    ///
    /// # Security
    ///
    /// If the service answers with a wrapped key that is cut off, or that another master key or another data key is
    /// in, the message is lost, which only a later decryption detects.
    pub fn unproven_wraps(mut self) -> Self {
        self.proves_wraps = false;
        self
    }

    /// Returns the keyring. Makes no call.
    ///
    /// # Errors
    ///
    /// [`InvalidKeyName`] if no slot can have the name of one of the keys.
    pub fn build(self) -> Result<RemoteKeyring<B>, InvalidKeyName> {
        let own = ServiceKey::new(&self.key)?;
        let others = self.others.iter().map(|name| ServiceKey::new(name));
        let others = others.collect::<Result<_, _>>()?;
        let service = Service::new(self.backend, self.calls);
        let inner = Inner::new(service, own, others, self.ages, self.proves_wraps);
        Ok(RemoteKeyring::from_inner(inner))
    }
}

impl<B> fmt::Debug for RemoteKeyringBuilder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeyringBuilder")
            .field("key", &self.key)
            .field("others", &self.others)
            .field("ages", &self.ages)
            .field("proves_wraps", &self.proves_wraps)
            .finish_non_exhaustive()
    }
}
