//! Jobs over rows: beside an application, beside another job, and killed.

mod common;

use common::Database;
use envelock::file::Protection;
use envelock::{Aad, Envelope, FileKeyring, Lifecycle, inspect};
use envelock_ops::drivers::{WorkDirectory, run};
use envelock_ops::test_util::SplitMix;
use envelock_ops::{Definition, End, EnvelopeOperation, Report, Shard, Start, Store, Task};
use envelock_sqlite::Value;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const ROWS: i64 = 400;

/// A table of messages under `orders:1`, and the keys. A table of whole messages has a rollback journal, the other one a
/// write-ahead log.
struct Bench {
    database: Database,
    keyring: Arc<FileKeyring>,
    is_message: bool,
}

impl Bench {
    fn new(is_message: bool) -> Self {
        let columns = if is_message { "message BLOB" } else { "header BLOB, body BLOB" };
        let sql = format!("CREATE TABLE orders (id INTEGER PRIMARY KEY, {columns})");
        let mode = if is_message { "DELETE" } else { "WAL" };
        let database = Database::new(&format!("PRAGMA journal_mode = {mode}; {sql}"));
        let keys = keys_beside(&database.path());
        let protection = Protection::unprotected_plaintext();
        let keyring = Arc::new(FileKeyring::create(keys, "orders", &protection).unwrap());
        let bench = Bench { database, keyring, is_message };
        let connection = bench.database.connection();
        connection.execute_batch("BEGIN").unwrap();
        (0..ROWS).for_each(|id| bench.insert(&connection, id, &bench.encrypt(id, 0)));
        connection.execute_batch("COMMIT").unwrap();
        bench
    }

    fn value(&self) -> Value {
        value(self.is_message)
    }

    /// Encrypts what an application wrote so many times before.
    fn encrypt(&self, id: i64, before: u64) -> Vec<u8> {
        let text = format!("{id} {before}");
        Envelope::new(&*self.keyring).encrypt(text.as_bytes(), Aad::none()).unwrap()
    }

