//! Events of a token, which the observer receives once no lock is held.

use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::observe::{Event, EventQueue, Observer};
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

/// An [`Event`] that owns its data.
pub(crate) enum TokenEvent {
    Reconnected { restarted: bool },
    LoggedIn,
    LoginRefused(PinFault),
}

/// The events of one token.
pub(crate) struct TokenEvents {
    token: String,
    was_connected: AtomicBool,
    queue: EventQueue<TokenEvent>,
}

impl TokenEvents {
    pub(crate) fn new(token: String, observer: Option<Arc<dyn Observer>>) -> Self {
        TokenEvents {
            token,
            was_connected: AtomicBool::new(false),
            queue: EventQueue::new(observer),
        }
    }

    /// Records a connection. The first one is reported only as a login.
    pub(crate) fn connected(&self, logged_in: bool) {
        if self.was_connected.swap(true, Ordering::Relaxed) {
            self.push(TokenEvent::Reconnected { restarted: false });
        }
        if logged_in {
            self.push(TokenEvent::LoggedIn);
        }
    }

    /// Whether the token was connected before.
    pub(crate) fn was_connected(&self) -> bool {
        self.was_connected.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&self, event: TokenEvent) {
        self.queue.push(event);
    }

    /// Delivers the recorded events. The caller holds no lock, not even one of a keyring.
    pub(crate) fn publish(&self) {
        let token = self.token.as_str();
        self.queue.publish(|observer, event| match event {
            TokenEvent::Reconnected { restarted } => {
                observer.event(&Event::TokenReconnected { token, restarted });
            }
            TokenEvent::LoggedIn => observer.event(&Event::TokenLogin { token }),
            TokenEvent::LoginRefused(fault) => {
                let error = Error::Login { fault };
                observer.event(&Event::TokenLoginRefused { token, error: &error });
            }
        });
    }
}
