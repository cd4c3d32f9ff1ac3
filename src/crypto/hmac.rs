//! HMAC (RFC 2104) over the compression functions of SHA-256 and SHA-512 (FIPS 180-4).
//!
//! Not over a hasher: the two blocks that depend on the key alone are hashed once for each key, and
//! their states are plain words that stay in one place until they are wiped.

#![expect(clippy::indexing_slicing, reason = "an offset in a block is less than its length")]

use core::slice;
use sha2::block_api::{compress256, compress512};
use zeroize::Zeroize;

/// The state of a hash with blocks of `BLOCK` bytes. A digest is the state after the last block.
pub(super) trait State<const BLOCK: usize>: Copy {
    const INITIAL: Self;
    const ZERO: Self;

    /// Length of a digest in bytes.
    const LEN: usize = size_of::<Self>();

    fn compress(&mut self, blocks: &[[u8; BLOCK]]);

    /// Writes the start of the digest, as much as `out` has room for.
    fn write(&self, out: &mut [u8]);

    fn wipe(&mut self);
}

macro_rules! state {
    ($word:ty, $block:literal, $compress:path, $initial:expr) => {
        impl State<$block> for [$word; 8] {
            const INITIAL: Self = $initial;
            const ZERO: Self = [0; 8];

            fn compress(&mut self, blocks: &[[u8; $block]]) {
                $compress(self, blocks);
            }

            fn write(&self, out: &mut [u8]) {
                for (out, word) in out.chunks_mut(size_of::<$word>()).zip(self) {
                    out.copy_from_slice(&word.to_be_bytes()[..out.len()]);
                }
            }

            fn wipe(&mut self) {
                self.as_mut_slice().zeroize();
            }
        }
    };
}

pub(super) type Sha256 = [u32; 8];
pub(super) type Sha512 = [u64; 8];

// FIPS 180-4, section 5.3.3
state!(
    u32,
    64,
    compress256,
    [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ]
);
// FIPS 180-4, section 5.3.5
state!(
    u64,
    128,
    compress512,
    [
        0x6a09_e667_f3bc_c908,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1,
        0x9b05_688c_2b3e_6c1f,
        0x1f83_d9ab_fb41_bd6b,
        0x5be0_cd19_137e_2179,
    ]
);

/// The states after the block of a key under each of the two pads. Its owner wipes it.
#[derive(Clone, Copy)]
pub(super) struct HmacKey<S> {
    inner: S,
    outer: S,
}

impl<S> HmacKey<S> {
    pub(super) const fn zero<const BLOCK: usize>() -> Self
    where
        S: State<BLOCK>,
    {
        HmacKey { inner: S::ZERO, outer: S::ZERO }
    }

    /// Sets up `key`.
    pub(super) fn set<const BLOCK: usize>(&mut self, key: &[u8])
    where
        S: State<BLOCK>,
    {
        let mut block = [0; BLOCK];
        match block.get_mut(..key.len()) {
            Some(start) => start.copy_from_slice(key),
            None => {
                let mut hash = Hmac { state: S::INITIAL, block, len: 0 };
                hash.update(key);
                hash.pad();
                hash.state.write(&mut block[..S::LEN]);
            }
        }
        (self.inner, self.outer) = (S::INITIAL, S::INITIAL);
        block.iter_mut().for_each(|byte| *byte ^= 0x36);
        self.inner.compress(slice::from_ref(&block));
        block.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        self.outer.compress(slice::from_ref(&block));
        block.as_mut_slice().zeroize();
    }

    pub(super) fn wipe<const BLOCK: usize>(&mut self)
    where
        S: State<BLOCK>,
    {
        self.inner.wipe();
        self.outer.wipe();
    }
}

/// Computes HMACs one after the other. Wipes its block and its state on drop.
pub(super) struct Hmac<S: State<BLOCK>, const BLOCK: usize> {
    state: S,
    block: [u8; BLOCK],
    len: usize,
}

impl<S: State<BLOCK>, const BLOCK: usize> Hmac<S, BLOCK> {
    pub(super) const fn new() -> Self {
        Hmac { state: S::ZERO, block: [0; BLOCK], len: 0 }
    }

    /// Begins the HMAC of another message.
    pub(super) fn begin(&mut self, key: &HmacKey<S>) {
        self.resume(&key.inner);
    }

    /// Goes on from a state after one block.
    fn resume(&mut self, state: &S) {
        (self.state, self.len) = (*state, BLOCK);
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        let used = self.len % BLOCK;
        self.len += bytes.len();
        if used > 0 {
            let room = &mut self.block[used..];
            let Some((first, rest)) = bytes.split_at_checked(room.len()) else {
                return room[..bytes.len()].copy_from_slice(bytes);
            };
            room.copy_from_slice(first);
            self.state.compress(slice::from_ref(&self.block));
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks();
        if !blocks.is_empty() {
            self.state.compress(blocks);
        }
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// Writes the start of the HMAC of what was put in.
    pub(super) fn finish(&mut self, key: &HmacKey<S>, out: &mut [u8]) {
        self.pad();
        let inner = self.state;
        self.resume(&key.outer);
        inner.write(&mut self.block[..S::LEN]);
        self.len += S::LEN;
        self.pad();
        self.state.write(out);
    }

    /// Hashes the last block: a one bit, zeros, the length in bits.
    fn pad(&mut self) {
        let used = self.len % BLOCK;
        self.block[used] = 0x80;
        self.block[used + 1..].fill(0);
        if used + 1 + BLOCK / 8 > BLOCK {
            self.state.compress(slice::from_ref(&self.block));
            self.block.fill(0);
        }
        let bits = (self.len as u64) << 3;
        self.block[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
        self.state.compress(slice::from_ref(&self.block));
    }
}

impl<S: State<BLOCK>, const BLOCK: usize> Drop for Hmac<S, BLOCK> {
    fn drop(&mut self) {
        self.state.wipe();
        self.block.as_mut_slice().zeroize();
    }
}
