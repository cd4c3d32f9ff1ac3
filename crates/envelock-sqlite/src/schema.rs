//! Checks of a table before its first row is read.

use crate::error::OpenError;
use crate::key::KeyKind;
use crate::table::{Table, Value};
use rusqlite::{Connection, OptionalExtension};

struct Column {
    name: String,
    declared: String,
    is_not_null: bool,
    /// Its number in the primary key, or 0.
    primary: u32,
    is_generated: bool,
}

/// Checks that a table can be a store. Returns the type of its keys, and takes the names of columns as the table has
/// them.
pub(crate) fn check(connection: &Connection, table: &mut Table) -> Result<KeyKind, OpenError> {
    find_table(connection, table)?;
    let columns = columns(connection, &table.name)?;
    let find = |name: &str| {
        columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let columns = columns.iter().map(|column| column.name.clone()).collect();
            OpenError::NoColumn { table: table.name.clone(), name: name.into(), columns }
        })
    };
    let (key, value) = (find(&table.key)?, find(table.value.column())?);
    if value.is_generated {
        return Err(OpenError::Generated(value.name.clone()));
    }
    let kind = kind(key)?;
    let in_primary = columns.iter().filter(|column| column.primary > 0).count();
    let is_primary = key.primary == 1 && in_primary == 1;
    // An integer primary key is the number of the row, and has no index.
    let is_row_number = is_primary && key.declared.eq_ignore_ascii_case("INTEGER");
    match unique_collation(connection, table, &key.name)? {
        Some(collation) if kind == KeyKind::Text && collation != "BINARY" => {
            return Err(OpenError::Collation { column: key.name.clone(), collation });
        }
        Some(_) if is_primary || key.is_not_null => {}
        None if is_row_number => {}
        _ => return Err(OpenError::NotUnique(key.name.clone())),
    }
    table.key.clone_from(&key.name);
    let (Value::Header(column) | Value::Message(column)) = &mut table.value;
    column.clone_from(&value.name);
    Ok(kind)
}

fn find_table(connection: &Connection, table: &mut Table) -> Result<(), OpenError> {
    let sql = "SELECT name, type, sql LIKE 'CREATE VIRTUAL%' FROM sqlite_schema \
               WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE";
    let found = connection
        .query_row(sql, [&table.name], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?))
        })
        .optional()?;
    match found {
        Some((name, kind, is_virtual)) if kind == "view" || is_virtual => {
            let kind = if is_virtual { "virtual table".into() } else { kind };
            Err(OpenError::NotATable { name, kind })
        }
        Some((name, ..)) => {
            table.name = name;
            Ok(())
        }
        None => {
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                       ORDER BY name";
            let mut statement = connection.prepare(sql)?;
            let tables = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Err(OpenError::NoTable { name: table.name.clone(), tables })
        }
    }
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>, OpenError> {
    let sql = "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?)";
    let mut statement = connection.prepare(sql)?;
    let columns = statement.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            declared: row.get(1)?,
            is_not_null: row.get(2)?,
            primary: row.get(3)?,
            is_generated: row.get::<_, u32>(4)? > 1,
        })
    })?;
    Ok(columns.collect::<Result<_, _>>()?)
}

/// Returns the collation of a unique index over all rows by this column alone.
fn unique_collation(
    connection: &Connection,
    table: &Table,
    column: &str,
) -> Result<Option<String>, OpenError> {
    let sql = "SELECT list.name FROM pragma_index_list(?1) AS list WHERE list.\"unique\" AND NOT list.partial \
               AND (SELECT count(*) FROM pragma_index_xinfo(list.name) WHERE key) = 1";
    let mut statement = connection.prepare(sql)?;
    let indexes = statement.query_map([&table.name], |row| row.get::<_, String>(0))?;
    for index in indexes.collect::<Result<Vec<_>, _>>()? {
        let sql = "SELECT coll FROM pragma_index_xinfo(?1) WHERE key AND name = ?2";
        let collation = connection.query_row(sql, [&index, column], |row| row.get(0)).optional()?;
        if collation.is_some() {
            return Ok(collation);
        }
    }
    Ok(None)
}

/// Returns the type of keys by the rules of <https://sqlite.org/datatype3.html#determination_of_column_affinity>.
fn kind(key: &Column) -> Result<KeyKind, OpenError> {
    let declared = key.declared.to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    if has("INT") {
        Ok(KeyKind::Integer)
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Ok(KeyKind::Text)
    } else if has("BLOB") || declared.is_empty() {
        Ok(KeyKind::Blob)
    } else {
        Err(OpenError::KeyType { column: key.name.clone(), declared: key.declared.clone() })
    }
}
