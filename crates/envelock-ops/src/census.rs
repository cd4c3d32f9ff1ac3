//! Counts of items by the versions that open them.

use envelock::SlotLabel;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Maximum number of versions that a census tells apart. A writer of headers can write any label.
pub const MAX_USES: usize = 1000;

/// What one item needs, for a census.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemFacts {
    slots: Vec<SlotFact>,
    unopenable: Option<Unopenable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SlotFact {
    name: String,
    version: u32,
    id: [u8; 8],
    is_opened: bool,
}

/// Why no slot of an item opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unopenable {
    /// All slots belong to other keyrings.
    OtherKeyring,
    /// The keyring refuses the version of a slot, by its state or because it is left out.
    Refused,
    /// A slot belongs to the keyring and is damaged or forged.
    NotVerified,
}

impl fmt::Display for Unopenable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unopenable::OtherKeyring => "no slot is of this keyring",
            Unopenable::Refused => "the keyring refuses the version",
            Unopenable::NotVerified => "damaged or forged",
        })
    }
}

impl ItemFacts {
    /// Returns why no slot opens, if none does.
    pub(crate) fn unopenable(&self) -> Option<Unopenable> {
        self.unopenable
    }

    /// Adds a slot.
    pub(crate) fn add(&mut self, label: &SlotLabel<'_>, is_opened: bool) {
        let (name, version) = (label.name.as_str().into(), label.version.number());
        self.slots.push(SlotFact { name, version, id: label.master_key_id.0, is_opened });
    }

    /// Returns how many slots were tried.
    pub(crate) fn openings(&self) -> u64 {
        let is_tried = self.unopenable.is_some() || self.slots.iter().any(|slot| slot.is_opened);
        if is_tried { self.slots.len() as u64 } else { 0 }
    }

    /// Returns the names of the slots.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    pub(crate) fn set_unopenable(&mut self, why: Unopenable) {
        self.unopenable = Some(why);
    }
}

/// How many items have a slot under a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Use {
    /// The key name.
    pub name: String,
    /// The version.
    pub version: u32,
    /// The master key id, in hexadecimal.
    pub id: String,
    /// The items that have a slot with this label.
    pub labelled: u64,
    /// The items that this version opened. 0 in a census of labels.
    pub opened: u64,
    /// The items that nothing else opened; in a census of labels, those that have no other slot.
    pub sole: u64,
    /// The length of these items in bytes, as far as the listing has lengths.
    pub bytes: u64,
}

/// A census of items: by version, and those that do not open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Census {
    /// The versions, by name, version and id.
    pub uses: Vec<Use>,
    /// The items of which no slot opened, by reason. Empty in a census of labels.
    pub unopenable: Vec<(Unopenable, u64)>,
    /// Slots that were not counted because there are more than [`MAX_USES`] versions.
    pub uncounted_slots: u64,
}

/// What is added to the counts of a version.
struct Counted {
    labelled: u64,
    opened: u64,
    sole: u64,
    bytes: u64,
}

