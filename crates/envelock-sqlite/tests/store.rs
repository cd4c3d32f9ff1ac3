//! The store by itself: the conformance suite, and tables that are refused.

mod common;

use common::Database;
use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, SlotLabel};
use envelock_ops::test_util::{Fixture, check};
use envelock_ops::{Expected, ItemKey, Replaced, Store, StoreError, StoredItem, Token};
use envelock_sqlite::{OpenError, SqliteStore, Table, Value};
use rusqlite::params;

const HEADERS: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, body BLOB, header BLOB)";

fn open(database: &Database, value: Value) -> Result<SqliteStore, OpenError> {
    let table = Table { name: "orders".into(), key: "id".into(), value };
    SqliteStore::open(database.path(), table)
}

/// Returns two headers of one message, and one of another.
fn headers() -> [Vec<u8>; 3] {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let start = || envelope.start(0, Aad::none()).unwrap().header().to_vec();
    let (old, other) = (start(), start());
    keyring.rotate().unwrap();
    let new = envelope.rewrap(&old, Default::default()).unwrap().into_header();
    [old, new, other]
}

/// A table whose headers the suite writes by a connection of its own.
struct Rows {
    database: Database,
    store: SqliteStore,
    /// What comes behind a header.
    body: &'static [u8],
}

impl Rows {
    fn new(sql: &str, value: Value) -> Self {
        let body: &[u8] = match value {
            Value::Header(_) => &[],
            Value::Message(_) => &[7; 5000],
        };
        let database = Database::new(sql);
        let store = open(&database, value).unwrap();
        Rows { database, store, body }
    }
}

impl Fixture for Rows {
    type Store = SqliteStore;

    fn store(&self) -> &SqliteStore {
        &self.store
    }

    fn put(&self, item: &ItemKey, header: &[u8]) {
        let column = self.store.table().value.column();
        let sql = format!("INSERT OR REPLACE INTO orders (id, {column}) VALUES (?, ?)");
        let value = [header, self.body].concat();
        self.database.connection().execute(&sql, params![row(item), value]).unwrap();
    }

    fn delete(&self, item: &ItemKey) {
        let sql = "DELETE FROM orders WHERE id = ?";
        self.database.connection().execute(sql, [row(item)]).unwrap();
    }

    fn keys(&self, count: usize) -> Vec<ItemKey> {
        (0..count).map(|number| ItemKey::new(format!("{number:019}")).unwrap()).collect()
    }

    fn headers(&self) -> [Vec<u8>; 3] {
        headers()
    }
}

fn row(item: &ItemKey) -> i64 {
    item.to_string().parse().unwrap()
}

#[test]
fn column_of_headers_conforms() {
    check(&Rows::new(HEADERS, Value::Header("header".into())));
}

#[test]
fn column_of_messages_conforms() {
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, message BLOB)";
    check(&Rows::new(sql, Value::Message("message".into())));
}

#[test]
fn body_behind_a_header_stays() {
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, message BLOB)";
    let rows = Rows::new(sql, Value::Message("message".into()));
    let (item, [old, new, _]) = (rows.keys(1).remove(0), headers());
    rows.put(&item, &old);
    // Another length.
    let new = [new.as_slice(), &[0; 9]].concat();
    let expected = Expected { header: &old, token: &Token::default() };
    assert_eq!(rows.store.replace(&item, expected, &new).unwrap(), Replaced::Done);
    let message: Vec<u8> = rows.database.one("SELECT message FROM orders");
    assert_eq!(message, [new.as_slice(), rows.body].concat());
}

