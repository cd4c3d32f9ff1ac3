//! Key objects of a token: their names, generation and attributes.

use crate::crypto::hash::sha256;
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyring::pkcs11::error::{Error, KeyWeakness, WrongResponse};
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{Attribute, ObjectHandle, Session, ck};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The wrap algorithms of tokens, best first.
pub(crate) const ALGORITHMS: [WrapAlgorithm; 2] =
    [WrapAlgorithm::TOKEN_AES_256_GCM, WrapAlgorithm::TOKEN_AES_256_CBC_HMAC];

/// The name of the keys that protect catalogues. No key of another name opens a catalogue,
/// since every user that may wrap data keys under it could forge one.
pub(crate) const CATALOGUE_KEY: &str = "envelock.key-file";

/// The use of a key on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Encrypts data keys: an AES key of 256 bits.
    Encrypt,
    /// Authenticates them under wrap algorithm 3: a secret of 32 bytes.
    Mac,
}

/// How an object is found: by its id, its label or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    pub(crate) role: Role,
    /// `CKA_ID`
    pub(crate) id: Option<Vec<u8>>,
    /// `CKA_LABEL`
    pub(crate) label: Option<String>,
}

/// The names of a version, in headers and on the token.
pub(crate) struct TokenKeyName {
    pub(crate) name: String,
    pub(crate) version: KeyVersion,
    pub(crate) algorithm: WrapAlgorithm,
    pub(crate) encrypt: ObjectName,
    /// For wrap algorithm 3.
    pub(crate) mac: Option<ObjectName>,
}

impl TokenKeyName {
    /// The names of a version whose keys this crate generates.
    pub(crate) fn generated(
        name: KeyName<'_>,
        version: KeyVersion,
        id: MasterKeyId,
        algorithm: WrapAlgorithm,
    ) -> Self {
        let object = |role| ObjectName::generated(name, version, id, role);
        let needs_mac = algorithm == WrapAlgorithm::TOKEN_AES_256_CBC_HMAC;
        TokenKeyName {
            name: name.as_str().into(),
            version,
            algorithm,
            encrypt: object(Role::Encrypt),
            mac: needs_mac.then(|| object(Role::Mac)),
        }
    }

    pub(crate) fn is_gcm(&self) -> bool {
        self.algorithm == WrapAlgorithm::TOKEN_AES_256_GCM
    }

    /// The objects of the version.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectName> {
        [Some(&self.encrypt), self.mac.as_ref()].into_iter().flatten()
    }

    /// The error of a failure, with the names.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        let (key, version) = (self.name.clone(), self.version);
        match failure {
            Failure::KeyMissing => Error::KeyNotFound { key, version },
            Failure::KeyNotUnique => Error::KeyNotUnique { key, version },
            Failure::WeakKey(fault) => Error::WeakKey { key, version, fault },
            failure => Error::from(failure),
        }
    }
}

impl ObjectName {
    /// The name of a generated key (SPEC W-TOKEN), which is a function of the slot.
    pub(crate) fn generated(
        name: KeyName<'_>,
        version: KeyVersion,
        id: MasterKeyId,
        role: Role,
    ) -> Self {
        let number = version.number().to_be_bytes();
        let hash = sha256(&[&id.0, &number, name.as_str().as_bytes()]);
        let (tail, role_byte) = (&hash[..8], role.byte());
        let id = [&id.0, tail, &[role_byte]].concat();
        ObjectName { role, id: Some(id), label: None }
    }

    /// The names of the generated keys of a version, in either role.
    pub(crate) fn both(name: KeyName<'_>, version: KeyVersion, id: MasterKeyId) -> [Self; 2] {
        [Role::Encrypt, Role::Mac].map(|role| ObjectName::generated(name, version, id, role))
    }

