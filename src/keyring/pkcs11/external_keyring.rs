//! A keyring of keys that were put on a token by other means.

use super::external_keys::ExternalKeys;
use super::key::TokenKey;
use super::key::generate::TokenSource;
use super::token::Token;
use super::token::events::TokenEvents;
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, Slot, SlotLabel};
use crate::keyring::key_table::{MasterKeys, Selection, WrappingKeys};
use crate::keyring::wrapping_key::PROCESS_WRAP_LIMIT;
use crate::keyring::{
    Freshness, Keyring, KeyringError, PrimaryKey, SlotWriter, WrapContext, forward_keyring,
};
use crate::keyset::KeysetMap;
#[cfg(doc)]
use crate::keyset::LifecycleError;
use crate::random::KeyringRng;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;

/// A keyring of keys that were put on a token by other means: for tokens that cannot generate keys
/// through PKCS#11, and for keys whose lifecycle is managed outside.
///
/// Its versions are configuration, so it has no lifecycle. A rotation is a new key on the token and a
/// new version here, which becomes the primary in a second step, once every process has it. The
/// token is not accessed before the first wrap or unwrap. Recovery works as in a
/// [`Pkcs11Keyring`](crate::Pkcs11Keyring).
///
/// # Which keys are accepted
///
/// AES keys of 256 bits with `CKA_SENSITIVE` and without `CKA_EXTRACTABLE`, which do not both decrypt
/// and wrap other keys, or encrypt and unwrap them: where `CKA_ENCRYPT` and `CKA_DECRYPT` are true,
/// `CKA_WRAP` and `CKA_UNWRAP` are false. Some tokens allow every use that a tool does not state. On
/// SoftHSM, keys of `pkcs11-tool --keygen` and `softhsm2-util --import` are refused for that.
/// `examples/hsm_key.py` makes a key that states every use:
///
/// ```text
/// apt-get install python3-pykcs11
/// /usr/bin/python3 examples/hsm_key.py /usr/lib/softhsm/libsofthsm2.so TOKEN PIN_FILE orders-2026
/// ```
///
/// For a TPM only its own tool makes keys, for wrap algorithm 3:
///
/// ```text
/// tpm2_ptool addkey --algorithm=aes256 --label=TOKEN --userpin=PIN --key-label=orders-2026
/// tpm2_ptool addkey --algorithm=hmac:sha256 --label=TOKEN --userpin=PIN --key-label=orders-2026-mac
/// ```
pub struct ExternalKeyring {
    keys: MasterKeys,
    selection: Selection,
    events: Arc<TokenEvents>,
}

impl ExternalKeyring {
    /// Makes a keyring of `keys` on `token`.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`], if the
    /// primary is not one of the versions;
    /// [`LifecycleError::KeyMaterial`], if two versions
    /// have the same key.
    pub fn new(token: &Token, keys: &ExternalKeys) -> Result<Self, crate::Error> {
        let keyset = keys.keyset()?;
        let mut wrapping_keys = WrappingKeys::new();
        for (id, name) in keys.names() {
            wrapping_keys.insert(id, Arc::new(TokenKey::new(token.clone(), name, id)));
        }
        let keysets = KeysetMap::restore(0, 0, alloc::vec![keyset], BTreeMap::new())?;
        let source = Arc::new(TokenSource(token.clone()));
        let keys = MasterKeys::restore(keysets, wrapping_keys, source);
        let selection =
            Selection::of(keys.keysets.iter().next().map_or("", |it| it.name().as_str()));
        Ok(ExternalKeyring { keys, selection, events: token.events().clone() })
    }

