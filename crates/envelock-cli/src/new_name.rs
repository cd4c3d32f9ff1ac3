//! Names that a call gives to keys, aliases, labels and protections.

use crate::failure::Failure;
use envelock::format::{InvalidKeyName, KeyName};
use envelock::keyset::MAX_KEYSET_NAME_LEN;

/// What a name is made of.
pub const RULE: &str =
    "begin with a letter or a digit, and go on with letters, digits and ._:/@+=-, 64 in all";

/// Checks a new name of a `kind`, such as "a key", before anything is asked or read.
///
/// # Errors
///
/// It does not follow [`RULE`].
pub fn check(kind: &str, name: &str) -> Result<(), Failure> {
    let fault = match KeyName::new(name) {
        _ if name.is_empty() => "it is empty".into(),
        _ if name.len() > MAX_KEYSET_NAME_LEN => format!("it has {} bytes", name.len()),
        Ok(_) => return Ok(()),
        Err(InvalidKeyName { offset, .. }) => {
            let (before, after) = name.split_at_checked(offset).unwrap_or((name, ""));
            let (at, found) = (before.len().saturating_add(1), after.chars().next());
            format!("character {at} is {:?}", found.unwrap_or_default())
        }
    };
    Err(Failure::usage(format!("{name:?} is no name of {kind}: {fault}"), RULE))
}
