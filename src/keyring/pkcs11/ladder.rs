//! The way back to a working token, rung by rung: another session, another login, another
//! connection, the library set up anew.

use super::error::{PinFault, Pkcs11Error};
use super::failure::{self, Failure, Rung};
use super::ffi::ck;
use super::module::Inside;
use super::term::Term;
use super::token::Token;
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
pub(super) struct Ladder {
    term: Term,
    attempts: u32,
    /// Failures of the device rather than of a session.
    device: u32,
    /// Failures that may be of the library as a whole, whatever the device says of itself.
    library: u32,
    slips: u32,
    missing: u32,
}

/// What comes next.
pub(super) enum Step {
    Again,
    /// Set the library up anew; what it is for, in case that cannot be done.
    Restart(Failure),
}

impl Ladder {
    pub(super) fn new(term: Term) -> Self {
        Ladder { term, attempts: 1, device: 0, library: 0, slips: 0, missing: 0 }
    }

    /// Another attempt, for as long as there is time, however many there were.
    pub(super) fn again(&mut self, failure: Failure) -> Result<Step, Failure> {
        if self.term.is_over() {
            return Err(failure);
        }
        self.attempts = self.attempts.saturating_add(1);
        Ok(Step::Again)
    }

    /// Waits before a later attempt, holding nothing.
    pub(super) fn pause(&self) {
        let Some(late) = self.attempts.checked_sub(EAGER_ATTEMPTS.saturating_add(1)) else {
            return;
        };
        let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(late).unwrap_or(u32::MAX));
        std::thread::sleep(pause.min(LONGEST_PAUSE).min(self.term.left()));
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

impl Token {
    /// Finds out what is wrong, mends what can be mended from inside, and says what comes next;
    /// or gives the failure back.
    pub(super) fn next_step(
        &self,
        inside: &Inside<'_>,
        failure: Failure,
        ladder: &mut Ladder,
    ) -> Result<Step, Failure> {
        let rung = match &failure {
            // Perhaps the number is another key's by now.
            Failure::Call(call) if failure::is_disabled(call) && ladder.missing == 0 => {
                ladder.missing = 1;
                Rung::Stale
            }
            Failure::Call(call) => failure::rung(call),
            Failure::Superseded => Rung::Session,
            Failure::Login(PinFault::Ignored) => Rung::Stale,
            // One that was there may come back; another name will not.
            Failure::Error(Pkcs11Error::TokenNotFound { .. }) if self.news.was_connected() => {
                Rung::Device
            }
            Failure::Wrong(_) if ladder.slips < MOST_SLIPS => {
                ladder.slips = ladder.slips.saturating_add(1);
                // Perhaps the number is another key's by now.
                Rung::Stale
            }
            Failure::KeyMissing if ladder.missing == 0 => {
                ladder.missing = 1;
                Rung::Stale
            }
            _ => Rung::Permanent,
        };
        if rung == Rung::Permanent {
            return Err(failure);
        }
        let step = ladder.again(failure.clone())?;
        let in_vain = ladder.library_failed(&failure);
        let Some(connection) = self.connection(inside) else {
            // It could not be made.
            let restart = rung == Rung::Restart || (rung == Rung::Device && ladder.device_failed());
            return Ok(if restart || in_vain { Step::Restart(failure) } else { step });
        };
        let term = ladder.term;
        let restart = match connection.is_logged_in(inside, &self.options, &term) {
            Ok(true) => {
                if rung != Rung::Session {
                    connection.forget_objects();
                }
                // The token says that it is well.
                if matches!(rung, Rung::Device | Rung::Restart) && ladder.device_failed() {
                    self.disconnect(inside, &connection, false, &term);
                }
                false
            }
            Ok(false) => match connection.log_in(inside, &self.options, &term) {
                Ok(logged_in) => {
                    connection.forget_objects();
                    if logged_in {
                        self.news.logged_in();
                    }
                    false
                }
                Err(Failure::Login(fault)) if !matches!(fault, PinFault::Ignored) => {
                    self.news.login_refused(&fault);
                    return Err(Failure::Login(fault));
                }
                Err(Failure::Error(error)) => return Err(error.into()),
                // Another thread has given it up.
                Err(Failure::Superseded) => false,
                Err(_) => {
                    self.disconnect(inside, &connection, false, &term);
                    ladder.device_failed()
                }
            },
            Err(Failure::Call(lost)) => {
                let gone = failure::is_session_gone(&lost);
                self.disconnect(inside, &connection, gone, &term);
                let is_down = lost.code() == Some(ck::CKR_CRYPTOKI_NOT_INITIALIZED);
                is_down || (!gone && ladder.device_failed())
            }
            Err(Failure::Error(error)) => return Err(error.into()),
            Err(_) => false,
        };
        Ok(if restart || in_vain { Step::Restart(failure) } else { step })
    }
}
