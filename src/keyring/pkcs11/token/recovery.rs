//! The way back to a working token, remedy by remedy: another session, another login, another
//! connection, the library set up anew.

use super::Inner;
use super::library::LibraryGuard;
use super::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::keyring::pkcs11::failure::{self, Failure, Remedy};
use crate::keyring::pkcs11::ffi::ck;
use core::time::Duration;

/// How many attempts follow each other at once.
const EAGER_ATTEMPTS: u32 = 4;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// After how many failures of one call the library is set up anew although the token says that it
/// is well, or is lost each time that it is connected.
const LIBRARY_FAILURES: u32 = 5;

/// How often a wrong answer is taken for a slip.
const MOST_SLIPS: u32 = 2;

/// How far one call has come.
pub(crate) struct Recovery {
    limit: TimeLimit,
    attempts: u32,
    /// Failures of the device rather than of a session.
    device: u32,
    /// Failures that may be of the library as a whole, whatever the device says of itself.
    library: u32,
    slips: u32,
    missing: u32,
}

/// What comes next.
pub(crate) enum Step {
    Again,
    /// Set the library up anew; what it is for, in case that cannot be done.
    Restart(Failure),
}

impl Recovery {
    pub(crate) fn new(limit: TimeLimit) -> Self {
        Recovery { limit, attempts: 1, device: 0, library: 0, slips: 0, missing: 0 }
    }

    /// Another attempt, for as long as there is time, however many there were.
    pub(crate) fn again(&mut self, failure: Failure) -> Result<Step, Failure> {
        if self.limit.is_over() {
            return Err(failure);
        }
        self.attempts = self.attempts.saturating_add(1);
        Ok(Step::Again)
    }

    /// Waits before a later attempt, holding nothing.
    pub(crate) fn pause(&self) {
        let Some(late) = self.attempts.checked_sub(EAGER_ATTEMPTS.saturating_add(1)) else {
            return;
        };
        let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(late).unwrap_or(u32::MAX));
        std::thread::sleep(pause.min(LONGEST_PAUSE).min(self.limit.left()));
    }

    /// Counts a failure of the device, and tells whether it is more than a slip.
    fn device_failed(&mut self) -> bool {
        self.device = self.device.saturating_add(1);
        self.device > 1
    }

    /// Counts a failure that a new session, login or connection should have mended, and tells
    /// whether that is in vain: seldom, since a restart disturbs everybody.
    fn library_failed(&mut self, failure: &Failure) -> bool {
        let is_mendable = match failure {
            Failure::Call(call) => !failure::is_of_few_sessions(call),
            Failure::Login(PinFault::Ignored) => true,
            _ => false,
        };
        self.library = self.library.saturating_add(u32::from(is_mendable));
        is_mendable && self.library.is_multiple_of(LIBRARY_FAILURES)
    }
}

impl Inner {
    /// Finds out what is wrong, mends what can be mended from inside, and says what comes next;
    /// or gives the failure back.
    pub(crate) fn next_step(
        &self,
        inside: &LibraryGuard<'_>,
        failure: Failure,
        recovery: &mut Recovery,
    ) -> Result<Step, Failure> {
        let remedy = match &failure {
            // Perhaps the number is another key's by now.
            Failure::Call(call) if failure::is_disabled(call) && recovery.missing == 0 => {
                recovery.missing = 1;
                Remedy::Stale
            }
            Failure::Call(call) => failure::remedy(call),
            Failure::Superseded => Remedy::Session,
            Failure::Login(PinFault::Ignored) => Remedy::Stale,
            // One that was there may come back; another name will not.
            Failure::Error(Error::TokenNotFound { .. }) if self.events.was_connected() => {
                Remedy::Device
            }
            Failure::Wrong(_) if recovery.slips < MOST_SLIPS => {
                recovery.slips = recovery.slips.saturating_add(1);
                // Perhaps the number is another key's by now.
                Remedy::Stale
            }
            Failure::KeyMissing if recovery.missing == 0 => {
                recovery.missing = 1;
                Remedy::Stale
            }
            _ => Remedy::Permanent,
        };
        if remedy == Remedy::Permanent {
            return Err(failure);
        }
        let step = recovery.again(failure.clone())?;
        let in_vain = recovery.library_failed(&failure);
        let Some(connection) = self.connection(inside) else {
            // It could not be made.
            let restart =
                remedy == Remedy::Restart || (remedy == Remedy::Device && recovery.device_failed());
            return Ok(if restart || in_vain { Step::Restart(failure) } else { step });
        };
        let limit = recovery.limit;
        let restart = match connection.is_logged_in(inside, &self.options, &limit) {
            Ok(true) => {
                if remedy != Remedy::Session {
                    connection.forget_objects();
                }
                // The token says that it is well.
                if matches!(remedy, Remedy::Device | Remedy::Restart) && recovery.device_failed() {
                    self.disconnect(inside, &connection, false, &limit);
                }
                false
            }
            Ok(false) => match connection.log_in(inside, &self.options, &limit) {
                Ok(logged_in) => {
                    connection.forget_objects();
                    if logged_in {
                        self.events.logged_in();
                    }
                    false
                }
                Err(Failure::Login(fault)) if !matches!(fault, PinFault::Ignored) => {
                    self.events.login_refused(&fault);
                    return Err(Failure::Login(fault));
                }
                Err(Failure::Error(error)) => return Err(error.into()),
                // Another thread has given it up.
                Err(Failure::Superseded) => false,
                Err(_) => {
                    self.disconnect(inside, &connection, false, &limit);
                    recovery.device_failed()
                }
            },
            Err(Failure::Call(lost)) => {
                let gone = failure::is_session_gone(&lost);
                self.disconnect(inside, &connection, gone, &limit);
                let is_down = lost.code() == Some(ck::CKR_CRYPTOKI_NOT_INITIALIZED);
                is_down || (!gone && recovery.device_failed())
            }
            Err(Failure::Error(error)) => return Err(error.into()),
            Err(_) => false,
        };
        Ok(if restart || in_vain { Step::Restart(failure) } else { step })
    }
}
