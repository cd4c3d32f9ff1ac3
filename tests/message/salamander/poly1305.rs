//! One ChaCha20-Poly1305 ciphertext and tag for two keys: two blocks and two linear equations
//! modulo 2^130 - 5 (RFC 8439).

use crate::common::{random_bytes, rng};
use num_bigint::BigUint;

/// A ChaCha20-Poly1305 key and nonce.
pub struct ChaCha {
    key: [u8; 32],
    nonce: [u8; 12],
}

impl ChaCha {
    pub fn new(key: &[u8], nonce: [u8; 12]) -> Self {
        ChaCha { key: key.try_into().unwrap(), nonce }
    }

    /// The block function (RFC 8439, section 2.3).
    pub fn block(&self, counter: u32) -> [u8; 64] {
        let mut input = *b"expand 32-byte k                                                ";
        input[16..48].copy_from_slice(&self.key);
        input[48..52].copy_from_slice(&counter.to_le_bytes());
        input[52..].copy_from_slice(&self.nonce);
        let word = |index: usize| u32::from_le_bytes(input[4 * index..][..4].try_into().unwrap());
        let start: [u32; 16] = std::array::from_fn(word);
        let mut state = start;
        for _ in 0..10 {
            for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
                quarter_round(&mut state, a, b, c, d);
            }
            for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
                quarter_round(&mut state, a, b, c, d);
            }
        }
        let mut output = [0; 64];
        for (index, bytes) in output.chunks_mut(4).enumerate() {
            bytes.copy_from_slice(&state[index].wrapping_add(start[index]).to_le_bytes());
        }
        output
    }

    /// r, clamped, and s of the one-time key.
    fn one_time_key(&self) -> (BigUint, u128) {
        let block = self.block(0);
        let [r, s] = [0, 16].map(|at| u128::from_le_bytes(block[at..at + 16].try_into().unwrap()));
        (BigUint::from(r & 0x0FFF_FFFC_0FFF_FFFC_0FFF_FFFC_0FFF_FFFF), s)
    }
}

fn quarter_round(state: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        state[x] = state[x].wrapping_add(state[y]);
        state[z] = (state[z] ^ state[x]).rotate_left(turn);
    }
}

fn prime() -> BigUint {
    (BigUint::from(1_u8) << 130) - 5_u8
}

/// A full block with the bit that Poly1305 adds behind it.
fn number(block: [u8; 16]) -> BigUint {
    BigUint::from(u128::from_le_bytes(block)) + (BigUint::from(1_u8) << 128)
}

/// The block of a number, if it is one.
fn block_of(number: &BigUint) -> Option<[u8; 16]> {
    let bytes = number.to_bytes_le();
    (bytes.len() == 17 && bytes[16] == 1).then(|| bytes[..16].try_into().unwrap())
}

/// The polynomial at r of all input blocks.
fn polynomial(r: &BigUint, blocks: &[BigUint]) -> BigUint {
    let zero = BigUint::ZERO;
    blocks.iter().fold(zero, |sum, block| (sum + block) * r % prime())
}

/// Solves `x * a + y * b = c` under both keys.
fn solve(a: [&BigUint; 2], b: [&BigUint; 2], c: [BigUint; 2]) -> [BigUint; 2] {
    let p = prime();
    let minus = |left: BigUint, right: BigUint| (left + &p - right % &p) % &p;
    let determinant = minus(a[0] * b[1], a[1] * b[0]);
    let inverse = determinant.modpow(&(&p - 2_u8), &p);
    let x = minus(&c[0] * b[1], &c[1] * b[0]) * &inverse % &p;
    let y = minus(a[0] * &c[1], a[1] * &c[0]) * &inverse % &p;
    [x, y]
}

/// Chooses the last two blocks of `text` so that text and tag open under both ciphers. Returns
/// text and tag.
pub fn salamander(ciphers: [&ChaCha; 2], text: &[[u8; 16]]) -> Vec<u8> {
    let p = prime();
    let keys = ciphers.map(ChaCha::one_time_key);
    let lengths = (text.len() as u128 * 16) << 64;
    let free = text.len() - 2;
    let mut blocks: Vec<BigUint> = text.iter().map(|block| number(*block)).collect();
    blocks.push(number(lengths.to_le_bytes()));
    blocks[free] = BigUint::ZERO;
    blocks[free + 1] = BigUint::ZERO;
    let fixed = [0, 1].map(|key| polynomial(&keys[key].0, &blocks));
    let [a, b] = [3_u32, 2].map(|exponent| [0, 1].map(|key| keys[key].0.pow(exponent) % &p));
    let mut rng = rng(0xC4AC4A);
    loop {
        // Of the sums modulo p that give one tag, some have solutions that are blocks.
        let tag = u128::from_le_bytes(random_bytes(&mut rng, 16).try_into().unwrap());
        for multiples in 0..16_u32 {
            let sum = |key: usize| {
                let multiple = BigUint::from(multiples >> (2 * key) & 3) << 128;
                BigUint::from(tag.wrapping_sub(keys[key].1)) + multiple
            };
            let sums = [sum(0), sum(1)];
            if sums.iter().any(|sum| *sum >= p) {
                continue;
            }
            let [first, second] = sums;
            let c = [(first + &p - &fixed[0]) % &p, (second + &p - &fixed[1]) % &p];
            let solution = solve([&a[0], &a[1]], [&b[0], &b[1]], c);
            if let [Some(x), Some(y)] = solution.each_ref().map(block_of) {
                return [&text[..free].concat()[..], &x, &y, &tag.to_le_bytes()].concat();
            }
        }
    }
}
