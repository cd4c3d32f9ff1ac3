//! A crash at every system call of a rewrap, and at every one of the recovery after it.

use crate::common::simulated_directory::disk::{Disk, Seen};
use crate::common::simulated_directory::{Kind, LACKS_NOTHING, Lacks, Plan, SimulatedDirectory};
use crate::message_files_crashes::scene::{
    NAME, NAMED, NEW, NEXT, OLD, Operation, Scene, finished,
};
use std::collections::BTreeSet;
use std::time::Instant;

/// Bytes of one write, so that a long one is torn between writes too.
const WRITE_LEN: usize = 600;

/// The states of a disk during one operation.
struct Recording {
    disks: Vec<Disk>,
    /// From this disk on the caller has heard of success.
    returned: usize,
    before: Vec<u32>,
    after: u32,
}

impl Recording {
    fn of(directory: &SimulatedDirectory, plan: Plan, perform: impl FnOnce()) -> Self {
        directory.plan(Plan { record_disks: true, ..plan });
        perform();
        let (returned, disks) = (directory.calls().len(), directory.recorded_disks());
        directory.plan(Plan::default());
        Recording { disks, returned, before: vec![OLD], after: NEW }
    }

    /// Visits every image of every moment once, with whether the old header may be there.
    fn images(&self, mut visit: impl FnMut(Disk, bool)) {
        let mut seen = Seen::default();
        // From the end, where less is allowed.
        for (index, disk) in self.disks.iter().enumerate().rev() {
            disk.crash_unseen(&mut seen, &mut |image, _| visit(image, index < self.returned));
        }
    }

    fn check(&self, found: Result<u32, String>, old_allowed: bool) -> Result<u32, String> {
        match found {
            Ok(version) if version == self.after => Ok(version),
            Ok(version) if self.before.contains(&version) && old_allowed => Ok(version),
            Ok(version) => Err(format!("version {version}, old allowed: {old_allowed}")),
            Err(error) => Err(error),
        }
    }
}

#[derive(Default)]
struct Report {
    first: usize,
    old: usize,
    new: usize,
    recoveries: usize,
    second: usize,
    bad: Vec<String>,
}

/// Every image of `operation`, with each write in pieces of `most` bytes.
fn enumerate(scene: &Scene, most: usize, ignored_syncs: BTreeSet<usize>) -> Report {
    let directory = scene.directory();
    let plan = Plan { most_at_once: Some(most), ignored_syncs, ..Plan::default() };
    let recording = Recording::of(&directory, plan, || scene.perform(&directory));
    let mut report = Report::default();
    recording.images(|image, old_allowed| {
        report.first += 1;
        match recording.check(scene.found(&image), old_allowed) {
            Ok(OLD) => report.old += 1,
            Ok(_) => report.new += 1,
            Err(error) => report.bad.push(error),
        }
    });
    report
}

/// Rewraps what a crash or a kill left, and crashes again at every call of that.
fn recover(scene: &Scene, disk: Disk, is_durable: bool, report: &mut Report) {
    let found = scene.found(&disk).unwrap();
    let left = disk.list().len() - finished(&disk).len();
    let directory = SimulatedDirectory::from_disk(disk).lacking(scene.lacks);
    scene.envelope.keyring().promote(NEXT);
    let perform = || assert!(scene.rewrap(&directory).is_ok());
    let again = Recording::of(&directory, Plan::default(), perform);
    // The output of a killed process can still be lost, until the next process has synced it.
    let before = if is_durable { vec![found] } else { vec![OLD, NEW] };
    let again = Recording { before, after: NEXT, ..again };
    assert_eq!(finished(&directory.disk()), [NAME]);
    assert!(directory.disk().list().len() <= 1 + left, "nothing is left by it");
    assert_eq!(scene.found(&directory.disk()), Ok(NEXT));
    report.recoveries += 1;
    again.images(|image, old_allowed| {
        report.second += 1;
        let verdict = again.check(scene.found(&image), old_allowed);
        assert!(verdict.is_ok(), "after a second crash: {verdict:?}");
    });
    scene.envelope.keyring().promote(NEW);
}

/// `recoveries`: how many of the images, at most, are recovered from and crashed again.
fn passes(operation: Operation, lacks: Lacks, least: usize, recoveries: usize) {
    let started = Instant::now();
    let scene = Scene { lacks, ..Scene::new(operation) };
    let mut report = enumerate(&scene, WRITE_LEN, BTreeSet::new());
    assert_eq!(report.bad, [""; 0]);

    let directory = scene.directory();
    let recording = Recording::of(&directory, Plan::default(), || scene.perform(&directory));
    let mut images = Vec::new();
    recording.images(|image, _| images.push(image));
    let step = images.len().div_ceil(recoveries);
    for image in images.into_iter().step_by(step) {
        recover(&scene, image, true, &mut report);
    }
    // A process that is killed leaves what is in memory, for the next crash to lose.
    let step = recording.disks.len().div_ceil(recoveries);
    for disk in recording.disks.into_iter().step_by(step) {
        recover(&scene, disk, false, &mut report);
    }
    let Report { first, old, new, recoveries, second, .. } = report;
    println!(
        "{operation:?}: {first} images ({old} old, {new} new), {second} after a second crash in \
         {recoveries} recoveries, {:?}",
        started.elapsed()
    );
    assert!(first >= least && old > 0 && new > 0 && second > first, "{operation:?}");
}

#[test]
fn crash_of_rewrap_in_place_leaves_old_or_new_header() {
    passes(Operation::InPlace, LACKS_NOTHING, 500, 100);
}

#[test]
fn crash_of_long_rewrap_leaves_old_or_new_header() {
    passes(Operation::InPlaceLong, LACKS_NOTHING, 5_000, 2);
}

#[test]
fn crash_of_rewrap_by_copy_leaves_old_or_new_file() {
    passes(Operation::Copy, LACKS_NOTHING, 4, 30);
    passes(Operation::Copy, NAMED, 1_000, 8);
}

#[test]
fn crash_of_reencryption_leaves_old_or_new_message() {
    passes(Operation::Reencrypt, LACKS_NOTHING, 4, 30);
    passes(Operation::Reencrypt, NAMED, 1_000, 8);
}

/// An enumeration that finds nothing proves nothing unless it finds what a missing sync costs.
#[test]
fn crash_without_any_one_sync_loses_state() {
    for operation in [Operation::InPlace, Operation::Copy, Operation::Reencrypt] {
        let scene = Scene::new(operation);
        let directory = scene.directory();
        directory.plan(Plan::default());
        scene.perform(&directory);
        let is_sync = |kind: &Kind| matches!(kind, Kind::SyncFile | Kind::SyncDirectory);
        let syncs: Vec<Kind> =
            directory.calls().iter().map(|call| call.kind).filter(is_sync).collect();
        let expected: &[Kind] = match operation {
            Operation::Copy | Operation::Reencrypt => &[Kind::SyncFile, Kind::SyncDirectory],
            _ => &[Kind::SyncFile, Kind::SyncDirectory, Kind::SyncFile],
        };
        assert_eq!(syncs, expected);
        for (number, kind) in syncs.iter().enumerate() {
            let report = enumerate(&scene, usize::MAX, BTreeSet::from([number]));
            let (bad, all) = (report.bad.len(), report.first);
            println!("{operation:?} without sync {number}, {kind:?}: {bad} of {all} images fail");
            assert!(bad > 0, "{operation:?} without {kind:?}");
        }
    }
}
