//! What an observer is told of a token, once no lock is held.

use super::error::{PinFault, Pkcs11Error};
use crate::observe::{Event, Observer};
use crate::sync::lock;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

/// See the module.
pub(super) struct News {
    token: String,
    observer: Option<Arc<dyn Observer>>,
    connected_before: AtomicBool,
    items: Mutex<Vec<Item>>,
}

enum Item {
    Reconnected { restarted: bool },
    LoggedIn,
    LoginRefused(PinFault),
}

impl News {
    pub(super) fn new(token: String, observer: Option<Arc<dyn Observer>>) -> Self {
        let connected_before = AtomicBool::new(false);
        News { token, observer, connected_before, items: Mutex::new(Vec::new()) }
    }

    /// There is a new connection; the first one is none to tell of but for its login.
    pub(super) fn connected(&self, logged_in: bool) {
        if self.connected_before.swap(true, Ordering::Relaxed) {
            self.note(Item::Reconnected { restarted: false });
        }
        if logged_in {
            self.note(Item::LoggedIn);
        }
    }

    /// Whether the token was there before.
    pub(super) fn was_connected(&self) -> bool {
        self.connected_before.load(Ordering::Relaxed)
    }

    pub(super) fn restarted(&self) {
        self.note(Item::Reconnected { restarted: true });
    }

    pub(super) fn logged_in(&self) {
        self.note(Item::LoggedIn);
    }

    pub(super) fn login_refused(&self, fault: &PinFault) {
        self.note(Item::LoginRefused(fault.clone()));
    }

    fn note(&self, item: Item) {
        if self.observer.is_some() {
            lock(&self.items).push(item);
        }
    }

    /// Tells the observer what was noted. To be called where no lock is held, of a keyring neither:
    /// it may use the keyring that it hears of.
    pub(super) fn publish(&self) {
        let Some(observer) = &self.observer else { return };
        let items = core::mem::take(&mut *lock(&self.items));
        for item in items {
            let token = self.token.as_str();
            match item {
                Item::Reconnected { restarted } => {
                    observer.event(&Event::TokenReconnected { token, restarted });
                }
                Item::LoggedIn => observer.event(&Event::TokenLogin { token }),
                Item::LoginRefused(fault) => {
                    let error = Pkcs11Error::Login { fault };
                    observer.event(&Event::TokenLoginRefused { token, error: &error });
                }
            }
        }
    }
}
