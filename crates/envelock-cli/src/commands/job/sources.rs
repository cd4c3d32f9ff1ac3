//! Whether the versions that messages are under can be read.

use super::task::Keys;
use crate::failure::Failure;
use crate::open_keyring::OpenKeyring;
use crate::open_source::OpenStore;
use envelock::inspect;
use envelock::keyring::Freshness;
use envelock_ops::{Operation, StartError, Store, VersionName};

/// Messages whose labels are read. A plan reads all.
const SAMPLE: usize = 1000;

/// Refuses a source with messages, among the first, that no version opens.
///
/// # Errors
///
/// [`StartError::Unreadable`], or the source cannot be listed.
pub fn check(store: &OpenStore, keyring: &OpenKeyring, keys: &Keys) -> Result<(), Failure> {
    let envelope = keyring.envelope();
    for item in store.list(None, SAMPLE)?.items {
        // The job lists what is no message.
        let Ok(Some(stored)) = store.read(&item.key) else { continue };
        let Ok(header) = inspect(&stored.header) else { continue };
        let mut unreadable = None;
        for slot in header.slots() {
            let label = slot.label;
            match keys.unreadable(&label)? {
                // One slot is enough.
                None => {
                    unreadable = None;
                    break;
                }
                // Messages of another keyring are excluded, and fail nothing.
                Some(why)
                    if envelope.keyring().freshness(&label).ok() != Some(Freshness::NotMine) =>
                {
                    let version = VersionName::new(label.name.as_str(), label.version);
                    unreadable = Some(StartError::Unreadable { version, why });
                }
                Some(_) => {}
            }
        }
        if let Some(error) = unreadable {
            return Err(error.into());
        }
    }
    Ok(())
}
