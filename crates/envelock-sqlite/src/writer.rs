//! Replacements that several threads make in one transaction.
//!
//! A transaction waits for the disk once. Each thread adds its replacement to a queue and then waits for the connection;
//! the one that gets it makes all that are in the queue.

use crate::error::store_error;
use crate::key::RowKey;
use crate::table::{Table, Value};
use envelock_ops::{Replaced, StoreError};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most replacements of one transaction, which keeps other writers out while it lasts.
const MOST: usize = 256;

pub(crate) struct Writer {
    queue: Mutex<Vec<Arc<Request>>>,
    connection: Mutex<Connection>,
    statements: Statements,
    is_message: bool,
}

struct Statements {
    /// One row, as it is.
    rewrite: String,
    replace: String,
    read: String,
}

struct Request {
    key: RowKey,
    expected: Vec<u8>,
    new: Vec<u8>,
    result: Mutex<Option<Result<Replaced, StoreError>>>,
}

impl Writer {
    pub(crate) fn new(connection: Connection, table: &Table) -> Self {
        let (name, key, column) = (table.table(), table.key(), table.column());
        let is_message = matches!(table.value, Value::Message(_));
        let statements = Statements {
            rewrite: format!(
                "UPDATE {name} SET {column} = {column} WHERE {key} = (SELECT min({key}) FROM {name})"
            ),
            replace: format!("UPDATE {name} SET {column} = ?1 WHERE {key} = ?2 AND {column} = ?3"),
            read: format!("SELECT {column} FROM {name} WHERE {key} = ?1"),
        };
        let (queue, connection) = (Mutex::default(), Mutex::new(connection));
        Writer { queue, connection, statements, is_message }
    }

    /// Writes a row as it is, and rolls that back. Returns whether there is a row.
    pub(crate) fn try_write(&self) -> rusqlite::Result<bool> {
        let mut connection = lock(&self.connection);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(transaction.execute(&self.statements.rewrite, [])? > 0)
    }

    /// Replaces the header of a row if it is `expected`. It is durable when this returns.
    pub(crate) fn replace(
        &self,
        key: RowKey,
        expected: &[u8],
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        let (expected, new, result) = (expected.to_vec(), new.to_vec(), Mutex::default());
        let request = Arc::new(Request { key, expected, new, result });
        lock(&self.queue).push(Arc::clone(&request));
        loop {
            let mut connection = lock(&self.connection);
            if let Some(result) = lock(&request.result).take() {
                return result;
            }
            let batch: Vec<_> = {
                let mut queue = lock(&self.queue);
                let most = queue.len().min(MOST);
                queue.drain(..most).collect()
            };
            if batch.is_empty() {
                // The thread that took it has panicked.
                return Err(StoreError::unavailable("the replacement was given up"));
            }
            self.commit(&mut connection, &batch);
        }
    }

    /// Makes each replacement, or none if the transaction fails.
    fn commit(&self, connection: &mut Connection, batch: &[Arc<Request>]) {
        let mut results = Vec::with_capacity(batch.len());
        let committed = (|| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for request in batch {
                results.push(self.replace_in(&transaction, request));
                // A trigger can end the transaction.
                if transaction.is_autocommit() {
                    return Ok(false);
                }
            }
            transaction.commit().map(|()| true)
        })()
        .map_err(store_error);
        let mut results = results.into_iter();
        for request in batch {
            let result = results.next();
            *lock(&request.result) = Some(match (&committed, result) {
                (Ok(true), Some(result)) => result,
                // What fails by itself fails again.
                (Ok(_), Some(Err(error))) => Err(error),
                (Ok(_), _) => Err(StoreError::unavailable("another row ended the transaction")),
                (Err(error), _) => Err(error.clone()),
            });
        }
    }

    fn replace_in(
        &self,
        transaction: &Transaction<'_>,
        request: &Request,
    ) -> Result<Replaced, StoreError> {
        let replaced = match self.is_message {
            true => self.replace_front(transaction, request),
            false => self.replace_value(transaction, request),
        };
        match replaced {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                Ok(Replaced::NoRoom)
            }
            replaced => replaced.map_err(store_error),
        }
    }

    fn replace_value(
        &self,
        transaction: &Transaction<'_>,
        Request { key, expected, new, .. }: &Request,
    ) -> rusqlite::Result<Replaced> {
        let mut update = transaction.prepare_cached(&self.statements.replace)?;
        if update.execute(params![new, key, expected])? > 0 {
            return Ok(Replaced::Done);
        }
        let mut read = transaction.prepare_cached(&self.statements.read)?;
        Ok(if read.exists([key])? { Replaced::Conflict } else { Replaced::Gone })
    }

    /// Replaces the header in front of a body. No other connection writes meanwhile.
    fn replace_front(
        &self,
        transaction: &Transaction<'_>,
        Request { key, expected, new, .. }: &Request,
    ) -> rusqlite::Result<Replaced> {
        let mut read = transaction.prepare_cached(&self.statements.read)?;
        let read = read.query_row([key], |row| Ok(row.get_ref(0)?.as_blob().map(<[u8]>::to_vec)));
        let message = match read.optional()? {
            None => return Ok(Replaced::Gone),
            // Another type than bytes.
            Some(Err(_)) => return Ok(Replaced::Conflict),
            Some(Ok(message)) => message,
        };
        let Some(body) = message.strip_prefix(expected.as_slice()) else {
            return Ok(Replaced::Conflict);
        };
        let replaced = [new.as_slice(), body].concat();
        let mut update = transaction.prepare_cached(&self.statements.replace)?;
        let changed = update.execute(params![replaced, key, message])?;
        Ok(if changed > 0 { Replaced::Done } else { Replaced::Conflict })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A transaction that a panic ended was rolled back.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
