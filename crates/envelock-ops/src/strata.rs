//! Strata: items that are alike by their headers, since failures gather among items of one writer, version or tenant.

use crate::digest::fraction;
use crate::item::ItemKey;
use crate::stage::Stage;
use envelock::inspect;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Maximum number of strata that are told apart.
pub const MAX_STRATA: usize = 128;

/// So many items of each stratum come in the first stage, or all that there are: 30 without a failure prove that fewer than
/// 10 % fail, at 95 %.
pub const STRATUM_SAMPLE: usize = 30;

/// Maximum length of the prefix of a stratum in bytes.
const MAX_PREFIX_LEN: usize = 64;

/// Items that are alike: by key version, suite, number of slots, size and prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Stratum {
    /// The key name of the first slot.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The id of the suite.
    pub suite: u8,
    /// The number of slots.
    pub slots: u8,
    /// The first of 4 KiB, 256 KiB, 16 MiB, 1 GiB, 64 GiB (0 to 4) that the message fits in, 5 above, if the
    /// listing has lengths.
    pub size: Option<u8>,
    /// The key of the item up to its first slash, 64 bytes at most, in text form.
    pub prefix: String,
}

impl Stratum {
    /// Returns the stratum of an item, or `None` if the header is none.
    pub fn of(key: &ItemKey, header: &[u8], bytes: Option<u64>) -> Option<Self> {
        StratumRef::of(key, header, bytes).map(|stratum| stratum.to_stratum())
    }

    fn as_ref(&self) -> StratumRef<'_> {
        let Stratum { name, version, suite, slots, size, prefix } = self;
        let (version, suite, slots, size) = (*version, *suite, *slots, *size);
        StratumRef { name, version, suite, slots, size, prefix: Cow::Borrowed(prefix) }
    }
}

/// A [`Stratum`] that is looked up. The order of the fields is that of its order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StratumRef<'a> {
    name: &'a str,
    version: u32,
    suite: u8,
    slots: u8,
    size: Option<u8>,
    prefix: Cow<'a, str>,
}

impl<'a> StratumRef<'a> {
    pub(crate) fn of(key: &'a ItemKey, header: &'a [u8], bytes: Option<u64>) -> Option<Self> {
        let header = inspect(header).ok()?;
        let label = header.slots().next()?.label;
        let slash = key.as_bytes().iter().position(|&byte| byte == b'/').unwrap_or(0);
        let prefix = key.as_bytes().get(..slash.min(MAX_PREFIX_LEN)).unwrap_or_default();
        // 12 bits fit in 4 KiB, and each class has 6 more.
        let class = |bytes: u64| {
            let bits = u64::BITS - bytes.saturating_sub(1).leading_zeros();
            u8::try_from(bits.saturating_sub(12).div_ceil(6).min(5)).unwrap_or(5)
        };
        Some(StratumRef {
            name: label.name.as_str(),
            version: label.version.number(),
            suite: header.suite().id(),
            // At most 16.
            slots: u8::try_from(header.slots().len()).unwrap_or(u8::MAX),
            size: bytes.map(class),
            prefix: ItemKey::text_of(prefix),
        })
    }

    fn to_stratum(&self) -> Stratum {
        let StratumRef { name, version, suite, slots, size, prefix } = self;
        let (name, prefix) = ((*name).into(), prefix.as_ref().into());
        let (version, suite, slots, size) = (*version, *suite, *slots, *size);
        Stratum { name, version, suite, slots, size, prefix }
    }
}

impl fmt::Display for Stratum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stratum { name, version, suite, slots, prefix, .. } = self;
        write!(f, "{name}:{version}, suite {suite}, slots {slots}")?;
        if !prefix.is_empty() {
            write!(f, ", {prefix}/")?;
        }
        Ok(())
    }
}

/// How many items of a stratum were tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StratumCount {
    /// The stratum.
    pub stratum: Stratum,
    /// The items that were changed, or failed.
    pub items: u64,
    /// Those that failed.
    pub failures: u64,
    /// In a dry run, the hashes of the items that come first, at most [`STRATUM_SAMPLE`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lowest: Vec<u64>,
}

/// Items by stratum, in ascending order. Items beyond [`MAX_STRATA`] strata are not counted here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Strata(Vec<StratumCount>);

impl Strata {
    /// Returns the counts.
    pub fn counts(&self) -> &[StratumCount] {
        &self.0
    }

    /// Returns what a definition of the same seed takes as its
    /// [`sample`](crate::Definition::sample), from the report of a dry run: the items that the first stage needs so that
    /// it has 30 of each stratum, or all, and does not have by its size.
    pub fn sample(&self, first: &Stage) -> Vec<u64> {
        let lowest = self.0.iter().flat_map(|count| &count.lowest).copied();
        let mut sample: Vec<u64> = lowest.filter(|&at| !first.has(at)).collect();
        sample.sort_unstable();
        sample
    }

