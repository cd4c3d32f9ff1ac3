//! A crash at every system call of a write, and at every one of the recovery after it.

use crate::common::simulated_directory::disk::{Disk, Seen};
use crate::common::simulated_directory::{Plan, SimulatedDirectory};
use crate::key_file_store::world::{self, content};
use std::collections::{BTreeSet, HashSet};

/// Bytes of one write, so that a file of 40 KiB is torn between writes too.
const WRITE_LEN: usize = 16 << 10;

/// Least number of distinct images of each operation (figure G11).
const LEAST_IMAGES: usize = 10_000;

type Stored = Option<Vec<u8>>;

/// One enumeration: what was seen, and how often a file was neither old nor new.
#[derive(Default)]
struct Enumeration {
    first: HashSet<u64>,
    second: HashSet<u64>,
    /// The cases of `second` that were checked: from which content, with the old one allowed or not.
    checked: HashSet<(u64, Stored, bool)>,
    lost: usize,
}

impl Enumeration {
    fn distinct(&self) -> usize {
        self.first.len() + self.second.len()
    }
}

/// The states of a disk during one write, and what may be found after a crash in each.
struct Recording {
    disks: Vec<Disk>,
    /// From this disk on the writer has heard of success.
    returned: usize,
    before: Stored,
    after: Stored,
}

impl Recording {
    /// Writes `bytes` where `before` is stored, recording.
    fn of(
        directory: &SimulatedDirectory,
        before: Stored,
        bytes: Vec<u8>,
        ignored_syncs: BTreeSet<usize>,
    ) -> Self {
        directory.plan(Plan {
            record_disks: true,
            most_at_once: Some(WRITE_LEN),
            ignored_syncs,
            ..Plan::default()
        });
        let store = world::store(directory);
        let mut writer = store.lock(std::time::Duration::ZERO).unwrap();
        match before {
            Some(_) => writer.replace(&bytes).unwrap(),
            None => writer.create(&bytes).unwrap(),
        }
        let returned = directory.calls().len();
        drop(writer);
        Recording { disks: directory.recorded_disks(), returned, before, after: Some(bytes) }
    }

    /// Visits every image of every moment once, with its fingerprint and whether the old content may
    /// be there.
    fn images(&self, mut visit: impl FnMut(Disk, u64, bool)) {
        let mut seen = Seen::default();
        // From the end, where less is allowed.
        for (index, disk) in self.disks.iter().enumerate().rev() {
            let old_allowed = index < self.returned;
            disk.crash_unseen(&mut seen, &mut |image, number| visit(image, number, old_allowed));
        }
    }

    fn allows(&self, found: &Stored, old_allowed: bool) -> bool {
        *found == self.after || (old_allowed && *found == self.before)
    }
}

fn enumerate(is_new: bool, len: usize, ignored_syncs: BTreeSet<usize>) -> Enumeration {
    let is_ablated = !ignored_syncs.is_empty();
    let old = (!is_new).then(|| content(1, len));
    let directory = world::directory(old.as_deref());
    let recording = Recording::of(&directory, old, content(2, len), ignored_syncs);
    let mut enumeration = Enumeration::default();
    let mut shapes = HashSet::new();
    recording.images(|image, fingerprint, old_allowed| {
        enumeration.first.insert(fingerprint);
        let found = world::load(&SimulatedDirectory::from_disk(image.clone()));
        let Some(found) = found.ok().filter(|found| recording.allows(found, old_allowed)) else {
            enumeration.lost += 1;
            return;
        };
        if !is_ablated {
            // What leftovers hold makes no difference to a recovery that removes them: for a
            // second crash, one leftover of each kind will do.
            let is_new_shape = shapes.insert(image.shape());
            if is_new_shape || len <= 600 {
                recover(image, found, content(3, len), is_new_shape, &mut enumeration);
            }
        }
    });
    enumeration
}

/// Writes again after a crash, and crashes again at every call of that.
fn recover(
    image: Disk,
    found: Stored,
    bytes: Vec<u8>,
    crash_again: bool,
    enumeration: &mut Enumeration,
) {
    let directory = SimulatedDirectory::from_disk(image);
    let recording = Recording::of(&directory, found, bytes.clone(), BTreeSet::new());
    assert_eq!(world::load(&directory).unwrap().as_ref(), Some(&bytes), "recovered");
    assert_eq!(world::temporary_names(&directory.disk()), 0, "leftovers are removed");
    if !crash_again {
        return;
    }
    let Enumeration { second, checked, lost, .. } = enumeration;
    recording.images(|image, fingerprint, old_allowed| {
        second.insert(fingerprint);
        let start = recording.before.as_ref().map(|bytes| bytes[..1].to_vec());
        if !checked.insert((fingerprint, start, old_allowed)) {
            return;
        }
        let directory = SimulatedDirectory::from_disk(image);
        match world::load(&directory) {
            Ok(found) if recording.allows(&found, old_allowed) => {
                world::write(&world::store(&directory), found.is_none(), &bytes).unwrap();
            }
            _ => *lost += 1,
        }
    });
}

fn passes_everywhere(is_new: bool) {
    let mut all = 0;
    for len in [1, 600, 5 << 10, 40 << 10] {
        let started = std::time::Instant::now();
        let enumeration = enumerate(is_new, len, BTreeSet::new());
        println!(
            "{} of {len} bytes: {} images, {} after a second crash, {:?}",
            if is_new { "create" } else { "replace" },
            enumeration.first.len(),
            enumeration.second.len(),
            started.elapsed(),
        );
        assert_eq!(enumeration.lost, 0, "lost states at {len} bytes");
        all += enumeration.distinct();
    }
    assert!(all >= LEAST_IMAGES, "{all} images only");
}

#[test]
fn created_file_is_whole_or_absent_after_a_crash() {
    passes_everywhere(true);
}

#[test]
fn replaced_file_is_old_or_new_after_every_crash() {
    passes_everywhere(false);
}

/// An enumeration that finds nothing proves nothing unless it finds what a missing sync costs.
#[test]
fn without_any_one_sync_a_crash_loses_the_file() {
    for is_new in [true, false] {
        // The first of a new file only asks whether the directory can be synced.
        let first = usize::from(is_new);
        for (number, name) in [(first, "of the file"), (first + 1, "of the directory")] {
            for len in [1, 600] {
                let lost = enumerate(is_new, len, BTreeSet::from([number])).lost;
                println!("without the sync {name}, new {is_new}, {len} bytes: {lost} lost");
                assert!(lost > 0, "sync {name}, new {is_new}, {len} bytes");
            }
        }
        assert_eq!(
            enumerate(is_new, 600, BTreeSet::from([first + 2])).lost,
            0,
            "there is no other"
        );
    }
}
