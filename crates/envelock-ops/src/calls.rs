//! How many calls a job makes, and what they cost.

use serde::{Deserialize, Serialize};

/// Calls of a store and of the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "five numbers")]
pub struct Calls {
    /// Pages that were listed.
    pub lists: u64,
    /// Headers that were read.
    pub reads: u64,
    /// Headers or messages that were replaced, or were to be.
    pub writes: u64,
    /// Wraps and unwraps: three for a header that is changed, one for each slot that a census opens. What a keyring keeps in
    /// memory is counted, too.
    pub keys: u64,
    /// The bytes of the messages that were written as a whole, with their header, or were to be: as far as the listing has
    /// lengths.
    #[serde(default)]
    pub moved_bytes: u64,
}

impl Calls {
    /// Returns the sum of both.
    #[must_use]
    pub fn plus(self, other: Calls) -> Calls {
        Calls {
            lists: self.lists + other.lists,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            keys: self.keys + other.keys,
            moved_bytes: self.moved_bytes + other.moved_bytes,
        }
    }

    /// Returns the number of calls of the store.
    pub(crate) fn requests(self) -> u64 {
        self.lists + self.reads + self.writes
    }

    /// Returns what the calls cost, in billionths of a unit of currency.
    pub fn cost(self, prices: Prices) -> u64 {
        let sum = u128::from(self.lists) * u128::from(prices.list)
            + u128::from(self.reads) * u128::from(prices.read)
            + u128::from(self.writes) * u128::from(prices.write)
            + u128::from(self.keys) * u128::from(prices.key);
        // More than anybody has.
        u64::try_from(sum).unwrap_or(u64::MAX)
    }
}

/// Prices of calls, in billionths of a unit of currency. 5,000 is 5 dollars for a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::exhaustive_structs, reason = "four numbers")]
pub struct Prices {
    /// Of a page that is listed.
    pub list: u64,
    /// Of a header that is read.
    pub read: u64,
    /// Of a header or a message that is replaced.
    pub write: u64,
    /// Of a wrap or an unwrap.
    pub key: u64,
}

/// What an item costs that is changed at the first attempt, beside its keys: read, replaced, and read again.
pub(crate) const CHANGE: Calls = Calls { lists: 0, reads: 2, writes: 1, keys: 0, moved_bytes: 0 };

/// The old slot is unwrapped, the new one wrapped, and unwrapped again.
pub(crate) const KEY_CALLS: u64 = 3;
