//! Creation: one of several processes wins, and no other user can read a file at any moment.

use crate::common::directory::TestDirectory;
use crate::common::key_files::{ROW, file_error, raw, text};
use crate::common::process::{Process, listen, send};
use envelock::{
    Envelope, FileKeyring, Lifecycle,
    file::{FileError, KeyFileError},
};
use rustix::fs::Mode;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const RACES: usize = 100;
/// Rotations at a word, and words at most.
const ROTATIONS: u32 = 50;
const MOST_TIMES: u32 = 50;

/// The kinds of files that a key file has, in the order of their names.
const KINDS: [&str; 3] = ["key", "lock", "temporary"];

/// A child: creates a given key file, and reports which one has the name in the end.
pub fn create(directory: &str, name: &str) {
    send("ready");
    while let Some(file) = listen() {
        let path = Path::new(directory).join(file);
        match FileKeyring::create(&path, name, &raw(7)) {
            Ok(keyring) => {
                let message = Envelope::new(&keyring).encrypt(b"mine", ROW).unwrap();
                send(&format!("created {}", hex::encode(message)));
            }
            Err(error) => {
                assert!(
                    matches!(file_error(&error), KeyFileError::File(FileError::Exists { .. })),
                    "{error}"
                );
                send("exists");
            }
        }
    }
}

#[test]
fn two_creating_processes_create_one_file() {
    let directory = TestDirectory::new();
    let names = ["one", "two"];
    let mut processes =
        names.map(|name| Process::start(super::MODULE, "create", &[text(directory.path()), name]));
    processes.iter_mut().for_each(|process| process.expect("ready"));
    let (mut won, mut race) = ([0; 2], 0);
    // The machine decides which is first: repeated until each of them was.
    while race < RACES || won.contains(&0) {
        assert!(race < RACES * 100, "no race: {won:?}");
        let file = format!("{race}.keys");
        // The order of starts changes, since being first is an advantage.
        let order = [race % 2, (race + 1) % 2];
        order.iter().for_each(|&index| processes[index].say(&file));
        let answers = processes.each_mut().map(Process::must_hear);
        let winners: Vec<_> = (0..2).filter(|&index| answers[index] != "exists").collect();
        let [winner] = winners[..] else { panic!("{answers:?}") };
        won[winner] += 1;
        let keyring = FileKeyring::open_any(directory.join(&file), &raw(7)).unwrap();
        assert_eq!(keyring.key(), names[winner]);
        let message = answers[winner].strip_prefix("created ").unwrap();
        let message = hex::decode(message).unwrap();
        assert_eq!(Envelope::new(&keyring).decrypt(&message, ROW).unwrap(), b"mine");
        race += 1;
    }
    println!("of {race} races each process won {won:?}");
}

/// A child: makes a key file under a umask, rotates it until its input ends, and replaces its file
/// key.
pub fn create_under(path: &str, mask: &str) {
    let mask = u32::from_str_radix(mask, 8).unwrap();
    rustix::process::umask(Mode::from_raw_mode(mask));
    listen().unwrap();
    match FileKeyring::create(path, "orders", &raw(7)) {
        Ok(keyring) => {
            while listen().unwrap() == "go on" {
                for _ in 0..ROTATIONS {
                    keyring.rotate().unwrap();
                }
                send("rotated");
            }
            keyring.replace_file_key(&[&raw(8)]).unwrap();
            send("created");
        }
        Err(error) => match file_error(&error) {
            KeyFileError::Umask { mode, .. } => send(&format!("umask {mode:o}")),
            other => panic!("{other}"),
        },
    }
}

#[test]
fn at_every_moment_every_file_is_its_owners_alone() {
    for mask in ["000", "022", "077", "177"] {
        let directory = TestDirectory::new();
        // Open to all, so that nothing but the modes of the files protects them.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let path = directory.join("orders.keys");
        let mut child = Process::start(super::MODULE, "umask", &[text(&path), mask]);
        let (is_over, has_seen_all) = (AtomicBool::new(false), AtomicBool::new(false));
        let seen = thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(directory.path(), &is_over, &has_seen_all));
            child.say("go");
            for _ in 0..MOST_TIMES {
                child.say("go on");
                child.expect("rotated");
                // Whether a file that comes and goes is met is the machine's.
                if has_seen_all.load(Ordering::Relaxed) || watcher.is_finished() {
                    break;
                }
            }
            child.say("end");
            child.expect("created");
            is_over.store(true, Ordering::Relaxed);
            watcher.join().unwrap()
        });
        assert_eq!(child.end(), [""; 0]);
        println!("umask {mask}: files seen, by kind: {seen:?}");
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), KINDS, "not every kind was met");
    }
}

/// Looks at every file of a directory again and again; says once it has seen every kind, and
/// returns how often each was seen.
fn watch(
    directory: &Path,
    is_over: &AtomicBool,
    has_seen_all: &AtomicBool,
) -> BTreeMap<&'static str, u64> {
    let mut seen = BTreeMap::new();
    while !is_over.load(Ordering::Relaxed) {
        for entry in fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name();
            // It may be removed by now.
            let Ok(metadata) = fs::symlink_metadata(directory.join(&name)) else { continue };
            assert!(metadata.is_file(), "{name:?}");
            assert_eq!(metadata.mode() & 0o7777, 0o600, "{name:?}");
            assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw(), "{name:?}");
            let kind = match name.to_str().unwrap() {
                "orders.keys" => "key",
                "orders.keys.lock" => "lock",
                name if name.starts_with(".orders.keys.") && name.ends_with(".tmp") => "temporary",
                other => panic!("{other} is no file of the keyring's"),
            };
            *seen.entry(kind).or_default() += 1;
        }
        if seen.len() == KINDS.len() {
            has_seen_all.store(true, Ordering::Relaxed);
        }
    }
    seen
}

#[test]
fn umask_that_keeps_the_owner_out_is_named() {
    for (mask, mode) in [("777", "umask 0"), ("200", "umask 400"), ("400", "umask 200")] {
        let directory = TestDirectory::new();
        let path = directory.join("orders.keys");
        let mut child = Process::start(super::MODULE, "umask", &[text(&path), mask]);
        child.say("go");
        child.expect(mode);
        assert_eq!(child.end(), [""; 0]);
        assert!(!path.exists());
    }
}
