//! A keyring that fails or lies on demand.

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

/// What goes wrong with a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The call is not made; this is the answer.
    Answer(KeyringError),
    /// The call is made, and this is the answer all the same: a reply was lost.
    AnswerAfter(KeyringError),
    /// `wrap`, `wrap_under` and `unwrap`: done, for another key of the same length. `rewrap`: for another key,
    /// under the primary of the keyring.
    WrongKey,
    /// `unwrap`: done, and the key is left as it was.
    NoKey,
    /// `unwrap`: done, with a key of this length.
    KeyLength(usize),
    /// `wrap`, `wrap_under`, `rewrap`: done, and no slot is pushed. `primary`, `holds`: nothing is
    /// visited.
    NoSlot,
    /// `wrap`, `wrap_under`, `rewrap`, `primary`, `holds`: everything twice.
    Twice,
    /// `freshness`: this.
    Freshness(Freshness),
}

/// Forwards to a keyring, counts calls, and has them fail or lie as it was told.
///
/// A fault that says nothing of a method lets the call pass.
///
/// ```
/// use envelock::conformance::{Fault, FaultyKeyring, Method};
/// use envelock::{Aad, Envelope, Error, MemoryKeyring, keyring::KeyringError};
///
/// # fn main() -> Result<(), Error> {
/// let envelope = Envelope::new(FaultyKeyring::new(MemoryKeyring::create("orders")?));
/// let message = envelope.encrypt(b"hello", Aad::none())?;
/// let down = KeyringError::unavailable(std::io::Error::other("down"));
/// envelope.keyring().next(Method::Unwrap, [Some(Fault::Answer(down)), None]);
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

/// What becomes of the calls of one method.
#[derive(Clone, Debug, Default)]
struct FaultPlan {
    calls: usize,
    /// Come first, one for each call.
    script: VecDeque<Option<Fault>>,
    /// Then every so many calls, counted from when it was set.
    every: Option<(usize, usize, Fault)>,
}

impl<K> FaultyKeyring<K> {
    /// A keyring without faults.
    pub fn new(keyring: K) -> Self {
        FaultyKeyring { keyring, plans: Mutex::default() }
    }

    /// The keyring beneath.
    pub fn inner(&self) -> &K {
        &self.keyring
    }

    /// How often a method was called.
    pub fn calls(&self, method: Method) -> usize {
        self.plans()[method as usize].calls
    }

    /// Has every call of `method` go wrong from now on.
    pub fn always(&self, method: Method, fault: Fault) {
        self.every(method, 1, fault);
    }

    /// Has the `n`th call of `method` from now go wrong, and every `n`th after it.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    pub fn every(&self, method: Method, n: usize, fault: Fault) {
        assert!(n > 0, "every 0th call is none");
        self.plans()[method as usize].every = Some((n, 0, fault));
    }

    /// Has the next calls of `method` go as `script` says, `None` being well; what was said
    /// before of all calls holds from then on.
    pub fn next(&self, method: Method, script: impl IntoIterator<Item = Option<Fault>>) {
        self.plans()[method as usize].script.extend(script);
    }

    /// Has every method go well again. The counts stay.
    pub fn heal(&self) {
        for plan in self.plans().iter_mut() {
            *plan = FaultPlan { calls: plan.calls, ..FaultPlan::default() };
        }
    }

    fn plans(&self) -> MutexGuard<'_, [FaultPlan; 7]> {
        lock(&self.plans)
    }

    /// Counts a call and says what goes wrong with it.
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

/// A key of the same length that is not this one.
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
    /// Makes a call of `method` that visits or writes, with its fault. `call` is told whether the data
    /// key is to be another.
    fn with_fault(
        &self,
        method: Method,
        mut call: impl FnMut(bool) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        match self.fault(method) {
            Some(Fault::Answer(error)) => return Err(error),
            Some(Fault::NoSlot) => return Ok(()),
            Some(Fault::AnswerAfter(error)) => {
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
            Some(Fault::Answer(error)) => return Err(error),
            Some(Fault::NoKey) => return Ok(()),
            _ => {}
        }
        self.keyring.unwrap(slot, context, data_key)?;
        match fault {
            Some(Fault::AnswerAfter(error)) => return Err(error),
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
            Some(Fault::Answer(error) | Fault::AnswerAfter(error)) => Err(error),
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