/// A column of messages that is named as one of headers.
#[test]
fn body_behind_a_header_is_no_header() {
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, message BLOB)";
    let rows = Rows::new(sql, Value::Message("message".into()));
    let (item, [old, new, _]) = (rows.keys(1).remove(0), headers());
    rows.put(&item, &old);
    let message: Vec<u8> = rows.database.one("SELECT message FROM orders");
    let store = open(&rows.database, Value::Header("message".into())).unwrap();
    let text =
        "store failed: there are bytes behind the header: name the column as one of messages";
    assert_eq!(store.read(&item).unwrap_err().to_string(), text);
    let expected = Expected { header: &message, token: &Token::default() };
    assert_eq!(store.replace(&item, expected, &new).unwrap_err().to_string(), text);
    let expected = Expected { header: &old, token: &Token::default() };
    assert_eq!(store.replace(&item, expected, &new).unwrap(), Replaced::Conflict);
    assert_eq!(rows.database.one::<Vec<u8>>("SELECT message FROM orders"), message);
}

/// Nothing tells where the body of a damaged message begins.
#[test]
fn damaged_message_is_never_replaced() {
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, message BLOB)";
    let rows = Rows::new(sql, Value::Message("message".into()));
    let (item, [mut old, new, _]) = (rows.keys(1).remove(0), headers());
    // The number of slots.
    old[24] = 0;
    rows.put(&item, &old);
    let stored = rows.store.read(&item).unwrap().unwrap();
    assert!(stored.header.len() > old.len());
    assert_eq!(rows.store.replace(&item, stored.expected(), &new).unwrap(), Replaced::Conflict);
}

#[test]
fn long_header_is_read_whole() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let others: Vec<_> =
        (0..15).map(|number| MemoryKeyring::create(&format!("other{number}")).unwrap()).collect();
    let envelope = Envelope::new(&keyring);
    let mut header = envelope.start(0, Aad::none()).unwrap().header().to_vec();
    for other in &others {
        let granted = envelope.add_slot(&header, other, Default::default()).unwrap();
        header = granted.into_header();
    }
    assert!(header.len() > 1024, "{}", header.len());
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, message BLOB)";
    let rows = Rows::new(sql, Value::Message("message".into()));
    let item = rows.keys(1).remove(0);
    rows.put(&item, &header);
    assert_eq!(rows.store.read(&item).unwrap().unwrap().header, header);
    let mut scanned = Vec::new();
    let each = &mut |item: StoredItem<'_>| scanned.push((item.header.to_vec(), item.bytes));
    rows.store.scan(None, 9, each).unwrap();
    assert_eq!(scanned, [(header.clone(), Some(header.len() as u64 + 5000))]);
}

/// Connections that are open keep the old file.
#[test]
fn database_that_is_put_back_from_a_backup() {
    let rows = Rows::new(HEADERS, Value::Header("header".into()));
    let (item, [old, new, _]) = (rows.keys(1).remove(0), headers());
    rows.put(&item, &old);
    let path = rows.database.path();
    let backup = path.with_file_name("backup.db");
    rows.database.connection().execute("VACUUM INTO ?", [backup.to_str()]).unwrap();
    std::fs::rename(&backup, &path).unwrap();
    let text = format!("store failed: {} is another file than before: start again", path.display());
    let failed = |error: StoreError| {
        assert_eq!((error.to_string(), error.is_retryable()), (text.clone(), true))
    };
    let expected = Expected { header: &old, token: &Token::default() };
    failed(rows.store.replace(&item, expected, &new).unwrap_err());
    failed(rows.store.list(None, 9).unwrap_err());
    let again = open(&rows.database, Value::Header("header".into())).unwrap();
    assert_ne!(again.properties().id, rows.store.properties().id);
    assert_eq!(again.properties().name, rows.store.properties().name);
}

