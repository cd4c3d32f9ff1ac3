//! A keyring that binds nothing: the core's check stands alone.

use envelock::{
    DataKey, KeyName, KeyVersion, Keyring, MasterKeyId, SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};

type Answer = Result<(), KeyringError>;

/// Wraps by XOR, without tag or associated data: every blob opens under every one of its keys.
pub struct Careless {
    pub masks: Vec<[u8; 32]>,
    pub name: &'static str,
    /// Ignores the version of a slot as well.
    pub blind: bool,
}

impl Careless {
    fn label(&self, version: usize) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::new(self.name).unwrap(),
            version: KeyVersion::new(version as u32).unwrap(),
            master_key_id: MasterKeyId([0; 8]),
            algorithm: WrapAlgorithm::new(200).unwrap(),
        }
    }
}

impl Keyring for Careless {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Answer {
        let label = self.label(self.masks.len());
        visit(&PrimaryKey { label, max_wrapped_key_len: Some(32) });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        _: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Answer {
        let mask = self.masks[if self.blind { 0 } else { self.masks.len() - 1 }];
        let wrapped: Vec<u8> = data_key.expose().iter().zip(mask).map(|(a, b)| a ^ b).collect();
        slots.push(&self.label(self.masks.len()), &wrapped)
    }

    fn unwrap(&self, slot: &Slot<'_>, _: &WrapContext<'_>, data_key: &mut DataKey) -> Answer {
        if slot.label.name.as_str() != self.name {
            return Err(KeyringError::NotMine);
        }
        let index = if self.blind { 0 } else { slot.label.version.number() as usize - 1 };
        let mask = self.masks.get(index).ok_or(KeyringError::Refused(Refusal::UnknownVersion))?;
        let key: Vec<u8> = slot.wrapped_key.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        assert!(data_key.set(&key));
        Ok(())
    }
}
