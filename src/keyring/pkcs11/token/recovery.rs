//! Recovery of lost sessions, logins and devices: the retry loop of operations, and the remedies.
//!
//! The least remedy that may help comes first: another session, another lookup or login, another
//! connection, a restart of the library.

use super::connection::{Connection, Connections};
use super::events::TokenEvent;
use super::library::{LibraryAccess, LibraryGuard};
use super::time_limit::TimeLimit;
use super::{Attempt, OpenToken, Token};
use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{CallFailure, CallFault, ck};
use alloc::sync::Arc;
use core::time::Duration;

/// How many attempts follow each other without a pause.
const EAGER_ATTEMPTS: usize = 4;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How often the pause doubles: beyond the longest one.
const MAX_DOUBLINGS: usize = 7;

/// After how many failures of one operation the library is restarted although the token reports no
/// fault, or although each new connection to it works.
const LIBRARY_FAILURES: usize = 5;

/// How many wrong responses count as transient.
const TRANSIENT_RESPONSES: usize = 2;

impl Token {
    /// Runs `operation` until it succeeds or cannot succeed within the limit. It may run more than once.
    pub(crate) fn run<T>(
        &self,
        access: LibraryAccess,
        limit: &TimeLimit,
        mut operation: impl FnMut(&Attempt<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let OpenToken { library, connections, .. } = &*self.0;
        let mut recovery = Recovery::new(*limit);
        loop {
            // Outside the library, so that a wait blocks no other call.
            let permit = connections.sessions.acquire(limit)?;
            let (step, epoch) = match library.enter(access, limit) {
                Ok(inside) => match attempt(&inside, connections, &mut operation) {
                    Ok(result) => return Ok(result),
                    Err(failure) => {
                        (next_step(&inside, connections, failure, &mut recovery)?, inside.epoch)
                    }
                },
                // C_Initialize failed.
                Err(Error::Call { failure }) => (recovery.retry(Failure::Call(failure))?, 0),
                Err(error) => return Err(error.into()),
            };
            drop(permit);
            recovery.pause();
            if let Step::Restart(failure) = step {
                self.restart(epoch, limit, &mut recovery, failure)?;
            }
        }
    }

    /// Restarts the library. The caller has left it.
    fn restart(
        &self,
        epoch: u64,
        limit: &TimeLimit,
        recovery: &mut Recovery,
        failure: Failure,
    ) -> Result<(), Failure> {
        match self.0.library.restart(epoch, limit) {
            Ok(true) => self.events().push(TokenEvent::Reconnected { restarted: true }),
            // Other code uses the library: the next attempt opens a new connection.
            Ok(false) => {}
            Err(Error::Call { failure }) => {
                recovery.retry(Failure::Call(failure))?;
            }
            Err(error @ (Error::Hanging { .. } | Error::RestartProcess { .. })) => {
                return Err(error.into());
            }
            Err(_) => return Err(failure),
        }
        Ok(())
    }
}

/// Runs `operation` once, in a session of its own.
fn attempt<T>(
    library: &LibraryGuard<'_>,
    connections: &Connections,
    operation: &mut dyn FnMut(&Attempt<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let connection = connections.connect(library)?;
    let session = connection.take_session(library).inspect_err(|failure| {
        if failure.code() == Some(ck::CKR_SESSION_COUNT) {
            connections.sessions.lower();
        }
    })?;
    let logins = library.logins();
    let environment =
        Attempt { library, connection: &connection, session: library.session(session), logins };
    let mut outcome = operation(&environment);
    if library.logins() != logins {
        // Handles may have changed during the attempt: neither a success nor a failure counts.
        outcome = Err(Failure::Superseded);
    }
    match &outcome {
        Ok(_) => connection.return_session(library, session),
        Err(failure) => library.end_session(session, is_session_gone(failure)),
    }
    outcome
}

/// The recovery of one operation.
pub(crate) struct Recovery {
    limit: TimeLimit,
    attempts: usize,
    /// Failures of the device rather than of a session.
    device_failures: usize,
    /// Failures that the library as a whole may cause, although the device reports no fault.
    library_failures: usize,
    wrong_responses: usize,
    /// Whether the key was looked up again.
    looked_up_again: bool,
}

/// The next step of the operation.
pub(crate) enum Step {
    Retry,
    /// Restart the library. If that is impossible, the operation fails with this failure.
    Restart(Failure),
}

impl Recovery {
    pub(crate) fn new(limit: TimeLimit) -> Self {
        Recovery {
            limit,
            attempts: 1,
            device_failures: 0,
            library_failures: 0,
            wrong_responses: 0,
            looked_up_again: false,
        }
    }

    /// Allows another attempt while there is time.
    pub(crate) fn retry(&mut self, failure: Failure) -> Result<Step, Failure> {
        if self.limit.is_over() {
            return Err(failure);
        }
        self.attempts += 1;
        Ok(Step::Retry)
    }

    /// Waits before a later attempt. The caller holds no lock.
    #[expect(clippy::arithmetic_side_effects, reason = "five milliseconds times 2^7 at most")]
    pub(crate) fn pause(&self) {
        if let Some(late) = self.attempts.checked_sub(EAGER_ATTEMPTS + 1) {
            let pause = FIRST_PAUSE * (1 << late.min(MAX_DOUBLINGS));
            std::thread::sleep(pause.min(MAX_PAUSE).min(self.limit.remaining()));
        }
    }

    /// Counts a failure of the device. Returns whether it is more than a transient one.
    fn device_failed(&mut self) -> bool {
        self.device_failures += 1;
        self.device_failures > 1
    }

    /// Counts a failure that another session, login or connection should have ended. Returns
    /// whether to restart the library: rarely, since a restart disturbs all its users.
    fn library_failed(&mut self, failure: &Failure) -> bool {
        let is_curable = match failure {
            Failure::Call(call) => !is_lack_of_sessions(call),
            Failure::Login(PinFault::Ignored) => true,
            _ => false,
        };
        self.library_failures += usize::from(is_curable);
        is_curable && self.library_failures.is_multiple_of(LIBRARY_FAILURES)
    }

    /// The least remedy that may help against `failure`.
    fn remedy(&mut self, failure: &Failure, was_connected: bool) -> Remedy {
        match failure {
            // The handle may belong to another key now.
            Failure::Call(call) if failure::is_disabled(call) && !self.looked_up_again => {
                self.looked_up_again = true;
                Remedy::Lookup
            }
            Failure::KeyMissing if !self.looked_up_again => {
                self.looked_up_again = true;
                Remedy::Lookup
            }
            Failure::Wrong(_) if self.wrong_responses < TRANSIENT_RESPONSES => {
                self.wrong_responses += 1;
                Remedy::Lookup
            }
            Failure::Call(call) => remedy_of(call),
            Failure::Superseded => Remedy::Session,
            Failure::Login(PinFault::Ignored) => Remedy::Lookup,
            // A token that was connected may return. Another one has another label.
            Failure::Error(Error::TokenNotFound { .. }) if was_connected => Remedy::Device,
            _ => Remedy::None,
        }
    }
}

/// The least remedy against a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Another session.
    Session,
    /// Another lookup of the object handle, after a login if needed.
    Lookup,
    /// A check of the device.
    Device,
    /// A restart: the library is not initialised.
    Restart,
    /// None: the same call fails again.
    None,
}

/// The least remedy that may help against a failed call.
pub(crate) fn remedy_of(failure: &CallFailure) -> Remedy {
    let code = match failure.fault {
        CallFault::Code(code) => code,
        CallFault::Length | CallFault::Handle => return Remedy::Session,
        CallFault::Missing => return Remedy::None,
    };
    match code {
        ck::CKR_SESSION_HANDLE_INVALID
        | ck::CKR_SESSION_CLOSED
        | ck::CKR_OPERATION_ACTIVE
        | ck::CKR_OPERATION_NOT_INITIALIZED
        | ck::CKR_BUFFER_TOO_SMALL
        | ck::CKR_SESSION_COUNT => Remedy::Session,
        ck::CKR_OBJECT_HANDLE_INVALID | ck::CKR_KEY_HANDLE_INVALID | ck::CKR_USER_NOT_LOGGED_IN => {
            Remedy::Lookup
        }
        ck::CKR_CRYPTOKI_NOT_INITIALIZED => Remedy::Restart,
        ck::CKR_MECHANISM_INVALID
        | ck::CKR_MECHANISM_PARAM_INVALID
        | ck::CKR_ARGUMENTS_BAD
        | ck::CKR_ATTRIBUTE_READ_ONLY
        | ck::CKR_ATTRIBUTE_SENSITIVE
        | ck::CKR_ATTRIBUTE_TYPE_INVALID
        | ck::CKR_ATTRIBUTE_VALUE_INVALID
        | ck::CKR_TEMPLATE_INCOMPLETE
        | ck::CKR_TEMPLATE_INCONSISTENT
        | ck::CKR_TOKEN_WRITE_PROTECTED
        | ck::CKR_SESSION_READ_ONLY
        | ck::CKR_ACTION_PROHIBITED
        | ck::CKR_KEY_SIZE_RANGE
        | ck::CKR_KEY_FUNCTION_NOT_PERMITTED
        | ck::CKR_KEY_TYPE_INCONSISTENT
        | ck::CKR_FUNCTION_NOT_SUPPORTED => Remedy::None,
        _ => Remedy::Device,
    }
}

/// Whether the call lacked a session or space in its buffer, so that the connection is intact.
fn is_lack_of_sessions(failure: &CallFailure) -> bool {
    let codes = [ck::CKR_SESSION_COUNT, ck::CKR_BUFFER_TOO_SMALL];
    failure.code().is_none_or(|code| codes.contains(&code))
}

/// Whether the session is gone, so that its handle may belong to another caller now.
pub(crate) fn is_session_gone(failure: &Failure) -> bool {
    let codes = [
        ck::CKR_SESSION_HANDLE_INVALID,
        ck::CKR_SESSION_CLOSED,
        ck::CKR_CRYPTOKI_NOT_INITIALIZED,
        ck::CKR_DEVICE_REMOVED,
    ];
    failure.code().is_some_and(|code| codes.contains(&code))
}

/// Applies the remedy against `failure` that is possible inside the library, and returns the next step.
///
/// # Errors
///
/// `failure`, if nothing helps or the time is over; a refused login.
pub(crate) fn next_step(
    library: &LibraryGuard<'_>,
    connections: &Connections,
    failure: Failure,
    recovery: &mut Recovery,
) -> Result<Step, Failure> {
    let remedy = recovery.remedy(&failure, connections.events.was_connected());
    if remedy == Remedy::None {
        return Err(failure);
    }
    let step = recovery.retry(failure.clone())?;
    let recurs = recovery.library_failed(&failure);
    let restart = match connections.current(library) {
        Some(connection) => repair(library, connections, &connection, remedy, recovery)?,
        // None could be opened.
        None => remedy == Remedy::Restart || (remedy == Remedy::Device && recovery.device_failed()),
    };
    Ok(if restart || recurs { Step::Restart(failure) } else { step })
}

/// Repairs `connection` or retires it. Returns whether only a restart can help.
fn repair(
    library: &LibraryGuard<'_>,
    connections: &Connections,
    connection: &Arc<Connection>,
    remedy: Remedy,
    recovery: &mut Recovery,
) -> Result<bool, Failure> {
    match connection.is_logged_in(library) {
        Ok(true) => {
            if remedy != Remedy::Session {
                connection.forget_objects();
            }
            // The token reports no fault.
            let is_of_device = matches!(remedy, Remedy::Device | Remedy::Restart);
            if is_of_device && recovery.device_failed() {
                connections.disconnect(library, connection, false);
            }
            Ok(false)
        }
        Ok(false) => log_in_again(library, connections, connection, recovery),
        Err(lost @ Failure::Call(_)) => {
            let is_gone = is_session_gone(&lost);
            connections.disconnect(library, connection, is_gone);
            let is_down = lost.code() == Some(ck::CKR_CRYPTOKI_NOT_INITIALIZED);
            Ok(is_down || (!is_gone && recovery.device_failed()))
        }
        Err(Failure::Error(error)) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

fn log_in_again(
    library: &LibraryGuard<'_>,
    connections: &Connections,
    connection: &Arc<Connection>,
    recovery: &mut Recovery,
) -> Result<bool, Failure> {
    match connection.log_in(library) {
        Ok(logged_in) => {
            connection.forget_objects();
            if logged_in {
                connections.events.push(TokenEvent::LoggedIn);
            }
            Ok(false)
        }
        Err(Failure::Login(fault)) if !matches!(fault, PinFault::Ignored) => {
            connections.events.push(TokenEvent::LoginRefused(fault.clone()));
            Err(Failure::Login(fault))
        }
        Err(Failure::Error(error)) => Err(error.into()),
        // Another thread has replaced the connection.
        Err(Failure::Superseded) => Ok(false),
        Err(_) => {
            connections.disconnect(library, connection, false);
            Ok(recovery.device_failed())
        }
    }
}
