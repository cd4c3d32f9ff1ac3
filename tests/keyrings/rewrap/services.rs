//! A keyring over two services with keys of its own kind: several names, wrapped keys of any
//! length, a re-encryption on its own side. Its wrap is a toy that hides nothing.

use envelock::{
    DataKey, KeyName, KeyVersion, Keyring, MasterKeyId, SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type Answer = Result<(), KeyringError>;

pub struct Service {
    pub name: &'static str,
    /// Length of the wrapped key by version, 32 or more; version 1 comes first.
    pub wrapped_lens: Vec<usize>,
    pub primary: usize,
    /// Is unavailable.
    pub down: bool,
}

pub struct Services {
    pub services: Vec<Service>,
    /// Whether data keys may leave it at all.
    pub exports: bool,
    /// How often a data key was asked for.
    pub asked: AtomicUsize,
}

impl Services {
    pub fn new(services: impl IntoIterator<Item = (&'static str, Vec<usize>, usize)>) -> Self {
        let services = services.into_iter().map(|(name, wrapped_lens, primary)| Service {
            name,
            wrapped_lens,
            primary,
            down: false,
        });
        Services { services: services.collect(), exports: true, asked: AtomicUsize::new(0) }
    }

    fn service(&self, label: &SlotLabel<'_>) -> Result<&Service, KeyringError> {
        let mine = |service: &&Service| service.name == label.name.as_str();
        let service = self.services.iter().find(mine).ok_or(KeyringError::NotMine)?;
        if label.algorithm != WrapAlgorithm::new(200).unwrap() || label.master_key_id.0[0] != 0x5E {
            return Err(KeyringError::NotMine);
        }
        if service.down {
            return Err(KeyringError::unavailable(std::io::Error::other("down")));
        }
        Ok(service)
    }

    /// Opens a slot on the service's own side.
    fn open(&self, slot: &Slot<'_>) -> Result<(&Service, Vec<u8>), KeyringError> {
        let service = self.service(&slot.label)?;
        let number = slot.label.version.number() as usize;
        let unknown = KeyringError::Refused(Refusal::UnknownVersion);
        let len = *service.wrapped_lens.get(number - 1).ok_or(unknown)?;
        let (key, filler) = slot.wrapped_key.split_at(32.min(slot.wrapped_key.len()));
        if slot.wrapped_key.len() != len || filler.iter().any(|byte| *byte != number as u8) {
            return Err(KeyringError::Authentication);
        }
        Ok((service, key.iter().map(|byte| byte ^ number as u8).collect()))
    }
}

impl Service {
    fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::new(self.name).unwrap(),
            version: KeyVersion::new(self.primary as u32).unwrap(),
            master_key_id: MasterKeyId([0x5E, 0, 0, 0, 0, 0, 0, self.primary as u8]),
            algorithm: WrapAlgorithm::new(200).unwrap(),
        }
    }

    fn push(&self, key: &[u8], slots: &mut SlotWriter<'_>) -> Answer {
        let mut wrapped = vec![self.primary as u8; self.wrapped_lens[self.primary - 1]];
        for (byte, key) in wrapped.iter_mut().zip(key) {
            *byte ^= key;
        }
        slots.push(&self.label(), &wrapped)
    }
}

impl Keyring for Services {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Answer {
        for service in &self.services {
            let max_wrapped_key_len = Some(service.wrapped_lens[service.primary - 1]);
            visit(&PrimaryKey { label: service.label(), max_wrapped_key_len });
        }
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        _: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Answer {
        self.services.iter().try_for_each(|service| service.push(data_key.expose(), slots))
    }

    fn unwrap(&self, slot: &Slot<'_>, _: &WrapContext<'_>, data_key: &mut DataKey) -> Answer {
        self.asked.fetch_add(1, Relaxed);
        let (_, key) = self.open(slot)?;
        if self.exports && data_key.set(&key) {
            Ok(())
        } else {
            Err(KeyringError::Refused(Refusal::Disabled))
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        _: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Answer {
        let (service, key) = self.open(slot)?;
        service.push(&key, slots)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        match self.service(slot) {
            Ok(service) if service.label().same_key(slot) => Ok(Freshness::Primary),
            Ok(_) => Ok(Freshness::Stale),
            Err(KeyringError::NotMine) => Ok(Freshness::NotMine),
            Err(error) => Err(error),
        }
    }
}
