//! Tests which traits secret types have and, above all, lack: a key without `Clone`, `Debug` and
//! `PartialEq` cannot leak that way (THREATS 46 and 47). The compilation of this file is the proof.

use envelock::danger::{ChunkDecryptor, ChunkEncryptor};
use envelock::rand_core::TryCryptoRng;
use envelock::{
    Aad, DataKey, Envelope, Error, Keyring, MasterKey, MemoryKeyring, OpenedKey, OsRandom,
    keyring::KeyringError,
};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Whether a type has a trait: an inherent constant, where its bound holds, hides the one that
/// every type has through a trait.
macro_rules! has {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code, reason = "unused where the bound holds")]
        trait Without {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Without for T {}
        #[allow(dead_code, reason = "unused where the bound does not hold")]
        struct Question<T: ?Sized>(core::marker::PhantomData<T>);
        #[allow(dead_code, reason = "unused where the bound does not hold")]
        impl<T: ?Sized + $($bound)+> Question<T> {
            const HAS: bool = true;
        }
        <Question<$type>>::HAS
    }};
}

macro_rules! lacks_all {
    ($type:ty: $($bound:path),+ $(,)?) => {
        $(const _: () = assert!(
            !has!($type: $bound),
            concat!(stringify!($type), " must not have ", stringify!($bound))
        );)+
    };
}

macro_rules! has_all {
    ($type:ty: $($bound:path),+ $(,)?) => {
        $(const _: () = assert!(
            has!($type: $bound),
            concat!(stringify!($type), " must have ", stringify!($bound))
        );)+
    };
}

lacks_all!(DataKey: Clone, Copy, Debug, Display, PartialEq, PartialOrd, Hash, Default);
lacks_all!(DataKey: AsRef<[u8]>, core::ops::Deref, core::borrow::Borrow<[u8]>, Into<Vec<u8>>);
lacks_all!(MasterKey: Clone, Copy, Debug, Display, PartialEq, PartialOrd, Hash, Default);
lacks_all!(MasterKey: AsRef<[u8]>, core::ops::Deref, core::borrow::Borrow<[u8]>, Into<Vec<u8>>);
lacks_all!(OpenedKey: Clone, Copy, Display, PartialEq, PartialOrd, Hash, Default);
lacks_all!(OpenedKey: AsRef<[u8]>, core::ops::Deref, core::borrow::Borrow<[u8]>, Into<Vec<u8>>);
lacks_all!(ChunkEncryptor: Clone, Copy, Display, PartialEq, PartialOrd, Hash);
lacks_all!(ChunkDecryptor: Clone, Copy, Display, PartialEq, PartialOrd, Hash);
// A clone of the keyring would be a copy of its keys.
lacks_all!(MemoryKeyring: Clone, Copy, Display, PartialEq, Hash);
lacks_all!(Envelope<MemoryKeyring>: Clone, Copy, PartialEq, Hash);
// An error is no oracle to compare with, and holds nothing that would need wiping.
lacks_all!(Error: PartialEq, Hash);

has_all!(DataKey: ZeroizeOnDrop, Send, Sync);
has_all!(MasterKey: ZeroizeOnDrop, Send, Sync);
has_all!(OpenedKey: ZeroizeOnDrop, Send, Sync, Debug);
has_all!(ChunkEncryptor: Send, Sync);
has_all!(ChunkDecryptor: Send, Sync);
has_all!(Envelope<MemoryKeyring>: Send, Sync, Debug);
has_all!(Envelope<Box<dyn Keyring>>: Send, Sync);
has_all!(Envelope<&'static dyn Keyring>: Send, Sync);
has_all!(Error: Send, Sync, Clone, std::error::Error);
has_all!(KeyringError: Send, Sync, Clone, std::error::Error);
has_all!(OsRandom: TryCryptoRng);

// The question itself can be answered both ways.
has_all!(Aad<'static>: Clone, Copy, Debug, PartialEq);
lacks_all!(Aad<'static>: Display, Hash, Zeroize);

#[test]
fn keyring_is_object_safe_and_envelope_is_send() {
    let keyring: std::sync::Arc<dyn Keyring> = match MemoryKeyring::create("orders") {
        Ok(keyring) => std::sync::Arc::new(keyring),
        Err(error) => panic!("{error}"),
    };
    let envelope = Envelope::new(keyring);
    let opened = std::thread::scope(|scope| {
        let message = scope.spawn(|| envelope.encrypt(b"hello", Aad::none())).join();
        let message = message.map_err(|_| "panicked").and_then(|done| done.map_err(|_| "failed"));
        message.map(|message| envelope.decrypt(&message, Aad::none()).is_ok())
    });
    assert_eq!(opened, Ok(true));
}

#[test]
fn secrets_drop_by_code_and_not_by_nothing() {
    assert!(std::mem::needs_drop::<DataKey>());
    assert!(std::mem::needs_drop::<MasterKey>());
    assert!(std::mem::needs_drop::<OpenedKey>());
    assert!(std::mem::needs_drop::<ChunkEncryptor>());
    assert!(std::mem::needs_drop::<ChunkDecryptor>());
}
