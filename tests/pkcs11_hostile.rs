//! Judges the PKCS#11 keyring on a token that lies, by `crates/pkcs11-hostile/`, which forwards to
//! SoftHSM. `tests/pkcs11_hostile.sh` builds it and sets the token up. In one thread: a lie is told to
//! the whole process.
#![cfg(all(feature = "pkcs11", feature = "test-util", unix))]

#[path = "pkcs11_hostile/calls.rs"]
mod calls;
#[path = "pkcs11_hostile/hanging.rs"]
mod hanging;
#[path = "pkcs11_hostile/hostile.rs"]
mod hostile;
#[path = "pkcs11_hostile/iv_modes.rs"]
mod iv_modes;
#[path = "pkcs11_hostile/news.rs"]
mod news;
#[path = "pkcs11_token/place.rs"]
#[allow(dead_code)] // What other tokens need.
mod place;
#[path = "common/raw_token.rs"]
mod raw_token;
#[path = "pkcs11_hostile/storms.rs"]
mod storms;
#[path = "pkcs11_hostile/sweep.rs"]
mod sweep;
