//! Keyrings on a token of SoftHSM, where it is installed.

#![cfg(feature = "pkcs11")]
