//! Events of a keyring, and the trait that receives them.

use crate::format::{KeyVersion, SlotLabel};
use crate::keyset::{Freshness, Refusal, Transition};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

/// Receives the events of a keyring after each operation.
///
/// An [`ObservedKeyring`](super::ObservedKeyring) reports the operations of any keyring. Keyrings that
/// load their keys from a file or a token also report loads. `TracingObserver` (feature `tracing`) and
/// `MetricsObserver` (feature `metrics`) serve those facades.
///
/// `()` ignores every event. `&O`, `Box<O>` and `Arc<O>` are observers, and so is a pair of observers.
/// [`FnObserver`] makes a closure one.
///
/// # Contract
///
/// - [`event`](Self::event) runs in the thread that uses the keyring, before the operation returns and
///   outside of the keyring's locks. An observer may use the keyring, which causes further events. Its
///   run time adds to every encryption and decryption: an observer that writes to a disk or a network
///   passes the event to another thread.
/// - It may be called from many threads at once. Events of one call come in order. Events of
///   concurrent calls come in any order; the change number orders changes.
/// - It cannot refuse an operation. A complete audit, in which no key is used before its record is
///   durable, is a [`Keyring`](crate::Keyring) around the keyring, which writes the record and returns
///   [`KeyringError::Backend`](crate::keyring::KeyringError::Backend) on failure.
/// - It must not panic. A panic propagates to the caller of the envelope: the call returns nothing,
///   data keys are wiped, and the keyring stays usable. A completed change stays in effect.
///
/// # Security
///
/// No event holds a key, plaintext, associated data or a data key id. Names and versions of
/// [`Wrapped`](Event::Wrapped) and [`Unwrapped`](Event::Unwrapped) are verified. Those of
/// [`Refused`](Event::Refused) and [`NotVerified`](Event::NotVerified) come from a header: the writer of
/// the message chose them, up to 16 in one message. The alphabet of key names has no space, quote or
/// line end. The text of errors comes from the backend.
pub trait Observer: Send + Sync {
    /// Receives `event`.
    fn event(&self, event: &Event<'_>);
}

/// One operation of a keyring, or its failure. Borrowed: an event allocates nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An encryption or a rewrap wrapped a data key; one event for each slot.
    Wrapped {
        /// The slot's label.
        label: SlotLabel<'a>,
    },
    /// A slot was unwrapped, and its data key was verified.
    ///
    /// A rewrap unwraps the old slot, and the new slot to verify it.
    Unwrapped {
        /// The slot's label.
        label: SlotLabel<'a>,
        /// Whether the version is marked compromised: others may have read or written the message.
        /// `false` if the keyring failed to report the state.
        compromised: bool,
    },
    /// A slot of this keyring was refused because of the state of its version.
    Refused {
        /// The slot's label; unverified.
        label: SlotLabel<'a>,
        /// Why.
        refusal: Refusal,
    },
    /// A slot of this keyring does not verify: the header was changed, or the slot belongs to another
    /// message.
    NotVerified {
        /// The slot's label; unverified.
        label: SlotLabel<'a>,
    },
    /// The backend or the random generator failed, or the primary has reached its
    /// [wrap limit](crate::keyring::KeyringError::WrapLimit).
    Unavailable {
        /// The error: a [`KeyringError`](crate::keyring::KeyringError).
        error: &'a (dyn Error + 'static),
    },
    /// An encrypting stream was dropped without `finish`, so every reader rejects its message. An
    /// [`Envelope`](crate::Envelope::with_observer) reports it, unless the stream failed before.
    StreamUnfinished,
    /// No version wraps: encryption fails until one is promoted.
    NoPrimary,
    /// A version or an alias was changed.
    Changed {
        /// What changed.
        transition: &'a Transition,
        /// Its change number.
        change: u64,
    },
    /// A promotion moved the primary of a master key: by a rotation, a rollback, or with its
    /// first version.
    Rotated {
        /// The master key.
        key: &'a str,
        /// The primary before; `None` if there was none before this change.
        from: Option<KeyVersion>,
        /// The primary now.
        to: KeyVersion,
        /// Its change number.
        change: u64,
    },
    /// A keyring loaded keys that another process changed.
    Reloaded {
        /// The change number now.
        change: u64,
        /// The change number before.
        from_change: u64,
    },
    /// A change filled a key file to 80 % or more of its maximum size: remove records of destroyed
    /// versions ([`Change::RemoveRecords`](crate::keyset::Change::RemoveRecords)), or use a
    /// second file for further keys.
    KeyFileFilling {
        /// The size in per cent of the maximum.
        percent: u8,
        /// The change number.
        change: u64,
    },
    /// The freshness of an outer key of a key file changed: it is no longer the primary of its
    /// keyring, or is the primary again. Reported once for each change, while the file is open and can
    /// be put under another outer key ([`rewrap_protection`](crate::FileKeyring::rewrap_protection)).
    OuterKey {
        /// The protection of the key file: its name, or its id if it has none.
        protection: &'a str,
        /// The outer key; unverified until it opens the file.
        label: SlotLabel<'a>,
        /// Its freshness: never [`NotMine`](Freshness::NotMine).
        freshness: Freshness,
    },
    /// A token was reconnected after the loss of its sessions.
    TokenReconnected {
        /// The token, as the options name it.
        token: &'a str,
        /// Whether the library was initialised again.
        restarted: bool,
    },
    /// The user was logged in to a token.
    TokenLogin {
        /// The token, as the options name it.
        token: &'a str,
    },
    /// A login to a token failed. The same PIN is not tried again.
    TokenLoginRefused {
        /// The token, as the options name it.
        token: &'a str,
        /// Why.
        error: &'a (dyn Error + 'static),
    },
    /// A keyring failed to load its keys and keeps the previous ones.
    ReloadFailed {
        /// Why.
        error: &'a (dyn Error + 'static),
    },
}

/// Ignores every event.
impl Observer for () {
    fn event(&self, _: &Event<'_>) {}
}

/// Calls the first, then the second.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}

macro_rules! forward_observer {
    ($($pointer:ty),*) => {$(
        impl<O: Observer + ?Sized> Observer for $pointer {
            fn event(&self, event: &Event<'_>) {
                (**self).event(event);
            }
        }
    )*};
}

forward_observer!(&O, Box<O>, Arc<O>);

/// An observer that calls a closure.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MemoryKeyring, observe::{Event, FnObserver, ObservedKeyring}};
///
/// let observer = FnObserver::new(|event: &Event<'_>| match event {
///     Event::Unwrapped { label, compromised: true } => {
///         eprintln!("{} version {} is known to others", label.name, label.version);
///     }
///     Event::Refused { label, refusal } => eprintln!("{}: {refusal}", label.name),
///     _ => {}
/// });
/// let keyring = ObservedKeyring::new(MemoryKeyring::create("orders")?, observer);
/// let message = Envelope::new(&keyring).encrypt(b"hello", Aad::none())?;
/// # assert_eq!(Envelope::new(&keyring).decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
#[derive(Clone, Copy)]
pub struct FnObserver<F>(F);

impl<F: Fn(&Event<'_>) + Send + Sync> FnObserver<F> {
    /// Returns an observer that calls `closure` with each event.
    pub const fn new(closure: F) -> Self {
        FnObserver(closure)
    }
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for FnObserver<F> {
    fn event(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

impl<F> fmt::Debug for FnObserver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnObserver").finish_non_exhaustive()
    }
}
