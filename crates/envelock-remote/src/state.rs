//! What the state of a version allows.

use crate::backend::Description;
use envelock::SlotLabel;
use envelock::keyring::{Freshness, KeyringError, Refusal};
use envelock::keyset::VersionState;

/// Returns why versions of this state neither wrap nor unwrap, if they do not (SPEC O-STATES).
pub(crate) fn refusal(state: VersionState) -> Option<Refusal> {
    match state {
        VersionState::Pending
        | VersionState::Primary
        | VersionState::Enabled
        | VersionState::Compromised => None,
        VersionState::Disabled => Some(Refusal::Disabled),
        VersionState::DestroyScheduled => Some(Refusal::DestroyScheduled),
        VersionState::Destroyed => Some(Refusal::Destroyed),
        // A state that this release does not know is not taken for a harmless one.
        _ => Some(Refusal::UnknownVersion),
    }
}

/// Returns the state of the version of a slot of a described key, if it may be opened (SPEC O-MINE).
pub(crate) fn state_of(
    description: &Description,
    slot: &SlotLabel<'_>,
) -> Result<VersionState, KeyringError> {
    // All versions of a key have its id.
    if slot.master_key_id != description.id {
        return Err(KeyringError::NotMine);
    }
    let state = description.versions.get(&slot.version).copied();
    let state = state.ok_or(KeyringError::Refused(Refusal::UnknownVersion))?;
    refusal(state).map_or(Ok(state), |refusal| Err(KeyringError::Refused(refusal)))
}

/// Returns the freshness of a slot of a described key.
pub(crate) fn freshness(
    description: &Description,
    slot: &SlotLabel<'_>,
) -> Result<Freshness, KeyringError> {
    match state_of(description, slot) {
        Ok(VersionState::Compromised) => Ok(Freshness::Compromised),
        Ok(_) if description.primary == Some(slot.version) => Ok(Freshness::Primary),
        Ok(_) => Ok(Freshness::Stale),
        Err(KeyringError::NotMine) => Ok(Freshness::NotMine),
        Err(KeyringError::Refused(refusal)) => Ok(Freshness::Refused(refusal)),
        Err(error) => Err(error),
    }
}
