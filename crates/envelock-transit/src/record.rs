//! A key of Transit as a record of its versions.

use crate::KeyDescription;
use envelock::format::WrapAlgorithm;
use envelock::keyset::{
    Keyset, KeysetMap, LifecycleError, NewMaterial, Origin, VersionRecord, VersionState,
};
use envelock::{KeyVersion, MasterKeyId, Timestamp};
use std::collections::BTreeMap;

impl KeyDescription {
    /// Returns the record of the key.
    ///
    /// Transit has dates of the versions alone that decrypt. The others have that of the oldest of these: they were
    /// created before, and disabled after it.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is longer than 64 bytes.
    pub(crate) fn record(&self, id: MasterKeyId) -> Result<KeysetMap, LifecycleError> {
        let origin = match self {
            KeyDescription { imported: true, .. } => Origin::Imported,
            KeyDescription { exportable: true, .. } => Origin::Generated,
            _ => Origin::Token,
        };
        let algorithm = WrapAlgorithm::TRANSIT_AES_256_GCM;
        let material = NewMaterial { master_key_id: id, algorithm, origin };
        let versions = self.states().map(|(version, state)| {
            let created = self.date(version);
            let mut record = VersionRecord::new(version, material, created);
            record.state = state;
            record.state_since = match state {
                VersionState::Enabled => version.next().map_or(created, |next| self.date(next)),
                _ => created,
            };
            (record.promoted, record.last_promoted) = (Some(created), Some(created));
            record
        });
        let keyset = Keyset::restore(&self.name, self.latest.number(), versions.collect())?;
        let number = self.change_number();
        KeysetMap::restore(number, number, vec![keyset], BTreeMap::new())
    }

    fn date(&self, version: KeyVersion) -> Timestamp {
        let listed = self.created.range(version..).next();
        // None is listed of a key that is not derived, which no keyring uses.
        Timestamp::from_unix_seconds(listed.map_or(0, |(_, created)| *created))
    }

    /// Returns a number that two different states of a key never share, and that is larger after a rotation. A version
    /// number has 17 bits: a key has at most 100,000 versions.
    fn change_number(&self) -> u64 {
        let numbers = [self.latest, self.min_available, self.min_decryption];
        let fold = |sum: u64, version: &KeyVersion| sum << 17 | u64::from(version.number());
        numbers.iter().fold(0, fold) << 1 | u64::from(self.soft_deleted)
    }
}
