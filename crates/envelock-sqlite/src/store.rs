//! The store.

use crate::error::{OpenError, store_error};
use crate::key::{KeyKind, RowKey};
use crate::schema;
use crate::table::{Table, Value};
use crate::writer::Writer;
use envelock::format::MAX_HEADER_LEN;
use envelock::{Error, inspect};
use envelock_ops::{
    CompareAndSwap, Expected, ItemKey, Listed, MovesBodies, Page, Properties, Replaced, Store,
    StoreError, StoredHeader, StoredItem,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a call waits for the lock of another process. Then the engine tries again.
const BUSY: Duration = Duration::from_secs(5);

/// What is read of a message first. Most headers are shorter.
const FIRST_READ: usize = 1024;

/// What is read of bytes that are no message.
const FIRST_BYTES: usize = 64;

/// The rows of a table of a SQLite database, each with a header.
///
/// Listings go by the key, from one page to the next. A replacement is one `UPDATE` under the condition that the row has the
/// expected bytes: a row that the application has written meanwhile is a conflict, one that it has deleted is gone. What several
/// threads replace at the same time is one transaction, and durable when it returns (`PRAGMA synchronous = EXTRA` on the
/// connection of this store, whatever others have). No lock is held between calls.
///
/// A value that is not bytes is an item without a header, and is never written.
pub struct SqliteStore {
    path: PathBuf,
    table: Table,
    kind: KeyKind,
    /// Connections that read, and are not at work.
    readers: Mutex<Vec<Connection>>,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the table of a database that exists.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(path: impl AsRef<Path>, mut table: Table) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let path = std::path::absolute(path).map_err(|_| OpenError::NotFound(path.into()))?;
        if !path.exists() {
            return Err(OpenError::NotFound(path));
        }
        let reader = connect(&path)?;
        let kind = schema::check(&reader, &mut table)?;
        let writer = connect(&path)?;
        writer.pragma_update(None, "synchronous", "EXTRA")?;
        let writer = Writer::new(writer, &table);
        Ok(SqliteStore { path, table, kind, readers: Mutex::new(vec![reader]), writer })
    }

    /// Returns the table, its names as the database has them.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Calls `read` with a connection of its own.
    fn read_with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = idle().pop();
        let reader = match reader {
            Some(reader) => reader,
            None => connect(&self.path).map_err(store_error)?,
        };
        let result = read(&reader);
        idle().push(reader);
        result
    }

    /// Returns the key that comes before a page; `None` for the first page.
    fn after(&self, after: Option<&ItemKey>) -> Result<Option<RowKey>, StoreError> {
        let key = after.map(|after| {
            self.kind.key(after).ok_or_else(|| StoreError::broken("the page begins after no key"))
        });
        key.transpose()
    }

    /// Calls `each` with the first rows after `after`, at most `most`: their keys and `columns`. Returns whether there is
    /// no other.
    fn rows(
        &self,
        after: Option<&ItemKey>,
        most: usize,
        columns: &str,
        mut each: impl FnMut(ItemKey, &Row<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let after = self.after(after)?;
        let (key, table) = (self.table.key(), self.table.table());
        let condition = if after.is_some() { format!("WHERE {key} > ?") } else { String::new() };
        let limit = most.saturating_add(1);
        let sql = format!(
            "SELECT {key}, {columns} FROM {table} {condition} ORDER BY {key} LIMIT {limit}"
        );
        self.read_with(|reader| {
            let mut statement = reader.prepare_cached(&sql).map_err(store_error)?;
            let mut rows = match &after {
                Some(after) => statement.query([after]),
                None => statement.query([]),
            }
            .map_err(store_error)?;
            let mut count = 0;
            while let Some(row) = rows.next().map_err(store_error)? {
                count += 1;
                if count > most {
                    return Ok(false);
                }
                let item = self.kind.item(row.get_ref(0).map_err(store_error)?)?;
                each(item, row)?;
            }
            Ok(true)
        })
    }

    /// Reads the first bytes of a value.
    fn first(&self, key: &RowKey, most: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let (column, name) = (self.table.column(), self.table.table());
        let value = match self.table.value {
            Value::Header(_) => column,
            Value::Message(_) => format!("substr({column}, 1, {most})"),
        };
        let sql = format!("SELECT {value} FROM {name} WHERE {} = ?", self.table.key());
        self.read_with(|reader| {
            let mut statement = reader.prepare_cached(&sql).map_err(store_error)?;
            let read = statement.query_row([key], |row| Ok(bytes_of(row.get_ref(0)?).to_vec()));
            read.optional().map_err(store_error)
        })
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Returns the bytes of a value; none of another type.
fn bytes_of(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

/// Returns how many of the first bytes of a message are what [`Store::read`] returns, or `None` if they are too few to
/// tell.
fn header_len(first: &[u8], most: usize) -> Option<usize> {
    match inspect(first) {
        Ok(header) => Some(header.len()),
        Err(Error::NotEnvelock { .. }) => Some(first.len().min(FIRST_BYTES)),
        // The whole value, or as much as a header can have.
        Err(_) if first.len() < most || most == MAX_HEADER_LEN => Some(first.len()),
        Err(_) => None,
    }
}

impl Store for SqliteStore {
    fn properties(&self) -> Properties {
        let Table { name, key, value } = &self.table;
        let (column, moves_bodies) = match value {
            Value::Header(column) => (format!("header={column}"), MovesBodies::Never),
            Value::Message(column) => (format!("message={column}"), MovesBodies::Always),
        };
        Properties {
            name: format!("sqlite:{}?table={name}&key={key}&{column}", self.path.display()),
            // Nothing in a database tells it from a copy, and none is created.
            id: None,
            compare_and_swap: CompareAndSwap::Strong,
            moves_bodies,
            rewrites_bodies: false,
            dates_bodies: false,
        }
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        let length = match self.table.value {
            Value::Header(_) => "NULL".into(),
            Value::Message(_) => format!("length({})", self.table.column()),
        };
        let mut items = Vec::new();
        let is_last = self.rows(after, most, &length, |item, row| {
            let bytes: Option<i64> = row.get(1).map_err(store_error)?;
            items.push(Listed::new(item, bytes.and_then(|bytes| u64::try_from(bytes).ok())));
            Ok(())
        })?;
        Ok(Page { items, is_last })
    }

    fn scan(
        &self,
        after: Option<&ItemKey>,
        most: usize,
        each: &mut dyn FnMut(StoredItem<'_>),
    ) -> Result<Option<bool>, StoreError> {
        // What is in front of a body may take a second read.
        if let Value::Message(_) = self.table.value {
            return Ok(None);
        }
        let column = self.table.column();
        let is_last = self.rows(after, most, &column, |item, row| {
            let header = bytes_of(row.get_ref(1).map_err(store_error)?);
            each(StoredItem { key: &item, header, bytes: None });
            Ok(())
        })?;
        Ok(Some(is_last))
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let Some(key) = self.kind.key(item) else { return Ok(None) };
        for most in [FIRST_READ, MAX_HEADER_LEN] {
            let Some(mut header) = self.first(&key, most)? else { return Ok(None) };
            let len = match self.table.value {
                Value::Header(_) => Some(header.len()),
                Value::Message(_) => header_len(&header, most),
            };
            if let Some(len) = len {
                header.truncate(len);
                return Ok(Some(StoredHeader { header, ..StoredHeader::default() }));
            }
        }
        // The second read tells.
        Ok(None)
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        match self.kind.key(item) {
            Some(key) => self.writer.replace(key, expected.header, new),
            None => Ok(Replaced::Gone),
        }
    }

    /// Commits the header once more: the commit of a process that was killed may not have reached the disk.
    fn settle(&self, item: &ItemKey, expected: Expected<'_>) -> Result<Replaced, StoreError> {
        self.replace(item, expected, expected.header)
    }
}
