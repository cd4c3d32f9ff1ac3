//! Master key versions that are made on a token, and destroyed there.

use super::object::{self, ObjectName, Role};
use super::{TokenKey, TokenKeyName};
use crate::OsRandom;
use crate::error::BackendError;
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyring::held::{HeldKey, KeySource, Made, MadeVersion};
use crate::keyring::pkcs11::error::{Error, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure, Remedy};
use crate::keyring::pkcs11::ffi::ck;
use crate::keyring::pkcs11::token::Inner;
use crate::keyring::pkcs11::token::library::Access;
use crate::keyset::{LifecycleError, Material, NewMaterial, Origin, VersionRecord};
use crate::random::{KeyringRng, RandomnessUnavailable};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use rand_core::TryRng;

/// What a token is asked for, best first.
pub(crate) const ALGORITHMS: [WrapAlgorithm; 2] =
    [WrapAlgorithm::TOKEN_AES_256_GCM, WrapAlgorithm::TOKEN_AES_256_CBC_HMAC];

/// How many ids are drawn before one is believed to be taken.
const ID_ATTEMPTS: usize = 8;

/// The longest id that is read: ours have 17 bytes.
const MOST_ID_LEN: usize = 256;

/// How many keys of one token are looked through.
const MOST_KEYS: usize = 1 << 20;

/// See the module.
pub(crate) struct TokenSource(pub(crate) Arc<Inner>);

impl KeySource for TokenSource {
    fn make(
        &self,
        name: KeyName<'_>,
        version: KeyVersion,
        source: Material<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Made, crate::Error> {
        match source {
            // Whoever could have data keys wrapped under such a key could make a catalogue.
            Material::Fresh if name.as_str() == crate::keyring::pkcs11::catalogue::NAME => {
                return Err(crate::Error::Lifecycle(LifecycleError::NameTaken {
                    name: name.as_str().into(),
                }));
            }
            Material::Fresh => {}
            Material::Imported(_) => {
                return Err(crate::Error::Lifecycle(LifecycleError::ImportRefused));
            }
        }
        let (key, master_key_id) = self.0.generate(name, version, rng)?;
        let material =
            NewMaterial { master_key_id, algorithm: key.algorithm(), origin: Origin::Token };
        Ok(Made { key: Arc::new(key), material, stored: None })
    }

    fn makes(&self, algorithm: WrapAlgorithm) -> bool {
        ALGORITHMS.contains(&algorithm)
    }

    fn set_up(&self, name: KeyName<'_>, record: &VersionRecord) -> Option<Arc<dyn HeldKey>> {
        let id = record.master_key_id;
        self.makes(record.algorithm).then(|| {
            let name = TokenKeyName::ours(name, record.version, id, record.algorithm);
            Arc::new(TokenKey::new(self.0.clone(), name, id)) as Arc<dyn HeldKey>
        })
    }

    fn discard(&self, made: &[MadeVersion]) {
        for MadeVersion { name, version, material } in made {
            let Ok(name) = KeyName::new(name) else { continue };
            // What cannot be destroyed stays as rubbish that no record names.
            drop(self.0.destroy_keys(ObjectName::both(name, *version, material.master_key_id)));
        }
    }

    fn destroy<'k>(
        &self,
        records: &mut dyn Iterator<Item = (KeyName<'k>, &'k VersionRecord)>,
    ) -> Result<(), BackendError> {
        // One look at all there are, since most of the records are of keys that are gone.
        let (there, is_complete) = self.0.change(Inner::key_ids).map_err(Error::from_failure)?;
        let mut outcome = Ok(());
        let mut left = 0_usize;
        for (name, record) in records {
            let (version, id) = (record.version, record.master_key_id);
            let is_there = |object: &ObjectName| {
                object.id.as_ref().is_some_and(|id| there.contains(id.as_slice()))
            };
            let objects = ObjectName::both(name, version, id);
            if is_complete && !objects.iter().any(is_there) {
                continue;
            }
            match self.0.destroy_keys(objects) {
                Ok(count) => left = left.saturating_add(count),
                Err(failure) => outcome = Err(Error::from_failure(failure)),
            }
        }
        outcome?;
        if left > 0 { Err(Error::NotDestroyed { count: left }.into()) } else { Ok(()) }
    }
}

