//! The slot of a token.

use super::library::LibraryGuard;
use super::options::Options;
use crate::keyring::pkcs11::error::{Error, TokenLabel};
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{SlotId, TokenInfo, ck};
use alloc::string::String;
use alloc::vec::Vec;

/// Finds the one slot whose token has the label and the serial number of `options`.
pub(crate) fn find_token(
    library: &LibraryGuard<'_>,
    options: &Options,
) -> Result<(SlotId, TokenInfo), Failure> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    let mut failed = None;
    for slot in library.functions.slots()? {
        // A fault of another token does not matter.
        match library.functions.token_info(slot) {
            Ok(info) if options.matches(&info) => found.push((slot, info)),
            Ok(info) => others.push(label(&info)),
            Err(failure) => failed = Some(failure),
        }
    }
    if found.len() > 1 {
        // SoftHSM always has one more token, which is not initialised.
        found.retain(|(_, info)| info.flags & ck::CKF_TOKEN_INITIALIZED != 0);
    }
    if found.len() > 1 {
        let found = found.iter().map(|(_, info)| label(info)).collect();
        return Err(Error::TokenNotUnique { wanted: options.wanted(), found }.into());
    }
    match (found.pop(), failed) {
        (Some(found), _) => Ok(found),
        (None, Some(failure)) => Err(failure.into()),
        (None, None) => {
            Err(Error::TokenNotFound { wanted: options.wanted(), found: others }.into())
        }
    }
}

fn label(info: &TokenInfo) -> TokenLabel {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    TokenLabel {
        label: text(&info.label),
        serial: text(&info.serial),
        is_initialized: info.flags & ck::CKF_TOKEN_INITIALIZED != 0,
    }
}
