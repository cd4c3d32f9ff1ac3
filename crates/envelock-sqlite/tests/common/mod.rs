//! A database in a file of its own.

use rusqlite::Connection;
use rusqlite::types::FromSql;
use std::path::PathBuf;
use std::time::Duration;

pub struct Database(tempfile::TempDir);

impl Database {
    /// Returns a database in which `sql` was run, with a write-ahead log as most applications have it.
    pub fn new(sql: &str) -> Self {
        let database = Database(tempfile::tempdir().unwrap());
        let connection = Connection::open(database.path()).unwrap();
        connection.execute_batch(&format!("PRAGMA journal_mode = WAL; {sql}")).unwrap();
        database
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("orders.db")
    }

    /// Returns a connection of the application.
    pub fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        connection.pragma_update(None, "synchronous", "OFF").unwrap();
        connection
    }

    pub fn one<T: FromSql>(&self, sql: &str) -> T {
        self.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}
