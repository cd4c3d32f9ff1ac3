//! A service that holds keys, a sound keyring over it, and the mistakes that are made with one.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use envelock::conformance::Controls;
use envelock::{
    CachingKeyring, DataKey, KeyName, KeyVersion, Keyring, MasterKeyId, MemoryKeyring,
    MigratingKeyring, MultiKeyring, SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::io::Error as IoError;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

type Answer = Result<(), KeyringError>;

/// The mistake of the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    AadWithoutCore,
    AadWithoutName,
    AadWithoutAlgorithm,
    PrimaryForUnknown,
    IgnoresId,
    /// Labels a slot with the primary that it remembers; the service wraps under its own.
    LabelsByMemory,
    OutageIsAuthentication,
    OutageIsNotMine,
    FreshnessByOrder,
    FreshnessForgetsDisabled,
    DisabledIsAuthentication,
    DeniedIsUnavailable,
    ThrottledIsFinal,
    ThrottledLosesTheWait,
    RemembersTheOutage,
    AsksForForeignNames,
    HoldsNothing,
    HoldsAnything,
    WrapsUnderAnother,
    WrapsUnderAnyName,
    WrapsUnderTwice,
    WrapsTwice,
}

/// The result of the service.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Well,
    Denied,
    Throttled(Option<Duration>),
    Down,
}

struct State {
    mode: Mode,
    /// Whether each version is enabled.
    versions: Vec<bool>,
    /// Number of the version that wraps.
    primary: u32,
    nonces: u64,
}

/// The service: it wraps under the version that is its own primary, and reports it in its result.
pub struct Service(Mutex<State>);

enum Failure {
    Mode(Mode),
    Disabled,
    Mismatch,
}