    pub(crate) fn count(
        &mut self,
        stratum: &StratumRef<'_>,
        is_failure: bool,
        lowest: Option<u64>,
    ) {
        let (items, failures) = (1, u64::from(is_failure));
        self.add(stratum, items, failures, lowest.as_slice());
    }

    pub(crate) fn merge(&mut self, other: &Strata) {
        for StratumCount { stratum, items, failures, lowest } in &other.0 {
            self.add(&stratum.as_ref(), *items, *failures, lowest);
        }
    }

    fn add(&mut self, stratum: &StratumRef<'_>, items: u64, failures: u64, lowest: &[u64]) {
        let at = match self.0.binary_search_by(|count| count.stratum.as_ref().cmp(stratum)) {
            Ok(at) => at,
            Err(at) if self.0.len() < MAX_STRATA => {
                let stratum = stratum.to_stratum();
                let count = StratumCount { stratum, items: 0, failures: 0, lowest: Vec::new() };
                self.0.insert(at, count);
                at
            }
            Err(_) => return,
        };
        let Some(count) = self.0.get_mut(at) else { return };
        count.items += items;
        count.failures += failures;
        for hash in lowest {
            let at = count.lowest.partition_point(|found| found < hash);
            if at < STRATUM_SAMPLE && count.lowest.get(at) != Some(hash) {
                count.lowest.insert(at, *hash);
                count.lowest.truncate(STRATUM_SAMPLE);
            }
        }
    }
}

/// Returns the hash of an item that decides its stage.
pub(crate) fn stage_hash(seed: u64, key: &ItemKey) -> u64 {
    fraction(&[b"envelock stage v1", &seed.to_be_bytes(), key.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stratum(version: u32) -> Stratum {
        Stratum {
            name: "orders".into(),
            version,
            suite: 1,
            slots: 1,
            size: None,
            prefix: String::new(),
        }
    }

    #[test]
    fn sample_has_30_of_each_stratum_or_all() {
        let first = Stage { up_to_millionths: 10_000, soak_seconds: 0 };
        let hashes = |version: u64, items: u64| {
            (0..items).map(move |n| stage_hash(version, &ItemKey::new(n.to_be_bytes()).unwrap()))
        };
        let all = [(1, 20_000), (2, 7), (3, 40)];
        // In two parts, as two shards have them.
        let mut parts = [Strata::default(), Strata::default()];
        for (version, items) in all {
            for (at, hash) in hashes(version, items).enumerate() {
                let part = &mut parts[at % 2];
                part.count(&stratum(version as u32).as_ref(), false, Some(hash));
            }
        }
        let [mut strata, other] = parts;
        strata.merge(&other);
        let sample = strata.sample(&first);
        for (version, items) in all {
            let is_first = |hash: &u64| first.has(*hash) || sample.binary_search(hash).is_ok();
            let count = hashes(version, items).filter(is_first).count();
            assert!(count >= STRATUM_SAMPLE.min(items as usize), "{version}: {count}");
            assert!(count <= 260, "{version}: {count}");
        }
        assert!((37..=67).contains(&sample.len()), "{}", sample.len());
    }

    #[test]
    fn strata_beyond_the_most_are_left_out() {
        let mut strata = Strata::default();
        (1..1000).for_each(|version| strata.count(&stratum(version).as_ref(), false, None));
        strata.count(&stratum(1).as_ref(), true, None);
        assert_eq!(strata.counts().len(), MAX_STRATA);
        let first = strata.counts().first().unwrap();
        assert_eq!((first.items, first.failures), (2, 1));
    }

    #[test]
    fn sizes_have_six_classes_and_prefixes_end_at_the_slash() {
        let keyring = envelock::MemoryKeyring::create("orders").unwrap();
        let envelope = envelock::Envelope::new(keyring);
        let started = envelope.start(0, envelock::Aad::none()).unwrap();
        let of = |key: &str, bytes| {
            Stratum::of(&ItemKey::new(key).unwrap(), started.header(), bytes).unwrap()
        };
        let classes = [0, 4096, 4097, 1 << 18, (1 << 18) + 1, 1 << 30, 1 << 36, (1 << 36) + 1]
            .map(|bytes| of("a", Some(bytes)).size.unwrap());
        assert_eq!(classes, [0, 0, 1, 1, 2, 3, 4, 5]);
        assert_eq!((of("a", None).size, of("a", None).prefix.as_str()), (None, ""));
        assert_eq!(of("tenant 1/b/c", None).prefix, "tenant 1");
        assert_eq!(of("tenant 1/b", None).to_string(), "orders:1, suite 1, slots 1, tenant 1/");
        assert!(Stratum::of(&ItemKey::new("a").unwrap(), b"text", None).is_none());
    }
}
