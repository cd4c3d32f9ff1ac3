//! A crash at every system call of every operation, and at every one of the recovery after it.

use crate::common::simulated_directory::disk::{Disk, Seen};
use crate::common::simulated_directory::{Kind, Plan, SimulatedDirectory};
use crate::key_file_crashes::disk_checker::{DiskChecker, Found, is_tidy};
use crate::key_file_crashes::operations::{
    Operation, Scene, World, create, decrypt, encrypt, open_any,
};
use envelock::{KeyVersion, Lifecycle};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of one write, so that the file is torn between writes too.
const WRITE_LEN: usize = 500;

/// Least number of distinct images after one crash of each operation (figure G11).
const LEAST_IMAGES: usize = 10_000;

/// The states of a disk during one operation, and what may be found after a crash in each.
struct Recording {
    disks: Vec<Disk>,
    /// From this disk on the caller has heard of success.
    returned: usize,
    before: Found,
    after: Found,
}

impl Recording {
    fn of(scene: &mut Scene, ignored_syncs: BTreeSet<usize>) -> Self {
        let most_at_once = Some(WRITE_LEN);
        scene.directory.plan(Plan {
            record_disks: true,
            most_at_once,
            ignored_syncs,
            ..Plan::default()
        });
        scene.perform().unwrap();
        let returned = scene.directory.calls().len();
        let disks = scene.directory.recorded_disks();
        scene.directory.plan(Plan::default());
        let before = scene.before.clone().map(Arc::new);
        let after = scene.keysets().map(Arc::new);
        assert_ne!(before, after, "{:?} changes something", scene.operation);
        Recording { disks, returned, before, after }
    }

    /// Visits every image of every moment once, with whether the old state may be there.
    fn images(&self, mut visit: impl FnMut(Disk, bool)) {
        let mut seen = Seen::default();
        // From the end, where less is allowed.
        for (index, disk) in self.disks.iter().enumerate().rev() {
            disk.crash_unseen(&mut seen, &mut |image, _| visit(image, index < self.returned));
        }
    }

    fn allows(&self, found: &Found, old_allowed: bool) -> bool {
        *found == self.after || (old_allowed && *found == self.before)
    }
}

#[derive(Default)]
struct Enumeration {
    first: usize,
    old: usize,
    new: usize,
    second: usize,
    recovered: usize,
    contents: usize,
    neither: Vec<String>,
}

impl Enumeration {
    fn note(&mut self, recording: &Recording, found: &Result<Found, String>, old_allowed: bool) {
        match found {
            Ok(found) if recording.allows(found, old_allowed) => {
                *(if *found == recording.after { &mut self.new } else { &mut self.old }) += 1;
            }
            Ok(_) if !old_allowed => self.neither.push("old after the return".into()),
            Ok(_) => self.neither.push("another state".into()),
            Err(error) => self.neither.push(error.clone()),
        }
    }
}

fn enumerate(world: &World, operation: Operation, ignored_syncs: BTreeSet<usize>) -> Enumeration {
    let is_ablated = !ignored_syncs.is_empty();
    let mut scene = world.scene(operation);
    let recording = Recording::of(&mut scene, ignored_syncs);
    let mut check = DiskChecker::new(operation.protections(), scene.messages.clone());
    let mut enumeration = Enumeration::default();
    let mut shapes = HashSet::new();
    recording.images(|image, old_allowed| {
        enumeration.first += 1;
        let found = check.found(&image);
        enumeration.note(&recording, &found, old_allowed);
        assert!(is_ablated || enumeration.neither.is_empty(), "{:?}", enumeration.neither);
        // What leftovers hold makes no difference to a recovery that removes them: for a second
        // crash, one leftover of each kind will do.
        if let Ok(found) = found
            && !is_ablated
            && shapes.insert(image.shape())
        {
            recover(image, &found, &mut check, &mut enumeration);
        }
    });
    enumeration.contents = check.contents();
    enumeration
}

