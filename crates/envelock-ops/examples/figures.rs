//! How fast jobs are: headers in memory with and without the engine around the same calls, and files of both layouts.
//!
//! `cargo run --release -p envelock-ops --example figures -- [headers] [files] [directory]`, by default 1,000,000, 100,000
//! and a directory for temporary files. In memory on one thread, and its time on a processor, the least of several rounds;
//! with files by the clock.

use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, inspect};
use envelock_ops::drivers::{self, Records, WorkDirectory};
use envelock_ops::stores::MemoryStore;
use envelock_ops::{
    CensusMode, Definition, End, EnvelopeOperation, Item, ItemKey, Job, LabelCensus, Operation,
    Replaced, Shard, Start, Step, Store, Task, Verdict,
};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Keyring = Arc<MemoryKeyring>;

/// Items of one page, with and without the engine.
const PAGE: usize = 500;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| match arguments.next() {
        Some(text) => text.parse::<u64>(),
        None => Ok(default),
    };
    let (headers, files) = (number(1_000_000)?, number(100_000)?);
    let root = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    if headers > 0 {
        in_memory(headers)?;
    }
    if files > 0 {
        let directory = root.join(format!("envelock-figures-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let done = in_files(files, &directory);
        std::fs::remove_dir_all(&directory)?;
        done?;
    }
    Ok(())
}

fn keys(keyring: &Keyring, task: &Task) -> EnvelopeOperation<Keyring> {
    EnvelopeOperation::new(Envelope::new(keyring.clone()), task.clone())
}

fn in_memory(headers: u64) -> Result<()> {
    let keyring = Arc::new(MemoryKeyring::create("orders")?);
    let envelope = Envelope::new(keyring.clone());
    let mut store = MemoryStore::new();
    let began = Instant::now();
    for number in 0..headers {
        let key = ItemKey::new(format!("{:03}/orders/{number:09}", number % 100));
        let header = envelope.start(0, Aad::none())?.header().to_vec();
        store.insert(key.ok_or("a key")?, header);
    }
    println!("{headers} headers in memory, made in {:.1} s", began.elapsed().as_secs_f64());
    println!("{:34} {:>12} {:>12} {:>10}", "", "ns an item", "items/s", "engine");

    let labels = Task::Census { mode: CensusMode::Labels };
    beside("census, labels", &store, &LabelCensus, &labels, 3)?;
    let opened = Task::Census { mode: CensusMode::Opened };
    beside("census, opened", &store, &keys(&keyring, &opened), &opened, 3)?;
    for round in 0..2 {
        keyring.rotate()?;
        // Each round changes every header, so that the two ways take turns in the order of the rounds.
        let operation = keys(&keyring, &Task::rewrap());
        let bare = timed(|| bare(&store, &operation))?;
        keyring.rotate()?;
        let engine = timed(|| engine(&store, &operation, &Task::rewrap()))?;
        line(&format!("rewrap, round {}", round + 1), headers, bare, engine);
    }
    let operation = keys(&keyring, &Task::rewrap());
    beside("rewrap of what is current", &store, &operation, &Task::rewrap(), 3)?;
    store = MemoryStore::new();
    again(&envelope, headers.min(100_000))?;
    drop(store);
    Ok(())
}

/// Decrypts and encrypts messages of 1 KiB and 1 MiB, beside which a rewrap is to be seen.
fn again(envelope: &Envelope<Keyring>, messages: u64) -> Result<()> {
    for (len, count) in [(1 << 10, messages), (1 << 20, messages / 500)] {
        let message = envelope.encrypt(&vec![7; len], Aad::none())?;
        let took = timed(|| {
            for _ in 0..count {
                let plaintext = envelope.decrypt(&message, Aad::none())?;
                std::hint::black_box(envelope.encrypt(&plaintext, Aad::none())?);
            }
            Ok(())
        })?;
        let name = format!("decrypt and encrypt {} KiB", len >> 10);
        println!("{name:34} {:>12.0}", took.as_nanos() as f64 / count.max(1) as f64);
    }
    Ok(())
}

/// Returns how long this thread was on a processor, where the system says so, and otherwise the time of day.
fn on_processor() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = times.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(), Duration::from_nanos)
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = on_processor();
    run()?;
    Ok(on_processor().saturating_sub(began))
}

/// Measures the calls of a job alone and with the engine, in turn, and takes the least of each.
fn beside(
    name: &str,
    store: &MemoryStore,
    operation: &dyn Operation,
    task: &Task,
    rounds: u32,
) -> Result<()> {
    let (mut least_bare, mut least_engine) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        least_bare = least_bare.min(timed(|| bare(store, operation))?);
        least_engine = least_engine.min(timed(|| engine(store, operation, task))?);
    }
    line(name, store.len() as u64, least_bare, least_engine);
    Ok(())
}

fn line(name: &str, items: u64, bare: Duration, engine: Duration) {
    let nanos = |time: Duration| time.as_nanos() as f64 / items.max(1) as f64;
    let (bare, engine) = (nanos(bare), nanos(engine));
    let share = 100.0 * (engine - bare) / bare;
    println!("{:34} {bare:>12.0} {:>12.0}", format!("{name}: its calls"), 1e9 / bare);
    println!("{:34} {engine:>12.0} {:>12.0} {share:>8.0} %", "  the job", 1e9 / engine);
    println!("{:34} {:>12.0} {:>12.0}", "  of it the engine", engine - bare, 1e9 / (engine - bare));
}

