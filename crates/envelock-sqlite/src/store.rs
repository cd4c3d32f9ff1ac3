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
    StoreError, StoredHeader, StoredItem, medium_id,
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

const LONGER: &str = "there are bytes behind the header: name the column as one of messages";

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
    /// The file as it was when it was opened.
    id: String,
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
        let id = medium_id(&path).map_err(|_| OpenError::NotFound(path.clone()))?;
        let reader = connect(&path)?;
        let kind = schema::check(&reader, &mut table)?;
        let writer = connect(&path)?;
        writer.pragma_update(None, "synchronous", "EXTRA")?;
        let writer = Writer::new(writer, &table);
        Ok(SqliteStore { path, id, table, kind, readers: Mutex::new(vec![reader]), writer })
    }

    /// Returns the table, its names as the database has them.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Writes a row as it is, and takes that back, to find out whether a job can write. Returns whether there is a row.
    ///
    /// # Errors
    ///
    /// The database or the row cannot be written.
    pub fn try_write(&self) -> Result<bool, StoreError> {
        self.writer.try_write().map_err(store_error)
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

    /// Reports that another file is there than before, such as a backup: what is open is the old one.
    fn is_there(&self) -> Result<(), StoreError> {
        let path = self.path.display();
        match medium_id(&self.path) {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(StoreError::unavailable(format!(
                "{path} is another file than before: start again"
            ))),
            Err(error) => Err(StoreError::unavailable(format!("{path}: {error}"))),
        }
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
        self.is_there()?;
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

    /// Reads the first bytes of a value; all of a header.
    fn first(&self, item: &ItemKey, most: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(key) = self.kind.key(item) else { return Ok(None) };
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

    /// Returns what is in front of the body of a message whose first bytes were read.
    fn front(&self, item: &ItemKey, first: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
        let mut first = first;
        let len = match front_len(&first) {
            Some(len) => len,
            None if first.len() < FIRST_READ => first.len(),
            // A long header.
            None => match self.first(item, MAX_HEADER_LEN)? {
                Some(more) => {
                    first = more;
                    front_len(&first).unwrap_or(first.len())
                }
                None => return Ok(None),
            },
        };
        first.truncate(len);
        Ok(Some(first))
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

fn length_of(row: &Row<'_>, column: usize) -> Result<Option<u64>, StoreError> {
    let length: Option<i64> = row.get(column).map_err(store_error)?;
    Ok(length.and_then(|length| u64::try_from(length).ok()))
}

/// Returns the length of the header in front of a message, or of what is shown of bytes that are none; `None` of a
/// header that is cut off or malformed.
fn front_len(first: &[u8]) -> Option<usize> {
    match inspect(first) {
        Ok(header) => Some(header.len()),
        Err(Error::NotEnvelock { .. }) => Some(first.len().min(FIRST_BYTES)),
        Err(_) => None,
    }
}

fn is_header(bytes: &[u8]) -> bool {
    inspect(bytes).is_ok_and(|header| header.len() == bytes.len())
}

/// Returns whether something is behind a header, which a replacement would delete.
fn is_longer(bytes: &[u8]) -> bool {
    inspect(bytes).is_ok_and(|header| header.len() < bytes.len())
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
            id: Some(self.id.clone()),
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
            items.push(Listed::new(item, length_of(row, 1)?));
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
        let column = self.table.column();
        let columns = match self.table.value {
            Value::Header(_) => format!("{column}, NULL"),
            Value::Message(_) => format!("substr({column}, 1, {FIRST_READ}), length({column})"),
        };
        let is_last = self.rows(after, most, &columns, |item, row| {
            let first = bytes_of(row.get_ref(1).map_err(store_error)?);
            let bytes = length_of(row, 2)?;
            if let Value::Header(_) = self.table.value {
                each(StoredItem { key: &item, header: first, bytes });
            } else if let Some(header) = self.front(&item, first.to_vec())? {
                each(StoredItem { key: &item, header: &header, bytes });
            }
            Ok(())
        })?;
        Ok(Some(is_last))
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let Some(first) = self.first(item, FIRST_READ)? else { return Ok(None) };
        let header = match self.table.value {
            Value::Header(_) if is_longer(&first) => return Err(StoreError::broken(LONGER)),
            Value::Header(_) => Some(first),
            Value::Message(_) => self.front(item, first)?,
        };
        Ok(header.map(|header| StoredHeader { header, ..StoredHeader::default() }))
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        let Some(key) = self.kind.key(item) else { return Ok(Replaced::Gone) };
        match self.table.value {
            Value::Header(_) if is_longer(expected.header) => {
                return Err(StoreError::broken(LONGER));
            }
            // Where a body begins is known from a whole header alone.
            Value::Message(_) if !is_header(expected.header) => return Ok(Replaced::Conflict),
            _ => {}
        }
        let replaced = self.writer.replace(key, expected.header, new)?;
        self.is_there()?;
        Ok(replaced)
    }

    /// Commits the header once more: the commit of a process that was killed may not have reached the disk.
    fn settle(&self, item: &ItemKey, expected: Expected<'_>) -> Result<Replaced, StoreError> {
        self.replace(item, expected, expected.header)
    }
}