#[test]
fn rows_that_are_no_messages() {
    let rows = Rows::new(HEADERS, Value::Header("header".into()));
    let sql = "INSERT INTO orders (id, header) VALUES (1, NULL), (2, 'text'), (3, 5), (4, x''), (5, x'0102')";
    rows.database.connection().execute(sql, []).unwrap();
    let expected: [&[u8]; 5] = [&[], &[], &[], &[], &[1, 2]];
    let mut scanned = Vec::new();
    let is_last = rows.store.scan(None, 9, &mut |item| scanned.push(item.header.to_vec())).unwrap();
    assert_eq!((is_last, scanned), (Some(true), expected.map(<[u8]>::to_vec).to_vec()));
    for (item, expected) in rows.store.list(None, 9).unwrap().items.iter().zip(expected) {
        let stored = rows.store.read(&item.key).unwrap().unwrap();
        assert_eq!(stored.header, expected);
        // Text is no bytes, and is not replaced.
        let settled = rows.store.settle(&item.key, stored.expected()).unwrap();
        let is_bytes = row(&item.key) >= 4;
        assert_eq!(settled, if is_bytes { Replaced::Done } else { Replaced::Conflict });
    }
}

#[test]
fn keys_of_each_type() {
    for (declared, values) in [
        ("INTEGER PRIMARY KEY", "(-7), (-1), (9), (10), (1000)"),
        ("INTEGER PRIMARY KEY DESC", "(-7), (9), (10)"),
        ("INT NOT NULL UNIQUE", "(-7), (-1), (9), (10)"),
        ("TEXT PRIMARY KEY", "('Z'), ('a'), ('ä'), ('10'), ('9')"),
        ("VARCHAR(9) NOT NULL UNIQUE", "('Z'), ('a'), ('%')"),
        ("BLOB PRIMARY KEY", "(x'00'), (x'ff'), (x'0102')"),
        ("UUID_BLOB PRIMARY KEY", "(x'00'), (x'ff'), (x'0102')"),
        ("TEXT PRIMARY KEY COLLATE BINARY", "('b'), ('A')"),
    ] {
        for end in ["", " WITHOUT ROWID"] {
            if declared.contains("UNIQUE") && !end.is_empty() {
                continue;
            }
            let sql = format!("CREATE TABLE orders (id {declared}, header BLOB){end}");
            let rows = Rows::new(&sql, Value::Header("header".into()));
            let sql = format!("INSERT INTO orders (id) VALUES {values}");
            let count = rows.database.connection().execute(&sql, []).unwrap();
            rows.database.connection().execute("UPDATE orders SET header = x'01'", []).unwrap();
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = rows.store.list(after.as_ref(), 2).unwrap();
                listed.extend(page.items.into_iter().map(|item| item.key));
                after = listed.last().cloned();
                if page.is_last {
                    break;
                }
            }
            assert_eq!(listed.len(), count, "{declared}");
            assert!(listed.is_sorted());
            for item in &listed {
                let stored = rows.store.read(item).unwrap().unwrap();
                assert_eq!(
                    rows.store.replace(item, stored.expected(), &[2]).unwrap(),
                    Replaced::Done
                );
            }
        }
    }
}

#[test]
fn key_of_another_type_than_its_column() {
    let rows = Rows::new(
        "CREATE TABLE orders (id TEXT PRIMARY KEY, header BLOB)",
        Value::Header("header".into()),
    );
    rows.database.connection().execute("INSERT INTO orders (id) VALUES (x'00')", []).unwrap();
    let error = rows.store.list(None, 9).unwrap_err();
    let text = "store failed: the key of a row has the type Blob, and not that of its column: correct the row";
    assert_eq!((error.to_string().as_str(), error.is_retryable()), (text, false));
}

