//! The program over the rows of a database, which `sqlite3` writes beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../program/sandbox.rs"]
mod sandbox;

use sandbox::{Result, Sandbox};
use std::fmt::Write as _;
use std::process::Command;

const HEADERS: &str = "sqlite:orders.db?table=orders&key=id&header=header";

/// Runs statements on `orders.db`.
fn sql(sandbox: &Sandbox, statements: &str) -> Result<String> {
    let mut command = Command::new("sqlite3");
    let output = command.arg(sandbox.path("orders.db")).arg(statements).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// 20 rows under `orders:1`, each with header, body and both, after a rotation.
fn rows() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    let mut statements = String::from(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, header BLOB, body BLOB, message BLOB);",
    );
    for id in 0..20 {
        let name = format!("message-{id}");
        let input = format!("order {id}");
        let encrypt = format!("-k file:keys encrypt -o {name}");
        sandbox::succeeded(&encrypt, sandbox.run_with(&encrypt, input.as_bytes())?)?;
        let message = sandbox.read(&name)?;
        let at = envelock::inspect(&message)?.len();
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
        };
        let (header, body) = message.split_at(at);
        let (header, body, message) = (hex(header), hex(body), hex(&message));
        writeln!(
            statements,
            "INSERT INTO orders VALUES ({id}, x'{header}', x'{body}', x'{message}');"
        )?;
    }
    sql(&sandbox, &statements)?;
    sandbox.ok("-k file:keys key rotate orders")?;
    Ok(sandbox)
}

/// Decrypts the message of each row.
fn check(sandbox: &Sandbox, message: &str) -> Result {
    let path = sandbox.path("message");
    for id in [0, 7, 19] {
        let path = path.display();
        sql(
            sandbox,
            &format!("SELECT writefile('{path}', {message}) FROM orders WHERE id = {id}"),
        )?;
        assert_eq!(sandbox.ok("-k file:keys decrypt message")?, format!("order {id}"));
    }
    Ok(())
}

#[test]
fn job_over_either_column_and_back() -> Result {
    for (column, message) in [("header=header", "header || body"), ("message=message", "message")] {
        let sandbox = rows()?;
        let before = sql(&sandbox, "SELECT hex(header), hex(body), hex(message) FROM orders")?;
        let source = format!("sqlite:orders.db?table=orders&key=id&{column}");
        let doctor = sandbox.ok(&format!("-k file:keys doctor {source}"))?;
        assert!(doctor.contains("a row, written as it is and taken back"), "{doctor}");
        let plan = sandbox.run(&format!("-k file:keys job plan {source}"))?;
        let plan = String::from_utf8(plan.stdout)?;
        assert!(plan.contains("forecast  20 of 20 to be rewrapped"), "{plan}");
        assert_eq!(
            sql(&sandbox, "SELECT hex(header), hex(body), hex(message) FROM orders")?,
            before
        );
        let done = "rewrapped 20  current 0  excluded 0  conflict 0  gone 0  failed 0  = listed 20";
        let started = sandbox.ok(&format!("-k file:keys job start {source} --canary none"))?;
        assert!(started.starts_with(done), "{started}");
        check(&sandbox, message)?;
        let census = format!("-k file:keys census {source} --opened --without orders:1");
        assert!(sandbox.ok(&census)?.contains("20 items by the versions that open them now"));
        // The locator of the records is the same from everywhere.
        let (keys, records) = (sandbox.path("keys"), sandbox.path("orders.db.job"));
        let undo = format!("-k file:{} job undo {}", keys.display(), records.display());
        std::fs::create_dir(sandbox.path("other"))?;
        let output = sandbox.command(&undo).current_dir(sandbox.path("other")).output()?;
        let undone = sandbox::succeeded(&undo, output)?;
        assert!(undone.starts_with("restored 20  "), "{undone}");
        assert_eq!(
            sql(&sandbox, "SELECT hex(header), hex(body), hex(message) FROM orders")?,
            before
        );
    }
    Ok(())
}

#[test]
fn configuration_names_begin_at_its_file() -> Result {
    let sandbox = rows()?;
    sandbox.write("envelock.toml", format!("[sources.rows]\nlocator = \"{HEADERS}\"\n"))?;
    std::fs::create_dir(sandbox.path("other"))?;
    let census = "--config ../envelock.toml census rows";
    let output = sandbox.command(census).current_dir(sandbox.path("other")).output()?;
    let printed = sandbox::succeeded(census, output)?;
    assert!(printed.contains(": 20 items by labels"), "{printed}");
    Ok(())
}

