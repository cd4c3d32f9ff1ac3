//! The lock of the memory keyring: `std`'s where there is one.

#[cfg(not(feature = "std"))]
use spin::{RwLockReadGuard, RwLockWriteGuard};
#[cfg(feature = "std")]
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// A readers-writer lock without poisoning.
pub(super) struct RwLock<T> {
    #[cfg(feature = "std")]
    inner: std::sync::RwLock<T>,
    #[cfg(not(feature = "std"))]
    inner: spin::RwLock<T>,
}

#[cfg(feature = "std")]
impl<T> RwLock<T> {
    pub(super) fn new(value: T) -> Self {
        RwLock { inner: std::sync::RwLock::new(value) }
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
