//! Sixteen processes rotate one key file at the same time, and two more read it.

use crate::common::directory::TestDirectory;
use crate::common::key_files::{ROW, decrypted_by, raw, text, until_unlocked, version_of};
use crate::common::process::{Process, listen, send};
use envelock::{Envelope, FileKeyring, Lifecycle, file::FileKeyringOptions, inspect};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const PROCESSES: u32 = 16;
const ROTATIONS: u32 = 100;
const READERS: usize = 2;

/// Short enough that some of 16 writers give up now and then, and have to try again.
const LOCK_WAIT: Duration = Duration::from_millis(300);

const MINUTE: Duration = Duration::from_secs(60);

/// A child: rotates, encrypts a message after each rotation, and reports both.
pub fn rotate(path: &str, number: u32) {
    // The new version is loaded: a poll before each wrap would only take time.
    let mut options = FileKeyringOptions::new().lock_wait(LOCK_WAIT).refresh_after(MINUTE);
    options = match counts_usage(number) {
        true => options.reserve_usage(),
        false => options.without_usage(),
    };
    let keyring = options.open_any(path, &raw(7)).unwrap();
    send("ready");
    listen().unwrap();
    let mut locked = 0;
    for round in 0..ROTATIONS {
        let (version, waited) = until_unlocked(|| keyring.rotate());
        locked += waited;
        let plaintext = format!("message {number}/{round}");
        let (message, waited) =
            until_unlocked(|| Envelope::new(&keyring).encrypt(plaintext.as_bytes(), ROW));
        locked += waited;
        send(&format!("{} {} {plaintext}", version.number(), hex::encode(message)));
    }
    send(&format!("locked {locked}"));
}

/// A write for each wrap's block costs as much as a rotation: a quarter of the processes count.
fn counts_usage(number: u32) -> bool {
    number.is_multiple_of(4)
}

/// A child: opens every message with what the file holds now.
pub fn check(path: &str) {
    let keyring = FileKeyring::open_any(path, &raw(7)).unwrap();
    let mut opened = 0;
    while let Some(line) = listen() {
        let (message, plaintext) = line.split_once(' ').unwrap();
        let message = hex::decode(message).unwrap();
        assert_eq!(Envelope::new(&keyring).decrypt(&message, ROW).unwrap(), plaintext.as_bytes());
        opened += 1;
    }
    send(&format!("opened {opened}"));
}

/// The changes that one process acknowledged.
struct Rotated {
    version: u32,
    message: Vec<u8>,
    plaintext: String,
    is_counted: bool,
}

#[test]
fn rotations_of_16_processes_lose_no_version() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(FileKeyring::create(&path, "orders", &raw(7)).unwrap());
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut reader = Process::start(super::MODULE, "read", &[text(&path)]);
            reader.expect("opened");
            Mutex::new(reader)
        })
        .collect();
    let mut writers: Vec<_> = (0..PROCESSES)
        .map(|number| Process::start(super::MODULE, "rotate", &[text(&path), &number.to_string()]))
        .collect();
    writers.iter_mut().for_each(|writer| writer.expect("ready"));
    let started = Instant::now();
    writers.iter_mut().for_each(|writer| writer.say("go"));
    let outcomes: Vec<_> = thread::scope(|scope| {
        let follow = |(number, writer)| {
            let readers = &readers;
            scope.spawn(move || follow(number, writer, readers))
        };
        let threads: Vec<_> = (0..).zip(writers).map(follow).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let took = started.elapsed();
    let locked: u32 = outcomes.iter().map(|(_, locked)| locked).sum();
    let rotated: Vec<_> = outcomes.into_iter().flat_map(|(rotated, _)| rotated).collect();
    let decrypted: u64 =
        readers.into_iter().map(|reader| decrypted_by(&reader.into_inner().unwrap().end())).sum();
    println!(
        "{PROCESSES} x {ROTATIONS} rotations in {took:?}, {locked} times `Locked`; meanwhile \
         {READERS} readers decrypted {decrypted} messages"
    );
    assert!(decrypted >= rotated.len() as u64 * READERS as u64);
    assert_all_there(&FileKeyring::open_any(&path, &raw(7)).unwrap(), &rotated);

    let mut fresh = Process::start(super::MODULE, "check", &[text(&path)]);
    for rotated in &rotated {
        fresh.say(&format!("{} {}", hex::encode(&rotated.message), rotated.plaintext));
    }
    assert_eq!(fresh.end(), [format!("opened {}", PROCESSES * ROTATIONS)]);
}

/// Collects what a writer reports, passes its messages to the readers, and waits for its end.
fn follow(number: u32, mut writer: Process, readers: &[Mutex<Process>]) -> (Vec<Rotated>, u32) {
    let mut rotated = Vec::new();
    loop {
        let line = writer.must_hear();
        let (first, rest) = line.split_once(' ').unwrap();
        if first == "locked" {
            assert_eq!(writer.end(), [""; 0]);
            return (rotated, rest.parse().unwrap());
        }
        let (message, plaintext) = rest.split_once(' ').unwrap();
        readers.iter().for_each(|reader| reader.lock().unwrap().say(message));
        rotated.push(Rotated {
            version: first.parse().unwrap(),
            message: hex::decode(message).unwrap(),
            plaintext: plaintext.into(),
            is_counted: counts_usage(number),
        });
    }
}

fn assert_all_there(keyring: &FileKeyring, rotated: &[Rotated]) {
    let versions = keyring.versions();
    let expected = PROCESSES * ROTATIONS;
    assert_eq!(rotated.len() as u32, expected);
    // No number was returned twice, and each of them is there.
    let mut numbers: Vec<_> = rotated.iter().map(|rotated| rotated.version).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=expected + 1).collect::<Vec<_>>());
    let there: Vec<_> = versions.iter().map(|record| record.version.number()).collect();
    assert_eq!(there, (1..=expected + 1).collect::<Vec<_>>());
    let mut ids: Vec<_> = versions.iter().map(|record| record.master_key_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u32, expected + 1);

    // Each version has the key that its messages were encrypted under, and counts their wraps.
    let mut wraps = BTreeMap::<u32, u64>::new();
    for rotated in rotated {
        let record = &versions[version_of(&rotated.message) as usize - 1];
        let header = inspect(&rotated.message).unwrap();
        let slot = header.slots().next().unwrap();
        assert_eq!(slot.label.version, record.version);
        if rotated.is_counted {
            *wraps.entry(record.version.number()).or_default() += 1;
        }
    }
    for (version, wraps) in wraps {
        assert!(versions[version as usize - 1].usage.wraps >= wraps, "version {version}");
    }
}
