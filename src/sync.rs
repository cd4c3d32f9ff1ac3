//! Locks without poisoning: those of `std`, or of `spin` without feature `std`.

#[cfg(not(target_has_atomic = "64"))]
use core::sync::atomic::Ordering;
// Under this flag `shuttle` schedules the threads of the interleaving tests.
#[cfg(all(test, envelock_shuttle))]
use shuttle::sync as locks;
#[cfg(not(feature = "std"))]
use spin::{RwLockReadGuard, RwLockWriteGuard};
#[cfg(all(feature = "std", not(all(test, envelock_shuttle))))]
use std::sync as locks;

#[cfg(feature = "std")]
pub(crate) use locks::{RwLockReadGuard, RwLockWriteGuard};
#[cfg(feature = "std")]
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. Poisoning is ignored, since every holder stores a complete value in one step.
#[cfg(feature = "std")]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mutex with a condition variable, without poisoning.
#[cfg(feature = "std")]
pub(crate) struct Monitor<T> {
    value: locks::Mutex<T>,
    changed: locks::Condvar,
}

#[cfg(feature = "std")]
impl<T> Monitor<T> {
    pub(crate) fn new(value: T) -> Self {
        Monitor { value: locks::Mutex::new(value), changed: locks::Condvar::new() }
    }

    pub(crate) fn lock(&self) -> locks::MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases the lock until a notification.
    pub(crate) fn wait<'m>(&self, guard: locks::MutexGuard<'m, T>) -> locks::MutexGuard<'m, T> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks the value until it may have changed, or `timeout` is over.
    #[cfg(all(feature = "pkcs11", unix))]
    pub(crate) fn wait_timeout<'m>(
        &self,
        guard: locks::MutexGuard<'m, T>,
        timeout: core::time::Duration,
    ) -> locks::MutexGuard<'m, T> {
        self.changed.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn notify_all(&self) {
        self.changed.notify_all();
    }
}

/// A readers-writer lock without poisoning.
#[derive(Default)]
pub(crate) struct RwLock<T> {
    #[cfg(feature = "std")]
    inner: locks::RwLock<T>,
    #[cfg(not(feature = "std"))]
    inner: spin::RwLock<T>,
}

#[cfg(feature = "std")]
impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        RwLock { inner: locks::RwLock::new(value) }
    }

    // Poisoning is ignored, since every writer stores a complete value in one step.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(feature = "std"))]
impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        RwLock { inner: spin::RwLock::new(value) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.inner.read()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.inner.write()
    }
}

#[cfg(target_has_atomic = "64")]
pub(crate) use core::sync::atomic::AtomicU64;

/// `AtomicU64` for processors without 64-bit atomics: a number behind a lock, which satisfies every
/// memory ordering.
#[cfg(not(target_has_atomic = "64"))]
#[derive(Default)]
pub(crate) struct AtomicU64(RwLock<u64>);

#[cfg(not(target_has_atomic = "64"))]
impl AtomicU64 {
    pub(crate) fn load(&self, _: Ordering) -> u64 {
        *self.0.read()
    }

    pub(crate) fn fetch_update(
        &self,
        _: Ordering,
        _: Ordering,
        next: impl Fn(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        let mut value = self.0.write();
        let before = *value;
        *value = next(before).ok_or(before)?;
        Ok(before)
    }

    #[cfg(all(feature = "file", unix))]
    pub(crate) fn store(&self, value: u64, _: Ordering) {
        *self.0.write() = value;
    }

    #[cfg(all(feature = "pkcs11", unix))]
    pub(crate) fn fetch_add(&self, by: u64, _: Ordering) -> u64 {
        let mut value = self.0.write();
        let before = *value;
        *value = before.wrapping_add(by);
        before
    }
}