impl Census {
    /// Returns whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Census::default()
    }

    /// Counts an item of so many bytes.
    pub(crate) fn count(&mut self, facts: &ItemFacts, bytes: u64) {
        let openers = facts.slots.iter().filter(|slot| slot.is_opened).count();
        for slot in &facts.slots {
            let is_sole =
                if openers > 0 { openers == 1 && slot.is_opened } else { facts.slots.len() == 1 };
            let is_sole = is_sole && facts.unopenable.is_none();
            let (opened, sole) = (u64::from(slot.is_opened), u64::from(is_sole));
            self.add(
                &slot.name,
                slot.version,
                slot.id,
                Counted { labelled: 1, opened, sole, bytes },
            );
        }
        if let Some(why) = facts.unopenable {
            self.add_unopenable(why, 1);
        }
    }

    fn add(&mut self, name: &str, version: u32, id: [u8; 8], counted: Counted) {
        let id = hex_id(id);
        // Text of ASCII digits.
        let key = (name, version, std::str::from_utf8(&id).unwrap_or_default());
        if let Some(sum) = self.sum_of(key) {
            sum.labelled += counted.labelled;
            sum.opened += counted.opened;
            sum.sole += counted.sole;
            sum.bytes += counted.bytes;
        } else {
            self.uncounted_slots += counted.labelled;
        }
    }

    /// Returns the counts of a version, which begin at 0, or `None` if there are too many versions.
    fn sum_of(&mut self, key: (&str, u32, &str)) -> Option<&mut Use> {
        let found = self.uses.binary_search_by(|other| {
            (other.name.as_str(), other.version, other.id.as_str()).cmp(&key)
        });
        let at = match found {
            Ok(at) => at,
            Err(at) if self.uses.len() < MAX_USES => {
                let (name, version, id) = (key.0.into(), key.1, key.2.into());
                let none = Use { name, version, id, labelled: 0, opened: 0, sole: 0, bytes: 0 };
                self.uses.insert(at, none);
                at
            }
            Err(_) => return None,
        };
        self.uses.get_mut(at)
    }

    fn add_unopenable(&mut self, why: Unopenable, items: u64) {
        match self.unopenable.binary_search_by_key(&why, |(why, _)| *why) {
            Ok(at) => {
                if let Some((_, sum)) = self.unopenable.get_mut(at) {
                    *sum += items;
                }
            }
            Err(at) => self.unopenable.insert(at, (why, items)),
        }
    }

    /// Adds the counts of another census.
    pub(crate) fn merge(&mut self, other: &Census) {
        for one in &other.uses {
            match self.sum_of((&one.name, one.version, &one.id)) {
                Some(sum) => {
                    sum.labelled += one.labelled;
                    sum.opened += one.opened;
                    sum.sole += one.sole;
                    sum.bytes += one.bytes;
                }
                None => self.uncounted_slots += one.labelled,
            }
        }
        other.unopenable.iter().for_each(|&(why, items)| self.add_unopenable(why, items));
        self.uncounted_slots += other.uncounted_slots;
    }
}

/// So many versions are counted side by side before they are looked up in the census.
const RECENT: usize = 8;

/// A census of labels under way: most headers of a page have the labels of those before.
#[derive(Debug, Default)]
pub(crate) struct LabelCounts {
    census: Census,
    recent: Vec<Recent>,
}

#[derive(Debug)]
struct Recent {
    name: String,
    version: u32,
    id: [u8; 8],
    labelled: u64,
    sole: u64,
    bytes: u64,
}

impl LabelCounts {
    /// Counts an item of so many bytes.
    pub(crate) fn count<'h>(
        &mut self,
        labels: impl ExactSizeIterator<Item = SlotLabel<'h>>,
        bytes: u64,
    ) {
        let sole = u64::from(labels.len() == 1);
        for label in labels {
            let (name, version) = (label.name.as_str(), label.version.number());
            let id = label.master_key_id.0;
            let is_it = |found: &&mut Recent| {
                found.id == id && found.version == version && found.name == name
            };
            if let Some(recent) = self.recent.iter_mut().find(is_it) {
                recent.labelled += 1;
                recent.sole += sole;
                recent.bytes += bytes;
                continue;
            }
            if self.recent.len() == RECENT {
                self.look_up();
            }
            let name = name.into();
            self.recent.push(Recent { name, version, id, labelled: 1, sole, bytes });
        }
    }

    fn look_up(&mut self) {
        for Recent { name, version, id, labelled, sole, bytes } in self.recent.drain(..) {
            self.census.add(&name, version, id, Counted { labelled, opened: 0, sole, bytes });
        }
    }

    /// Returns the census.
    pub(crate) fn finish(mut self) -> Census {
        self.look_up();
        self.census
    }
}

/// Returns a master key id as hexadecimal digits.
fn hex_id(id: [u8; 8]) -> [u8; 16] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let mut digits = [0; 16];
    for (two, byte) in digits.chunks_exact_mut(2).zip(id) {
        two.iter_mut().zip([byte >> 4, byte & 15]).for_each(|(out, nibble)| *out = digit(nibble));
    }
    digits
}
