//! Recovery of a token, by the least disturbing remedy that may help: another session, another
//! login, another connection, a restart of the library.

use super::connection::{Connection, Connections};
use super::library::LibraryGuard;
use super::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::keyring::pkcs11::failure::{self, Failure, Remedy};
use crate::keyring::pkcs11::ffi::ck;
use alloc::sync::Arc;
use core::time::Duration;

/// How many attempts follow each other without a pause.
const EAGER_ATTEMPTS: usize = 4;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How often the pause doubles: beyond the longest one.
const MOST_DOUBLINGS: usize = 7;

/// After how many failures of one operation the library is restarted although the token reports no
/// fault, or although each new connection to it works.
const LIBRARY_FAILURES: usize = 5;

/// How many wrong responses count as transient.
const TRANSIENT_RESPONSES: usize = 2;

/// The recovery of one operation.
pub(crate) struct Recovery {
    limit: TimeLimit,
    attempts: usize,
    /// Failures of the device rather than of a session.
    device_failures: usize,
    /// Failures that the library as a whole may cause, whatever the device reports.
    library_failures: usize,
    wrong_responses: usize,
    /// Whether the key was looked up again.
    looked_up_again: bool,
}

/// What the operation does next.
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
            let pause = FIRST_PAUSE * (1 << late.min(MOST_DOUBLINGS));
            std::thread::sleep(pause.min(LONGEST_PAUSE).min(self.limit.remaining()));
        }
    }

    /// Counts a failure of the device. Returns whether it is more than a transient one.
    fn device_failed(&mut self) -> bool {
        self.device_failures += 1;
        self.device_failures > 1
    }

    /// Counts a failure that another session, login or connection should have cured. Returns
    /// whether to restart the library: seldom, since a restart disturbs all its users.
    fn library_failed(&mut self, failure: &Failure) -> bool {
        let is_curable = match failure {
            Failure::Call(call) => !failure::is_lack_of_sessions(call),
            Failure::Login(PinFault::Ignored) => true,
            _ => false,
        };
        self.library_failures += usize::from(is_curable);
        is_curable && self.library_failures.is_multiple_of(LIBRARY_FAILURES)
    }

    /// The least remedy that may help against `failure`.
    fn remedy(&mut self, failure: &Failure, was_connected: bool) -> Remedy {
        match failure {
            // The handle may be another key's now.
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
            Failure::Call(call) => failure::remedy(call),
            Failure::Superseded => Remedy::Session,
            Failure::Login(PinFault::Ignored) => Remedy::Lookup,
            // A token that was there may return; one that never was has another label.
            Failure::Error(Error::TokenNotFound { .. }) if was_connected => Remedy::Device,
            _ => Remedy::None,
        }
    }
}

/// Applies the remedy against `failure` that is possible inside the library, and returns what to do
/// next.
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
        Some(connection) => mend(library, connections, &connection, remedy, recovery)?,
        // It could not be made.
        None => remedy == Remedy::Restart || (remedy == Remedy::Device && recovery.device_failed()),
    };
    Ok(if restart || recurs { Step::Restart(failure) } else { step })
}

/// Mends `connection` or gives it up. Returns whether only a restart can help.
fn mend(
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
        Err(Failure::Call(lost)) => {
            let is_gone = failure::is_session_gone(&lost);
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
                connections.events.logged_in();
            }
            Ok(false)
        }
        Err(Failure::Login(fault)) if !matches!(fault, PinFault::Ignored) => {
            connections.events.login_refused(&fault);
            Err(Failure::Login(fault))
        }
        Err(Failure::Error(error)) => Err(error.into()),
        // Another thread has given the connection up.
        Err(Failure::Superseded) => Ok(false),
        Err(_) => {
            connections.disconnect(library, connection, false);
            Ok(recovery.device_failed())
        }
    }
}
