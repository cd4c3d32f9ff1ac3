//! Key files for tests: the keysets of a memory keyring's kind, with material of a seeded
//! generator.

use envelock::keyset::LifecycleError;
use envelock::rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use envelock::test_access::key_file_format::{FileKey, KeyFile};
use envelock::{
    KeyName, KeyVersion, MasterKey, MasterKeyId, Timestamp,
    file::{KeyFileFault, Protection},
    format::WrapAlgorithm,
    keyring::RandomnessUnavailable,
    keyset::{Change, ChangeOptions, KeysetMap, Material, NewMaterial, Operation, Origin},
};
use hmac::{Hmac, KeyInit, Mac};
use rand_chacha::ChaCha20Rng;
use sha2::Sha256;
use std::time::Duration;

pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_277_092);

/// A seeded generator with the error that keyrings know.
pub struct Seeded(pub ChaCha20Rng);

impl Seeded {
    pub fn new(seed: u8) -> Self {
        Seeded(ChaCha20Rng::from_seed([seed; 32]))
    }
}

impl TryRng for Seeded {
    type Error = RandomnessUnavailable;

    fn try_next_u32(&mut self) -> Result<u32, RandomnessUnavailable> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomnessUnavailable> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}

pub fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

pub fn raw_key() -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[7; 32]))
}

/// The id of software key material (SPEC K-MASTER), by another hand.
pub fn id_of(material: &[u8; 32]) -> MasterKeyId {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(material).unwrap();
    mac.update(b"envelock master key id v1");
    mac.update(&[1]);
    MasterKeyId(*mac.finalize().into_bytes().first_chunk().unwrap())
}

/// Makes changes at `now`, as a keyring does.
pub fn change(
    file: &mut KeyFile,
    key: &FileKey,
    changes: &[Change<'_>],
    now: Timestamp,
    rng: &mut Seeded,
) -> Result<(), KeyFileFault> {
    let (keysets, new) = changed(file.keysets(), changes, now, rng);
    file.update(keysets, &new, key, rng)
}

pub fn changed(
    keysets: &KeysetMap,
    changes: &[Change<'_>],
    now: Timestamp,
    rng: &mut Seeded,
) -> (KeysetMap, Vec<(MasterKeyId, MasterKey)>) {
    let mut new = Vec::new();
    let mut material = |_: KeyName<'_>, _, source: Material<'_>| {
        let mut bytes = [0; 32];
        rng.0.fill_bytes(&mut bytes);
        let id = id_of(&bytes);
        new.push((id, MasterKey::from_bytes(&bytes)));
        let origin = match source {
            Material::Fresh => Origin::Generated,
            _ => Origin::Imported,
        };
        let algorithm = WrapAlgorithm::XAES_256_GCM;
        Ok(NewMaterial { master_key_id: id, algorithm, origin })
    };
    let (keysets, _) = keysets
        .with_changes::<LifecycleError>(changes, &ChangeOptions::at(now), &mut material)
        .unwrap();
    (keysets, new)
}

pub fn operate(key: &str, number: u32, operation: Operation) -> Change<'_> {
    Change::Version { key, version: version(number), operation }
}

pub fn create_key(key: &str) -> Change<'_> {
    Change::CreateKey { key, version: KeyVersion::FIRST, material: Material::Fresh }
}

/// Two master keys with 20 versions in all, in every state, an alias and labels.
pub fn twenty(protection: &Protection, seed: u8) -> (KeyFile, FileKey) {
    let mut rng = Seeded::new(seed);
    let (mut file, key) = KeyFile::create(protection, &mut rng).unwrap();
    let mut changes = vec![create_key("orders"), create_key("eu/invoices")];
    changes.extend([Change::Rotate { key: "orders" }; 13]);
    changes.extend([Change::Rotate { key: "eu/invoices" }; 4]);
    let material = Material::Fresh;
    changes.push(Change::AddVersion { key: "orders", version: Some(version(20)), material });
    changes.push(Change::SetAlias { alias: "current", key: "orders" });
    let (name, value) = ("ticket", Some("OPS-7 \"quoted\" \\ \u{fc}"));
    changes.push(Change::SetLabel { key: "orders", version: version(2), name, value });
    change(&mut file, &key, &changes, NOW, &mut rng).unwrap();
    let later = NOW.plus(Duration::from_secs(86_400));
    let after = Duration::from_secs(7 * 86_400);
    let changes = [
        operate("orders", 1, Operation::Disable),
        operate("orders", 1, Operation::DestroyImmediately),
        operate("orders", 3, Operation::Disable),
        operate("orders", 4, Operation::MarkCompromised),
        operate("orders", 5, Operation::Disable),
        operate("orders", 5, Operation::ScheduleDestruction { after }),
    ];
    change(&mut file, &key, &changes, later, &mut rng).unwrap();
    (file, key)
}
