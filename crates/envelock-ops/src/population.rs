//! A digest of which items were listed, whatever their order, so that two reports can be compared.

use crate::digest::{hex, sha256};
use crate::item::ItemKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// The sum of the hashes of the keys of items, as four 64-bit numbers: the same items have the same digest in any order and
/// any division into shards.
///
/// It tells sets apart that differ by accident. Whoever chooses keys can make two sets with one digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population([u64; 4]);

impl Population {
    pub(crate) fn add(&mut self, key: &ItemKey) {
        let hash = sha256(&[b"envelock population v1", key.as_bytes()]);
        let (parts, _) = hash.as_chunks::<8>();
        for (sum, part) in self.0.iter_mut().zip(parts) {
            *sum = sum.wrapping_add(u64::from_be_bytes(*part));
        }
    }

    /// Returns the digest of both, which have no item in common.
    #[must_use]
    pub fn plus(mut self, other: Population) -> Population {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
        self
    }
}

impl fmt::Display for Population {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| f.write_str(&hex(&part.to_be_bytes())))
    }
}

impl Serialize for Population {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Population {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut population = Population::default();
        for (at, part) in population.0.iter_mut().enumerate() {
            let digits = text.get(at * 16..(at + 1) * 16).unwrap_or_default();
            *part = u64::from_str_radix(digits, 16).map_err(D::Error::custom)?;
        }
        // One text for one digest.
        if population.to_string() != text {
            return Err(D::Error::custom("a population is 64 lower-case hexadecimal digits"));
        }
        Ok(population)
    }
}
