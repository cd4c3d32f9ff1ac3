//! Strata: items that are alike by their headers, since failures gather among items of one writer, version or tenant.

use crate::digest::fraction;
use crate::header_bytes::same_labels;
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
        Some(StratumRef {
            name: label.name.as_str(),
            version: label.version.number(),
            suite: header.suite().id(),
            // At most 16.
            slots: u8::try_from(header.slots().len()).unwrap_or(u8::MAX),
            size: bytes.map(size_class),
            prefix: ItemKey::text_of(prefix(key)),
        })
    }

    fn to_stratum(&self) -> Stratum {
        let StratumRef { name, version, suite, slots, size, prefix } = self;
        let (name, prefix) = ((*name).into(), prefix.as_ref().into());
        let (version, suite, slots, size) = (*version, *suite, *slots, *size);
        Stratum { name, version, suite, slots, size, prefix }
    }
}

/// Returns the key of an item up to its first slash, 64 bytes at most.
fn prefix(key: &ItemKey) -> &[u8] {
    let slash = key.as_bytes().iter().position(|&byte| byte == b'/').unwrap_or(0);
    key.as_bytes().get(..slash.min(MAX_PREFIX_LEN)).unwrap_or_default()
}

/// Returns the class of the size of a message.
fn size_class(bytes: u64) -> u8 {
    // 12 bits fit in 4 KiB, and each class has 6 more.
    let bits = u64::BITS - bytes.saturating_sub(1).leading_zeros();
    u8::try_from(bits.saturating_sub(12).div_ceil(6).min(5)).unwrap_or(5)
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

    pub(crate) fn merge(&mut self, other: &Strata) {
        for StratumCount { stratum, items, failures, lowest } in &other.0 {
            if let Some(at) = self.find(&stratum.as_ref()) {
                self.add(at, *items, *failures, lowest);
            }
        }
    }

    /// Returns the position of a stratum, which is added if there are not too many; `None` if there are.
    fn find(&mut self, stratum: &StratumRef<'_>) -> Option<usize> {
        match self.0.binary_search_by(|count| count.stratum.as_ref().cmp(stratum)) {
            Ok(at) => Some(at),
            Err(at) if self.0.len() < MAX_STRATA => {
                let stratum = stratum.to_stratum();
                let count = StratumCount { stratum, items: 0, failures: 0, lowest: Vec::new() };
                self.0.insert(at, count);
                Some(at)
            }
            Err(_) => None,
        }
    }

    fn add(&mut self, at: usize, items: u64, failures: u64, lowest: &[u64]) {
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

/// Counts items one by one.
#[derive(Debug, Default)]
pub(crate) struct StrataCounter {
    strata: Strata,
    /// The item that was the first of its stratum, and its position: most items are like the one before.
    last: Option<(usize, Item)>,
}

/// What the stratum of an item is made of.
#[derive(Debug)]
struct Item {
    key: ItemKey,
    header: Vec<u8>,
    size: Option<u8>,
}

impl StrataCounter {
    /// Counts an item, unless its header is none. `lowest` is its hash in a dry run.
    pub(crate) fn count(
        &mut self,
        (key, header, bytes): (&ItemKey, &[u8], Option<u64>),
        is_failure: bool,
        lowest: Option<u64>,
    ) {
        let is_like = |last: &Item| {
            // A header that is none may have the labels of one.
            !is_failure
                && last.size == bytes.map(size_class)
                && prefix(&last.key) == prefix(key)
                && same_labels(&last.header, header)
        };
        let at = match &self.last {
            Some((at, last)) if is_like(last) => *at,
            _ => {
                let stratum = StratumRef::of(key, header, bytes);
                let Some(at) = stratum.and_then(|stratum| self.strata.find(&stratum)) else {
                    return;
                };
                let (key, header, size) = (key.clone(), header.to_vec(), bytes.map(size_class));
                self.last = Some((at, Item { key, header, size }));
                at
            }
        };
        self.strata.add(at, 1, u64::from(is_failure), lowest.as_slice());
    }

    /// Returns the counts.
    pub(crate) fn strata(&self) -> &Strata {
        &self.strata
    }
}

/// Returns the hash of an item that decides its stage.
pub(crate) fn stage_hash(seed: u64, key: &ItemKey) -> u64 {
    fraction(&[b"envelock stage v1", &seed.to_be_bytes(), key.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use envelock::Lifecycle as _;

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

    fn add(strata: &mut Strata, stratum: &Stratum, is_failure: bool, lowest: Option<u64>) {
        if let Some(at) = strata.find(&stratum.as_ref()) {
            strata.add(at, 1, u64::from(is_failure), lowest.as_slice());
        }
    }

    #[test]
    fn counter_counts_each_item_in_its_stratum() {
        let keyring = envelock::MemoryKeyring::create("orders").unwrap();
        let envelope = envelock::Envelope::new(&keyring).with_reserved(8);
        let header = || envelope.start(0, envelock::Aad::none()).unwrap().header().to_vec();
        let mut headers = vec![header(), header()];
        keyring.rotate().unwrap();
        headers.extend([header(), header()]);
        // Padding that is not zero: the labels are those of a header, and it is none.
        *headers[3].last_mut().unwrap() = 1;
        let (mut counter, mut expected) = (StrataCounter::default(), Strata::default());
        for number in 0..1_000_usize {
            // Runs of alike items, of different lengths.
            let key = ItemKey::new(["a/1", "a/2", "b/1", "b"][number / 7 % 4]).unwrap();
            let header = &headers[number / 11 % 4];
            let bytes = [None, Some(1), Some(4096), Some(4097)][number / 3 % 4];
            let is_failure = header.ends_with(&[1]);
            counter.count((&key, header, bytes), is_failure, None);
            if let Some(stratum) = Stratum::of(&key, header, bytes) {
                add(&mut expected, &stratum, is_failure, None);
            }
        }
        assert_eq!(*counter.strata(), expected);
        assert_eq!(expected.counts().len(), 2 * 3 * 3);
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
                add(part, &stratum(version as u32), false, Some(hash));
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
        (1..1000).for_each(|version| add(&mut strata, &stratum(version), false, None));
        add(&mut strata, &stratum(1), true, None);
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
