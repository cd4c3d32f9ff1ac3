//! Which table, and which of its columns, and the SQL of them.

/// A table whose rows have headers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Table {
    /// The name of the table.
    pub name: String,
    /// The column that identifies a row: a primary key of its own, or a unique column that is not null.
    pub key: String,
    /// The column with the header.
    pub value: Value,
}

/// What a column has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a message is with its header or apart from it")]
pub enum Value {
    /// The header alone. The body is anywhere else, such as in a column beside it.
    Header(String),
    /// The whole message. SQLite reads and writes all of a value, so that a column of headers is faster for messages
    /// that are longer than a page.
    Message(String),
}

impl Value {
    /// Returns the name of the column.
    pub fn column(&self) -> &str {
        let (Value::Header(column) | Value::Message(column)) = self;
        column
    }
}

impl Table {
    /// Returns the statement that makes an index of the master key versions of headers, by the bytes that
    /// [`SlotLabel::index_bytes`](envelock::SlotLabel::index_bytes) returns for slot 0.
    pub fn create_index(&self) -> String {
        let index = quoted(&format!("{}_{}_version", self.name, self.value.column()));
        format!("CREATE INDEX IF NOT EXISTS {index} ON {} ({})", self.table(), self.label())
    }

    /// Returns the query for the keys of rows whose slot 0 is under one of so many versions, each of which is a
    /// parameter: the bytes of its label. It uses the index of [`create_index`](Self::create_index); a query for other
    /// versions than one would not.
    pub fn rows_under(&self, versions: usize) -> String {
        let parameters = vec!["?"; versions].join(", ");
        let (key, table, label) = (self.key(), self.table(), self.label());
        format!("SELECT {key} FROM {table} WHERE {label} IN ({parameters})")
    }

    /// Bytes 25..37 of a header. The first byte is number 1.
    fn label(&self) -> String {
        format!("substr({}, 26, 12)", self.column())
    }

    pub(crate) fn table(&self) -> String {
        quoted(&self.name)
    }

    pub(crate) fn key(&self) -> String {
        quoted(&self.key)
    }

    pub(crate) fn column(&self) -> String {
        quoted(self.value.column())
    }
}

/// Returns an identifier as SQL has it, whatever its characters are.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
