//! A custom keyring: a table of keys with resource names, as a key service keeps them.
//!
//! ```text
//! cargo run --example custom_keyring
//! ```
//!
//! The table simulates a service on the network. The example is `impl Keyring`: each method says why
//! it returns its result.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use envelock::rand_core::TryRng;
use envelock::{
    Aad, DataKey, Envelope, Header, KeyName, KeyVersion, Keyring, MasterKeyId, OsRandom,
    RewrapOptions, SlotLabel,
    format::{Slot, WrapAlgorithm},
    inspect,
    keyring::{KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::error::Error;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Nonce, the longest data key, tag.
const MAX_WRAPPED_LEN: usize = 12 + 32 + 16;

/// One version in the table.
struct Record {
    cipher: Aes256Gcm,
    id: MasterKeyId,
    enabled: bool,
}

/// All versions of the key with one resource name; the last one wraps.
struct TableKeyring {
    name: String,
    records: RwLock<Vec<Record>>,
}

impl TableKeyring {
    fn create(name: &str) -> Result<Self, Box<dyn Error>> {
        KeyName::new(name)?;
        let keyring = TableKeyring { name: name.into(), records: RwLock::default() };
        keyring.rotate()?;
        Ok(keyring)
    }

    fn rotate(&self) -> Result<(), Box<dyn Error>> {
        let (mut key, mut id) = ([0; 32], [0; 8]);
        let mut rng = OsRandom;
        rng.try_fill_bytes(&mut key)?;
        // Random, and kept with the key: it names this material and no other.
        rng.try_fill_bytes(&mut id)?;
        let cipher = Aes256Gcm::new(&key.into());
        let record = Record { cipher, id: MasterKeyId(id), enabled: true };
        self.records.write().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(())
    }

    fn disable_first(&self) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        records.iter_mut().take(1).for_each(|record| record.enabled = false);
    }

    fn records(&self) -> RwLockReadGuard<'_, Vec<Record>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version that wraps, and the label that its slots carry.
    fn newest<'k>(&'k self, records: &'k [Record]) -> Option<(SlotLabel<'k>, &'k Record)> {
        let record = records.last()?;
        let label = SlotLabel {
            name: KeyName::new(&self.name).ok()?,
            version: KeyVersion::new(u32::try_from(records.len()).ok()?)?,
            master_key_id: record.id,
            algorithm: WrapAlgorithm::new(200)?,
        };
        Some((label, record))
    }
}

impl Keyring for TableKeyring {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let records = self.records();
        let (label, _) = self.newest(&records).ok_or(KeyringError::NoPrimary)?;
        visit(&PrimaryKey { label, max_wrapped_key_len: Some(MAX_WRAPPED_LEN) });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let records = self.records();
        let (label, record) = self.newest(&records).ok_or(KeyringError::NoPrimary)?;
        let mut nonce = [0; 12];
        rng.try_fill_bytes(&mut nonce)?;
        let mut wrapped = data_key.expose().to_vec();
        // Binds the wrap to this message and this label: the slot opens nowhere else.
        let aad = context.wrap_aad(&label);
        let tag = record.cipher.encrypt_inout_detached(
            &Nonce::from(nonce),
            &aad,
            wrapped.as_mut_slice().into(),
        );
        let tag = tag.map_err(KeyringError::unavailable)?;
        slots.push(&label, &[&nonce[..], &wrapped, &tag].concat())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let label = &slot.label;
        if label.name.as_str() != self.name || label.algorithm.id() != 200 {
            return Err(KeyringError::NotMine);
        }
        let records = self.records();
        let index = usize::try_from(label.version.number() - 1).ok();
        // Known name, unknown version: never try another key instead.
        let unknown = KeyringError::Refused(Refusal::UnknownVersion);
        let record = index.and_then(|index| records.get(index)).ok_or(unknown)?;
        if record.id != label.master_key_id {
            return Err(KeyringError::NotMine);
        }
        if !record.enabled {
            return Err(KeyringError::Refused(Refusal::Disabled));
        }
        let failed = || KeyringError::Authentication;
        let (nonce, rest) = slot.wrapped_key.split_first_chunk::<12>().ok_or_else(failed)?;
        let (wrapped, tag) = rest.split_last_chunk::<16>().ok_or_else(failed)?;
        // Decrypted where the core keeps the key: no copy is left behind.
        let space = data_key.space(wrapped.len()).ok_or_else(failed)?;
        space.copy_from_slice(wrapped);
        let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
        let aad = context.wrap_aad(label);
        let opened = record.cipher.decrypt_inout_detached(&nonce, &aad, space.into(), &tag);
        opened.map_err(|_| failed())
    }
}

fn print(what: &str, header: &Header<'_>) {
    for slot in header.slots() {
        println!("{what:<24} {} version {}", slot.label.name, slot.label.version);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let keyring = TableKeyring::create("projects/shop/keys/orders")?;
    let envelope = Envelope::new(&keyring);
    let row = Aad::new(b"orders/42");

    let mut message = envelope.encrypt(b"three apples", row)?;
    print("encrypted under", &inspect(&message)?);

    keyring.rotate()?;
    println!("rotated: needs a rewrap    {}", envelope.needs_rewrap(&message)?);

    // Version 1 will be destroyed: verify that nothing opens under it any more.
    let options = RewrapOptions::new().retiring("projects/shop/keys/orders", KeyVersion::FIRST);
    let rewrapped = envelope.rewrap(&message, options)?;
    let report = rewrapped.report();
    assert!(report.is_complete(), "no slot was left: {report:?}");
    rewrapped.write_over(&mut message)?;
    print("rewrapped to", &inspect(&message)?);

    keyring.disable_first();
    let plaintext = envelope.decrypt(&message, row)?;
    println!("version 1 disabled; reads  {}", String::from_utf8_lossy(&plaintext));
    Ok(())
}

/// The conformance suite: `cargo test --example custom_keyring`.
#[test]
fn conforms() {
    envelock::conformance::keyring(|| TableKeyring::create("shop/orders").unwrap());
}