/// The calls that a job makes of the store and of the keys, and nothing else.
fn bare(store: &dyn Store, operation: &dyn Operation) -> Result<()> {
    let mut after = None;
    loop {
        let page = store.list(after.as_ref(), PAGE)?;
        for item in &page.items {
            let stored = store.read(&item.key)?.ok_or("gone")?;
            match operation.apply(&Item::new(&item.key, &stored)) {
                Verdict::Change { header, .. } => {
                    let replaced = store.replace(&item.key, stored.expected(), &header)?;
                    let read_back = store.read(&item.key)?.ok_or("gone")?;
                    if replaced != Replaced::Done || read_back.header != header {
                        return Err("not replaced".into());
                    }
                }
                Verdict::Failed(failure) => return Err(failure.into()),
                verdict => drop(std::hint::black_box(verdict)),
            }
        }
        if page.is_last {
            return Ok(());
        }
        after = page.items.last().map(|item| item.key.clone());
    }
}

/// The length of the undo log, which a disk would have.
#[derive(Default)]
struct Undo(u64);

impl Records for Undo {
    fn append(&mut self, batch: &[u8]) -> io::Result<u64> {
        self.0 += batch.len() as u64;
        Ok(self.0)
    }

    fn save(&mut self, _: u64, _: &[u8], _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// The same as a job, on this thread.
fn engine(store: &dyn Store, operation: &dyn Operation, task: &Task) -> Result<()> {
    let properties = store.properties();
    let definition = Definition::new(properties.name.clone(), task.clone());
    let now = SystemTime::UNIX_EPOCH.elapsed()?;
    let mut records = Undo::default();
    let start = Start::new(now, properties);
    let mut job = Job::new(definition, Shard::WHOLE, (&[], 0), &start, operation)?;
    let clock = Instant::now();
    loop {
        match job.next(now, operation) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), now),
            Step::Scan(scan) => job.scanned(scan.run(store), now),
            Step::Work(mut work) => {
                work.run(store, operation, || clock.elapsed());
                job.done(work, now);
            }
            Step::Probe(probe) => job.probed(probe.run(store), now),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Wait { .. } => {}
            Step::Done(End::Finished(report)) if report.tally.is_complete() => return Ok(()),
            step => return Err(format!("{step:?}").into()),
        }
    }
}

#[cfg(not(all(feature = "file", unix)))]
fn in_files(_: u64, _: &Path) -> Result<()> {
    Ok(())
}

#[cfg(all(feature = "file", unix))]
fn in_files(files: u64, root: &Path) -> Result<()> {
    use envelock_ops::stores::{Directory, Layout};
    let keyring = Arc::new(MemoryKeyring::create("orders")?);
    let envelope = Envelope::new(keyring.clone());
    println!("\n{files} files of 1 KiB in {}", root.display());
    println!("{:34} {:>12} {:>12}", "", "µs a file", "files/s");
    for (name, layout) in
        [("inline", Layout::Inline), ("sidecar", Layout::Sidecar { suffix: ".header".into() })]
    {
        let tree = root.join(name);
        for number in 0..files {
            let directory = tree.join(format!("{:03}", number % 100));
            if number < 100 {
                std::fs::create_dir_all(&directory)?;
            }
            let path = directory.join(number.to_string());
            let message = envelope.encrypt(&[7; 1024], Aad::none())?;
            let (header, body) = message.split_at(inspect(&message)?.len());
            match layout {
                Layout::Inline => std::fs::write(path, &message)?,
                _ => {
                    std::fs::write(&path, body)?;
                    std::fs::write(path.with_extension("header"), header)?;
                }
            }
        }
        let store = || Directory::new(&tree, layout.clone(), Envelope::new(keyring.clone()));
        let run = |what: &str, task: Task, threads: u16| {
            let work = root.join("job");
            let began = Instant::now();
            let end: Result<()> = (|| {
                let (store, operation) = (store(), keys(&keyring, &task));
                let definition = Definition::new(store.properties().name, task.clone());
                let now = SystemTime::UNIX_EPOCH.elapsed()?;
                let start = Start::new(now, store.properties());
                let mut records = WorkDirectory::open(&work, definition, Shard::WHOLE)?;
                let mut job = records.job(&start, &operation)?;
                let end =
                    drivers::run(&mut job, threads, &store, &operation, &mut records, &mut ());
                match end {
                    End::Finished(report) if report.tally.is_complete() => Ok(()),
                    other => Err(format!("{other:?}").into()),
                }
            })();
            end?;
            let took = began.elapsed();
            std::fs::remove_dir_all(&work)?;
            let micros = took.as_micros() as f64 / files as f64;
            println!("{:34} {micros:>12.1} {:>12.0}", format!("{name}: {what}"), 1e6 / micros);
            Ok::<(), Box<dyn Error>>(())
        };
        let labels = Task::Census { mode: CensusMode::Labels };
        let opened = Task::Census { mode: CensusMode::Opened };
        if is_cold() {
            run("census, labels, cold, 1 thread", labels.clone(), 1)?;
        }
        run("census, labels, 1 thread", labels, 1)?;
        run("census, opened, 1 thread", opened, 1)?;
        keyring.rotate()?;
        if is_cold() {
            run("rewrap, cold, 8 threads", Task::rewrap(), 8)?;
            keyring.rotate()?;
        }
        run("rewrap, 8 threads", Task::rewrap(), 8)?;
        run("rewrap of what is current, 1 thread", Task::rewrap(), 1)?;
        std::fs::remove_dir_all(&tree)?;
    }
    Ok(())
}

/// Empties the caches of the system, if this process may.
fn is_cold() -> bool {
    let is_synced = std::process::Command::new("sync").status().is_ok_and(|done| done.success());
    is_synced && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}