#[test]
fn tables_that_are_refused() {
    for (sql, expected) in [
        ("CREATE TABLE other (id)", "there is no table \"orders\": the database has other"),
        ("", "there is no table \"orders\": the database has none"),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, header); CREATE VIEW orders AS SELECT * FROM t",
            "\"orders\" is a view: name the table that has the rows",
        ),
        (
            "CREATE TABLE orders (number INTEGER PRIMARY KEY, header)",
            "table \"orders\" has no column \"id\": it has number, header",
        ),
        (
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, body)",
            "table \"orders\" has no column \"header\": it has id, body",
        ),
        (
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, body, header AS (body))",
            "column \"header\" is generated: name the column that it is generated from",
        ),
        (
            "CREATE TABLE orders (id INTEGER, header)",
            "column \"id\" does not identify a row: it needs to be the primary key, or unique and not null",
        ),
        (
            "CREATE TABLE orders (id INTEGER, part INTEGER, header, PRIMARY KEY (id, part))",
            "column \"id\" does not identify a row: it needs to be the primary key, or unique and not null",
        ),
        (
            "CREATE TABLE orders (id INTEGER UNIQUE, header)",
            "column \"id\" does not identify a row: it needs to be the primary key, or unique and not null",
        ),
        (
            "CREATE TABLE orders (id INT NOT NULL, header); CREATE UNIQUE INDEX i ON orders (id) WHERE id > 1",
            "column \"id\" does not identify a row: it needs to be the primary key, or unique and not null",
        ),
        (
            "CREATE TABLE orders (id REAL PRIMARY KEY, header)",
            "column \"id\" has the type \"REAL\": a key is INTEGER, TEXT or BLOB",
        ),
        (
            "CREATE TABLE orders (id TEXT PRIMARY KEY COLLATE NOCASE, header)",
            "column \"id\" has the collation NOCASE: a key of text needs BINARY",
        ),
    ] {
        let error = open(&Database::new(sql), Value::Header("header".into())).err().unwrap();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn databases_that_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let value = Value::Header("header".into());
        let table = Table { name: "orders".into(), key: "id".into(), value };
        SqliteStore::open(directory.path().join(name), table).err().unwrap().to_string()
    };
    let path = directory.path().display();
    assert_eq!(open("absent.db"), format!("there is no database {path}/absent.db"));
    assert!(!directory.path().join("absent.db").exists());
    std::fs::write(directory.path().join("text.db"), "x".repeat(5000)).unwrap();
    let text = "file is not a database: name a database that SQLite has made and that is not encrypted as a whole";
    assert_eq!(open("text.db"), text);
    let text =
        "unable to open database file: check owner and mode of the file and of its directory";
    assert_eq!(open("").replace(&format!(": {path}/"), ""), text);
}

/// A page of the table that is overwritten.
#[test]
fn damaged_database() {
    let rows = Rows::new(HEADERS, Value::Header("header".into()));
    let [old, ..] = headers();
    rows.keys(500).iter().for_each(|item| rows.put(item, &old));
    let path = rows.database.path();
    drop(rows.store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5 * 4096..6 * 4096].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let store = open(&rows.database, Value::Header("header".into())).unwrap();
    let error = store.list(None, 500).unwrap_err();
    let text = "store failed: database disk image is malformed: restore it from a backup, or save what can be read \
                by the command `.recover` of `sqlite3`";
    assert_eq!((error.to_string().as_str(), error.is_retryable()), (text, false));
}

#[test]
fn table_that_goes_away() {
    let rows = Rows::new(HEADERS, Value::Header("header".into()));
    rows.database.connection().execute("DROP TABLE orders", []).unwrap();
    let error = rows.store.list(None, 9).unwrap_err();
    let text =
        "store failed: no such table: orders: if the table was changed meanwhile, start again";
    assert_eq!((error.to_string().as_str(), error.is_retryable()), (text, false));
}

#[test]
fn names_are_no_sql() {
    let name = "or\"ders; DROP TABLE x";
    let quoted = name.replace('"', "\"\"");
    let sql = format!(
        "CREATE TABLE \"{quoted}\" (\"i d\" INTEGER PRIMARY KEY, \"he'ader\" BLOB); \
         INSERT INTO \"{quoted}\" VALUES (1, x'01')"
    );
    let database = Database::new(&sql);
    let value = Value::Header("HE'ADER".into());
    let table = Table { name: name.to_uppercase(), key: "I D".into(), value };
    let store = SqliteStore::open(database.path(), table).unwrap();
    assert_eq!(store.table().value, Value::Header("he'ader".into()));
    assert_eq!(store.table().name, name);
    let item = store.list(None, 1).unwrap().items.remove(0).key;
    let expected = Expected { header: &[1], token: &Token::default() };
    assert_eq!(store.replace(&item, expected, &[2]).unwrap(), Replaced::Done);
    database.connection().execute_batch(&store.table().create_index()).unwrap();
}

