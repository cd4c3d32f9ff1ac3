//! Runs every command of the pages for operators, and compares what is printed with what the page says.
//!
//! The `console` blocks of a page are one session: one shell, in one new directory. `$ ` begins a command and `> `
//! continues it; the lines below are its output and its errors. `[..]` stands for any text within a line,
//! and a line of `...` for any lines. A command that fails has `$ echo $?` below it.
//! A block of ```` ```console sqlite ```` is left out of a program without feature `sqlite`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Ends the output of a command, with its exit code behind it.
const END: &str = "-- end of a command of a page: ";

/// A command of a page, and what the page says that it prints.
#[derive(Debug)]
struct Entry {
    line: usize,
    command: String,
    expected: Vec<String>,
}

fn entries(page: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut in_block, mut in_output) = (false, false);
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            let runs =
                line == "```console" || cfg!(feature = "sqlite") && line == "```console sqlite";
            (in_block, in_output) = (!in_block && runs, false);
        } else if !in_block {
        } else if let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_string();
            entries.push(Entry { line: number + 1, command, expected: Vec::new() });
            in_output = false;
        } else {
            let entry = entries.last_mut().unwrap();
            match line.strip_prefix("> ").or((line == ">").then_some("")) {
                Some(more) if !in_output => write!(entry.command, "\n{more}").unwrap(),
                _ => {
                    in_output = true;
                    entry.expected.push(line.trim_end().to_string());
                }
            }
        }
    }
    entries
}

fn script(entries: &[Entry]) -> String {
    let mut script = String::from("exec 2>&1 </dev/null\nstatus=0\n");
    for Entry { command, .. } in entries {
        // `$?` of a command is the exit code of the one above it.
        write!(
            script,
            "(exit $status)\n{command}\nstatus=$?\nprintf '\\n%s%s\\n' '{END}' $status\n"
        )
        .unwrap();
    }
    script
}

/// Runs the session, and returns the output and exit code of each command.
fn run(entries: &[Entry]) -> Vec<(Vec<String>, i32)> {
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let file = directory.path().join("session.sh");
    std::fs::write(&file, script(entries)).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_envelock")).parent().unwrap();
    let output = Command::new("sh")
        .arg(&file)
        .current_dir(&work)
        .env_clear()
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", program.display()))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut results, mut lines) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match line.strip_prefix(END) {
            Some(status) => {
                // The empty line before the mark is not of the command, unless its last line is cut off.
                if lines.last().is_some_and(String::is_empty) {
                    lines.pop();
                }
                results.push((std::mem::take(&mut lines), status.parse().unwrap()));
            }
            None => lines.push(line.trim_end().to_string()),
        }
    }
    results
}

/// Whether `pattern` is `line`, with any text for each `[..]` and the spaces behind it that align a column.
fn line_matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once("[..]") {
        None => pattern == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            let after = if after.starts_with("  ") { after.trim_start() } else { after };
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| line_matches(after, &rest[at..]))
        }),
    }
}

/// Whether the lines are the expected ones, with any lines for each `...`.
fn matches(expected: &[String], lines: &[String]) -> bool {
    match (expected, lines) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "..." => {
            (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]))
        }
        ([pattern, rest @ ..], [line, more @ ..]) => {
            line_matches(pattern, line) && matches(rest, more)
        }
        _ => false,
    }
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let entries = entries(&std::fs::read_to_string(&path).unwrap());
    assert!(!entries.is_empty(), "{name} has no command");
    let results = run(&entries);
    let (mut faults, mut session) = (String::new(), String::new());
    for (at, (entry, (lines, status))) in entries.iter().zip(&results).enumerate() {
        let Entry { line, command, expected } = entry;
        let said = format!("$ {}\n{}\n", command.replace('\n', "\n> "), lines.join("\n"));
        if !matches(expected, lines) {
            write!(faults, "{name}:{line}: the output is another one\n{said}").unwrap();
        }
        let asks = entries.get(at + 1).is_some_and(|next| next.command == "echo $?");
        if *status != 0 && !asks {
            write!(faults, "{name}:{line}: exit code {status}, and no `echo $?`\n{said}").unwrap();
        }
        session += &said;
    }
    assert_eq!(results.len(), entries.len(), "the shell ended early:\n{session}");
    assert!(faults.is_empty(), "{faults}\nThe whole session:\n{session}");
}

#[test]
fn page_of_operations_runs_as_it_says() {
    check("../../docs/OPERATING.md");
}

#[test]
fn other_output_is_a_fault() {
    let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
    for (expected, printed, same) in [
        ("a\nb", "a\nb", true),
        ("a\nb", "a\nc", false),
        ("a", "a\nb", false),
        ("a\nb", "a", false),
        ("", "a", false),
        ("id [..] of [..]", "id 5 of 7 of 9", true),
        ("id [..].", "id 5", false),
        ("id [..]    2", "id 1234  2", true),
        ("id [..]    2", "id 1234  3", false),
        ("...\nb", "a\na\nb", true),
        ("...\nb", "a\nb\nc", false),
        ("a\n...", "a", true),
    ] {
        assert_eq!(matches(&lines(expected), &lines(printed)), same, "{expected:?} {printed:?}");
    }
}

#[test]
fn session_knows_exit_codes_and_what_is_printed() {
    let page = "text\n```console\n$ printf 'a\\nb'; (exit 3)\na\nb\n$ echo $?\n3\n$ cat <<'END'\n> one\n>\n> END\none\n\n```\n\
                ```sh\n$ not run\n```\n";
    let entries = entries(page);
    let results = run(&entries);
    assert_eq!(results.len(), 3);
    assert_eq!(results[0].1, 3);
    for (entry, (lines, _)) in entries.iter().zip(&results) {
        assert!(matches(&entry.expected, lines), "{entry:?} {lines:?}");
    }
}
