//! AES-256-GCM for one call, as a wrap of a data key needs it.

use crate::crypto::CryptoError;
use crate::crypto::aead::{Aead, Nonce};
use aes::Block;
use aes::cipher::consts::{U1, U16};
use aes::cipher::inout::InOut;
use aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
    ParBlocksSizeUser,
};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use zeroize::Zeroizing;

/// AES-256 alone, with its key set up to encrypt.
pub(in crate::crypto) struct Aes256(aes::Aes256Enc);

impl Aes256 {
    pub(in crate::crypto) fn new(key: &[u8; 32]) -> Self {
        Aes256(aes::Aes256Enc::new(key.into()))
    }

    pub(in crate::crypto) fn encrypt_blocks(&self, blocks: &mut [[u8; 16]]) {
        self.0.encrypt_with_backend(EachBlock(Block::cast_slice_from_core_mut(blocks)));
    }
}

/// Encrypts one block after the other. `encrypt_blocks` of `aes` takes 64 at a time, and needs some 6 KiB of
/// stack for that.
struct EachBlock<'a>(&'a mut [Block]);

impl BlockSizeUser for EachBlock<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for EachBlock<'_> {
    // Without a call, it has the processor features of the back end.
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        for block in self.0 {
            backend.encrypt_block(block.into());
        }
    }
}

/// AES-256 that has encrypted the first blocks of AES-GCM under one nonce already: `aes` copies every round
/// key at each call, which costs more than the blocks.
struct Ahead {
    aes: Aes256,
    /// The block of the GHASH key, that of the tag, and two of data: block `i` ends with the byte `i`.
    inputs: [[u8; 16]; 4],
    outputs: Zeroizing<[[u8; 16]; 4]>,
}

impl Ahead {
    fn new(key: &[u8; 32], nonce: &Nonce) -> Self {
        let mut inputs = [[0; 16]; 4];
        for (i, block) in (0..).zip(&mut inputs).skip(1) {
            block[..12].copy_from_slice(nonce);
            block[15] = i;
        }
        let mut ahead = Ahead { aes: Aes256::new(key), inputs, outputs: Zeroizing::new(inputs) };
        ahead.aes.encrypt_blocks(ahead.outputs.as_mut_slice());
        ahead
    }
}

impl BlockSizeUser for Ahead {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Ahead {
    type ParBlocksSize = U1;
}

impl BlockCipherEncBackend for Ahead {
    #[inline]
    fn encrypt_block(&self, mut block: InOut<'_, '_, Block>) {
        let input = block.get_in().0;
        // Inputs of AES-GCM are public.
        let known = self.inputs.iter().zip(self.outputs.iter()).find(|(known, _)| **known == input);
        match known {
            Some((_, output)) => block.get_out().0 = *output,
            None => self.aes.0.encrypt_block_inout(block),
        }
    }
}

impl BlockCipherEncrypt for Ahead {
    #[inline]
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        f.call(self);
    }
}

/// Sets up AES-256-GCM for one call of `run` with `nonce`, fastest up to 32 bytes.
///
/// The cipher has a reference to AES, so that no move copies its key schedule.
pub(in crate::crypto) fn with_aes_256_gcm<T>(
    key: &[u8; 32],
    nonce: &Nonce,
    run: impl FnOnce(&dyn Aead) -> Result<T, CryptoError>,
) -> Result<T, CryptoError> {
    let ahead = Ahead::new(key, nonce);
    run(&AesGcm::<&Ahead, U12>::from(&ahead))
}
