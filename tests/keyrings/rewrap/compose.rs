//! Headers put together from slots, byte by byte.

use envelock::{
    Aad, Envelope, KeyVersion, Lifecycle, MasterKey, MemoryKeyring, RewrapOptions, Suite, inspect,
};

/// The slots of a header, as bytes.
pub fn slots_of(header: &[u8]) -> Vec<Vec<u8>> {
    let mut at = 25;
    let slots = inspect(header).unwrap().slots();
    slots
        .map(|slot| {
            let start = at;
            at += slot.encoded_len();
            header[start..at].to_vec()
        })
        .collect()
}

/// A header with the core of `header`, these slots, and padding.
pub fn compose(header: &[u8], slots: &[Vec<u8>], padding: usize) -> Vec<u8> {
    let mut composed = header[..25].to_vec();
    composed.extend(slots.concat());
    composed.extend(vec![0; padding]);
    let len = u16::try_from(composed.len()).unwrap();
    composed[22..24].copy_from_slice(&len.to_be_bytes());
    composed[24] = u8::try_from(slots.len()).unwrap();
    composed
}

/// A keyring with versions 1 to `count`, the last the primary.
pub fn keyring(name: &str, count: u32) -> MemoryKeyring {
    let material = |number: u32| MasterKey::from_bytes(&[number as u8; 32]);
    let keyring = MemoryKeyring::import(name, KeyVersion::FIRST, &material(1)).unwrap();
    for number in 2..=count {
        let version = KeyVersion::new(number).unwrap();
        keyring.import_version(version, &material(number)).unwrap();
        keyring.promote(version).unwrap();
    }
    keyring
}

/// One message of `keyring` and, for each version from the first on, its slot under it. The
/// primary is afterwards as before.
pub fn slots_by_version(
    keyring: &MemoryKeyring,
    suite: Suite,
    plaintext: &[u8],
    aad: Aad<'_>,
) -> (Vec<u8>, Vec<Vec<u8>>) {
    let primary = keyring.primary_version().unwrap();
    let envelope = Envelope::new(keyring).with_suite(suite);
    let message = envelope.encrypt(plaintext, aad).unwrap();
    let mut slots = Vec::new();
    for record in keyring.versions() {
        keyring.promote(record.version).unwrap();
        let header = envelope.rewrap(&message, RewrapOptions::new()).unwrap().into_header();
        slots.extend(slots_of(&header));
    }
    keyring.promote(primary).unwrap();
    (message, slots)
}
