//! Directory trees of messages, and jobs over them, for several tests.

use crate::common::{NOW, finished, keyring, rng};
use envelock::{Aad, Envelope, MemoryKeyring, Timestamp, inspect};
use envelock_ops::drivers::{self, WorkDirectory};
use envelock_ops::stores::{Directory, Layout};
use envelock_ops::{Definition, EnvelopeOperation, Shard, Start, Store, Task};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub type Keyring = Arc<MemoryKeyring>;

/// The same keys in every process, with so many versions.
pub fn keys(versions: u32) -> Keyring {
    let mut rng = rng(42);
    let keyring = Arc::new(keyring("orders", &mut rng));
    (1..versions).for_each(|_| {
        keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng).unwrap();
    });
    keyring
}

pub fn layouts() -> [Layout; 2] {
    [Layout::Inline, Layout::Sidecar { suffix: ".header".into() }]
}

/// Where files are written without waiting for a disk, if there is such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

pub fn body(number: u64) -> Vec<u8> {
    format!("body {number}").into_bytes()
}

/// Writes messages under version 1, at most 1,000 in a directory, so that a job that is killed soon gets beyond its
/// listing. Returns the bodies, as they are stored.
pub fn write_tree(root: &Path, layout: &Layout, items: u64) -> BTreeMap<PathBuf, Vec<u8>> {
    let envelope = Envelope::new(keys(1));
    let mut bodies = BTreeMap::new();
    for number in 0..items {
        let path =
            root.join(format!("{}/message-{number}", number % items.div_ceil(1_000).max(10)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let message = envelope.encrypt(&body(number), Aad::none()).unwrap();
        let header_len = inspect(&message).unwrap().len();
        let stored = message[header_len..].to_vec();
        match layout {
            Layout::Sidecar { suffix } => {
                fs::write(&path, &stored).unwrap();
                fs::write(with_suffix(&path, suffix), &message[..header_len]).unwrap();
            }
            _ => fs::write(&path, &message).unwrap(),
        }
        bodies.insert(path, stored);
    }
    bodies
}

pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Every message opens under the present version alone, and no byte of a body has changed.
pub fn check_tree(layout: &Layout, bodies: &BTreeMap<PathBuf, Vec<u8>>, version: u32) {
    let envelope = Envelope::new(keys(2));
    for (path, body) in bodies {
        let (header, stored) = match layout {
            Layout::Sidecar { suffix } => {
                (fs::read(with_suffix(path, suffix)).unwrap(), fs::read(path).unwrap())
            }
            _ => {
                let message = fs::read(path).unwrap();
                let len = inspect(&message).unwrap().len();
                (message[..len].to_vec(), message[len..].to_vec())
            }
        };
        assert_eq!(stored, *body, "{path:?}");
        let opened = envelope.open(&header).unwrap();
        assert_eq!(opened.label().version.number(), version, "{path:?}");
        opened.decrypt(&stored, Aad::none()).unwrap();
    }
}

pub fn store(root: &Path, layout: &Layout) -> Directory<Keyring> {
    Directory::new(root, layout.clone(), Envelope::new(keys(2)))
}

/// Runs or resumes the job of a tree, as one process does.
pub fn run(root: &Path, layout: &Layout, work: &Path, page: usize) -> envelock_ops::Report {
    run_task(root, layout, work, page, Task::rewrap())
}

pub fn run_task(
    root: &Path,
    layout: &Layout,
    work: &Path,
    page: usize,
    task: Task,
) -> envelock_ops::Report {
    let store = store(root, layout);
    let definition = Definition { page, ..Definition::new(store.properties().name, task.clone()) };
    let mut records = WorkDirectory::open(work, definition, Shard::WHOLE).unwrap();
    let operation = EnvelopeOperation::new(Envelope::new(keys(2)), task);
    let mut job = records.job(&Start::new(NOW, store.properties()), &operation).unwrap();
    let end = drivers::run(&mut job, 2, &store, &operation, &mut records, &mut ());
    records.write_report(end.report()).unwrap();
    finished(end)
}
