//! What an observer is told of a token, once no lock is held.

use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::observe::{Event, Observer};
use crate::sync::lock;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

/// See the module.
pub(crate) struct EventQueue {
    token: String,
    observer: Option<Arc<dyn Observer>>,
    connected_before: AtomicBool,
    items: Mutex<Vec<QueuedEvent>>,
}

enum QueuedEvent {
    Reconnected { restarted: bool },
    LoggedIn,
    LoginRefused(PinFault),
}

impl EventQueue {
    pub(crate) fn new(token: String, observer: Option<Arc<dyn Observer>>) -> Self {
        let connected_before = AtomicBool::new(false);
        EventQueue { token, observer, connected_before, items: Mutex::new(Vec::new()) }
    }

    /// There is a new connection; the first one is none to tell of but for its login.
    pub(crate) fn connected(&self, logged_in: bool) {
        if self.connected_before.swap(true, Ordering::Relaxed) {
            self.note(QueuedEvent::Reconnected { restarted: false });
        }
        if logged_in {
            self.note(QueuedEvent::LoggedIn);
        }
    }

    /// Whether the token was there before.
    pub(crate) fn was_connected(&self) -> bool {
        self.connected_before.load(Ordering::Relaxed)
    }

    pub(crate) fn restarted(&self) {
        self.note(QueuedEvent::Reconnected { restarted: true });
    }

    pub(crate) fn logged_in(&self) {
        self.note(QueuedEvent::LoggedIn);
    }

    pub(crate) fn login_refused(&self, fault: &PinFault) {
        self.note(QueuedEvent::LoginRefused(fault.clone()));
    }

    fn note(&self, item: QueuedEvent) {
        if self.observer.is_some() {
            lock(&self.items).push(item);
        }
    }

    /// Tells the observer what was noted. To be called where no lock is held, of a keyring neither:
    /// it may use the keyring that it hears of.
    pub(crate) fn publish(&self) {
        let Some(observer) = &self.observer else { return };
        let items = core::mem::take(&mut *lock(&self.items));
        for item in items {
            let token = self.token.as_str();
            match item {
                QueuedEvent::Reconnected { restarted } => {
                    observer.event(&Event::TokenReconnected { token, restarted });
                }
                QueuedEvent::LoggedIn => observer.event(&Event::TokenLogin { token }),
                QueuedEvent::LoginRefused(fault) => {
                    let error = Error::Login { fault };
                    observer.event(&Event::TokenLoginRefused { token, error: &error });
                }
            }
        }
    }
}
