//! Judges the PKCS#11 keyrings on the token that the environment names: `tests/pkcs11.sh` sets one
//! up after the other and runs this for each. In one thread: a login is the process's.
#![cfg(all(feature = "pkcs11", feature = "test-util", unix))]

#[path = "pkcs11_token/conformance.rs"]
mod conformance;
#[path = "pkcs11_token/place.rs"]
mod place;
