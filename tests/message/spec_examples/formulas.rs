//! The formulas of `src/format/SPEC.md` over bare primitives, without code of this crate.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, aead};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{EagerHash, Hmac, Mac};
use sha2::{Sha256, Sha512};

/// Names and values, in the order of their computation.
pub type Values = Vec<(&'static str, Vec<u8>)>;

/// The inputs of an example.
pub struct Inputs {
    pub suite: u8,
    pub aead_name: &'static [u8],
    pub version: u32,
    pub padding: usize,
    /// Differs, so that no nonce serves twice, even on paper.
    pub shift: u8,
    pub foreign: Option<Foreign>,
    pub plaintext: &'static [u8],
    pub aad: &'static [u8],
}

/// The slot before ours, of an unknown algorithm.
#[derive(Clone, Copy)]
pub struct Foreign {
    pub name: &'static str,
    pub version: u32,
    pub id: [u8; 8],
    pub wrapped_key: &'static [u8],
}

pub const KEY_NAME: &str = "orders";

pub const EXAMPLE_A: Inputs = Inputs {
    suite: 1,
    aead_name: b"AEAD_AES_256_GCM",
    version: 5,
    padding: 0,
    shift: 0x00,
    foreign: None,
    plaintext: b"attack at dawn",
    aad: b"row 42",
};

pub const EXAMPLE_B: Inputs = Inputs {
    suite: 3,
    aead_name: b"AEAD_CHACHA20_POLY1305",
    version: 0x0102_0304,
    padding: 5,
    shift: 0x80,
    foreign: Some(Foreign {
        name: "kms/eu-1",
        version: 7,
        id: *b"\xF0\xF1\xF2\xF3\xF4\xF5\xF6\xF7",
        wrapped_key: b"sealed elsewhere",
    }),
    plaintext: b"",
    aad: b"",
};

pub const EXAMPLE_E: Inputs = Inputs {
    suite: 2,
    aead_name: b"AEAD_AES_128_GCM",
    version: 5,
    padding: 0,
    shift: 0x10,
    foreign: None,
    plaintext: b"attack at dusk",
    aad: b"row 43",
};

pub const EXAMPLE_F: Inputs = Inputs {
    suite: 4,
    aead_name: b"AEAD_AES_256_GCM",
    version: 5,
    padding: 0,
    shift: 0x90,
    foreign: None,
    plaintext: b"alice@example.com",
    aad: b"users/7/email",
};

/// `N` bytes that count up, so that a reader recognises them in the results.
pub fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}

impl Inputs {
    pub fn master_key(&self) -> [u8; 32] {
        counting(self.shift)
    }

    /// The random bytes of a message in the order in which they are drawn: data key, r, salt and
    /// wrap nonce.
    pub fn randomness(&self) -> (Vec<u8>, [u8; 8], [u8; 24], [u8; 24]) {
        let from = |first: u8| first ^ self.shift;
        let data_key = counting::<32>(from(0x40))[..self.data_key_len()].to_vec();
        (data_key, counting(from(0x60)), counting(from(0x80)), counting(from(0xA0)))
    }

    fn data_key_len(&self) -> usize {
        if self.suite == 2 { 16 } else { 32 }
    }
}

/// RFC 5869, section 2.3.
pub fn hkdf_expand<D: EagerHash>(key: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let mut okm = Vec::new();
    let mut block = Vec::new();
    for counter in 1.. {
        let mut mac = <Hmac<D> as KeyInit>::new_from_slice(key).unwrap();
        for piece in [&block[..], info, &[counter]] {
            mac.update(piece);
        }
        block = mac.finalize().into_bytes().to_vec();
        okm.extend_from_slice(&block);
        if okm.len() >= len {
            break;
        }
    }
    okm.truncate(len);
    okm
}

/// Ciphertext and tag.
pub fn seal<C: AeadInOut + KeyInit>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut sealed = plaintext.to_vec();
    let nonce = aead::Nonce::<C>::try_from(nonce).unwrap();
    let cipher = C::new_from_slice(key).unwrap();
    let tag = cipher.encrypt_inout_detached(&nonce, aad, sealed.as_mut_slice().into()).unwrap();
    sealed.extend_from_slice(&tag);
    sealed
}

/// The key that XAES-256-GCM hands to AES-256-GCM: CMAC over a counter and half of the nonce.
fn xaes_subkey(key: &[u8; 32], nonce: &[u8; 24]) -> Vec<u8> {
    let block_cipher = aes::Aes256::new(key.into());
    let encrypt = |block: u128| {
        let mut block = block.to_be_bytes().into();
        block_cipher.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    };
    let l = encrypt(0);
    let k1 = (l << 1) ^ if l >> 127 == 1 { 0x87 } else { 0 };
    let half = |counter: u8| {
        let message = [&[0, counter, b'X', 0][..], &nonce[..12]].concat();
        encrypt(u128::from_be_bytes(message.try_into().unwrap()) ^ k1).to_be_bytes()
    };
    [half(1), half(2)].concat()
}

