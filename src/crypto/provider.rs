//! Whose AEADs are used.

use core::fmt;

/// Whose implementation of the AEADs encrypts and decrypts bodies.
///
/// The bytes are the same whichever it is, so this is a choice of speed and of what is linked:
/// a message of one provider opens with every other. Hashes have one implementation, RustCrypto's. The
/// wraps of software keyrings are RustCrypto's too, or AWS-LC's with feature `aws-lc-rs`, whatever the choice.
///
/// The default is the fastest one compiled in that this processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// `aes-gcm` and `chacha20poly1305`: pure Rust, always there.
    RustCrypto,
    /// AES-GCM of `graviola`, in Rust and assembly (feature `graviola`): x86-64 and aarch64.
    ///
    /// RustCrypto's run in its place on a processor that lacks a feature it needs (see
    /// [`is_supported`](Self::is_supported)), and for ChaCha20-Poly1305. The processor is asked at each
    /// key set-up.
    #[cfg(feature = "graviola")]
    Graviola,
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
        // Ahead of RustCrypto from about 200 bytes on, key set-up included, and 50 ns behind below.
        #[cfg(feature = "graviola")]
        Provider::Graviola,
        Provider::RustCrypto,
    ];

    /// Returns whether this processor runs it: where not, RustCrypto's AEADs run in its place.
    ///
    /// `Graviola` needs AES, PCLMULQDQ, AVX, AVX2, BMI1 and ADX on x86-64; AES, NEON, PMULL and SHA-2 on
    /// aarch64. The others run everywhere.
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(feature = "graviola")]
            Provider::Graviola => {
                #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                let is_supported = super::graviola::is_supported();
                #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
                let is_supported = false;
                is_supported
            }
            _ => true,
        }
    }
}

impl Default for Provider {
    fn default() -> Self {
        let mut supported = Self::ALL.iter().filter(|provider| provider.is_supported());
        supported.next().copied().unwrap_or(Provider::RustCrypto)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Provider::RustCrypto => "RustCrypto",
            #[cfg(feature = "graviola")]
            Provider::Graviola => "graviola",
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLcRs => "aws-lc-rs",
        })
    }
}
