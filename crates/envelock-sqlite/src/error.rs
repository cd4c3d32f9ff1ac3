//! Why a table is not opened, and why a call of SQLite failed.

use envelock_ops::StoreError;
use rusqlite::ErrorCode;
use std::fmt;
use std::path::PathBuf;

/// Why a table cannot be the store of a job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no file of this name. None is created.
    #[error("there is no database {}", .0.display())]
    NotFound(PathBuf),
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(SqliteError),
    /// The database has no table of this name.
    #[error("there is no table {name:?}: the database has {}", list(.tables))]
    NoTable {
        /// The name that was given.
        name: String,
        /// The tables that there are.
        tables: Vec<String>,
    },
    /// It is a view or a virtual table.
    #[error("{name:?} is a {kind}: name the table that has the rows")]
    NotATable {
        /// The name that was given.
        name: String,
        /// `view` or `virtual table`.
        kind: String,
    },
    /// The table has no column of this name.
    #[error("table {table:?} has no column {name:?}: it has {}", list(.columns))]
    NoColumn {
        /// The table.
        table: String,
        /// The name that was given.
        name: String,
        /// The columns that there are.
        columns: Vec<String>,
    },
    /// The column cannot be written.
    #[error("column {0:?} is generated: name the column that it is generated from")]
    Generated(String),
    /// The column of the key does not identify a row.
    #[error(
        "column {0:?} does not identify a row: it needs to be the primary key, or unique and not null"
    )]
    NotUnique(String),
    /// The key has another type than those that are ordered as their bytes.
    #[error("column {column:?} has the type {declared:?}: a key is INTEGER, TEXT or BLOB")]
    KeyType {
        /// The column.
        column: String,
        /// Its type as the table declares it.
        declared: String,
    },
    /// The key is compared otherwise than by its bytes.
    #[error("column {column:?} has the collation {collation}: a key of text needs BINARY")]
    Collation {
        /// The column.
        column: String,
        /// Its collation.
        collation: String,
    },
}

/// What SQLite reports, and what to do about it.
#[derive(Debug)]
pub struct SqliteError(pub(crate) rusqlite::Error);

impl SqliteError {
    fn next(&self) -> Option<&'static str> {
        use ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase,
            PermissionDenied, ReadOnly, Unknown,
        };
        Some(match self.0.sqlite_error_code()? {
            CannotOpen | PermissionDenied => {
                "check owner and mode of the file and of its directory"
            }
            DatabaseBusy | DatabaseLocked => "another process has not given up its lock: try again",
            DatabaseCorrupt => {
                "restore it from a backup, or save what can be read by the command `.recover` of `sqlite3`"
            }
            DiskFull => "make room",
            NotADatabase => {
                "name a database that SQLite has made and that is not encrypted as a whole"
            }
            ReadOnly => "make the file and its directory writable, or run this as their owner",
            // A statement that is not valid any more.
            Unknown => "if the table was changed meanwhile, start again",
            _ => return None,
        })
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.next().map_or(Ok(()), |next| write!(f, ": {next}"))
    }
}

impl std::error::Error for SqliteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        OpenError::Sqlite(SqliteError(error))
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Returns the error of a call. A lock that another process holds, a full disk and the like may be over later.
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed,
        OperationInterrupted, OutOfMemory, SchemaChanged, SystemIoFailure,
    };
    let code = error.sqlite_error_code();
    let error = SqliteError(error);
    match code {
        Some(
            CannotOpen
            | DatabaseBusy
            | DatabaseLocked
            | DiskFull
            | FileLockingProtocolFailed
            | OperationInterrupted
            | OutOfMemory
            | SchemaChanged
            | SystemIoFailure,
        ) => StoreError::unavailable(error),
        _ => StoreError::broken(error),
    }
}