    /// Finds the objects with this name, at most `max`.
    pub(crate) fn find(
        &self,
        session: Session<'_>,
        max: usize,
    ) -> Result<Vec<ObjectHandle>, Failure> {
        let mut template = alloc::vec![class()];
        if let Some(id) = &self.id {
            template.push(Attribute::bytes(ck::CKA_ID, id));
        }
        if let Some(label) = &self.label {
            template.push(Attribute::bytes(ck::CKA_LABEL, label.as_bytes()));
        }
        Ok(session.find(&template, max)?)
    }

    /// Generates the key. One with a label stays on the token, one without lasts as long as its
    /// session.
    pub(crate) fn generate(
        &self,
        session: Session<'_>,
        label: Option<&str>,
    ) -> Result<ObjectHandle, Failure> {
        #[expect(clippy::expect_used, reason = "only keys with an id are generated")]
        let id = self.id.as_deref().expect("the id of a generated key");
        let encrypts = self.role == Role::Encrypt;
        // Every use is stated: some tokens allow those that are not.
        let template = [
            class(),
            Attribute::number(ck::CKA_KEY_TYPE, self.role.key_type()),
            Attribute::number(ck::CKA_VALUE_LEN, KEY_LEN),
            Attribute::bool(ck::CKA_TOKEN, label.is_some()),
            Attribute::bool(ck::CKA_PRIVATE, true),
            Attribute::bool(ck::CKA_SENSITIVE, true),
            Attribute::bool(ck::CKA_EXTRACTABLE, false),
            Attribute::bool(ck::CKA_ENCRYPT, encrypts),
            Attribute::bool(ck::CKA_DECRYPT, encrypts),
            Attribute::bool(ck::CKA_SIGN, !encrypts),
            Attribute::bool(ck::CKA_VERIFY, !encrypts),
            Attribute::bool(ck::CKA_WRAP, false),
            Attribute::bool(ck::CKA_UNWRAP, false),
            Attribute::bool(ck::CKA_DERIVE, false),
            Attribute::bytes(ck::CKA_LABEL, label.unwrap_or("envelock probe").as_bytes()),
            Attribute::bytes(ck::CKA_ID, id),
        ];
        let key = session.generate_key(self.role.mechanism(), &template)?;
        match self.weakness(session, key)? {
            None => Ok(key),
            Some(_) => {
                session.destroy_object(key)?;
                Err(Failure::Wrong(WrongResponse::Generated))
            }
        }
    }

    /// Destroys every object of this name. Returns how many are still there.
    pub(crate) fn destroy(&self, session: Session<'_>) -> Result<usize, Failure> {
        const MAX: usize = 64;
        // A search takes long on a full token.
        let found = self.find(session, MAX)?;
        if found.is_empty() {
            return Ok(0);
        }
        for object in found {
            // A wrong search result must not destroy another key.
            if !self.is_named(session, object)? {
                return Err(Failure::Wrong(WrongResponse::OtherObject));
            }
            session.destroy_object(object)?;
        }
        Ok(self.find(session, MAX)?.len())
    }

    /// Whether the attributes of an object match this name.
    pub(crate) fn is_named(
        &self,
        session: Session<'_>,
        key: ObjectHandle,
    ) -> Result<bool, Failure> {
        let matches = |kind, wanted: Option<&[u8]>| -> Result<bool, Failure> {
            let Some(wanted) = wanted else { return Ok(true) };
            let found = session.read_bytes(key, kind, MAX_NAME_LEN)?;
            Ok(found.is_none_or(|found| found == wanted))
        };
        Ok(matches(ck::CKA_ID, self.id.as_deref())?
            && matches(ck::CKA_LABEL, self.label.as_ref().map(String::as_bytes))?)
    }

