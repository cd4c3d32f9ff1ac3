//! Answers of Transit: no panic, no large allocation, as many results as items, and a wrapped key only
//! where its canonical form is in the answer. The seeds are answers of a real server.
#![no_main]

use envelock::keyset::VersionState;
use envelock_fuzz::allocator::{self, Counting};
use envelock_remote::ServiceError;
use envelock_transit::answer::{self, Answer};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Those that the service was seen to send.
const STATUSES: [u16; 10] = [200, 204, 307, 400, 403, 404, 412, 429, 500, 503];

fuzz_target!(|data: &[u8]| {
    let [status, count, body @ ..] = data else { return };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    let count = usize::from(*count);
    let retry_after = (count % 2 == 1).then(|| &body[..body.len().min(20)]);
    let answer = Answer { status, retry_after, body };
    // A value of JSON takes some 70 bytes, for one of the text at least.
    let limit = 256 * data.len() + (64 << 10);

    match allocator::limit(limit, || answer::encrypted(&answer, count)) {
        Ok(items) => {
            assert_eq!(items.len(), count);
            for item in items {
                match item {
                    Ok(wrapped) => {
                        assert!(matches!(wrapped.blob.len(), 44 | 60));
                        let text = format!("\"vault:v{}:", wrapped.version);
                        assert!(body.windows(text.len()).any(|part| part == text.as_bytes()));
                    }
                    Err(error) => show(&error),
                }
            }
        }
        Err(error) => show(&error),
    }
    match allocator::limit(limit, || answer::decrypted(&answer, count)) {
        Ok(items) => {
            assert_eq!(items.len(), count);
            items.iter().flat_map(Result::as_ref).for_each(|plaintext| {
                assert!(plaintext.expose().len() <= body.len());
            });
            items.iter().filter_map(|item| item.as_ref().err()).for_each(show);
        }
        Err(error) => show(&error),
    }
    match allocator::limit(limit, || answer::key(&answer)) {
        Ok(key) => {
            let states: Vec<_> = key.states().collect();
            assert_eq!(states.len(), key.latest.number() as usize);
            let primaries = states.iter().filter(|(_, state)| *state == VersionState::Primary);
            assert_eq!(primaries.count(), usize::from(!key.soft_deleted));
        }
        Err(error) => show(&error),
    }
    for result in [answer::mount(&answer).map(drop), answer::done(&answer)] {
        if let Err(error) = result {
            show(&error);
        }
    }
});

/// A text is short and has no control character.
fn show(error: &ServiceError) {
    let text = error.to_string();
    assert!(text.len() < 2000 && !text.chars().any(char::is_control), "{text:?}");
}