impl Inner {
    /// Makes the keys of a version, by the best algorithm that the token turns out to have.
    pub(crate) fn generate(
        self: &Arc<Self>,
        name: KeyName<'_>,
        version: KeyVersion,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(TokenKey, MasterKeyId), crate::Error> {
        let wanted = self.options.algorithm;
        let mut reasons = Vec::<String>::new();
        for algorithm in ALGORITHMS {
            if wanted.is_some_and(|wanted| wanted != algorithm) {
                continue;
            }
            match self.generate_of(name, version, algorithm, rng) {
                Ok(made) => return Ok(made),
                Err(error) => match error.backend() {
                    Some(Error::Algorithm { what }) => reasons.push(what.clone()),
                    _ => return Err(error),
                },
            }
        }
        if reasons.is_empty() {
            reasons.push("the wrap algorithm asked for is none of a token".into());
        }
        Err(Error::Algorithm { what: reasons.join("; ") }.into())
    }

    /// Makes the keys of a version by one algorithm. [`Error::Algorithm`] if another may do.
    fn generate_of(
        self: &Arc<Self>,
        name: KeyName<'_>,
        version: KeyVersion,
        algorithm: WrapAlgorithm,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(TokenKey, MasterKeyId), crate::Error> {
        let mut attempts = ID_ATTEMPTS;
        let mut id = MasterKeyId([0; 8]);
        rng.try_fill_bytes(&mut id.0).map_err(RandomnessUnavailable::of)?;
        loop {
            attempts = attempts.saturating_sub(1);
            let key = Arc::new(TokenKeyName::ours(name, version, id, algorithm));
            // Whatever its role: one version has one algorithm.
            let (made, taken) = (key.clone(), ObjectName::both(name, version, id));
            match self.change(move |token| token.generate_by(&made, &taken)) {
                Ok(()) => return Ok((TokenKey::new(self.clone(), key, id), id)),
                // The caller's generator repeats itself.
                Err(Failure::KeyNotUnique) if attempts > 0 => OsRandom.try_fill_bytes(&mut id.0)?,
                Err(failure) if is_of_algorithm(&failure) => {
                    let what = match key.error(failure) {
                        Error::Algorithm { what } => what,
                        error => format!("{algorithm}: {error}"),
                    };
                    return Err(Error::Algorithm { what }.into());
                }
                Err(failure) => return Err(key.error(failure).into()),
            }
        }
    }

    /// On an error nothing is left behind, and nothing is touched that was there before.
    fn generate_by(&self, key: &TokenKeyName, taken: &[ObjectName; 2]) -> Result<(), Failure> {
        let limit = self.limit();
        self.check_algorithm(key.algorithm, &limit)?;
        let objects = [Some(&key.encrypt), key.mac.as_ref()];
        let mut begun = false;
        let made = self.run(Access::Exclusive, &limit, |work| {
            for object in taken {
                if begun {
                    // Of an attempt whose answer was lost: the id was nobody's before.
                    object.destroy(work.inside, work.session)?;
                } else if !object.find(work.inside, work.session, 1)?.is_empty() {
                    return Err(Failure::KeyNotUnique);
                }
            }
            // That nothing was found means something only to who is logged in.
            work.check_login()?;
            begun = true;
            for object in objects.into_iter().flatten() {
                let label = object::label(&key.name, key.version, object.role);
                object.generate(work.inside, work.session, &label)?;
            }
            Ok(())
        });
        // The round trip on the very key.
        let tested = made.and_then(|()| self.tested(key, &limit).map(drop));
        if tested.is_err() && begun {
            drop(self.destroy_objects(taken));
        }
        tested
    }

    /// Destroys the keys of a version, and tells how many objects are left all the same.
    pub(crate) fn destroy_keys(
        self: &Arc<Self>,
        objects: [ObjectName; 2],
    ) -> Result<usize, Failure> {
        self.change(move |token| token.destroy_objects(&objects))
    }

    fn destroy_objects(&self, [one, other]: &[ObjectName; 2]) -> Result<usize, Failure> {
        let left = self.run(Access::Exclusive, &self.limit(), |work| {
            let destroy = |object: &ObjectName| object.destroy(work.inside, work.session);
            let left = destroy(one)?.saturating_add(destroy(other)?);
            work.check_login()?;
            // Their numbers, and even their names, may be given to others.
            work.connection.forget_objects();
            Ok(left)
        })?;
        self.forget(one);
        Ok(left)
    }

    /// The `CKA_ID` of every secret key, and whether those are all there are: what a crash left
    /// behind cannot be read on some tokens.
    fn key_ids(&self) -> Result<(BTreeSet<Vec<u8>>, bool), Failure> {
        self.run(Access::Shared, &self.limit(), |work| {
            let any = ObjectName { role: Role::Encrypt, id: None, label: None };
            work.check_login()?;
            let keys = any.find(work.inside, work.session, MOST_KEYS)?;
            work.check_login()?;
            let (mut ids, mut is_complete) = (BTreeSet::new(), keys.len() < MOST_KEYS);
            for key in keys {
                match work.inside.bytes_attribute(work.session, key, ck::CKA_ID, MOST_ID_LEN) {
                    // Without an id, or with a longer one, it is none of ours.
                    Ok(id) => ids.extend(id),
                    Err(failure) if failure::remedy(&failure) == Remedy::Device => {
                        is_complete = false
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
            Ok((ids, is_complete))
        })
    }
}

/// Whether another algorithm may do: the token does not know this one, or does it wrongly.
fn is_of_algorithm(failure: &Failure) -> bool {
    match failure {
        Failure::Call(call) => {
            failure::is_mechanism(call) || failure::remedy(call) == Remedy::Permanent
        }
        Failure::Wrong(WrongResponse::Generated) => false,
        Failure::Wrong(_) | Failure::Error(Error::Algorithm { .. }) => true,
        _ => false,
    }
}
