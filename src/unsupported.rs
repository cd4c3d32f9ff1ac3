//! Names of what is there on Unix alone, for a compiler that looks for them elsewhere.

/// Not there on this target: key files need the locks, owners and modes of Unix.
#[cfg(feature = "file")]
#[deprecated = "key files are there on Unix alone: implement `Keyring`, or use `MemoryKeyring`"]
#[derive(Debug)]
pub enum FileKeyring {}

/// Not there on this target: message files need the locks and renames of Unix.
#[cfg(feature = "file")]
#[deprecated = "message files are there on Unix alone: use the readers and writers of `Envelope`"]
#[derive(Debug)]
pub enum MessageFile {}

/// Not there on this target: the catalogue of a token is a key file, which needs Unix.
#[cfg(feature = "pkcs11")]
#[deprecated = "tokens are there on Unix alone: implement `Keyring`"]
#[derive(Debug)]
pub enum Pkcs11Keyring {}
