//! Examples C and D: the formulas of wraps by a token, and a keyring that carries them out in
//! software.

use crate::spec_examples::formulas::{KEY_NAME, Values, counting, encode_slot, hkdf_expand, seal};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, Nonce, Tag};
use envelock::{
    DataKey, KeyName, KeyVersion, Keyring, MasterKeyId, SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The inputs of an example.
pub struct Inputs {
    pub algorithm: u8,
    pub version: u32,
    /// The first byte of each value that counts up.
    pub aes_key: u8,
    pub data_key: u8,
    pub r: u8,
    pub iv: u8,
    pub id: Id,
}

/// Where the master key id comes from.
pub enum Id {
    Native(&'static str),
    Random(u8),
}

/// The first byte of the second key of 32 bytes.
const MAC_KEY: u8 = 0xB0;

pub const EXAMPLE_C: Inputs = Inputs {
    algorithm: 2,
    version: 6,
    aes_key: 0x10,
    data_key: 0x40,
    r: 0x60,
    iv: 0xA0,
    id: Id::Native("orders-2026"),
};

pub const EXAMPLE_D: Inputs = Inputs {
    algorithm: 3,
    version: 0x0102_0304,
    aes_key: 0x90,
    data_key: 0xC0,
    r: 0xE0,
    iv: 0x20,
    id: Id::Random(0xF0),
};

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn encrypt_cbc(key: &[u8; 32], iv: &[u8; 16], plaintext: &[u8]) -> Vec<u8> {
    let cipher = aes::Aes256::new(key.into());
    let mut last = u128::from_be_bytes(*iv);
    let mut ciphertext = Vec::new();
    for block in plaintext.chunks_exact(16) {
        let mixed = last ^ u128::from_be_bytes(block.try_into().unwrap());
        let mut block = mixed.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        last = u128::from_be_bytes(block.into());
        ciphertext.extend_from_slice(&block);
    }
    ciphertext
}

fn decrypt_cbc(key: &[u8; 32], iv: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let cipher = aes::Aes256::new(key.into());
    let mut last = u128::from_be_bytes(iv.try_into().unwrap());
    let mut plaintext = Vec::new();
    for block in ciphertext.chunks_exact(16) {
        let next = u128::from_be_bytes(block.try_into().unwrap());
        let mut block = next.to_be_bytes().into();
        cipher.decrypt_block(&mut block);
        plaintext.extend_from_slice(&(last ^ u128::from_be_bytes(block.into())).to_be_bytes());
        last = next;
    }
    plaintext
}

impl Inputs {
    /// What is drawn for a message: data key, r, salt, which is in no example, and 24 bytes of which
    /// the IV takes the first.
    pub fn randomness(&self) -> Vec<u8> {
        let (data_key, r) = (counting::<32>(self.data_key), counting::<8>(self.r));
        [&data_key[..], &r, &[0; 24], &counting::<24>(self.iv)].concat()
    }

    fn master_key_id(&self) -> [u8; 8] {
        match self.id {
            Id::Native(native) => Sha256::digest(native)[..8].try_into().unwrap(),
            Id::Random(first) => counting(first),
        }
    }

    fn label(&self) -> SlotLabel<'static> {
        SlotLabel {
            name: KeyName::new(KEY_NAME).unwrap(),
            version: KeyVersion::new(self.version).unwrap(),
            master_key_id: MasterKeyId(self.master_key_id()),
            algorithm: WrapAlgorithm::new(self.algorithm).unwrap(),
        }
    }
}

/// Every value of an example, by the formulas of the specification.
pub fn compute(inputs: &Inputs) -> Values {
    let mut values = Values::new();
    let mut put = |name, value: &[u8]| values.push((name, value.to_vec()));
    let is_gcm = inputs.algorithm == 2;
    let (aes_key, mac_key) = (counting::<32>(inputs.aes_key), counting::<32>(MAC_KEY));
    let (data_key, r) = (counting::<32>(inputs.data_key), counting::<8>(inputs.r));
    let version = inputs.version.to_be_bytes();
    put("AES key", &aes_key);
    if !is_gcm {
        put("HMAC key", &mac_key);
    }
    put("key name", KEY_NAME.as_bytes());
    put("key version", &version);
    put("data key", &data_key);
    put("r", &r);
    let iv = counting::<16>(inputs.iv);
    put("IV", if is_gcm { &iv[..12] } else { &iv });
    if let Id::Native(native) = inputs.id {
        put("native id", native.as_bytes());
    }
    let id = inputs.master_key_id();
    put("master key id", &id);
    let check_info = [b"envelock data key id v1", &[1, 1][..], &r].concat();
    let check = hkdf_expand::<Sha256>(&data_key, &check_info, 8);
    put("check", &check);
    let core = [b"\xE5NVL", &[1, 1][..], &r, &check].concat();
    put("core", &core);
    let name_len = u8::try_from(KEY_NAME.len()).unwrap();
    let aad = [b"envelock wrap v1", &core[..], &[inputs.algorithm], &version, &id, &[name_len]];
    let aad = [&aad.concat(), KEY_NAME.as_bytes()].concat();
    put("wrap AAD", &aad);
    let wrapped_key = if is_gcm {
        let sealed = seal::<Aes256Gcm>(&aes_key, &iv[..12], &aad, &data_key);
        let (ciphertext, tag) = sealed.split_at(32);
        put("ciphertext", ciphertext);
        put("tag", tag);
        [&iv[..12], &sealed].concat()
    } else {
        let named = [&id, &version[..], KEY_NAME.as_bytes()].concat();
        let token_id = |role: u8| [&id[..], &Sha256::digest(&named)[..8], &[role]].concat();
        put("AES CKA_ID", &token_id(1));
        put("HMAC CKA_ID", &token_id(2));
        let ciphertext = encrypt_cbc(&aes_key, &iv, &data_key);
        put("ciphertext", &ciphertext);
        let input = [&aad[..], &iv, &ciphertext].concat();
        put("MAC input", &input);
        let tag = hmac_sha256(&mac_key, &input);
        put("tag", &tag);
        [&iv[..], &ciphertext, &tag].concat()
    };
    put("wrapped key", &wrapped_key);
    let slot = encode_slot(inputs.version, &id, inputs.algorithm, KEY_NAME, &wrapped_key);
    put("slot 0", &slot);
    values
}

/// A token in software, with the one version of an example.
pub struct SoftToken(pub &'static Inputs);

impl Keyring for SoftToken {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        visit(&PrimaryKey { label: self.0.label(), max_wrapped_key_len: None });
        Ok(())
    }

    /// SPEC W-GCM, W-CBC
    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let label = self.0.label();
        let (aad, key) = (context.wrap_aad(&label), counting::<32>(self.0.aes_key));
        let wrapped_key = if self.0.algorithm == 2 {
            let mut iv = [0; 12];
            rng.try_fill_bytes(&mut iv)?;
            [&iv[..], &seal::<Aes256Gcm>(&key, &iv, &aad, data_key.expose())].concat()
        } else {
            let mut iv = [0; 16];
            rng.try_fill_bytes(&mut iv)?;
            let ciphertext = encrypt_cbc(&key, &iv, data_key.expose());
            let input = [&aad[..], &iv, &ciphertext].concat();
            let tag = hmac_sha256(&counting::<32>(MAC_KEY), &input);
            [&iv[..], &ciphertext, &tag].concat()
        };
        slots.push(&label, &wrapped_key)
    }

    /// SPEC W-GCM, W-CBC
    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let (aad, key) = (context.wrap_aad(&slot.label), counting::<32>(self.0.aes_key));
        let blob = slot.wrapped_key;
        let opened = if self.0.algorithm == 2 {
            let mut opened = blob[12..blob.len() - 16].to_vec();
            let nonce = Nonce::<Aes256Gcm>::try_from(&blob[..12]).unwrap();
            let tag = Tag::<Aes256Gcm>::try_from(&blob[blob.len() - 16..]).unwrap();
            let cipher = Aes256Gcm::new_from_slice(&key).unwrap();
            let buffer = opened.as_mut_slice().into();
            let decrypted = cipher.decrypt_inout_detached(&nonce, &aad, buffer, &tag);
            decrypted.map_err(|_| KeyringError::Authentication)?;
            opened
        } else {
            let (sealed, tag) = blob.split_at(blob.len() - 32);
            let input = [&aad[..], sealed].concat();
            if hmac_sha256(&counting::<32>(MAC_KEY), &input) != tag {
                return Err(KeyringError::Authentication);
            }
            let (iv, ciphertext) = sealed.split_at(16);
            decrypt_cbc(&key, iv, ciphertext)
        };
        if data_key.set(&opened) { Ok(()) } else { Err(KeyringError::Authentication) }
    }
}
