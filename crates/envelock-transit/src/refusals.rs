//! The texts by which Transit tells apart what it answers with the same status.

use envelock::keyring::Refusal;
use envelock_remote::ServiceError;

/// Part of a text, and what it means. The status is 400 for all of them.
///
/// Transit has no other sign. A test has the server say each of them, so that a version that words one
/// differently is noticed; meanwhile its text is an error that is not retried, and says what it was.
pub(crate) const TEXTS: &[(&str, Meaning)] = &[
    // The tag does not verify: another key, another context, or a changed wrapped key.
    ("message authentication failed", Meaning::Authentication),
    // Below `min_decryption_version`. A trimmed version is, too; the description tells them apart.
    ("disallowed by policy (too old)", Meaning::Refused(Refusal::Disabled)),
    ("version is too new", Meaning::Refused(Refusal::UnknownVersion)),
    ("refusing to use soft-deleted key", Meaning::Refused(Refusal::Disabled)),
    // A decryption, a rewrap, a rotation; encryption, which would have to create it; configuration; a trim.
    ("key not found", Meaning::UnknownKey),
    ("unknown key type existing-key-only", Meaning::UnknownKey),
    ("no existing key named", Meaning::UnknownKey),
    ("invalid key name", Meaning::UnknownKey),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Authentication,
    Refused(Refusal),
    UnknownKey,
}

impl Meaning {
    /// Returns what a text of the service means, if it is one of the table.
    pub(crate) fn of(text: &str) -> Option<Self> {
        TEXTS.iter().find(|(part, _)| text.contains(part)).map(|&(_, meaning)| meaning)
    }
}

impl From<Meaning> for ServiceError {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Authentication => ServiceError::Authentication,
            Meaning::Refused(refusal) => ServiceError::Refused(refusal),
            Meaning::UnknownKey => ServiceError::UnknownKey,
        }
    }
}
