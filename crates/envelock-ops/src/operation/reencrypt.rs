//! A new encryption: another data key, and a body that the store makes of the old one.

use super::{EnvelopeOperation, Item, Verdict};
use crate::outcome::{Exclusion, Failure};
use crate::planner::{Cause, Need, advise};
use envelock::{Aad, Error, Keyring, RandomSource, inspect};

impl<K: Keyring + 'static, R: RandomSource> EnvelopeOperation<K, R> {
    pub(super) fn reencrypt(&self, item: &Item<'_>, cause: &Cause) -> Result<Verdict, Error> {
        let old = inspect(&item.stored.header)?;
        if self.is_foreign(old.as_bytes())? {
            return Ok(Verdict::Excluded(Exclusion::OtherKeyring));
        }
        let need = advise(cause, &old, item.stored.body_written).need;
        // Where no date tells a new body from an old one, the log does.
        if need != Need::Reencrypt || item.is_written {
            return Ok(Verdict::Current);
        }
        let associated_data = match &self.associated_data {
            Some(of) => of(item.key),
            None => item.stored.associated_data.clone().unwrap_or_default(),
        };
        let message = self.envelope.stream_encryptor(Aad::new(&associated_data))?;
        let new = inspect(message.header())?;
        let has_name = |name: &str| new.slots().any(|slot| slot.label.name.as_str() == name);
        let mut names = old.slots().map(|slot| slot.label.name.as_str());
        Ok(match names.find(|name| !has_name(name)) {
            Some(name) => Verdict::Failed(Failure::NameLost(name.into())),
            None => Verdict::Reencrypt { message: Box::new(message), associated_data },
        })
    }
}
