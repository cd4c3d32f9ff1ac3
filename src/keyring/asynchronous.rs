//! Keyrings whose calls are awaited.

use super::{Freshness, Keyring, KeyringError, PrimaryKey, SlotWriter, WrapContext};
use super::{freshness_by_primaries, visit_primary_of_name};
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, MAX_HEADER_LEN, Slot, SlotLabel};
use crate::random::RandomnessUnavailable;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::future::Future;
use core::pin::Pin;
use rand_core::TryCryptoRng;

/// The generator that an asynchronous keyring receives.
pub type AsyncKeyringRng<'a> = dyn TryCryptoRng<Error = RandomnessUnavailable> + Send + 'a;

/// What an [`AsyncKeyring`] knows of its keys without a call: the methods of [`Keyring`] of the same names.
///
/// They return what [`AsyncKeyring::prepare`] loaded, and do not block.
pub trait KeyringLabels: Send + Sync {
    /// Calls `visit` with each slot that a wrap would write now.
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::visit_primaries`].
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError>;

    /// Calls `visit` with the master key that `name` stands for. See [`Keyring::holds`].
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::holds`].
    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        visit_primary_of_name(|primary| self.visit_primaries(primary), name, visit)
    }

    /// Returns from its label alone whether `slot` belongs to this keyring, and is under the primary.
    /// See [`Keyring::freshness`].
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::freshness`].
    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        freshness_by_primaries(|primary| self.visit_primaries(primary), slot)
    }
}

/// A [`Keyring`] over a back end that is called asynchronously, for
/// [`AsyncEnvelope`](crate::AsyncEnvelope).
///
/// The contract of [`Keyring`] holds, with two differences:
///
/// - `wrap`, `wrap_under`, `unwrap` and `rewrap` return futures. A future that is dropped has no effect that
///   a later call would miss.
/// - [`KeyringLabels`] has the other methods, which return what is in memory. [`prepare`](Self::prepare) loads
///   it, and is awaited before each operation.
///
/// No task of its own is started, and no runtime is needed. [`Inline`] makes one of a keyring that does not
/// block, and `Blocking` of the crate `envelock-remote` one of a key file or a token, on threads of tokio. `&K`, `Box<K>` and `Arc<K>` are asynchronous keyrings too, also of `dyn` [`DynAsyncKeyring`].
pub trait AsyncKeyring: KeyringLabels {
    /// Loads what the methods of [`KeyringLabels`] return: the primaries, and the states of `labels`, which
    /// are those of the message's slots.
    ///
    /// Returns at once if this is in memory. Labels are unverified: remember unknown versions, so that a
    /// message with an invented version does not cost a call each time.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Backend`]. The operation fails with it before any other call.
    fn prepare(
        &self,
        labels: &[SlotLabel<'_>],
    ) -> impl Future<Output = Result<(), KeyringError>> + Send;

    /// Wraps `data_key` under the primary version and pushes the slot. See [`Keyring::wrap`].
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::wrap`].
    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> impl Future<Output = Result<(), KeyringError>> + Send;

    /// Wraps `data_key` under the primary version of the master key `name`. See [`Keyring::wrap_under`].
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::wrap_under`].
    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> impl Future<Output = Result<(), KeyringError>> + Send {
        async move {
            let mut room = vec![0; MAX_HEADER_LEN];
            let mut all = SlotWriter::new(&mut room, context.suite(), None);
            self.wrap(data_key, context, &mut all, rng).await?;
            slots.first_of(name, |slots| slots.push_all(all.slots()))
        }
    }

    /// Unwraps `slot` into `data_key`. See [`Keyring::unwrap`].
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::unwrap`].
    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> impl Future<Output = Result<(), KeyringError>> + Send;

    /// Wraps the data key of `slot` again, under the primary version of the same key name. See
    /// [`Keyring::rewrap`].
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::rewrap`].
    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> impl Future<Output = Result<(), KeyringError>> + Send {
        async move {
            let mut data_key = Box::new(DataKey::empty());
            self.unwrap(slot, context, &mut data_key).await?;
            context.verify(&data_key)?;
            self.wrap_under(slot.label.name, &data_key, context, slots, rng).await
        }
    }
}

/// A boxed future of a [`DynAsyncKeyring`].
pub type BoxedFuture<'a> = Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + 'a>>;

/// An [`AsyncKeyring`] as a trait object: `Arc<dyn DynAsyncKeyring>` is a keyring, and its futures are boxed.
///
/// Every [`AsyncKeyring`] implements it. Call the methods of that trait.
pub trait DynAsyncKeyring: KeyringLabels {
    #[doc(hidden)]
    fn prepare_boxed<'a>(&'a self, labels: &'a [SlotLabel<'a>]) -> BoxedFuture<'a>;

    #[doc(hidden)]
    fn wrap_boxed<'a>(
        &'a self,
        name: Option<KeyName<'a>>,
        data_key: &'a DataKey,
        context: &'a WrapContext<'a>,
        slots: &'a mut SlotWriter<'_>,
        rng: &'a mut AsyncKeyringRng<'_>,
    ) -> BoxedFuture<'a>;

    #[doc(hidden)]
    fn unwrap_boxed<'a>(
        &'a self,
        slot: &'a Slot<'a>,
        context: &'a WrapContext<'a>,
        data_key: &'a mut DataKey,
    ) -> BoxedFuture<'a>;

    #[doc(hidden)]
    fn rewrap_boxed<'a>(
        &'a self,
        slot: &'a Slot<'a>,
        context: &'a WrapContext<'a>,
        slots: &'a mut SlotWriter<'_>,
        rng: &'a mut AsyncKeyringRng<'_>,
    ) -> BoxedFuture<'a>;
}