    /// Why a key is not accepted; `None` if it is (THREATS row 62).
    pub(crate) fn weakness(
        &self,
        session: Session<'_>,
        key: ObjectHandle,
    ) -> Result<Option<KeyWeakness>, Failure> {
        let flag = |kind| session.read_bool(key, kind);
        let number = |kind| session.read_number(key, kind);
        if !self.role.accepts(number(ck::CKA_KEY_TYPE)?, number(ck::CKA_VALUE_LEN)?) {
            return Ok(Some(KeyWeakness::Type));
        }
        if flag(ck::CKA_SENSITIVE)? != Some(true) {
            return Ok(Some(KeyWeakness::NotSensitive));
        }
        if flag(ck::CKA_EXTRACTABLE)? != Some(false) {
            return Ok(Some(KeyWeakness::Extractable));
        }
        let both =
            |one: Option<bool>, other: Option<bool>| one == Some(true) && other == Some(true);
        let weak = both(flag(ck::CKA_WRAP)?, flag(ck::CKA_DECRYPT)?)
            || both(flag(ck::CKA_UNWRAP)?, flag(ck::CKA_ENCRYPT)?);
        Ok(weak.then_some(KeyWeakness::WrapsAndDecrypts))
    }
}

/// The longest id or label that is read, in bytes.
const MAX_NAME_LEN: usize = 4096;

/// The length of either key, in bytes.
const KEY_LEN: ck::CK_ULONG = 32;

impl Role {
    fn byte(self) -> u8 {
        match self {
            Role::Encrypt => 1,
            Role::Mac => 2,
        }
    }

    fn key_type(self) -> ck::CK_ULONG {
        match self {
            Role::Encrypt => ck::CKK_AES,
            Role::Mac => ck::CKK_GENERIC_SECRET,
        }
    }

    fn mechanism(self) -> ck::CK_MECHANISM_TYPE {
        match self {
            Role::Encrypt => ck::CKM_AES_KEY_GEN,
            Role::Mac => ck::CKM_GENERIC_SECRET_KEY_GEN,
        }
    }

    /// Whether type and length fit. Some tokens report no length, or zero for imported keys.
    fn accepts(self, key_type: Option<ck::CK_ULONG>, len: Option<ck::CK_ULONG>) -> bool {
        let len = len.filter(|len| *len != 0);
        match self {
            Role::Encrypt => key_type == Some(ck::CKK_AES) && len.is_none_or(|len| len == KEY_LEN),
            Role::Mac => {
                let kinds = [Some(ck::CKK_GENERIC_SECRET), Some(ck::CKK_SHA256_HMAC)];
                kinds.contains(&key_type) && len.is_none_or(|len| len >= KEY_LEN)
            }
        }
    }
}

/// The label, for users of other tools.
pub(crate) fn label(name: &str, version: KeyVersion, role: Role) -> String {
    match role {
        Role::Encrypt => format!("{name}/v{version}"),
        Role::Mac => format!("{name}/v{version}/mac"),
    }
}

pub(crate) fn class() -> Attribute<'static> {
    Attribute::number(ck::CKA_CLASS, ck::CKO_SECRET_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example D of the specification, by Python's `hashlib`.
    #[test]
    fn generated_id_is_a_function_of_the_slot() {
        let name = KeyName::new("orders").unwrap();
        let version = KeyVersion::new(0x0102_0304).unwrap();
        let id = MasterKeyId([0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7]);
        let [encrypt, mac] = ObjectName::both(name, version, id).map(|object| object.id.unwrap());
        let tail = [0x3a, 0x8f, 0x8c, 0xdd, 0xb9, 0x49, 0x76, 0x3f];
        assert_eq!(encrypt, [&id.0[..], &tail, &[1]].concat());
        assert_eq!(mac, [&id.0[..], &tail, &[2]].concat());
        let others = [
            ObjectName::generated(KeyName::new("orderS").unwrap(), version, id, Role::Encrypt),
            ObjectName::generated(name, KeyVersion::FIRST, id, Role::Encrypt),
            ObjectName::generated(name, version, MasterKeyId([0; 8]), Role::Encrypt),
        ];
        assert!(others.iter().all(|other| other.id.as_ref() != Some(&encrypt)));
    }
}