    /// Returns a keyring of the same keys, which refuses compromised versions.
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        let selection = Selection { strict: true, ..self.selection.clone() };
        ExternalKeyring { keys: self.keys.clone(), selection, events: self.events.clone() }
    }

    /// Counts a wrap and makes it, if the limit allows it.
    fn wrap_for(
        &self,
        name: Option<KeyName<'_>>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let (label, key) = self.keys.primary(&self.selection, name)?;
        let most = if key.wrap_limit().is_some() { PROCESS_WRAP_LIMIT } else { u64::MAX };
        if !key.count(context, most) {
            return Err(KeyringError::WrapLimit {
                key: label.name.as_str().into(),
                version: label.version,
                limit: PROCESS_WRAP_LIMIT,
            });
        }
        let wrapped = key.wrap(data_key, &label, context, slots, rng);
        self.events.publish();
        wrapped
    }
}

impl Keyring for ExternalKeyring {
    forward_keyring!(self => self; wrap_for);

    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keys.visit_primary(&self.selection, visit)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.keys.holds(&self.selection, name, visit);
        Ok(())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let unwrapped = self.keys.unwrap(&self.selection, slot, context, data_key);
        self.events.publish();
        unwrapped
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keys.freshness(&self.selection, slot)
    }
}

impl fmt::Debug for ExternalKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keysets = &self.keys.keysets;
        f.debug_struct("ExternalKeyring").field("keysets", keysets).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{KeyVersion, MasterKeyId, WrapAlgorithm};
    use crate::keyring::counter::Counts;
    use crate::keyring::software::SoftwareSource;
    use crate::keyring::wrapping_key::WrappingKey;
    use crate::pkcs11::KeyRef;
    use crate::{Aad, Envelope};

    /// A key with a count of wraps.
    struct Worn(Counts);

    const ID: MasterKeyId = MasterKeyId([7; 8]);

    impl WrappingKey for Worn {
        fn id(&self) -> MasterKeyId {
            ID
        }

        fn algorithm(&self) -> WrapAlgorithm {
            WrapAlgorithm::TOKEN_AES_256_GCM
        }

        fn wrap_limit(&self) -> Option<u64> {
            Some(1 << 32)
        }

        fn counts(&self) -> &Counts {
            &self.0
        }

        fn wrap(
            &self,
            _: &DataKey,
            label: &SlotLabel<'_>,
            _: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            _: &mut KeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            slots.push(label, &[1; 60])
        }

        fn unwrap(
            &self,
            _: &Slot<'_>,
            _: &WrapContext<'_>,
            _: &mut DataKey,
        ) -> Result<(), KeyringError> {
            Err(KeyringError::Authentication)
        }
    }

    #[test]
    fn external_key_wraps_up_to_the_limit_of_a_process() {
        let (label, version) = (KeyRef::label("any"), KeyVersion::FIRST);
        let keys = ExternalKeys::new("orders").gcm(version, label).primary(version);
        let mut keyset = keys.keyset().unwrap();
        keyset.versions_mut().for_each(|record| record.master_key_id = ID);
        let worn = Arc::new(Worn(Counts::begun_with(PROCESS_WRAP_LIMIT - 2)));
        let wrapping_keys = WrappingKeys::from([(ID, worn.clone() as Arc<dyn WrappingKey>)]);
        let keysets = KeysetMap::restore(0, 0, alloc::vec![keyset], BTreeMap::new()).unwrap();
        let keys = MasterKeys::restore(keysets, wrapping_keys, Arc::new(SoftwareSource));
        let events = Arc::new(TokenEvents::new("any".into(), None));
        let keyring = ExternalKeyring { keys, selection: Selection::of("orders"), events };
        let envelope = Envelope::new(&keyring);
        for _ in 0..2 {
            envelope.encrypt(b"row", Aad::none()).unwrap();
        }
        for _ in 0..3 {
            let error = envelope.encrypt(b"row", Aad::none()).unwrap_err();
            let crate::Error::WrapLimit { key, version, limit } = &error else {
                panic!("{error:?}")
            };
            let expected = ("orders", KeyVersion::FIRST, 1 << 28);
            assert_eq!((key.as_str(), *version, *limit), expected);
            assert!(!error.is_retryable());
            assert_eq!(worn.0.used().wraps, PROCESS_WRAP_LIMIT, "a refused wrap does not count");
        }
    }
}