impl Service {
    fn new() -> Arc<Self> {
        let (mode, versions) = (Mode::Well, vec![true]);
        Arc::new(Service(Mutex::new(State { mode, versions, primary: 1, nonces: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn call(&self) -> Result<MutexGuard<'_, State>, Failure> {
        let state = self.state();
        if state.mode == Mode::Well { Ok(state) } else { Err(Failure::Mode(state.mode)) }
    }

    fn cipher(version: u32) -> Aes256Gcm {
        Aes256Gcm::new(&[version as u8; 32].into())
    }

    fn describe(&self) -> Result<Metadata, Failure> {
        let state = self.call()?;
        Ok(Metadata { primary: state.primary, versions: state.versions.clone() })
    }

    fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<(u32, Vec<u8>), Failure> {
        let mut state = self.call()?;
        state.nonces += 1;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&state.nonces.to_be_bytes());
        let mut text = plaintext.to_vec();
        let cipher = Service::cipher(state.primary);
        let tag =
            cipher.encrypt_inout_detached(&Nonce::from(nonce), aad, text.as_mut_slice().into());
        Ok((state.primary, [&nonce[..], &text, &tag.unwrap()].concat()))
    }

    fn decrypt(&self, version: u32, aad: &[u8], blob: &[u8]) -> Result<Vec<u8>, Failure> {
        let state = self.call()?;
        if !state.versions[version as usize - 1] {
            return Err(Failure::Disabled);
        }
        let (nonce, rest) = blob.split_first_chunk::<12>().ok_or(Failure::Mismatch)?;
        let (text, tag) = rest.split_last_chunk::<16>().ok_or(Failure::Mismatch)?;
        let (nonce, tag, mut text) = (Nonce::from(*nonce), Tag::from(*tag), text.to_vec());
        let cipher = Service::cipher(version);
        let opened = cipher.decrypt_inout_detached(&nonce, aad, text.as_mut_slice().into(), &tag);
        opened.map(|()| text).map_err(|_| Failure::Mismatch)
    }
}

/// The keyring's copy of the service's state.
#[derive(Clone)]
struct Metadata {
    primary: u32,
    versions: Vec<bool>,
}

pub struct Remote {
    service: Arc<Service>,
    name: &'static str,
    algorithm: u8,
    memory: Mutex<Option<Metadata>>,
    outage: Mutex<Option<KeyringError>>,
    mistake: Mistake,
}

impl Remote {
    fn over(service: Arc<Service>, name: &'static str, algorithm: u8, mistake: Mistake) -> Self {
        let (memory, outage) = Default::default();
        Remote { service, name, algorithm, memory, outage, mistake }
    }

    pub fn new(mistake: Mistake) -> Self {
        Remote::over(Service::new(), "remote/orders", 200, mistake)
    }

    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn reported(&self, failure: Failure) -> KeyringError {
        let error = |text| IoError::other(text);
        match failure {
            Failure::Mode(Mode::Denied) if self.is(Mistake::DeniedIsUnavailable) => {
                KeyringError::unavailable(error("403"))
            }
            Failure::Mode(Mode::Denied) => KeyringError::denied(error("403")),
            Failure::Mode(Mode::Throttled(None)) if self.is(Mistake::ThrottledIsFinal) => {
                KeyringError::broken(error("429"))
            }
            Failure::Mode(Mode::Throttled(_)) if self.is(Mistake::ThrottledLosesTheWait) => {
                KeyringError::throttled(None, error("429"))
            }
            Failure::Mode(Mode::Throttled(wait)) => KeyringError::throttled(wait, error("429")),
            Failure::Mode(_) if self.is(Mistake::OutageIsAuthentication) => {
                KeyringError::Authentication
            }
            Failure::Mode(_) if self.is(Mistake::OutageIsNotMine) => KeyringError::NotMine,
            Failure::Mode(_) => {
                let error = KeyringError::unavailable(error("no route to host"));
                if self.is(Mistake::RemembersTheOutage) {
                    *self.outage.lock().unwrap() = Some(error.clone());
                }
                error
            }
            Failure::Disabled if !self.is(Mistake::DisabledIsAuthentication) => {
                KeyringError::Refused(Refusal::Disabled)
            }
            Failure::Disabled | Failure::Mismatch => KeyringError::Authentication,
        }
    }

    /// The copy; fetched again if there is none, or if it does not satisfy `wants`.
    fn metadata(&self, wants: impl Fn(&Metadata) -> bool) -> Result<Metadata, KeyringError> {
        if let Some(outage) = self.outage.lock().unwrap().clone() {
            return Err(outage);
        }
        let mut memory = self.memory.lock().unwrap();
        if !memory.as_ref().is_some_and(&wants) {
            *memory = Some(self.service.describe().map_err(|failure| self.reported(failure))?);
        }
        Ok(memory.clone().unwrap())
    }

    fn label(&self, version: u32) -> SlotLabel<'static> {
        SlotLabel {
            name: KeyName::new(self.name).unwrap(),
            version: KeyVersion::new(version).unwrap(),
            master_key_id: MasterKeyId([version as u8; 8]),
            algorithm: WrapAlgorithm::new(self.algorithm).unwrap(),
        }
    }

    /// Core, algorithm and name: the version is the service's choice.
    fn aad(&self, context: &WrapContext<'_>) -> Vec<u8> {
        let core: &[u8] = if self.is(Mistake::AadWithoutCore) { &[] } else { context.core_bytes() };
        let algorithm: &[u8] =
            if self.is(Mistake::AadWithoutAlgorithm) { &[] } else { &[self.algorithm] };
        let name = if self.is(Mistake::AadWithoutName) { "" } else { self.name };
        [core, algorithm, name.as_bytes()].concat()
    }

    /// The version under which a slot of this label is, and whether it is enabled.
    fn version_of(&self, label: &SlotLabel<'_>) -> Result<(u32, bool), KeyringError> {
        if label.algorithm.id() != self.algorithm {
            return Err(KeyringError::NotMine);
        }
        if label.name.as_str() != self.name {
            if self.is(Mistake::AsksForForeignNames) {
                self.service.describe().map_err(|failure| self.reported(failure))?;
            }
            return Err(KeyringError::NotMine);
        }
        let index = label.version.number() as usize - 1;
        let metadata = self.metadata(|metadata| index < metadata.versions.len())?;
        let Some(enabled) = metadata.versions.get(index) else {
            if self.is(Mistake::PrimaryForUnknown) {
                return Ok((metadata.primary, true));
            }
            return Err(KeyringError::Refused(Refusal::UnknownVersion));
        };
        let number = label.version.number();
        if label.master_key_id.0 != [number as u8; 8] && !self.is(Mistake::IgnoresId) {
            return Err(KeyringError::NotMine);
        }
        Ok((number, *enabled))
    }
}

impl Keyring for Remote {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Answer {
        let label = self.label(self.metadata(|_| true)?.primary);
        visit(&PrimaryKey { label, max_wrapped_key_len: Some(60) });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Answer {
        let wrapped = self.service.encrypt(&self.aad(context), data_key.expose());
        let (version, blob) = wrapped.map_err(|failure| self.reported(failure))?;
        let remembered = self.metadata(|_| true)?.primary;
        let version = if self.is(Mistake::LabelsByMemory) { remembered } else { version };
        slots.push(&self.label(version), &blob)?;
        if self.is(Mistake::WrapsTwice) {
            let name = KeyName::new("remote/other").unwrap();
            slots.push(&SlotLabel { name, ..self.label(version) }, &blob)?;
        }
        Ok(())
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Answer {
        if name.as_str() != self.name && !self.is(Mistake::WrapsUnderAnyName) {
            return Err(KeyringError::unknown_key(name.as_str()));
        }
        let other = SlotLabel { name: KeyName::new("remote/other").unwrap(), ..self.label(1) };
        if self.is(Mistake::WrapsUnderAnother) {
            return slots.push(&other, &[1; 60]);
        }
        self.wrap(data_key, context, slots, rng)?;
        if self.is(Mistake::WrapsUnderTwice) {
            slots.push(&other, &[1; 60])?;
        }
        Ok(())
    }

    fn holds(&self, name: KeyName<'_>, visit: &mut dyn FnMut(KeyName<'_>)) -> Answer {
        let own = name.as_str() == self.name && !self.is(Mistake::HoldsNothing);
        if own || self.is(Mistake::HoldsAnything) {
            visit(name);
        }
        Ok(())
    }

    fn unwrap(&self, slot: &Slot<'_>, context: &WrapContext<'_>, data_key: &mut DataKey) -> Answer {
        let (version, _) = self.version_of(&slot.label)?;
        let opened = self.service.decrypt(version, &self.aad(context), slot.wrapped_key);
        let opened = opened.map_err(|failure| self.reported(failure))?;
        if data_key.set(&opened) { Ok(()) } else { Err(KeyringError::Authentication) }
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let (version, enabled) = match self.version_of(slot) {
            Ok(found) => found,
            Err(KeyringError::NotMine) => return Ok(Freshness::NotMine),
            Err(KeyringError::Refused(refusal)) => return Ok(Freshness::Refused(refusal)),
            Err(other) => return Err(other),
        };
        let primary = self.metadata(|_| true)?.primary;
        Ok(match self.mistake {
            Mistake::FreshnessByOrder if version >= primary => Freshness::Primary,
            _ if !enabled && !self.is(Mistake::FreshnessForgetsDisabled) => {
                Freshness::Refused(Refusal::Disabled)
            }
            _ if version == primary => Freshness::Primary,
            _ => Freshness::Stale,
        })
    }
}

/// A keyring made of [`Remote`], with the means to change the service behind it.
pub struct Controlled<K> {
    keyring: K,
    remote: Arc<Remote>,
    purge: fn(&K),
}

impl<K> Controlled<K> {
    fn made(make: impl FnOnce(Arc<Remote>) -> K, purge: fn(&K)) -> Self {
        let remote = Arc::new(Remote::new(Mistake::None));
        Controlled { keyring: make(remote.clone()), remote, purge }
    }

    fn set(&self, mode: Mode) -> bool {
        self.remote.service.state().mode = mode;
        true
    }
}

pub fn alone(mistake: Mistake) -> Controlled<Arc<Remote>> {
    let remote = Arc::new(Remote::new(mistake));
    Controlled { keyring: remote.clone(), remote, purge: |_| () }
}

pub fn cached() -> Controlled<CachingKeyring<Arc<Remote>>> {
    Controlled::made(CachingKeyring::new, CachingKeyring::purge)
}

pub fn beside_another() -> Controlled<MultiKeyring> {
    let backup = || MemoryKeyring::create("backup").unwrap();
    Controlled::made(|remote| MultiKeyring::new(remote).with(backup()).unwrap(), |_| ())
}

pub fn moving() -> Controlled<MigratingKeyring> {
    let former = || MemoryKeyring::create("orders").unwrap();
    Controlled::made(|remote| MigratingKeyring::new(remote).with(former()).unwrap(), |_| ())
}

impl<K: Keyring> Controls for Controlled<K> {
    type Keyring = K;

    fn keyring(&self) -> &K {
        &self.keyring
    }

    fn rotate(&self) -> bool {
        let mut state = self.remote.service.state();
        state.versions.push(true);
        state.primary = state.versions.len() as u32;
        true
    }

    fn promote(&self, version: KeyVersion) -> bool {
        self.remote.service.state().primary = version.number();
        true
    }

    fn disable(&self, version: KeyVersion) -> bool {
        self.remote.service.state().versions[version.number() as usize - 1] = false;
        true
    }

    fn deny(&self) -> bool {
        self.set(Mode::Denied)
    }

    fn throttle(&self, retry_after: Option<Duration>) -> bool {
        self.set(Mode::Throttled(retry_after))
    }

    fn break_backend(&self) -> bool {
        self.set(Mode::Down)
    }

    fn restore(&self) {
        self.set(Mode::Well);
    }

    fn forget(&self) {
        *self.remote.memory.lock().unwrap() = None;
        (self.purge)(&self.keyring);
    }

    fn twins(&self, check: &mut dyn FnMut(&dyn Keyring)) {
        let Remote { service, name, algorithm, mistake, .. } = &*self.remote;
        check(&Remote::over(service.clone(), "remote/alias", *algorithm, *mistake));
        check(&Remote::over(service.clone(), name, algorithm + 1, *mistake));
    }
}
