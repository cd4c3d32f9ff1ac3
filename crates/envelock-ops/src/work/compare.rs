//! How an attempt ends, by what the store and the keys returned.

use super::{Finding, State};
use crate::breaker::BackEnd;
use crate::header_bytes::is_of_message;
use crate::operation::{Operation, opens};
use crate::outcome::{Failure, Outcome};
use crate::store::Replaced;
use crate::store_error::StoreError;

/// Returns how an item ends that was not replaced; with `otherwise` if it is neither gone nor another one.
pub(super) fn not_replaced(replaced: Replaced, otherwise: Outcome) -> State {
    State::Finished(match replaced {
        Replaced::Gone => Finding::Outcome(Outcome::Gone),
        // Perhaps an earlier try of the same call was carried out: the next attempt reads what is there.
        Replaced::Conflict => Finding::Again(Outcome::Conflict),
        Replaced::Done | Replaced::NoRoom => Finding::Outcome(otherwise),
    })
}

/// Calls what is to be known: the header was read, and opening it calls the keys.
pub(super) fn witness(back_end: BackEnd, header: &[u8], operation: &dyn Operation) -> State {
    match back_end {
        BackEnd::Store => State::Finished(Finding::Outcome(Outcome::Current)),
        BackEnd::Keys => match opens(operation, header) {
            Ok(true) => State::Finished(Finding::Outcome(Outcome::Changed)),
            // Perhaps no key was asked for: it is a witness no longer.
            Ok(false) => State::Finished(Finding::Outcome(Outcome::Gone)),
            Err(error) => failed(error.into()),
        },
    }
}

pub(super) fn failed(failure: Failure) -> State {
    let may_pass = failure.may_pass();
    let outcome = Outcome::Failed(failure);
    State::Finished(if may_pass { Finding::Again(outcome) } else { Finding::Outcome(outcome) })
}

/// What was read back is what was to be written.
pub(super) fn written_as(left: Option<String>, is_repair: bool) -> State {
    State::Finished(match left {
        _ if is_repair => Finding::Again(Outcome::Failed(Failure::Mismatch)),
        Some(why) => Finding::Partly(why),
        None => Finding::Outcome(Outcome::Changed),
    })
}

/// Compares what was read back, which is not the `new` header that was to be written.
pub(super) fn compare(
    new: &[u8],
    is_old: bool,
    written: Result<(), StoreError>,
    found: &[u8],
    operation: &dyn Operation,
) -> State {
    match written {
        Err(error) if is_old => return failed(error.into()),
        Ok(()) if is_old => return State::Finished(Finding::Mismatch),
        _ => {}
    }
    // Another writer's header opens, or belongs to another message.
    let is_torn = is_of_message(found, new)
        && match opens(operation, found) {
            Ok(opens) => !opens,
            Err(error) => return failed(error.into()),
        };
    State::Finished(if is_torn { Finding::Mismatch } else { Finding::Again(Outcome::Conflict) })
}
