//! Arguments that were not parsed: one sentence says what is wrong, and the next step how it is right.

use crate::Arguments;
use crate::failure::Failure;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

/// Returns the failure for arguments that clap has refused.
pub fn failure(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let command = command_of(&text);
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let next = format!("{}; `{command} --help` explains them", subcommands(&command));
        return Failure::usage(format!("a subcommand is missing after `{command}`"), next);
    }
    let mut paragraphs = text.trim_start_matches("error: ").split("\n\n");
    let what = one_line(paragraphs.next().unwrap_or_default());
    let tips = paragraphs.filter_map(|it| it.trim_start().strip_prefix("tip: ").map(one_line));
    let mut next: Vec<String> = tips.map(|tip| tip.replace(" tip: ", " ")).collect();
    next.push(match command.contains(' ') {
        true => format!("`{command} --help` explains it"),
        false => format!("`{command} --help` lists the commands"),
    });
    Failure::usage(what, next.join("; "))
}

/// Returns the command whose usage a text of clap shows, such as "envelock key create"; if it shows none, the one of this call.
fn command_of(text: &str) -> String {
    let usage = text.split_once("Usage: ").and_then(|(_, usage)| usage.lines().next());
    let words: Vec<String> = match usage {
        Some(usage) => usage.split_whitespace().map(String::from).collect(),
        None => std::env::args_os().filter_map(|it| it.into_string().ok()).collect(),
    };
    let whole = Arguments::command();
    let (mut command, mut name) = (&whole, String::from("envelock"));
    for pair in words.windows(2) {
        let [before, word] = pair else { continue };
        // The value of an option can be a word of a command, too.
        let is_value = before.starts_with('-') && before != "--json" && !before.contains('=');
        if let Some(found) = command.find_subcommand(word).filter(|_| !is_value) {
            (command, name) = (found, format!("{name} {word}"));
        }
    }
    name
}

/// Returns the names of the subcommands of a command.
fn subcommands(command: &str) -> String {
    let whole = Arguments::command();
    let words = command.split(' ').skip(1);
    let found = words.fold(&whole, |found, word| found.find_subcommand(word).unwrap_or(found));
    let names: Vec<&str> = found.get_subcommands().map(clap::Command::get_name).collect();
    format!("name one of {}", names.join(", "))
}

/// Joins the lines of a paragraph: what a colon announces is a list.
fn one_line(paragraph: &str) -> String {
    let mut lines = paragraph.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.collect();
    let separator = if first.ends_with(':') { ", " } else { " " };
    if rest.is_empty() { first.into() } else { format!("{first} {}", rest.join(separator)) }
}
