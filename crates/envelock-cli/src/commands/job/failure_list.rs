//! The lists of failures of a job: which items are left, and why (FORMAT 3 of envelock-ops).

use super::console::grouped;
use super::listing::shards;
use crate::failure::{Exit, Failure};
use crate::output::printable;
use envelock_ops::drivers::Records;
use envelock_ops::{ItemKey, Shard};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Reasons that are printed, of items that are left.
const REASONS: usize = 5;

/// Items that are named in an error.
const NAMES: usize = 3;

/// The outcome of an item that a list names and that did not exist.
const ABSENT: &str = "absent";

/// A line of a list.
struct Line {
    text: String,
    /// `None` in a line that was damaged.
    item: Option<ItemKey>,
    outcome: String,
    why: String,
}

impl Line {
    fn new(text: String) -> Self {
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name| value.get(name).and_then(Value::as_str);
        Line {
            item: field("item").and_then(ItemKey::parse),
            outcome: field("outcome").unwrap_or_default().into(),
            why: field("why").unwrap_or("unknown").into(),
            text,
        }
    }

    fn is_absent(&self) -> bool {
        self.outcome == ABSENT
    }
}

/// An item that a retry tries again.
pub struct Left {
    pub item: ItemKey,
    /// Whether a list names the item, and it did not exist.
    pub is_absent: bool,
}

fn lines(list: &Path) -> io::Result<impl Iterator<Item = io::Result<Line>>> {
    let lines = BufReader::new(File::open(list)?).lines();
    Ok(lines.map(|line| line.map(Line::new)))
}

/// Returns the list of a shard in the directory of its job.
pub fn path(directory: &Path, shard: Shard) -> PathBuf {
    directory.join(format!("{}-of-{}.failures.jsonl", shard.index(), shard.count()))
}

/// Reads the items that are left, of all shards. What is excluded stays excluded.
///
/// # Errors
///
/// A list cannot be read, or has a line that names no item.
pub fn left(directory: &Path) -> Result<Vec<Left>, Failure> {
    let mut items = Vec::new();
    for (_, path) in shards(directory, ".failures.jsonl")? {
        let subject = printable(&path);
        let failed = |error: io::Error| Failure::io(&subject, &error);
        for line in lines(&path).map_err(failed)? {
            let line = line.map_err(failed)?;
            let is_absent = line.is_absent();
            let wrong = || {
                let what = format!("{subject} has a line that names no item: {}", line.text);
                Failure::new(Exit::NotVerified, what, "remove the line, and run it again")
            };
            if line.outcome != "excluded" {
                items.push(Left { item: line.item.ok_or_else(wrong)?, is_absent });
            }
        }
    }
    Ok(items)
}

/// Names the first of the items that a list of paths names and that did not exist, by the lists of a job. A list that cannot
/// be read names none.
pub fn absent(lists: &[PathBuf], items: u64) -> String {
    let lines = lists.iter().filter_map(|list| lines(list).ok()).flatten().map_while(Result::ok);
    let mut first = FirstNames::default();
    lines.filter(Line::is_absent).filter_map(|line| line.item).for_each(|item| first.add(item));
    first.text(items)
}

/// The first of some items in their order, whichever order they come in.
#[derive(Debug, Default)]
pub struct FirstNames(BTreeSet<ItemKey>);

impl FirstNames {
    pub fn add(&mut self, item: ItemKey) {
        self.0.insert(item);
        if self.0.len() > NAMES {
            self.0.pop_last();
        }
    }

    /// Names so many items, such as "a, b and 3 more".
    pub fn text(&self, items: u64) -> String {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        let more = items.saturating_sub(names.len() as u64);
        match (names.is_empty(), more) {
            (true, _) => grouped(items),
            (_, 0) => names.join(", "),
            _ => format!("{} and {} more", names.join(", "), grouped(more)),
        }
    }
}

/// The first items that a census leaves, which has no directory.
#[derive(Default)]
pub struct FirstLeft {
    /// The first one.
    pub item: Option<ItemKey>,
    /// The first that a list names and that do not exist.
    pub absent: FirstNames,
}

impl Records for FirstLeft {
    fn append(&mut self, _: &[u8]) -> io::Result<u64> {
        Ok(0)
    }

    fn save(&mut self, _: u64, failures: &[u8], _: &[u8]) -> io::Result<()> {
        for line in failures.lines().map_while(Result::ok).map(Line::new) {
            match line.item {
                Some(item) if line.outcome == ABSENT => self.absent.add(item),
                item => self.item = self.item.take().or(item),
            }
        }
        Ok(())
    }
}

/// Returns how many items are left for each reason, the most frequent first. A list that cannot be read has none.
pub fn reasons(list: &Path) -> Vec<(String, u64)> {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines(list).into_iter().flatten().map_while(Result::ok) {
        let items = reasons.entry(without_paths(&line.why)).or_default();
        *items = items.saturating_add(1);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, items)| Reverse(*items));
    reasons.truncate(REASONS);
    reasons
}

/// Returns a reason with "it" for each quoted path, of the item or of a temporary file beside it: the reasons of all items
/// would differ by them.
fn without_paths(why: &str) -> String {
    let (mut text, mut rest) = (String::new(), why);
    while let Some((before, path)) = rest.split_once("\"/") {
        let mut is_escaped = false;
        let end = path.find(|c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let Some(after) = end.and_then(|end| path.get(end.saturating_add(1)..)) else { break };
        text += before;
        text += "it";
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::without_paths;

    #[test]
    fn reasons_are_equal_whatever_their_paths_are() {
        for (why, expected) in [
            (
                r#"cannot open "/data/00/1147": Read-only file system"#,
                "cannot open it: Read-only file system",
            ),
            (r#"cannot write "/data/00/.1147.tmp-3f": no room"#, "cannot write it: no room"),
            (r#""/data/a \" b\\" has 2 names, as "/data/c" does"#, "it has 2 names, as it does"),
            (r#"no slot of "orders""#, r#"no slot of "orders""#),
            (r#"cut off at "/data/\""#, r#"cut off at "/data/\""#),
            ("", ""),
        ] {
            assert_eq!(without_paths(why), expected);
        }
    }
}
