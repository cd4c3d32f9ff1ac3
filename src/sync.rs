//! The locks of the crate, without poisoning: `std`'s where there is one.

// Under this flag another scheduler decides who comes first: see tests/interleavings.sh.
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

/// Locks a mutex whose holders cannot panic half-way: each builds first, then stores.
#[cfg(feature = "std")]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    // No writer of ours can panic half-way: each builds first, then stores.
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
