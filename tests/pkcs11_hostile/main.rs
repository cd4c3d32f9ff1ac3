//! Tests the PKCS#11 keyring on a faulty token, by `crates/pkcs11-hostile/`, which forwards to
//! SoftHSM. `ci/pkcs11_hostile.sh` builds it and sets the token up. In one thread: a fault is injected
//! into the whole process.
#![cfg(all(feature = "pkcs11", feature = "test-util", unix))]

mod calls;
mod events;
mod hanging;
mod hostile;
mod iv_modes;
mod random_faults;
#[path = "../common/raw_token.rs"]
mod raw_token;
mod sweep;
#[allow(dead_code)] // Other tokens need the rest.
#[path = "../common/token_env.rs"]
mod token_env;
