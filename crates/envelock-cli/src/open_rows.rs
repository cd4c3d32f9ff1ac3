//! Stores of rows, of a build with feature `sqlite`.

use crate::failure::{Exit, Failure};
use crate::open_source::OpenStore;
use crate::source_locator::Rows;
#[cfg(feature = "sqlite")]
use envelock_sqlite::{OpenError, SqliteStore, Table, Value};

/// Opens the rows of a table.
///
/// # Errors
///
/// There is no such table, or it cannot be a store.
#[cfg(feature = "sqlite")]
pub fn open_rows(rows: &Rows) -> Result<OpenStore, Failure> {
    Ok(Box::new(open(rows)?))
}

/// Writes a row as it is, and takes that back. Returns what was tried.
///
/// # Errors
///
/// Those of [`open_rows`], or the database cannot be written.
#[cfg(feature = "sqlite")]
pub fn try_write(rows: &Rows) -> Result<&'static str, Failure> {
    Ok(match open(rows)?.try_write()? {
        true => "a row, written as it is and taken back",
        false => "the database can be written, and has no row",
    })
}

#[cfg(feature = "sqlite")]
fn open(Rows { database, table, key, value }: &Rows) -> Result<SqliteStore, Failure> {
    use crate::source_locator::RowValue;
    let value = match value {
        RowValue::Header(column) => Value::Header(column.clone()),
        RowValue::Message(column) => Value::Message(column.clone()),
    };
    let table = Table { name: table.clone(), key: key.clone(), value };
    SqliteStore::open(database, table).map_err(|error| {
        let (exit, next) = match error {
            OpenError::NotFound(_) => {
                (Exit::CouldNotRun, "check the name: `ls -l` lists a directory")
            }
            OpenError::Sqlite(_) => {
                (Exit::CouldNotRun, "remove the cause and run the command again")
            }
            _ => (Exit::Usage, "correct the locator: `.schema` of `sqlite3` prints the tables"),
        };
        Failure::new(exit, error.to_string(), next)
    })
}

#[cfg(not(feature = "sqlite"))]
pub fn open_rows(rows: &Rows) -> Result<OpenStore, Failure> {
    Err(not_built(rows))
}

#[cfg(not(feature = "sqlite"))]
pub fn try_write(rows: &Rows) -> Result<&'static str, Failure> {
    Err(not_built(rows))
}

#[cfg(not(feature = "sqlite"))]
fn not_built(rows: &Rows) -> Failure {
    let database = crate::output::printable(&rows.database);
    let what = format!("the database {database} needs a build with feature sqlite");
    Failure::new(Exit::CouldNotRun, what, "`cargo install envelock-cli --features sqlite`")
}