pub fn encode_slot(
    version: u32,
    id: &[u8],
    algorithm: u8,
    name: &str,
    wrapped_key: &[u8],
) -> Vec<u8> {
    let [_, name_len] = u16::try_from(name.len()).unwrap().to_be_bytes();
    let wrapped_len = u16::try_from(wrapped_key.len()).unwrap().to_be_bytes();
    let version = version.to_be_bytes();
    let fields = [&version, id, &[algorithm, name_len], &wrapped_len, name.as_bytes(), wrapped_key];
    fields.concat()
}

/// Every value of an example, by the formulas of the specification.
pub fn compute(inputs: &Inputs) -> Values {
    let mut values = Values::new();
    let mut put = |name, value: Vec<u8>| {
        values.push((name, value.clone()));
        value
    };
    let (data_key, r, salt, wrap_nonce) = inputs.randomness();
    let master_key = put("master key", inputs.master_key().to_vec());
    let name = put("key name", KEY_NAME.into());
    let version = put("key version", inputs.version.to_be_bytes().into());
    put("plaintext", inputs.plaintext.into());
    put("associated data", inputs.aad.into());
    put("data key", data_key.clone());
    put("r", r.into());
    put("salt", salt.into());
    put("wrap nonce", wrap_nonce.into());

    let id = hkdf_expand::<Sha256>(&master_key, b"envelock master key id v1", 8);
    put("master key id", id.clone());
    let check_info = [b"envelock data key id v1", &[1, inputs.suite][..], &r].concat();
    let check_info = put("check info", check_info);
    let check = put("check", hkdf_expand::<Sha256>(&data_key, &check_info, 8));
    let core = [b"\xE5NVL", &[1, inputs.suite][..], &r, &check].concat();
    let core = put("core", core);

    let name_len = u8::try_from(name.len()).unwrap();
    let wrap_aad = [b"envelock wrap v1", &core[..], &[1], &version, &id, &[name_len], &name];
    let wrap_aad = put("wrap AAD", wrap_aad.concat());
    let subkey = xaes_subkey(&master_key.try_into().unwrap(), &wrap_nonce);
    let subkey = put("XAES derived key", subkey);
    let sealed = seal::<Aes256Gcm>(&subkey, &wrap_nonce[12..], &wrap_aad, &data_key);
    let wrapped_key = put("wrapped key", [&wrap_nonce[..], &sealed].concat());

    let mut slots = Vec::new();
    if let Some(foreign) = inputs.foreign {
        let Foreign { name, version, id, wrapped_key } = foreign;
        slots.push(put("slot 0", encode_slot(version, &id, 200, name, wrapped_key)));
    }
    let slot_name = if slots.is_empty() { "slot 0" } else { "slot 1" };
    slots.push(put(slot_name, encode_slot(inputs.version, &id, 1, KEY_NAME, &wrapped_key)));
    let count = u8::try_from(slots.len()).unwrap();
    let slots = slots.concat();
    let header_len = u16::try_from(25 + slots.len() + inputs.padding).unwrap().to_be_bytes();
    let padding = vec![0; inputs.padding];
    let header = put("header", [&core[..], &header_len, &[count], &slots, &padding].concat());
    let body = compute_body(inputs, &core, &mut put);
    put("message", [header, body].concat());
    values
}

fn compute_body(
    inputs: &Inputs,
    core: &[u8],
    put: &mut impl FnMut(&'static str, Vec<u8>) -> Vec<u8>,
) -> Vec<u8> {
    let (data_key, _, salt, _) = inputs.randomness();
    let context = put("context", [core, inputs.aad].concat());
    let label = b"c2sp.org/chunked-encryption@v1+";
    let info = put("info", [label, inputs.aead_name, &[0], &salt, &context].concat());
    let key_len = data_key.len();
    let expand = if inputs.suite == 4 { hkdf_expand::<Sha256> } else { hkdf_expand::<Sha512> };
    let derived = put("derived", expand(&data_key, &info, key_len + 12 + 32));
    let key = put("key", derived[..key_len].into());
    let base_nonce = put("base nonce", derived[key_len..key_len + 12].into());
    let commitment = put("commitment", derived[key_len + 12..].into());
    let nonce = |index: u128| {
        let wide = u128::from_be_bytes([&[0; 4], &base_nonce[..]].concat().try_into().unwrap());
        (wide ^ index).to_be_bytes()[4..].to_vec()
    };
    let nonce_0 = put("chunk 0 nonce", nonce(0));
    put("chunk 258 nonce", nonce(258));
    let seal_chunk = match inputs.suite {
        2 => seal::<Aes128Gcm>,
        3 => seal::<ChaCha20Poly1305>,
        _ => seal::<Aes256Gcm>,
    };
    let chunk = seal_chunk(&key, &nonce_0, b"", inputs.plaintext);
    let chunk = put("chunk 0", chunk);
    put("body", [&salt[..], &commitment, &chunk].concat())
}