    /// Writes a message as an application does.
    fn insert(&self, connection: &Connection, id: i64, message: &[u8]) {
        let (header, body) = message.split_at(inspect(message).unwrap().len());
        let done = match self.is_message {
            true => connection
                .execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", params![id, message]),
            false => connection.execute(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)",
                params![id, header, body],
            ),
        };
        done.unwrap();
    }

    fn messages(&self) -> BTreeMap<i64, Vec<u8>> {
        let columns = if self.is_message { "message, x''" } else { "header, body" };
        let connection = self.database.connection();
        let mut statement =
            connection.prepare(&format!("SELECT id, {columns} FROM orders")).unwrap();
        let rows = statement.query_map([], |row| {
            let parts = [row.get::<_, Vec<u8>>(1)?, row.get(2)?];
            Ok((row.get(0)?, parts.concat()))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Checks that the messages are these, and that each opens.
    fn check(&self, expected: &BTreeMap<i64, u64>) {
        let envelope = Envelope::new(&*self.keyring);
        let messages = self.messages();
        assert!(messages.keys().eq(expected.keys()));
        for (id, message) in messages {
            let opened = envelope.decrypt(&message, Aad::none()).unwrap();
            assert_eq!(opened, format!("{id} {}", expected[&id]).into_bytes());
        }
    }

    /// Checks that nobody but jobs has written, and that they are done.
    fn check_all(&self) {
        assert_eq!(self.rewrapped(), 400);
        self.check(&(0..ROWS).map(|id| (id, 0)).collect());
    }

    /// Counts the messages that need no rewrap.
    fn rewrapped(&self) -> usize {
        let envelope = Envelope::new(&*self.keyring);
        let is_current = |message: &&Vec<u8>| !envelope.needs_rewrap(message).unwrap();
        self.messages().values().filter(is_current).count()
    }

    /// Runs the job `job` to its end, which counts each row once.
    fn finish(&self, bodies_before: &BTreeMap<i64, Vec<u8>>) {
        let tally = self.run("job").tally;
        assert_eq!((tally.listed, tally.changed), (400, 400), "{tally}");
        assert_eq!(bodies(&self.messages()), *bodies_before);
        self.check_all();
    }

    fn run(&self, directory: &str) -> Report {
        let path = self.database.path();
        run_job(&path, &path.with_file_name(directory), self.value())
    }
}

fn keys_beside(database: &Path) -> std::path::PathBuf {
    database.with_file_name("orders.keys")
}

fn value(is_message: bool) -> Value {
    match is_message {
        true => Value::Message("message".into()),
        false => Value::Header("header".into()),
    }
}

/// Runs a rewrap from its records to its end.
fn run_job(database: &Path, records: &Path, value: Value) -> Report {
    let protection = Protection::unprotected_plaintext();
    let keyring = FileKeyring::open_any(keys_beside(database), &protection).unwrap();
    let operation = EnvelopeOperation::new(Envelope::new(keyring), Task::rewrap());
    let table = envelock_sqlite::Table { name: "orders".into(), key: "id".into(), value };
    let store = envelock_sqlite::SqliteStore::open(database, table).unwrap();
    let properties = store.properties();
    let definition = Definition { page: 50, ..Definition::new(&properties.name, Task::rewrap()) };
    let mut records = WorkDirectory::open(records, definition, Shard::WHOLE).unwrap();
    let start = Start::new(SystemTime::UNIX_EPOCH.elapsed().unwrap(), properties);
    let mut job = records.job(&start, &operation).unwrap();
    match run(&mut job, 4, &store, &operation, &mut records, &mut ()) {
        End::Finished(report) => *report,
        end => panic!("{end:?}"),
    }
}

fn bodies(messages: &BTreeMap<i64, Vec<u8>>) -> BTreeMap<i64, Vec<u8>> {
    let body = |(id, message): (&i64, &Vec<u8>)| {
        (*id, message[inspect(message).unwrap().len()..].to_vec())
    };
    messages.iter().map(body).collect()
}

#[test]
fn bodies_stay_and_a_second_job_is_idle() {
    for is_message in [false, true] {
        let bench = Bench::new(is_message);
        bench.keyring.rotate().unwrap();
        let before = bodies(&bench.messages());
        let report = bench.run("job");
        assert_eq!((report.tally.listed, report.tally.changed), (400, 400));
        assert_eq!(bodies(&bench.messages()), before);
        bench.check_all();
        let written: Vec<_> = bench.messages().into_values().collect();
        let again = bench.run("again").tally;
        assert_eq!((again.listed, again.current, again.is_complete()), (400, 400, true));
        assert_eq!(bench.messages().into_values().collect::<Vec<_>>(), written);
    }
}

#[test]
fn application_that_writes_meanwhile_wins() {
    for is_message in [false, true] {
        let bench = &Bench::new(is_message);
        // Of processes that have not seen the rotation.
        let old = [0, 1, 2, 3].map(|writer| {
            let ids = (0..ROWS).filter(move |id| id % 4 == writer);
            let of = |before| move |id| (id, before, bench.encrypt(id, before));
            (1..6).flat_map(|before| ids.clone().map(of(before))).collect::<Vec<_>>()
        });
        bench.keyring.rotate().unwrap();
        let is_done = AtomicBool::new(false);
        // Writes the rows that are its own in turn, until the job is done; returns which message each has.
        let write = |old: Vec<(i64, u64, Vec<u8>)>| {
            let connection = bench.database.connection();
            let mut written: BTreeMap<i64, u64> = old.iter().map(|(id, ..)| (*id, 0)).collect();
            for (id, before, message) in old.iter().cycle() {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                if *before == 3 {
                    connection.execute("DELETE FROM orders WHERE id = ?", [id]).unwrap();
                    written.remove(id);
                } else {
                    bench.insert(&connection, *id, message);
                    written.insert(*id, *before);
                }
            }
            written
        };
        let (report, written) = std::thread::scope(|scope| {
            let writers = old.map(|old| scope.spawn(|| write(old)));
            let report = bench.run("job");
            is_done.store(true, Ordering::Relaxed);
            let written = writers.into_iter().flat_map(|writer| writer.join().unwrap());
            (report, written.collect::<BTreeMap<_, _>>())
        });
        println!("{}", report.tally);
        assert!(report.tally.changed > 50 && report.tally.failed == 0, "{}", report.tally);
        bench.check(&written);
        let again = bench.run("again").tally;
        assert!(again.is_complete() && again.changed > 0, "{again}");
        assert_eq!(bench.rewrapped(), written.len());
        bench.check(&written);
    }
}

#[test]
fn two_jobs_at_once() {
    let bench = Bench::new(false);
    bench.keyring.rotate().unwrap();
    let before = bodies(&bench.messages());
    let [one, two] = std::thread::scope(|scope| {
        let jobs = ["one", "two"].map(|directory| scope.spawn(|| bench.run(directory)));
        jobs.map(|job| job.join().unwrap().tally)
    });
    for tally in [one, two] {
        assert_eq!((tally.listed, tally.failed, tally.gone), (400, 0, 0));
    }
    assert_eq!(one.changed + two.changed, 400);
    assert_eq!(bodies(&bench.messages()), before);
    bench.check_all();
}

const CHILD: &str = "ENVELOCK_TEST_DATABASE";

/// The job of a process that is killed.
#[test]
#[ignore = "a part of `kills_lose_no_message`"]
fn child() {
    if let Ok(database) = std::env::var(CHILD) {
        let database = Path::new(&database);
        let is_message = database.with_file_name("is-message").exists();
        run_job(database, &database.with_file_name("job"), value(is_message));
    }
}

/// 50 kills over both layouts, or `ENVELOCK_KILLS`.
#[test]
fn kills_lose_no_message() {
    let kills = std::env::var("ENVELOCK_KILLS").map_or(50, |kills| kills.parse().unwrap());
    let mut random = SplitMix::new(9);
    for is_message in [false, true] {
        let bench = Bench::new(is_message);
        let path = bench.database.path();
        if is_message {
            std::fs::write(path.with_file_name("is-message"), []).unwrap();
        }
        bench.keyring.rotate().unwrap();
        let before = bodies(&bench.messages());
        // How many rows were rewrapped when a process was killed.
        let mut killed_at = Vec::new();
        let mut most = 50;
        while killed_at.len() < kills / 2 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--ignored"])
                .env(CHILD, &path)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(random.below(most)));
            let status = child.try_wait().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            let Some(status) = status else {
                killed_at.push(bench.rewrapped());
                // From the first statement to the last.
                most += 1;
                continue;
            };
            assert!(status.success());
            most /= 2;
            bench.finish(&before);
            std::fs::remove_dir_all(path.with_file_name("job")).unwrap();
            bench.keyring.rotate().unwrap();
        }
        bench.finish(&before);
        println!("killed after so many of {ROWS} rows: {killed_at:?}");
        assert_eq!(bench.run("again").tally.current, 400);
        assert_eq!(bench.database.one::<String>("PRAGMA integrity_check"), "ok");
    }
}
