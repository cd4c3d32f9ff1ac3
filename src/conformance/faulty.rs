//! A keyring that fails or returns wrong results on demand.

use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyName, Slot, SlotLabel};
use crate::keyring::{
    Freshness, Keyring, KeyringError, Lifecycle, PrimaryKey, SlotWriter, WrapContext,
};
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, KeysetMap};
use crate::random::KeyringRng;
use crate::sync::lock;
use core::fmt;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

/// A method of [`Keyring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the methods of the trait")]
pub enum Method {
    /// [`Keyring::visit_primaries`].
    Primary,
    /// [`Keyring::wrap`].
    Wrap,
    /// [`Keyring::unwrap`].
    Unwrap,
    /// [`Keyring::rewrap`].
    Rewrap,
    /// [`Keyring::freshness`].
    Freshness,
    /// [`Keyring::wrap_under`].
    WrapUnder,
    /// [`Keyring::holds`].
    Holds,
}

/// The fault of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The call is not made, and returns this error.
    Error(KeyringError),
    /// The call is made, and returns this error, as if the reply was lost.
    ErrorAfter(KeyringError),
    /// `wrap`, `wrap_under` and `unwrap` succeed with another key of the same length. `rewrap` wraps another
    /// key under the primary of the keyring.
    WrongKey,
    /// `unwrap` succeeds and leaves the key as it was.
    NoKey,
    /// `unwrap` succeeds with a key of this length.
    KeyLength(usize),
    /// `wrap`, `wrap_under` and `rewrap` succeed and push no slot. `visit_primaries` and `holds` visit
    /// nothing.
    NoSlot,
    /// `wrap`, `wrap_under`, `rewrap`, `visit_primaries` and `holds` do everything twice.
    Twice,
    /// `freshness` returns this.
    Freshness(Freshness),
}

/// A keyring that forwards to another, counts the calls, and injects faults.
///
/// A fault that does not apply to a method is ignored.
///
/// ```
/// use envelock::conformance::{Fault, FaultyKeyring, Method};
/// use envelock::{Aad, Envelope, Error, MemoryKeyring, keyring::KeyringError};
///
/// # fn main() -> Result<(), Error> {
/// let envelope = Envelope::new(FaultyKeyring::new(MemoryKeyring::create("orders")?));
/// let message = envelope.encrypt(b"hello", Aad::none())?;
/// let down = KeyringError::unavailable(std::io::Error::other("down"));
/// envelope.keyring().next(Method::Unwrap, [Some(Fault::Error(down)), None]);
/// let error = envelope.decrypt(&message, Aad::none()).unwrap_err();
/// assert!(error.is_retryable());
/// assert_eq!(envelope.decrypt(&message, Aad::none())?, b"hello");
/// assert_eq!(envelope.keyring().calls(Method::Unwrap), 2);
/// # Ok(())
/// # }
/// ```
pub struct FaultyKeyring<K> {
    keyring: K,
    plans: Mutex<[FaultPlan; 7]>,
}

/// The faults of one method.
#[derive(Clone, Debug, Default)]
struct FaultPlan {
    calls: usize,
    /// The faults of the next calls.
    script: VecDeque<Option<Fault>>,
    /// After the script: period, calls in the current period, fault.
    every: Option<(usize, usize, Fault)>,
}

impl<K> FaultyKeyring<K> {
    /// Returns a keyring without faults.
    pub fn new(keyring: K) -> Self {
        FaultyKeyring { keyring, plans: Mutex::default() }
    }

    /// Returns the inner keyring.
    pub fn inner(&self) -> &K {
        &self.keyring
    }

    /// Returns the number of calls of a method.
    pub fn calls(&self, method: Method) -> usize {
        self.plans()[method as usize].calls
    }

    /// Injects `fault` into every call of `method` from now on.
    pub fn always(&self, method: Method, fault: Fault) {
        self.every(method, 1, fault);
    }

