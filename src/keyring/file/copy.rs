//! A copy of a master key in another keyring.

use super::format::KeyFileFault;
use super::keyring::FileKeyring;
use super::snapshot::at;
use crate::OsRandom;
use crate::error::Error;
#[cfg(doc)]
use crate::file::FileError;
use crate::format::KeyVersion;
use crate::keyring::Lifecycle;
use crate::keyset::{
    Change, ChangeOptions, ChangeOutcome, Keyset, LifecycleError, Material, Operation, Origin,
    VersionRecord, VersionState,
};
use crate::time::Timestamp;
use alloc::vec::Vec;

impl FileKeyring {
    /// Copies the versions of this keyring's master key that `to` lacks, in one change, so that messages
    /// under them open there as well. For a second region, or a move to another file.
    ///
    /// A new key gets the states of its versions, and requires evidence if this one does. A key that is there gets
    /// pending versions, compromised or disabled ones as they are, and keeps its primary: [`promote`](Lifecycle::promote)
    /// the new one. Versions that are destroyed or scheduled for destruction are not copied, nor are dates, usage,
    /// labels and holds. A version that `to` destroyed stays so. The copy is imported by its record.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use envelock::file::Protection;
    /// use envelock::{Aad, Envelope, FileKeyring, Lifecycle, MemoryKeyring};
    ///
    /// # let path = std::env::temp_dir().join(format!("envelock-copy-{}.keys", std::process::id()));
    /// let keyring = FileKeyring::create(&path, "orders", &Protection::passphrase("correct horse"))?;
    /// keyring.rotate()?;
    /// let message = Envelope::new(&keyring).encrypt(b"hello", Aad::none())?;
    /// let second = MemoryKeyring::create("region-two")?;
    /// keyring.copy_key(&second)?;
    /// assert_eq!(Envelope::new(&second).decrypt(&message, Aad::none())?, b"hello");
    /// # std::fs::remove_file(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LifecycleError::ImportRefused`] if `to` generates its own keys; [`LifecycleError::VersionNumber`] if it
    /// has other material under a number, higher ones, or removed its record; [`LifecycleError::KeyMaterial`] if
    /// it has the material under another name; [`KeyFileFault::TokenVersion`] for a version on a token;
    /// [`LifecycleError::VersionState`] if the first version of a new key was never primary: promote it, or destroy it;
    /// [`LifecycleError::Conflict`] if `to` was changed meanwhile; [`FileError::Locked`] if another process
    /// changes this file, as do two copies between two files in opposite directions; another [`FileError`] if it
    /// cannot be locked for a reason other than missing permission, or a medium without writes or without locks.
    /// Nothing has changed then.
    ///
    /// # Security
    ///
    /// From now on two keyrings have the key, in the states of one moment: this file is locked meanwhile, where this
    /// process may lock it, so that each change of it comes before the copy or after it. A later change of one does not
    /// change the other: disable, mark as compromised and destroy in both.
    pub fn copy_key<T: Lifecycle + ?Sized>(&self, to: &T) -> Result<ChangeOutcome, Error> {
        self.open_file.reload()?;
        // While this is locked, a version that is destroyed here is so before the copy or after it: what the copy has
        // is seen there by then.
        let (_lock, snapshot) = self.open_file.lock_to_copy()?;
        let keyset = snapshot.keys.keysets.resolve(self.key())?;
        let keysets = to.keysets()?;
        let there = keysets.keyset(keyset.name().as_str());
        let mut copies = Vec::new();
        for record in keyset.versions().iter().filter(|record| is_missing(there, record)) {
            if record.origin == Origin::Token {
                let (key, version) = (keyset.name().as_str().into(), record.version);
                return Err(at(self.path())(KeyFileFault::TokenVersion { key, version }).into());
            }
            let material = snapshot.material(keyset, record).map_err(at(self.path()))?;
            copies.push((record, material));
        }
        if copies.is_empty() {
            return Ok(ChangeOutcome::new(keysets.change(), Vec::new()));
        }
        let key = keyset.name().as_str();
        if there.is_none() {
            check_first(key, copies.first().map(|(record, _)| *record))?;
        }
        let mut changes = Vec::new();
        for (record, material) in &copies {
            let (version, material) = (record.version, Material::Imported(material));
            changes.push(match there.is_none() && changes.is_empty() {
                true => Change::CreateKey { key, version, material },
                false => Change::AddVersion { key, version: Some(version), material },
            });
        }
        let records = copies.iter().map(|(record, _)| *record);
        let operations = states(keyset, records, there.is_none());
        let change = |(version, operation)| Change::Version { key, version, operation };
        changes.extend(operations.into_iter().map(change));
        if there.is_none() && keyset.evidence_required() {
            changes.push(Change::RequireEvidence { key });
        }
        let options = ChangeOptions::at(Timestamp::now()).if_unchanged_since(keysets.change());
        to.change(&changes, &options, &mut OsRandom)
    }
}

/// Refuses a new key whose first version would become primary without having been it.
fn check_first(key: &str, first: Option<&VersionRecord>) -> Result<(), LifecycleError> {
    match first {
        Some(first) if first.promoted.is_none() => Err(LifecycleError::VersionState {
            key: key.into(),
            version: first.version,
            state: first.state,
            operation: Operation::Promote,
        }),
        _ => Ok(()),
    }
}

fn is_missing(there: Option<&Keyset>, record: &VersionRecord) -> bool {
    let twin = there.and_then(|there| there.version(record.version));
    // One that is to be destroyed gets no second life.
    !matches!(record.state, VersionState::Destroyed | VersionState::DestroyScheduled)
        && twin.is_none_or(|twin| twin.master_key_id != record.master_key_id)
}

/// Returns the operations that lead from pending versions to the states of `records`.
fn states<'a>(
    keyset: &Keyset,
    records: impl Iterator<Item = &'a VersionRecord> + Clone,
    is_new: bool,
) -> Vec<(KeyVersion, Operation)> {
    let mut operations = Vec::new();
    if is_new {
        // A former primary stays enabled. The last one to be promoted is the primary, or was it last.
        let mut promoted: Vec<_> = records.clone().filter(|it| it.promoted.is_some()).collect();
        promoted
            .sort_by_key(|it| (Some(it.version) == keyset.primary(), it.last_promoted, it.version));
        operations.extend(promoted.iter().map(|it| (it.version, Operation::Promote)));
    }
    for record in records {
        if record.compromised.is_some() {
            operations.push((record.version, Operation::MarkCompromised));
        }
        if record.state == VersionState::Disabled {
            operations.push((record.version, Operation::Disable));
        }
    }
    operations
}