/// Another process that keeps the lock longer than a call waits is waited for by the engine.
#[test]
fn lock_of_another_process_is_retryable() {
    let rows = Rows::new(HEADERS, Value::Header("header".into()));
    let (item, [old, new, _]) = (rows.keys(1).remove(0), headers());
    rows.put(&item, &old);
    let other = rows.database.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let expected = Expected { header: &old, token: &Token::default() };
    let error = rows.store.replace(&item, expected, &new).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.is_retryable()),
        (
            "store failed: database is locked: another process has not given up its lock: try again",
            true
        )
    );
    // Rows can be read all the same.
    assert_eq!(rows.store.read(&item).unwrap().unwrap().header, old);
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(rows.store.replace(&item, expected, &new).unwrap(), Replaced::Done);
}

/// A trigger that refuses one row, and one that ends the whole transaction.
#[test]
fn bad_row_fails_alone() {
    for (raise, is_retryable) in [("ABORT", false), ("ROLLBACK", false)] {
        let rows = Rows::new(HEADERS, Value::Header("header".into()));
        let [old, new, _] = headers();
        let items = rows.keys(40);
        items.iter().for_each(|item| rows.put(item, &old));
        let sql = format!(
            "CREATE TRIGGER t BEFORE UPDATE ON orders WHEN old.id = 7 BEGIN SELECT RAISE({raise}, 'seven'); END"
        );
        rows.database.connection().execute_batch(&sql).unwrap();
        let expected = Expected { header: &old, token: &Token::default() };
        let replace = |item: &ItemKey| loop {
            match rows.store.replace(item, expected, &new) {
                Err(error) if error.is_retryable() => {}
                result => return result,
            }
        };
        std::thread::scope(|scope| {
            let replaced = items.iter().map(|item| (row(item), scope.spawn(move || replace(item))));
            for (row, replaced) in replaced.collect::<Vec<_>>() {
                let replaced = replaced.join().unwrap();
                if row == 7 {
                    let error = replaced.unwrap_err();
                    assert_eq!(error.to_string(), "store failed: seven");
                    assert_eq!(error.is_retryable(), is_retryable);
                } else {
                    assert_eq!(replaced.unwrap(), Replaced::Done);
                }
            }
        });
        let sql =
            "SELECT count(*) FROM orders WHERE header = (SELECT header FROM orders WHERE id = 1)";
        assert_eq!(rows.database.one::<i64>(sql), 39);
    }
}

#[test]
fn index_serves_rows_under_old_versions() {
    let rows = Rows::new(HEADERS, Value::Header("header".into()));
    let [old, new, _] = headers();
    for (number, item) in rows.keys(200).iter().enumerate() {
        rows.put(item, if number == 150 { &old } else { &new });
    }
    let table = rows.store.table();
    let connection = rows.database.connection();
    connection.execute_batch(&table.create_index()).unwrap();
    connection.execute_batch(&table.create_index()).unwrap();
    let plan: String = connection
        .query_row(&format!("EXPLAIN QUERY PLAN {}", table.rows_under(2)), [[0; 12]; 2], |row| {
            row.get(3)
        })
        .unwrap();
    assert_eq!(plan, "SEARCH orders USING COVERING INDEX orders_header_version (<expr>=?)");
    let label: SlotLabel<'_> = envelock::inspect(&old).unwrap().slots().next().unwrap().label;
    let found: i64 = connection
        .query_row(&table.rows_under(1), [label.index_bytes()], |row| row.get(0))
        .unwrap();
    assert_eq!(found, 150);
}