    /// Injects `fault` into every `n`th call of `method` from now on.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    pub fn every(&self, method: Method, n: usize, fault: Fault) {
        assert!(n > 0, "the period is zero");
        self.plans()[method as usize].every = Some((n, 0, fault));
    }

    /// Sets the faults of the next calls of `method`. `None` is no fault. After them, [`every`](Self::every)
    /// and [`always`](Self::always) apply again.
    pub fn next(&self, method: Method, script: impl IntoIterator<Item = Option<Fault>>) {
        self.plans()[method as usize].script.extend(script);
    }

    /// Removes all faults. The counts of calls stay.
    pub fn heal(&self) {
        for plan in self.plans().iter_mut() {
            *plan = FaultPlan { calls: plan.calls, ..FaultPlan::default() };
        }
    }

    fn plans(&self) -> MutexGuard<'_, [FaultPlan; 7]> {
        lock(&self.plans)
    }

    /// Counts a call and returns its fault.
    fn fault(&self, method: Method) -> Option<Fault> {
        let plan = &mut self.plans()[method as usize];
        plan.calls += 1;
        if let Some(fault) = plan.script.pop_front() {
            return fault;
        }
        let (n, since, fault) = plan.every.as_mut()?;
        *since += 1;
        since.is_multiple_of(*n).then(|| fault.clone())
    }
}

/// Returns another key of the same length.
fn other_key(data_key: &DataKey) -> DataKey {
    let mut bytes = [0; 32];
    let len = data_key.len();
    bytes[..len].copy_from_slice(data_key.expose());
    bytes[..len].iter_mut().for_each(|byte| *byte ^= 0x5A);
    let mut other = DataKey::empty();
    assert!(other.set(&bytes[..len]), "it has the length of a data key");
    other
}

impl<K> FaultyKeyring<K> {
    /// Makes a call of `method` that visits or writes, with its fault. The argument of `call` is whether
    /// to use another data key.
    fn with_fault(
        &self,
        method: Method,
        mut call: impl FnMut(bool) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        match self.fault(method) {
            Some(Fault::Error(error)) => return Err(error),
            Some(Fault::NoSlot) => return Ok(()),
            Some(Fault::ErrorAfter(error)) => {
                call(false)?;
                return Err(error);
            }
            Some(Fault::WrongKey) => return call(true),
            Some(Fault::Twice) => call(false)?,
            _ => {}
        }
        call(false)
    }
}

impl<K: Keyring> Keyring for FaultyKeyring<K> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.with_fault(Method::Primary, |_| self.keyring.visit_primaries(visit))
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.with_fault(Method::Wrap, |is_other| match is_other {
            true => self.keyring.wrap(&other_key(data_key), context, slots, rng),
            false => self.keyring.wrap(data_key, context, slots, rng),
        })
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.with_fault(Method::WrapUnder, |is_other| match is_other {
            true => self.keyring.wrap_under(name, &other_key(data_key), context, slots, rng),
            false => self.keyring.wrap_under(name, data_key, context, slots, rng),
        })
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.with_fault(Method::Holds, |_| self.keyring.holds(name, visit))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let fault = self.fault(Method::Unwrap);
        match fault {
            Some(Fault::Error(error)) => return Err(error),
            Some(Fault::NoKey) => return Ok(()),
            _ => {}
        }
        self.keyring.unwrap(slot, context, data_key)?;
        match fault {
            Some(Fault::ErrorAfter(error)) => return Err(error),
            Some(Fault::WrongKey) => *data_key = other_key(data_key),
            Some(Fault::KeyLength(len)) => {
                let space = data_key.space(len).ok_or(KeyringError::Authentication)?;
                space.fill(0x5A);
            }
            _ => {}
        }
        Ok(())
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.with_fault(Method::Rewrap, |is_other| {
            if !is_other {
                return self.keyring.rewrap(slot, context, slots, rng);
            }
            let mut data_key = DataKey::empty();
            self.keyring.unwrap(slot, context, &mut data_key)?;
            self.keyring.wrap(&other_key(&data_key), context, slots, rng)
        })
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        match self.fault(Method::Freshness) {
            Some(Fault::Error(error) | Fault::ErrorAfter(error)) => Err(error),
            Some(Fault::Freshness(freshness)) => Ok(freshness),
            _ => self.keyring.freshness(slot),
        }
    }
}

impl<K: Lifecycle> Lifecycle for FaultyKeyring<K> {
    fn key(&self) -> &str {
        self.keyring.key()
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        self.keyring.keysets()
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        self.keyring.change(changes, options, rng)
    }
}

impl<K> fmt::Debug for FaultyKeyring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyKeyring").field("plans", &*self.plans()).finish_non_exhaustive()
    }
}