#[test]
fn database_of_a_backup_is_another_medium() -> Result {
    let sandbox = rows()?;
    std::fs::copy(sandbox.path("orders.db"), sandbox.path("backup.db"))?;
    let start =
        format!("-k file:keys job start {HEADERS} --canary none --page 5 --set budget=5 -d job");
    sandbox.fails(&start, 4)?;
    std::fs::rename(sandbox.path("backup.db"), sandbox.path("orders.db"))?;
    let resume = "-k file:keys job resume job --set budget=none";
    let errors = sandbox.fails(resume, 6)?;
    assert!(errors.contains("`--adopt` begins again with this one"), "{errors}");
    let adopted = sandbox.ok(&format!("{} --adopt", start.replace("budget=5", "budget=none")))?;
    assert!(adopted.contains("= listed 20\n"), "{adopted}");
    check(&sandbox, "header || body")?;
    let again = sandbox.ok(&format!("-k file:keys job start {HEADERS} --canary none -d again"))?;
    assert!(again.starts_with("rewrapped 0  current 20  "), "{again}");
    Ok(())
}

#[test]
fn rows_that_are_not_there() -> Result {
    let sandbox = rows()?;
    sandbox.write("text", "no database".repeat(99))?;
    for (source, code, expected) in [
        (
            "sqlite:absent.db?table=orders&key=id&header=header",
            1,
            "there is no database [..]/absent.db\nnext: check the name: `ls -l` lists a directory",
        ),
        (
            "sqlite:text?table=orders&key=id&header=header",
            1,
            "file is not a database: name a database that SQLite has made and that is not encrypted as a whole\n\
             next: remove the cause and run the command again",
        ),
        (
            "sqlite:orders.db?table=order&key=id&header=header",
            2,
            "there is no table \"order\": the database has orders\n\
             next: correct the locator: `.schema` of `sqlite3` prints the tables",
        ),
        (
            "sqlite:orders.db?table=orders&key=id&header=head",
            2,
            "table \"orders\" has no column \"head\": it has id, header, body, message\n\
             next: correct the locator: `.schema` of `sqlite3` prints the tables",
        ),
    ] {
        let errors = sandbox.fails(&format!("census {source}"), code)?;
        let errors = errors.replace(&sandbox.directory().display().to_string(), "[..]");
        assert_eq!(errors.trim_end(), format!("envelock: {expected}"));
    }
    Ok(())
}

#[test]
fn locators_that_are_incomplete() -> Result {
    let sandbox = Sandbox::new()?;
    for (query, expected) in [
        (
            "table=orders&key=id",
            "name one column: header=COLUMN, or message=COLUMN for whole messages",
        ),
        (
            "table=orders&key=id&header=a&message=b",
            "name one column: header=COLUMN, or message=COLUMN for whole messages",
        ),
        ("key=id&header=a", "name the table: table=TABLE"),
        ("table=orders&header=a", "name the column that identifies a row: key=COLUMN"),
        ("table=orders&table=b", "\"table\" is given twice"),
        ("column=a", "there is no parameter \"column\" but table, key, header, message"),
    ] {
        let errors = sandbox.fails(&format!("census sqlite:orders.db?{query}"), 2)?;
        let text = format!("envelock: source \"sqlite:orders.db?{query}\": {expected}\nnext: ");
        assert!(errors.starts_with(&text), "{errors}");
    }
    Ok(())
}

/// A body that is named as a header is not written, and a column of whole messages not either.
#[test]
fn wrong_column_is_never_written() -> Result {
    let sandbox = rows()?;
    let before = sql(&sandbox, "SELECT hex(body), hex(message) FROM orders")?;
    let start = |column: &str| {
        format!(
            "-k file:keys job start sqlite:orders.db?table=orders&key=id&header={column} --canary none -d {column}"
        )
    };
    sandbox.fails(&start("message"), 3)?;
    let list = String::from_utf8(sandbox.read("message/0-of-1.failures.jsonl")?)?;
    let text = "there are bytes behind the header: name the column as one of messages";
    assert_eq!(list.matches(text).count(), 20, "{list}");
    sandbox.fails(&start("body"), 3)?;
    assert_eq!(sql(&sandbox, "SELECT hex(body), hex(message) FROM orders")?, before);
    Ok(())
}
