//! Keyrings beside each other: a message of 64 bytes through each, and how long a key file takes
//! to open.

use crate::floor::AAD;
use crate::interleave::{Lane, interleave, time};
use envelock::{
    Aad, CachingKeyring, DataKeyReuse, Envelope, FileKeyring, Keyring, Lifecycle, MasterKey,
    MemoryKeyring, OsRandom, SlotLabel, Timestamp,
    file::Protection,
    format::Slot,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
    keyset::{Change, ChangeOptions, Material},
};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages in a batch.
const COUNT: usize = 256;

/// How often each key file is opened.
const OPENINGS: usize = 9;

/// The cost of a call to a back end outside of this process.
const CALL: Duration = Duration::from_micros(200);

/// Prints both tables.
pub fn print(budget: Duration, time_name: fn(f64) -> String) {
    let directory = Directory::create();
    messages(&directory, budget, time_name);
    openings(&directory, time_name);
}

fn messages(directory: &Directory, budget: Duration, time_name: fn(f64) -> String) {
    let minute = Duration::from_secs(60);
    let reuse = || Some(Arc::new(DataKeyReuse::new(1 << 20, 1 << 40, minute)));
    let path = directory.0.join("messages.keys");
    let file = FileKeyring::create(&path, "invoices", &protection()).expect("a directory");
    type Way = (&'static str, Box<dyn Keyring>, Option<Arc<DataKeyReuse>>);
    let keyrings: [Way; 6] = [
        ("memory", Box::new(memory()), None),
        ("file", Box::new(file), None),
        ("cached memory, data keys unwrapped once", Box::new(CachingKeyring::new(memory())), None),
        (
            "cached memory, one data key for many messages too",
            Box::new(CachingKeyring::new(memory())),
            reuse(),
        ),
        ("a backend that takes 200 us a call", Box::new(Remote(memory())), None),
        ("the same, cached both ways", Box::new(CachingKeyring::new(Remote(memory()))), reuse()),
    ];
    let names: Vec<&str> = keyrings.iter().map(|(name, ..)| *name).collect();
    let lanes = keyrings.iter().map(|(_, keyring, reuse)| lane(keyring, reuse.as_ref()));
    let mut lanes: Vec<Lane<'_>> = lanes.collect();
    let rounds = interleave(&mut lanes, budget);
    println!("\n### Keyrings, 64-byte messages\n");
    println!("| keyring | encrypt | decrypt the same again | of memory's speed |");
    println!("|---|---:|---:|---:|");
    for (lane, name) in names.iter().enumerate() {
        let [there, back] = [0, 1].map(|way| time_name(rounds.time(lane, way)));
        let [write, read] = [0, 1].map(|way| rounds.speed(lane, 0, way));
        println!("| {name} | {there} | {back} | {write:.2}, {read:.2} |");
    }
}

/// Encrypts a batch, and decrypts what was decrypted before.
fn lane<'k>(keyring: &'k dyn Keyring, reuse: Option<&Arc<DataKeyReuse>>) -> Lane<'k> {
    let mut envelope = Envelope::new(keyring);
    if let Some(reuse) = reuse {
        envelope = envelope.with_data_key_reuse(reuse.clone());
    }
    let encrypt = move |_| envelope.encrypt(&[1; 64], Aad::new(AAD)).expect("a primary");
    let envelope = Envelope::new(keyring);
    let messages: Vec<Vec<u8>> = (0..COUNT).map(&encrypt).collect();
    Box::new(move || {
        let there = time(COUNT, || (0..COUNT).for_each(|index| drop(black_box(encrypt(index)))));
        let back = time(COUNT, || {
            for message in &messages {
                black_box(envelope.decrypt(message, Aad::new(AAD)).expect("its own"));
            }
        });
        [there, back]
    })
}

fn openings(directory: &Directory, time_name: fn(f64) -> String) {
    println!("\n### Opening a key file\n");
    println!("| versions | protection | bytes | open | one more rotation |");
    println!("|---:|---|---:|---:|---:|");
    for versions in [1_u32, 100, 10_000] {
        let path = directory.0.join(format!("{versions}.keys"));
        let keyring = FileKeyring::create(&path, "invoices", &protection()).expect("a directory");
        let material = Material::Fresh;
        let add = Change::AddVersion { key: "invoices", version: None, material };
        let changes = vec![add; versions as usize - 1];
        keyring
            .change(&changes, &ChangeOptions::at(Timestamp::now()), &mut OsRandom)
            .expect("a free lock");
        let bytes = std::fs::metadata(&path).expect("it was written").len();
        let open = median_of(|| FileKeyring::open_any(&path, &protection()).expect("it is intact"));
        let rotate = median_of(|| keyring.rotate().expect("a free lock"));
        let [open, rotate] = [open, rotate].map(time_name);
        println!("| {versions} | raw key | {bytes} | {open} | {rotate} |");
    }
    let path = directory.0.join("passphrase.keys");
    let passphrase = Protection::passphrase("correct horse battery staple");
    drop(FileKeyring::create(&path, "invoices", &passphrase).expect("a directory"));
    let open = median_of(|| FileKeyring::open_any(&path, &passphrase).expect("it is intact"));
    let bytes = std::fs::metadata(&path).expect("it was written").len();
    println!("| 1 | passphrase, Argon2id by default | {bytes} | {} | |", time_name(open));
}

fn median_of<T>(mut operation: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..OPENINGS)
        .map(|_| {
            let start = Instant::now();
            black_box(operation());
            start.elapsed().as_nanos() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[OPENINGS / 2]
}

fn memory() -> MemoryKeyring {
    MemoryKeyring::create("invoices").expect("a name of 8 bytes")
}

fn protection() -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[7; 32]))
}

/// A keyring whose wraps and unwraps take as long as a call over a network or to a token.
struct Remote(MemoryKeyring);

impl Keyring for Remote {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &envelock::DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        wait();
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut envelock::DataKey,
    ) -> Result<(), KeyringError> {
        wait();
        self.0.unwrap(slot, context, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.0.freshness(slot)
    }
}

fn wait() {
    let start = Instant::now();
    while start.elapsed() < CALL {
        std::hint::spin_loop();
    }
}

/// A directory that goes when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Self {
        let name = format!("envelock-bench-{}", std::process::id());
        let path: &Path = &std::env::temp_dir().join(name);
        std::fs::create_dir(path).expect("a name of its own");
        Directory(path.to_path_buf())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
