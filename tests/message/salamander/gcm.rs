//! One GCM ciphertext and tag for two keys: GHASH is linear, so one block solves it.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};

/// AES of one block.
pub fn aes(key: &[u8], block: u128) -> u128 {
    let mut block = block.to_be_bytes().into();
    match key.len() {
        16 => Aes128::new_from_slice(key).unwrap().encrypt_block(&mut block),
        _ => Aes256::new_from_slice(key).unwrap().encrypt_block(&mut block),
    }
    u128::from_be_bytes(block.into())
}

/// Product in GCM's field: bit 0 is the highest of the block (NIST SP 800-38D, 6.3).
fn multiply(x: u128, y: u128) -> u128 {
    let mut product = 0;
    let mut shifted = y;
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= shifted;
        }
        let carry = shifted & 1;
        shifted >>= 1;
        if carry == 1 {
            shifted ^= 0xE1 << 120;
        }
    }
    product
}

const ONE: u128 = 1 << 127;

fn power(x: u128, exponent: usize) -> u128 {
    (0..exponent).fold(ONE, |power, _| multiply(power, x))
}

/// x to the power of 2^128 - 2.
fn invert(x: u128) -> u128 {
    let mut square = x;
    let mut inverse = ONE;
    for _ in 1..128 {
        square = multiply(square, square);
        inverse = multiply(inverse, square);
    }
    inverse
}

/// A GCM key and nonce.
pub struct Gcm {
    key: Vec<u8>,
    nonce: [u8; 12],
}

impl Gcm {
    pub fn new(key: &[u8], nonce: [u8; 12]) -> Self {
        Gcm { key: key.to_vec(), nonce }
    }

    fn counter(&self, counter: u32) -> u128 {
        let [head, tail] = [&self.nonce[..], &counter.to_be_bytes()];
        let block: [u8; 16] = [head, tail].concat().try_into().unwrap();
        aes(&self.key, u128::from_be_bytes(block))
    }

    /// Key stream of block `index` of the text.
    pub fn key_stream(&self, index: u32) -> u128 {
        self.counter(index + 2)
    }

    /// The tag of all GHASH input blocks, lengths included.
    fn tag(&self, blocks: &[u128]) -> u128 {
        let h = aes(&self.key, 0);
        let hash = blocks.iter().fold(0, |hash, block| multiply(hash ^ block, h));
        hash ^ self.counter(1)
    }
}

/// Chooses block `free` of `text` so that text and tag open under both ciphers with `aad`.
/// Returns text and tag.
pub fn salamander(ciphers: [&Gcm; 2], aad: &[u8], text: &[u128], free: usize) -> Vec<u8> {
    let padded = |chunk: &[u8]| {
        let mut block = [0; 16];
        block[..chunk.len()].copy_from_slice(chunk);
        u128::from_be_bytes(block)
    };
    let lengths = ((aad.len() as u128 * 8) << 64) + text.len() as u128 * 128;
    let mut blocks: Vec<u128> = aad.chunks(16).map(padded).collect();
    let free = blocks.len() + free;
    let text_start = blocks.len();
    blocks.extend_from_slice(text);
    blocks.push(lengths);
    blocks[free] = 0;
    // The tags differ by a constant; the free block counts H to the power of its position from
    // the end, a different power of a different H for each key.
    let difference = ciphers[0].tag(&blocks) ^ ciphers[1].tag(&blocks);
    let weight = |cipher: &Gcm| power(aes(&cipher.key, 0), blocks.len() - free);
    let weights = weight(ciphers[0]) ^ weight(ciphers[1]);
    blocks[free] = multiply(difference, invert(weights));
    assert_eq!(ciphers[0].tag(&blocks), ciphers[1].tag(&blocks));
    let tag = ciphers[0].tag(&blocks);
    let text = &blocks[text_start..blocks.len() - 1];
    text.iter().chain([&tag]).flat_map(|block| block.to_be_bytes()).collect()
}
