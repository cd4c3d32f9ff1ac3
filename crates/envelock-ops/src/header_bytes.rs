//! What the bytes of headers say without parsing them (SPEC 1): a header may be torn, and parsing each costs time.

use std::ops::Range;

/// The magic, the format and the suite.
const SUITE_END: usize = 6;

/// The same and the data key id: what a rewrap does not change.
const CORE_LEN: usize = 22;

/// Where the first slot begins, after the length of the header and the number of slots.
pub(crate) const SLOTS_OFFSET: usize = 25;

/// Length of a slot without its name and its wrapped key. It ends with the lengths of both, in one and in two bytes.
const SLOT_FIXED_LEN: usize = 16;

/// Returns whether both begin with the same immutable core: magic, format, suite, data key id.
pub(crate) fn same_core(a: &[u8], b: &[u8]) -> bool {
    have_same(a, b, 0..CORE_LEN)
}

/// Returns whether a header that may be torn is one of the message of `whole`: it has the same immutable core, or
/// ends within it.
pub(crate) fn is_of_message(torn: &[u8], whole: &[u8]) -> bool {
    same_core(torn, whole) || whole.starts_with(torn)
}

/// Returns whether `other` is as long as a `valid` header, and has its suite and its labels in the same order.
pub(crate) fn same_labels(valid: &[u8], other: &[u8]) -> bool {
    let same = |range| have_same(valid, other, range);
    if valid.len() != other.len() || !same(0..SUITE_END) || !same(CORE_LEN..SLOTS_OFFSET) {
        return false;
    }
    let mut at = SLOTS_OFFSET;
    let slots = valid.get(SLOTS_OFFSET - 1).copied().unwrap_or(0);
    (0..slots).all(|_| {
        let fixed = valid.get(at..).and_then(|slot| slot.first_chunk::<SLOT_FIXED_LEN>());
        let Some([.., name_len, high, low]) = fixed else { return false };
        let label = at..at + SLOT_FIXED_LEN + usize::from(*name_len);
        at = label.end + usize::from(u16::from_be_bytes([*high, *low]));
        same(label)
    })
}

fn have_same(a: &[u8], b: &[u8], range: Range<usize>) -> bool {
    a.get(range.clone()).is_some_and(|part| b.get(range) == Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use envelock::{Aad, Envelope, GrantOptions, MemoryKeyring, inspect};

    #[test]
    fn labels_are_the_same_if_parsing_says_so() {
        let [orders, audit] = ["orders", "audit"].map(|name| MemoryKeyring::create(name).unwrap());
        let envelope = Envelope::new(&orders);
        let header = || {
            let started = envelope.start(0, Aad::none()).unwrap();
            let added = envelope.add_slot(started.header(), &audit, GrantOptions::new());
            added.unwrap().into_header()
        };
        let (first, second) = (header(), header());
        assert!(first != second && same_labels(&first, &second));
        assert!(!same_labels(&first, &second[..second.len() - 1]));
        let mut parsed = 0;
        for (at, bits) in (0..first.len()).flat_map(|at| [(at, 1), (at, 2)]) {
            let mut changed = second.clone();
            changed[at] ^= bits;
            if let (Ok(first), Ok(other)) = (inspect(&first), inspect(&changed)) {
                parsed += 1;
                let mut slots = first.slots().zip(other.slots());
                let is_same = first.slots().len() == other.slots().len()
                    && first.suite() == other.suite()
                    && slots.all(|(one, other)| one.label == other.label);
                assert_eq!(same_labels(first.as_bytes(), &changed), is_same, "byte {at}");
            }
        }
        assert!(parsed > 100, "{parsed}");
    }
}