impl<K: AsyncKeyring> DynAsyncKeyring for K {
    fn prepare_boxed<'a>(&'a self, labels: &'a [SlotLabel<'a>]) -> BoxedFuture<'a> {
        Box::pin(self.prepare(labels))
    }

    fn wrap_boxed<'a>(
        &'a self,
        name: Option<KeyName<'a>>,
        data_key: &'a DataKey,
        context: &'a WrapContext<'a>,
        slots: &'a mut SlotWriter<'_>,
        rng: &'a mut AsyncKeyringRng<'_>,
    ) -> BoxedFuture<'a> {
        match name {
            None => Box::pin(self.wrap(data_key, context, slots, rng)),
            Some(name) => Box::pin(self.wrap_under(name, data_key, context, slots, rng)),
        }
    }

    fn unwrap_boxed<'a>(
        &'a self,
        slot: &'a Slot<'a>,
        context: &'a WrapContext<'a>,
        data_key: &'a mut DataKey,
    ) -> BoxedFuture<'a> {
        Box::pin(self.unwrap(slot, context, data_key))
    }

    fn rewrap_boxed<'a>(
        &'a self,
        slot: &'a Slot<'a>,
        context: &'a WrapContext<'a>,
        slots: &'a mut SlotWriter<'_>,
        rng: &'a mut AsyncKeyringRng<'_>,
    ) -> BoxedFuture<'a> {
        Box::pin(self.rewrap(slot, context, slots, rng))
    }
}

impl AsyncKeyring for dyn DynAsyncKeyring + '_ {
    async fn prepare(&self, labels: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
        self.prepare_boxed(labels).await
    }

    async fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.wrap_boxed(None, data_key, context, slots, rng).await
    }

    async fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.wrap_boxed(Some(name), data_key, context, slots, rng).await
    }

    async fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.unwrap_boxed(slot, context, data_key).await
    }

    async fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.rewrap_boxed(slot, context, slots, rng).await
    }
}

/// An [`AsyncKeyring`] of a keyring that does not block, such as [`MemoryKeyring`](super::MemoryKeyring). Its
/// futures are ready at once.
#[derive(Clone, Debug)]
pub struct Inline<K>(K);

impl<K: Keyring> Inline<K> {
    /// Returns the asynchronous form of `keyring`. A keyring that blocks stops the other tasks of its thread.
    pub const fn new(keyring: K) -> Self {
        Inline(keyring)
    }

    /// Returns the keyring.
    pub const fn keyring(&self) -> &K {
        &self.0
    }
}

/// Writes [`KeyringLabels`] by the methods of `$to`.
macro_rules! forward_labels {
    ($this:ident => $to:expr) => {
        fn visit_primaries(
            &$this,
            visit: &mut dyn FnMut(&PrimaryKey<'_>),
        ) -> Result<(), KeyringError> {
            ($to).visit_primaries(visit)
        }

        fn holds(
            &$this,
            name: KeyName<'_>,
            visit: &mut dyn FnMut(KeyName<'_>),
        ) -> Result<(), KeyringError> {
            ($to).holds(name, visit)
        }

        fn freshness(&$this, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
            ($to).freshness(slot)
        }
    };
}

/// Writes the calls of [`AsyncKeyring`] by the methods of `$to`, which are awaited or not.
macro_rules! forward_calls {
    ($this:ident => $to:expr; $($await:tt)*) => {
        async fn wrap(
            &$this,
            data_key: &DataKey,
            context: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            rng: &mut AsyncKeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            ($to).wrap(data_key, context, slots, rng)$($await)*
        }

        async fn wrap_under(
            &$this,
            name: KeyName<'_>,
            data_key: &DataKey,
            context: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            rng: &mut AsyncKeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            ($to).wrap_under(name, data_key, context, slots, rng)$($await)*
        }

        async fn unwrap(
            &$this,
            slot: &Slot<'_>,
            context: &WrapContext<'_>,
            data_key: &mut DataKey,
        ) -> Result<(), KeyringError> {
            ($to).unwrap(slot, context, data_key)$($await)*
        }

        async fn rewrap(
            &$this,
            slot: &Slot<'_>,
            context: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            rng: &mut AsyncKeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            ($to).rewrap(slot, context, slots, rng)$($await)*
        }
    };
}

impl<K: Keyring> KeyringLabels for Inline<K> {
    forward_labels!(self => self.0);
}

impl<K: Keyring> AsyncKeyring for Inline<K> {
    async fn prepare(&self, _: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
        Ok(())
    }

    forward_calls!(self => self.0;);
}

macro_rules! forward_to_pointee {
    ($($pointer:ty),*) => {$(
        impl<K: KeyringLabels + ?Sized> KeyringLabels for $pointer {
            forward_labels!(self => **self);
        }

        impl<K: AsyncKeyring + ?Sized> AsyncKeyring for $pointer {
            async fn prepare(&self, labels: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
                (**self).prepare(labels).await
            }

            forward_calls!(self => **self; .await);
        }
    )*};
}

forward_to_pointee!(&K, Box<K>, Arc<K>);
