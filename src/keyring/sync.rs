//! The lock of the memory keyring: `std`'s where there is one.

// Under this flag another scheduler decides who comes first: see tests/interleavings.sh.
#[cfg(all(test, envelock_shuttle))]
use shuttle::sync as locks;
#[cfg(not(feature = "std"))]
use spin::{RwLockReadGuard, RwLockWriteGuard};
#[cfg(all(feature = "std", not(all(test, envelock_shuttle))))]
use std::sync as locks;

#[cfg(feature = "std")]
use locks::{RwLockReadGuard, RwLockWriteGuard};
#[cfg(feature = "std")]
use std::sync::PoisonError;

/// A readers-writer lock without poisoning.
pub(super) struct RwLock<T> {
    #[cfg(feature = "std")]
    inner: locks::RwLock<T>,
    #[cfg(not(feature = "std"))]
    inner: spin::RwLock<T>,
}

#[cfg(feature = "std")]
impl<T> RwLock<T> {
    pub(super) fn new(value: T) -> Self {
        RwLock { inner: locks::RwLock::new(value) }
    }

    // No writer of ours can panic half-way: each builds first, then stores.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(feature = "std"))]
impl<T> RwLock<T> {
    pub(super) fn new(value: T) -> Self {
        RwLock { inner: spin::RwLock::new(value) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.inner.read()
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.inner.write()
    }
}
