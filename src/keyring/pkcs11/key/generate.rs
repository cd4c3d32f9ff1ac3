//! Generation and destruction of the keys of a version on a token.

use super::TokenKey;
use super::known_answers::check_algorithm;
use super::object::{self, ALGORITHMS, CATALOGUE_KEY, ObjectName, Role, TokenKeyName};
use super::wrap::{KeyOperation, forget_self_test};
use crate::OsRandom;
use crate::error::BackendError;
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyring::pkcs11::error::{Error, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::ck;
use crate::keyring::pkcs11::token::Token;
use crate::keyring::pkcs11::token::library::LibraryAccess;
use crate::keyring::pkcs11::token::recovery::{Remedy, remedy_of};
use crate::keyring::wrapping_key::{CreatedKey, CreatedVersion, KeyMaterialStore, WrappingKey};
use crate::keyset::{LifecycleError, Material, NewMaterial, Origin, VersionRecord};
use crate::random::{KeyringRng, RandomnessUnavailable};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use rand_core::TryRng;

/// How many ids are drawn again if they are in use.
const REDRAWS: usize = 7;

/// The longest id that is read, in bytes. Generated ids have 17.
const MAX_ID_LEN: usize = 256;

/// How many keys of one token are listed.
const MAX_KEYS: usize = 1 << 20;

/// A token as the source of key material.
pub(crate) struct TokenSource(pub(crate) Token);

impl KeyMaterialStore for TokenSource {
    fn make(
        &self,
        name: KeyName<'_>,
        version: KeyVersion,
        source: Material<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<CreatedKey, crate::Error> {
        match source {
            Material::Fresh if name.as_str() == CATALOGUE_KEY => {
                return Err(LifecycleError::NameTaken { name: name.as_str().into() }.into());
            }
            Material::Fresh => {}
            Material::Imported(_) => return Err(LifecycleError::ImportRefused.into()),
        }
        let (key, master_key_id) = generate(&self.0, name, version, rng)?;
        let material =
            NewMaterial { master_key_id, algorithm: key.algorithm(), origin: Origin::Token };
        Ok(CreatedKey { key: Arc::new(key), material, stored: None })
    }

    fn can_make(&self, algorithm: WrapAlgorithm) -> bool {
        ALGORITHMS.contains(&algorithm)
    }

    fn attach(&self, name: KeyName<'_>, record: &VersionRecord) -> Option<Arc<dyn WrappingKey>> {
        let id = record.master_key_id;
        self.can_make(record.algorithm).then(|| {
            let name = TokenKeyName::generated(name, record.version, id, record.algorithm);
            Arc::new(TokenKey::new(self.0.clone(), name, id)) as Arc<dyn WrappingKey>
        })
    }

    fn discard(&self, made: &[CreatedVersion]) {
        for CreatedVersion { name, version, material } in made {
            let Ok(name) = KeyName::new(name) else { continue };
            // After a failure, a key without a record stays on the token.
            drop(destroy(&self.0, ObjectName::both(name, *version, material.master_key_id)));
        }
    }

    fn destroy<'k>(
        &self,
        records: &mut dyn Iterator<Item = (KeyName<'k>, &'k VersionRecord)>,
    ) -> Result<(), BackendError> {
        // One list of all keys, since the keys of most records were destroyed before.
        let (ids, is_complete) = self.0.change(key_ids).map_err(Error::from)?;
        let mut outcome = Ok(());
        let mut left = 0_usize;
        for (name, record) in records {
            let objects = ObjectName::both(name, record.version, record.master_key_id);
            let is_listed =
                |object: &ObjectName| object.id.as_ref().is_some_and(|id| ids.contains(id));
            if is_complete && !objects.iter().any(is_listed) {
                continue;
            }
            match destroy(&self.0, objects) {
                Ok(count) => left += count,
                Err(failure) => outcome = Err(Error::from(failure)),
            }
        }
        outcome?;
        if left > 0 { Err(Error::NotDestroyed { count: left }.into()) } else { Ok(()) }
    }
}

/// Generates the keys of a version, for the best algorithm that the token supports.
pub(crate) fn generate(
    token: &Token,
    name: KeyName<'_>,
    version: KeyVersion,
    rng: &mut KeyringRng<'_>,
) -> Result<(TokenKey, MasterKeyId), crate::Error> {
    let selected = token.0.options.algorithm;
    let mut reasons = Vec::<String>::new();
    for algorithm in ALGORITHMS {
        if selected.is_none_or(|selected| selected == algorithm) {
            match generate_for(token, name, version, algorithm, rng)? {
                Ok(made) => return Ok(made),
                Err(reason) => reasons.push(reason),
            }
        }
    }
    if reasons.is_empty() {
        reasons.push("the selected wrap algorithm is not one of tokens".into());
    }
    Err(Error::Algorithm { what: reasons.join("; ") }.into())
}

/// Generates the keys of a version for one algorithm, or returns the reason to use another one.
fn generate_for(
    token: &Token,
    name: KeyName<'_>,
    version: KeyVersion,
    algorithm: WrapAlgorithm,
    rng: &mut KeyringRng<'_>,
) -> Result<Result<(TokenKey, MasterKeyId), String>, crate::Error> {
    let mut redraws = REDRAWS;
    let mut id = MasterKeyId([0; 8]);
    rng.try_fill_bytes(&mut id.0).map_err(RandomnessUnavailable::of)?;
    loop {
        let key = Arc::new(TokenKeyName::generated(name, version, id, algorithm));
        // In either role: a version has one algorithm.
        let (made, reserved) = (key.clone(), ObjectName::both(name, version, id));
        match token.change(move |token| generate_objects(token, &made, &reserved)) {
            Ok(()) => return Ok(Ok((TokenKey::new(token.clone(), key, id), id))),
            // The caller's generator repeats itself.
            Err(Failure::KeyNotUnique) if redraws > 0 => {
                redraws -= 1;
                OsRandom.try_fill_bytes(&mut id.0)?;
            }
            Err(failure) if is_of_algorithm(&failure) => {
                return Ok(Err(match key.error(failure) {
                    Error::Algorithm { what } => what,
                    error => format!("{algorithm}: {error}"),
                }));
            }
            Err(failure) => return Err(key.error(failure).into()),
        }
    }
}

/// Generates the objects of a version. On an error it destroys them again. Earlier objects
/// stay unchanged.
fn generate_objects(
    token: &Token,
    key: &TokenKeyName,
    reserved: &[ObjectName; 2],
) -> Result<(), Failure> {
    let operation = KeyOperation::new(token, key);
    let limit = operation.limit;
    check_algorithm(token, key.algorithm, &limit)?;
    let mut has_begun = false;
    let generated = token.run(LibraryAccess::Exclusive, &limit, |attempt| {
        let session = attempt.session;
        for object in reserved {
            if has_begun {
                // From an attempt whose answer was lost: before it, nothing had this id.
                object.destroy(session)?;
            } else if !object.find(session, 1)?.is_empty() {
                return Err(Failure::KeyNotUnique);
            }
        }
        // Without a login the search above finds no key.
        attempt.check_login()?;
        has_begun = true;
        for object in key.objects() {
            let label = object::label(&key.name, key.version, object.role);
            object.generate(session, Some(&label))?;
        }
        Ok(())
    });
    let tested = generated.and_then(|()| operation.self_test().map(drop));
    if tested.is_err() && has_begun {
        drop(destroy_objects(token, reserved));
    }
    tested
}

/// Destroys the keys of a version. Returns how many objects are still there.
pub(crate) fn destroy(token: &Token, objects: [ObjectName; 2]) -> Result<usize, Failure> {
    token.change(move |token| destroy_objects(token, &objects))
}

fn destroy_objects(token: &Token, [one, other]: &[ObjectName; 2]) -> Result<usize, Failure> {
    let left = token.run(LibraryAccess::Exclusive, &token.time_limit(), |attempt| {
        let destroy = |object: &ObjectName| object.destroy(attempt.session);
        let left = destroy(one)? + destroy(other)?;
        attempt.check_login()?;
        // Handles and ids may be reused after destruction.
        attempt.connection.forget_objects();
        Ok(left)
    })?;
    forget_self_test(token, one);
    Ok(left)
}

/// The `CKA_ID` of every secret key, and whether the list is complete: on some tokens, objects that
/// remain after a crash cannot be read.
fn key_ids(token: &Token) -> Result<(BTreeSet<Vec<u8>>, bool), Failure> {
    token.run(LibraryAccess::Shared, &token.time_limit(), |attempt| {
        let session = attempt.session;
        let any = ObjectName { role: Role::Encrypt, id: None, label: None };
        attempt.check_login()?;
        let keys = any.find(session, MAX_KEYS)?;
        attempt.check_login()?;
        let (mut ids, mut is_complete) = (BTreeSet::new(), keys.len() < MAX_KEYS);
        for key in keys {
            match session.read_bytes(key, ck::CKA_ID, MAX_ID_LEN) {
                // A key without an id, or with a longer one, was not generated here.
                Ok(id) => ids.extend(id),
                Err(failure) if remedy_of(&failure) == Remedy::Device => is_complete = false,
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok((ids, is_complete))
    })
}

/// Whether another algorithm may succeed: the token does not support this one, or computes it
/// wrongly.
fn is_of_algorithm(failure: &Failure) -> bool {
    match failure {
        Failure::Call(call) => failure::is_mechanism(call) || remedy_of(call) == Remedy::None,
        Failure::Wrong(WrongResponse::Generated) => false,
        Failure::Wrong(_) | Failure::Error(Error::Algorithm { .. }) => true,
        _ => false,
    }
}
