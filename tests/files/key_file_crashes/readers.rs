//! A version that another keyring wrapped under survives, at whatever step it saw the rotation.

use crate::common::simulated_directory::schedule::Schedule;
use crate::common::simulated_directory::{Call, Kind, Plan, SimulatedDirectory};
use crate::key_file_crashes::disk_checker::DiskChecker;
use crate::key_file_crashes::operations::{
    Message, Operation, Scene, World, encrypt, lazy, open, raw,
};
use envelock::{FileKeyring, Lifecycle};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread;

const WRITER: usize = 0;
const READER: usize = 1;

/// How the reader comes to what it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Opens,
    Reloads,
}

/// One order of calls: `before` of the writer's, `first` of the reader's, `between` of the
/// writer's, the rest of the reader's, then the rest.
#[derive(Clone, Copy)]
struct Order {
    before: usize,
    first: usize,
    between: usize,
}

#[derive(Default)]
struct Outcome {
    orders: usize,
    under_new: usize,
    crashes: usize,
    images: usize,
    lost: usize,
}

struct Readers {
    reader: Reader,
    unsynced_roles: BTreeSet<usize>,
    world: World,
    outcome: Outcome,
    /// How many images there are and how many lose the message, by what decides it: whether it
    /// is under the new version, how far the writer was at the crash, and how far at the reader's
    /// sync.
    verdicts: HashMap<(bool, usize, Option<usize>), (usize, usize)>,
}

impl Readers {
    fn run(reader: Reader, unsynced_roles: BTreeSet<usize>) -> Outcome {
        let (world, outcome) = (World::new(), Outcome::default());
        let verdicts = HashMap::new();
        let mut readers = Readers { reader, unsynced_roles, world, outcome, verdicts };
        let mut scene = readers.world.scene(Operation::Rotate);
        let earlier = open(&scene.directory, &lazy().without_usage(), &raw(7)).unwrap();
        scene.directory.plan(Plan::default());
        scene.perform().unwrap();
        let writer_calls = scene.directory.calls().len();
        scene.directory.plan(Plan::default());
        // It takes the longest if there is something new.
        drop(learn(reader, &scene.directory, earlier));
        let reader_calls = scene.directory.calls().len();
        for before in 0..=writer_calls {
            for between in 0..=writer_calls - before {
                // Without calls in between, one split is like another.
                let splits = if between == 0 { 1..2 } else { 1..reader_calls };
                for first in splits {
                    readers.check(Order { before, first, between }, reader_calls);
                }
            }
        }
        readers.outcome
    }

    fn check(&mut self, order: Order, reader_calls: usize) {
        let scene = self.world.scene(Operation::Rotate);
        let mut calls_in_order = vec![WRITER; order.before];
        calls_in_order.extend(vec![READER; order.first]);
        calls_in_order.extend(vec![WRITER; order.between]);
        calls_in_order.extend(vec![READER; reader_calls - order.first]);
        let plan = Plan {
            record_disks: true,
            unsynced_roles: self.unsynced_roles.clone(),
            ..Plan::default()
        };
        let message = in_order(self.reader, &scene, calls_in_order, plan);
        let is_new = scene.messages.iter().all(|old| old.version < message.version);
        self.outcome.orders += 1;
        self.outcome.under_new += usize::from(is_new);

        let directory = &scene.directory;
        let (calls, disks) = (directory.calls(), directory.recorded_disks());
        let wrapped = calls.iter().rposition(|call| call.role == READER).unwrap() + 1;
        let done = |end: usize| calls[..end].iter().filter(|c| c.role == WRITER).count();
        let is_sync = |c: &&Call| c.role == READER && c.kind == Kind::SyncDirectory;
        let synced = calls
            .iter()
            .rfind(is_sync)
            .map(|sync| done(calls.iter().position(|call| std::ptr::eq(call, sync)).unwrap()));
        let messages = [scene.messages.clone(), vec![message]].concat();
        let mut check = DiskChecker::new(vec![raw(7)], messages);
        for (index, disk) in disks.iter().enumerate().skip(wrapped) {
            self.outcome.crashes += 1;
            let verdict = self.verdicts.entry((is_new, done(index), synced));
            let (images, lost) = *verdict.or_insert_with(|| {
                let (mut images, mut lost) = (0, 0);
                disk.crash(&mut |image| {
                    images += 1;
                    let found = check.found(&image);
                    let is_lost = !matches!(found, Ok(Some(_)));
                    assert!(!is_lost || !self.unsynced_roles.is_empty(), "{found:?}");
                    lost += usize::from(is_lost);
                });
                (images, lost)
            });
            self.outcome.images += images;
            self.outcome.lost += lost;
        }
    }
}

/// A keyring that has looked at the file: a new one, or one that was there.
fn learn(reader: Reader, directory: &SimulatedDirectory, earlier: FileKeyring) -> FileKeyring {
    match reader {
        Reader::Opens => open(directory, &lazy().without_usage(), &raw(7)).unwrap(),
        Reader::Reloads => {
            earlier.reload().unwrap();
            earlier
        }
    }
}

/// Rotates and reads in the order of `turns`; what the reader encrypts then.
fn in_order(reader: Reader, scene: &Scene, calls_in_order: Vec<usize>, plan: Plan) -> Message {
    let directory = &scene.directory;
    let earlier = open(directory, &lazy().without_usage(), &raw(7)).unwrap();
    directory.plan(plan);
    let schedule = Arc::new(Schedule::new(calls_in_order));
    directory.set_schedule(Some(schedule.clone()));
    let message = thread::scope(|scope| {
        scope.spawn(|| {
            let rotate = || scene.keyring.as_ref().unwrap().rotate();
            schedule.run(WRITER, rotate).unwrap();
        });
        let read = || {
            let keyring = learn(reader, directory, earlier);
            Message::of(encrypt(&keyring).unwrap())
        };
        schedule.run(READER, read)
    });
    directory.set_schedule(None);
    message
}

#[test]
fn message_during_rotation_opens_after_every_crash() {
    for reader in [Reader::Opens, Reader::Reloads] {
        let found = Readers::run(reader, BTreeSet::new());
        println!(
            "{reader:?}: {} orders, {} messages under the new version, {} crashes, {} images, \
             {} lost",
            found.orders, found.under_new, found.crashes, found.images, found.lost
        );
        assert!(found.orders > 300 && found.under_new >= 10);
        assert_eq!(found.lost, 0);
    }
}

#[test]
fn without_the_readers_sync_a_message_is_lost() {
    for reader in [Reader::Opens, Reader::Reloads] {
        let found = Readers::run(reader, BTreeSet::from([READER]));
        println!("{reader:?}, unsynced: {} of {} images lose it", found.lost, found.images);
        assert!(found.lost > 0);
    }
}
