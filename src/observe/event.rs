//! Events of a keyring, and the trait that receives them.

use crate::format::{KeyVersion, SlotLabel};
use crate::keyset::{Freshness, Refusal, Transition};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

/// Is told what a keyring did, after it was done.
///
/// An [`ObservedKeyring`](super::ObservedKeyring) puts one around any keyring; keyrings that load their keys from elsewhere
/// tell theirs about loads. Features `tracing` and `metrics` bring observers for those facades.
///
/// `()` sees nothing. `&O`, `Box<O>` and `Arc<O>` are observers, and so is a pair of two; a closure
/// becomes one in a [`FnObserver`].
///
/// # Contract
///
/// - [`event`](Self::event) runs in the thread that uses the keyring, before its caller has the
///   answer, and outside of the keyring's locks: an observer may use the keyring, at the
///   price of events about that. What it takes, every encryption and decryption takes longer:
///   an observer that writes to a disk or a network hands the event to a thread of its own.
/// - It may be called from many threads at once. Events of one call come in order; of calls side by
///   side in any, and changes are ordered by their change number.
/// - It cannot refuse. An audit that has to be complete, so that no key is used unless its record
///   is durable, is no observer but a [`Keyring`](crate::Keyring) around the keyring, which writes
///   the record and answers [`KeyringError::Backend`](crate::keyring::KeyringError::Backend) where it cannot.
/// - It must not panic. If it does, the panic goes on to whoever called the envelope: that call
///   gives no answer, data keys are wiped, and the keyring stays usable. A change that was made
///   stays made.
///
/// # Security
///
/// No event holds a key, plaintext, associated data or a data key id. Names and versions of
/// [`Wrapped`](Event::Wrapped) and [`Unwrapped`](Event::Unwrapped) are proven; those of
/// [`Refused`](Event::Refused) and [`NotVerified`](Event::NotVerified) are what a header says, which
/// whoever wrote the message chose, up to 16 of them in one message. Key names are of a small
/// alphabet without spaces, quotes or line ends; the text of errors is the backend's.
pub trait Observer: Send + Sync {
    /// Takes note of `event`.
    fn event(&self, event: &Event<'_>);
}

/// One thing that a keyring did, or could not do. Borrowed: making one allocates nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A data key was wrapped, by an encryption or a rewrap; once for each slot.
    Wrapped {
        /// The slot's label.
        label: SlotLabel<'a>,
    },
    /// A slot was unwrapped, and its data key is the message's.
    ///
    /// A rewrap unwraps the old slot, and the new one to prove it.
    Unwrapped {
        /// The slot's label.
        label: SlotLabel<'a>,
        /// Whether the version is marked compromised: others may know the plaintext, or have
        /// written it. `false` where the keyring cannot tell now.
        compromised: bool,
    },
    /// A slot of this keyring's was not unwrapped, because of its version's state.
    Refused {
        /// The slot's label; not proven.
        label: SlotLabel<'a>,
        /// Why.
        refusal: Refusal,
    },
    /// A slot of this keyring's does not verify: the message was changed, or its slot comes from
    /// another.
    NotVerified {
        /// The slot's label; not proven.
        label: SlotLabel<'a>,
    },
    /// The backend, or the random generator, did not answer; or the primary has come to the end of
    /// its [wrap limit](crate::keyring::KeyringError::WrapLimit).
    Unavailable {
        /// The answer, with what the backend said as its source.
        error: &'a (dyn Error + 'static),
    },
    /// An encrypting stream was dropped before its end, so that every reader refuses its message:
    /// `finish` was not called. Told by an [`Envelope`](crate::Envelope::with_observer), and not where
    /// the stream failed, which its caller knows.
    StreamUnfinished,
    /// There is no version to wrap with: nothing can be encrypted until one is promoted.
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
    /// A keyring took over keys that another process changed.
    Reloaded {
        /// The change number now.
        change: u64,
        /// The change number before.
        from_change: u64,
    },
    /// A change left a key file with 80 % or more of what it can hold: remove records of destroyed
    /// versions ([`Change::RemoveRecords`](crate::keyset::Change::RemoveRecords)), or keep other keys in another
    /// file.
    KeyFileFilling {
        /// How much of what it can hold is taken, in per cent.
        percent: u8,
        /// The change number.
        change: u64,
    },
    /// An outer key that keeps the file key of a key file is not its keyring's primary any more, or
    /// is again: told once for each change, while the file is still open and can be put under
    /// another ([`rewrap_protection`](crate::FileKeyring::rewrap_protection)).
    OuterKey {
        /// The protection of the key file: its name, or its id if it has none.
        protection: &'a str,
        /// The outer key; not proven before the file is opened by it.
        label: SlotLabel<'a>,
        /// How it stands: never [`NotMine`](Freshness::NotMine).
        freshness: Freshness,
    },
    /// A token is connected again after its sessions were lost.
    TokenReconnected {
        /// The token, by what it was asked for.
        token: &'a str,
        /// Whether the library had to be set up anew.
        restarted: bool,
    },
    /// The user was logged in to a token.
    TokenLogin {
        /// The token, by what it was asked for.
        token: &'a str,
    },
    /// Nobody could be logged in to a token: nothing tries the same PIN again.
    TokenLoginRefused {
        /// The token, by what it was asked for.
        token: &'a str,
        /// Why.
        error: &'a (dyn Error + 'static),
    },
    /// A keyring could not load its keys; it goes on with those it has.
    ReloadFailed {
        /// Why.
        error: &'a (dyn Error + 'static),
    },
}

/// Sees nothing, and costs nothing.
impl Observer for () {
    fn event(&self, _: &Event<'_>) {}
}

/// Tells the first, then the second.
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

/// Makes a closure an observer.
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
    /// An observer that calls `closure` with each event.
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
