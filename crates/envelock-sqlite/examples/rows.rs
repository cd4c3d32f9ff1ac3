//! What a rotation of rows costs: `cargo run --release --example rows [ROWS] [BODY BYTES]` prints the table of README.md.

use envelock::file::Protection;
use envelock::{Aad, Envelope, FileKeyring, Lifecycle, inspect};
use envelock_ops::drivers::{WorkDirectory, run};
use envelock_ops::{
    CensusMode, Definition, End, EnvelopeOperation, LabelCensus, Operation, Shard, Start, Store,
    Task,
};
use envelock_sqlite::{SqliteStore, Table, Value};
use rusqlite::{Connection, params};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u32>());
    let (rows, body) = (number(200_000)?, number(1024)?);
    println!("{rows} rows with bodies of {body} bytes; us a row, rows/s");
    let directory = tempfile::tempdir()?;
    let keys = directory.path().join("orders.keys");
    let keyring =
        Arc::new(FileKeyring::create(keys, "orders", &Protection::unprotected_plaintext())?);
    let plaintext = vec![0; body as usize];
    for column in ["header", "message"] {
        let path = directory.path().join("orders.db");
        write(&path, &keyring, column == "header", rows, &plaintext)?;
        let value = match column {
            "header" => Value::Header("header".into()),
            _ => Value::Message("message".into()),
        };
        let table = Table { name: "orders".into(), key: "id".into(), value };
        let store = SqliteStore::open(&path, table)?;
        let labels = Task::Census { mode: CensusMode::Labels };
        let opened = Task::Census { mode: CensusMode::Opened };
        let work = |name: &str, task: &Task, threads: u16| -> Result {
            let envelope = Envelope::new(Arc::clone(&keyring));
            let operation: Box<dyn Operation> = match *task == labels {
                true => Box::new(LabelCensus),
                false => Box::new(EnvelopeOperation::new(envelope, task.clone())),
            };
            let began = Instant::now();
            job(&store, &*operation, task, threads, &directory.path().join(name))?;
            print(&format!("{column}: {name}"), rows, began);
            Ok(())
        };
        work("census by labels", &labels, 1)?;
        work("census, opened, 1 thread", &opened, 1)?;
        for threads in [8, 64] {
            keyring.rotate()?;
            work(&format!("rewrap, {threads} threads"), &Task::rewrap(), threads)?;
        }
        work("again, nothing due", &Task::rewrap(), 1)?;
        if column == "message" {
            encrypt_again(&path, &keyring, rows)?;
        }
        drop(store);
        for entry in directory.path().read_dir()? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else if path.file_name().is_some_and(|name| name != "orders.keys") {
                std::fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

fn write(
    path: &Path,
    keyring: &FileKeyring,
    is_apart: bool,
    rows: u32,
    plaintext: &[u8],
) -> Result {
    let mut connection = Connection::open(path)?;
    let columns = if is_apart { "header BLOB, body BLOB" } else { "message BLOB" };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; CREATE TABLE orders (id INTEGER PRIMARY KEY, {columns})"
    ))?;
    let envelope = Envelope::new(keyring);
    let transaction = connection.transaction()?;
    for id in 0..rows {
        let message = envelope.encrypt(plaintext, Aad::none())?;
        let (header, body) = message.split_at(inspect(&message)?.len());
        let mut insert = transaction.prepare_cached(match is_apart {
            true => "INSERT INTO orders VALUES (?, ?, ?)",
            false => "INSERT INTO orders VALUES (?, ?)",
        })?;
        match is_apart {
            true => insert.execute(params![id, header, body])?,
            false => insert.execute(params![id, message])?,
        };
    }
    Ok(transaction.commit()?)
}

fn job(
    store: &SqliteStore,
    operation: &dyn Operation,
    task: &Task,
    threads: u16,
    records: &Path,
) -> Result {
    let definition = Definition::new(store.properties().name, task.clone());
    let mut records = WorkDirectory::open(records, definition, Shard::WHOLE)?;
    let mut start = Start::new(SystemTime::UNIX_EPOCH.elapsed()?, store.properties());
    start.limits.concurrency = threads;
    let mut job = records.job(&start, operation)?;
    match run(&mut job, threads, store, operation, &mut records, &mut ()) {
        End::Finished(report) if report.tally.is_complete() => Ok(()),
        end => Err(format!("{end:?}").into()),
    }
}

/// Decrypts each message and encrypts it again, 256 rows in a durable transaction.
fn encrypt_again(path: &Path, keyring: &FileKeyring, rows: u32) -> Result {
    let began = Instant::now();
    let envelope = Envelope::new(keyring);
    let mut connection = Connection::open(path)?;
    for first in (0..rows).step_by(256) {
        let transaction = connection.transaction()?;
        for id in first..rows.min(first + 256) {
            let mut read = transaction.prepare_cached("SELECT message FROM orders WHERE id = ?")?;
            let old: Vec<u8> = read.query_row([id], |row| row.get(0))?;
            let new = envelope.encrypt(&envelope.decrypt(&old, Aad::none())?, Aad::none())?;
            let mut update = transaction
                .prepare_cached("UPDATE orders SET message = ? WHERE id = ? AND message = ?")?;
            update.execute(params![new, id, old])?;
        }
        transaction.commit()?;
    }
    print("message: decrypted and encrypted again, 1 thread", rows, began);
    Ok(())
}

fn print(name: &str, rows: u32, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let (micros, rate) = (seconds * 1e6 / f64::from(rows), f64::from(rows) / seconds);
    println!("{name:<50} {micros:8.1} {rate:9.0}");
}