/// Opens what a crash left, goes on, and crashes again at every call of that.
fn recover(image: Disk, found: &Found, check: &mut DiskChecker, enumeration: &mut Enumeration) {
    let directory = SimulatedDirectory::from_disk(image);
    directory.plan(Plan { record_disks: true, most_at_once: Some(4096), ..Plan::default() });
    let keyring = match found {
        None => create(&directory).unwrap(),
        Some(_) => {
            let keyring = open_any(&directory, check.protections()).unwrap();
            keyring.rotate().unwrap();
            keyring
        }
    };
    let returned = directory.calls().len();
    let disks = directory.recorded_disks();
    directory.plan(Plan::default());
    assert!(is_tidy(&directory.disk()), "{:?} is left", directory.disk().list());
    let highest = |found: &Found| {
        found.as_ref().map_or(0, |keysets| keysets.iter().next().unwrap().highest_version())
    };
    let after = Some(Arc::new(keyring.keysets().unwrap()));
    assert_eq!(keyring.primary_version().map(KeyVersion::number), Some(highest(found) + 1));
    let message = encrypt(&keyring).unwrap();
    let reopened = open_any(&directory, check.protections()).unwrap();
    assert!(decrypt(&reopened, &message).is_ok());
    enumeration.recovered += 1;
    let again = Recording { disks, returned, before: found.clone(), after };
    again.images(|image, old_allowed| {
        enumeration.second += 1;
        match check.found(&image) {
            Ok(found) if again.allows(&found, old_allowed) => {}
            found => panic!("after a second crash: {found:?}"),
        }
    });
}

/// Every image of `operation`, all of them good.
fn passes(operation: Operation) {
    let started = Instant::now();
    let found = enumerate(&World::new(), operation, BTreeSet::new());
    println!(
        "{operation:?}: {} images ({} old, {} new), {} after a second crash in {} recoveries, \
         {} contents, {:?}",
        found.first,
        found.old,
        found.new,
        found.second,
        found.recovered,
        found.contents,
        started.elapsed(),
    );
    assert!(
        found.neither.is_empty(),
        "{operation:?}: {} {:?}",
        found.neither.len(),
        found.neither[0]
    );
    assert_eq!(found.old + found.new, found.first);
    assert!(found.old > 0 && found.new > 0 && found.second > 0);
    assert!(found.first >= LEAST_IMAGES, "{operation:?}: {} images only", found.first);
}

macro_rules! every_crash {
    ($($name:ident: $operation:ident,)*) => {$(
        #[test]
        fn $name() {
            passes(Operation::$operation);
        }
    )*};
}

every_crash! {
    every_crash_of_a_creation_leaves_no_file_or_all_of_it: Create,
    every_crash_of_a_rotation_leaves_the_old_or_the_new_state: Rotate,
    every_crash_of_a_disabling_leaves_the_old_or_the_new_state: Disable,
    every_crash_of_an_immediate_destruction_leaves_the_old_or_the_new_state: DestroyNow,
    every_crash_of_a_due_destruction_leaves_the_old_or_the_new_state: DestroyDue,
    every_crash_of_a_removal_of_records_leaves_the_old_or_the_new_state: RemoveRecords,
    every_crash_of_a_change_of_raw_keys_opens_under_the_old_or_the_new_one: RawKey,
    every_crash_of_a_change_to_a_passphrase_opens_under_the_key_or_the_passphrase: Passphrase,
    every_crash_of_a_first_wrap_leaves_the_old_or_the_new_count: FirstWrap,
    every_crash_of_a_last_drop_leaves_the_old_or_the_new_count: GiveBack,
}

/// An enumeration that finds nothing proves nothing unless it finds what a missing sync costs.
#[test]
fn crash_without_either_writer_sync_loses_state() {
    let world = World::new();
    for operation in Operation::WRITING {
        let mut scene = world.scene(operation);
        scene.directory.plan(Plan::default());
        scene.perform().unwrap();
        let calls = scene.directory.calls();
        let is_sync = |kind: Kind| matches!(kind, Kind::SyncFile | Kind::SyncDirectory);
        let syncs: Vec<Kind> = calls.iter().map(|call| call.kind).filter(|k| is_sync(*k)).collect();
        for kind in [Kind::SyncFile, Kind::SyncDirectory] {
            let number = syncs.iter().rposition(|sync| *sync == kind).unwrap();
            let found = enumerate(&world, operation, BTreeSet::from([number]));
            let (bad, all) = (found.neither.len(), found.first);
            println!("{operation:?} without {kind:?}: {bad} of {all} images are neither");
            assert!(bad > 0, "{operation:?} without {kind:?}");
        }
    }
}
