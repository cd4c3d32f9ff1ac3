//! Whose AEADs are used.

use core::fmt;

/// Whose implementation of the AEADs encrypts and decrypts bodies.
///
/// The bytes are the same whichever it is, so this is a choice of speed and of what is linked:
/// a message of one provider opens with every other. The rest (hashes, the wraps of software
/// keyrings) has one implementation, RustCrypto's.
///
/// The default is the fastest one compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// `aes-gcm` and `chacha20poly1305`: pure Rust, always there.
    RustCrypto,
    /// AWS-LC, in C and assembly (feature `aws-lc-rs`).
    ///
    /// Each key set-up takes a block of about 600 bytes from the C allocator.
    #[cfg(feature = "aws-lc-rs")]
    AwsLcRs,
}

impl Provider {
    /// Every provider compiled in, the fastest one first.
    pub const ALL: &'static [Provider] = &[
        // Measured: ahead at every length from none to a chunk, in every suite, key set-up
        // included. So there is one order, and not one for each suite.
        #[cfg(feature = "aws-lc-rs")]
        Provider::AwsLcRs,
        Provider::RustCrypto,
    ];
}

#[cfg(feature = "aws-lc-rs")]
const FASTEST: Provider = Provider::AwsLcRs;
#[cfg(not(feature = "aws-lc-rs"))]
const FASTEST: Provider = Provider::RustCrypto;

impl Default for Provider {
    fn default() -> Self {
        FASTEST
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Provider::RustCrypto => "RustCrypto",
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLcRs => "aws-lc-rs",
        })
    }
}
