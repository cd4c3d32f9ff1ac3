//! The faults of a scripted service, and when they come.

use crate::ServiceError;
use envelock::keyring::Refusal;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// A method of a [`Backend`](crate::Backend).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// [`describe`](crate::Backend::describe).
    Describe,
    /// [`encrypt`](crate::Backend::encrypt).
    Encrypt,
    /// [`decrypt`](crate::Backend::decrypt).
    Decrypt,
    /// [`reencrypt`](crate::Backend::reencrypt).
    Reencrypt,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 4] =
        [Method::Describe, Method::Encrypt, Method::Decrypt, Method::Reencrypt];
}

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An answer of 429, with this wait or without one.
    Throttled(Option<Duration>),
    /// An answer of 503.
    ServerError,
    /// The connection is reset.
    Reset,
    /// An answer of 403.
    Denied,
    /// An answer that makes no sense.
    Garbage,
    /// The service has no such method.
    Unsupported,
    /// The service refuses the version.
    Refused(Refusal),
    /// No answer ever comes.
    Hang,
    /// The client of the service panics.
    Panic,
    /// The answer comes so much later.
    Slow(Duration),
    /// One answer too few.
    MissingAnswer,
    /// A description without versions.
    NoVersions,
    /// Another key is encrypted, or returned as the plaintext.
    OtherPlaintext,
    /// The wrapped key, or the plaintext, lacks its last byte.
    Truncated,
    /// The wrapped key is empty.
    Empty,
    /// The answer names the version before the one that was used.
    VersionBefore,
    /// The answer names the version after the one that was used.
    VersionAfter,
    /// The wrap is under another master key.
    OtherMasterKey,
    /// The context is not authenticated.
    NoContext,
}

impl Fault {
    /// Returns the error of the whole call.
    pub(super) fn error(self) -> Option<ServiceError> {
        Some(match self {
            Fault::Throttled(retry_after) => {
                ServiceError::throttled(retry_after, "429 too many requests")
            }
            Fault::ServerError => ServiceError::unavailable("503 service unavailable"),
            Fault::Reset => {
                ServiceError::unavailable(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            }
            Fault::Denied => ServiceError::denied("403 permission denied"),
            Fault::Garbage => ServiceError::broken("answer is not JSON at byte 0"),
            Fault::Unsupported => ServiceError::Unsupported,
            Fault::Refused(refusal) => ServiceError::Refused(refusal),
            _ => return None,
        })
    }
}

#[derive(Default)]
pub(super) struct Script {
    next: HashMap<Method, VecDeque<Option<Fault>>>,
    always: HashMap<Method, Fault>,
}

impl Script {
    pub(super) fn always(&mut self, method: Method, fault: Fault) {
        self.always.insert(method, fault);
    }

    pub(super) fn next(&mut self, method: Method, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.next.entry(method).or_default().extend(faults);
    }

    pub(super) fn fault(&mut self, method: Method) -> Option<Fault> {
        let next = self.next.get_mut(&method).and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| self.always.get(&method).copied())
    }
}
