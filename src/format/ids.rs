//! Identifiers in a header: versions, ids, algorithms.

use super::suite::Suite;
use core::fmt;
use core::num::{NonZeroU8, NonZeroU32};

/// Version of a master key: non-zero, increasing, never reused.
#[doc(alias = "generation")]
#[doc(alias = "epoch")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(NonZeroU32);

impl KeyVersion {
    /// The first version of a keyset: 1.
    pub const FIRST: KeyVersion = KeyVersion(NonZeroU32::MIN);

    /// Returns the version with this number, or `None` for zero.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(KeyVersion(number)),
            None => None,
        }
    }

    /// Returns the number.
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// Returns the next version, or `None` after 2^32 - 1.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(KeyVersion(number)),
            None => None,
        }
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Identifies the material of a master key version, independent of its name and number (SPEC 4.2).
///
/// Eight bytes; public. It distinguishes two keys of one name and version, such as the second
/// "version 5" of a restored backup.
///
/// A keyring of software keys derives it from the key (SPEC K-MASTER). A keyring of a token or a
/// service either draws it at random when it creates the key and stores it, or takes the first 8
/// bytes of SHA-256 of the native key id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId(pub [u8; 8]);

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeyId({self})")
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Identifies the data key of a message: eight random bytes, then an eight-byte check of the key.
///
/// Public. It does not change during the life of the message. Messages that share a data key have
/// the same id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKeyId(pub [u8; 16]);

impl fmt::Debug for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKeyId({self})")
    }
}

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// How the data key of a slot is wrapped (SPEC 4.4). The algorithm of a key version never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WrapAlgorithm(NonZeroU8);

impl WrapAlgorithm {
    /// Algorithm 1: XAES-256-GCM under a software master key.
    pub const XAES_256_GCM: WrapAlgorithm = WrapAlgorithm(NonZeroU8::MIN);
    /// Algorithm 2: AES-256-GCM inside a token.
    pub const TOKEN_AES_256_GCM: WrapAlgorithm = WrapAlgorithm::of(2);
    /// Algorithm 3: AES-256-CBC then HMAC-SHA-256 inside a token.
    pub const TOKEN_AES_256_CBC_HMAC: WrapAlgorithm = WrapAlgorithm::of(3);
    /// Algorithm 4: AES-256-GCM by Transit, the service of Vault and OpenBao (SPEC W-TRANSIT).
    pub const TRANSIT_AES_256_GCM: WrapAlgorithm = WrapAlgorithm::of(4);

    #[expect(clippy::expect_used, reason = "used in constants alone, where it fails the build")]
    const fn of(id: u8) -> Self {
        WrapAlgorithm::new(id).expect("no algorithm is zero")
    }

    /// Returns the algorithm of an id, or `None` for zero. Ids 128 to 255 are for keyrings of other
    /// crates.
    pub const fn new(id: u8) -> Option<Self> {
        match NonZeroU8::new(id) {
            Some(id) => Some(WrapAlgorithm(id)),
            None => None,
        }
    }

    /// Returns the id on the wire.
    pub const fn id(self) -> u8 {
        self.0.get()
    }

    /// Returns the exact length of a wrapped key in bytes where the format fixes it (algorithms 1 to
    /// 3), or `None`.
    pub const fn wrapped_key_len(self, suite: Suite) -> Option<usize> {
        let overhead = match self.0.get() {
            1 => 40,
            2 => 28,
            3 => 48,
            _ => return None,
        };
        Some(suite.data_key_len() + overhead)
    }
}

impl fmt::Display for WrapAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get() {
            1 => f.write_str("XAES-256-GCM"),
            2 => f.write_str("AES-256-GCM in a token"),
            3 => f.write_str("AES-256-CBC and HMAC-SHA-256 in a token"),
            4 => f.write_str("AES-256-GCM by Transit"),
            id => write!(f, "wrap algorithm {id}"),
        }
    }
}
