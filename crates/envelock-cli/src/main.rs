//! Command line of envelock.

#![forbid(unsafe_code)]
// Keys are wiped when they are dropped: nothing is forgotten, and the program ends by a return.
#![deny(clippy::mem_forget, clippy::exit)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

// Which file holds what:
//
//   commands/        one file for each command: its arguments, and what it prints
//   context          what each command gets: output, keyrings, sources, secrets
//   keyring_locator, source_locator, locator   the text that names a keyring or a source
//   open_keyring     a keyring is opened, or created, by its locator; service_keyring: one over a key service
//   opened_keyring   what commands do with it
//   open_source      the store of a source that was opened by its locator; open_rows: rows of a database
//   config           `envelock.toml`
//   version_name, new_name, table   `orders:3`; names that are given; tables for people
//   secrets, terminal, confirmation   passphrases, PINs and keys; questions to a person
//   small_file, new_file, closed   files that arguments name, and descriptors that are closed
//   output, failure/, usage   results and progress; errors with their exit code and next step

mod closed;
mod commands;
mod config;
mod confirmation;
mod context;
mod failure;
mod keyring_locator;
mod locator;
mod new_file;
mod new_name;
mod open_keyring;
mod open_rows;
mod open_source;
mod opened_keyring;
mod output;
mod secrets;
#[cfg(feature = "transit")]
mod service_keyring;
mod small_file;
mod source_locator;
mod table;
mod terminal;
mod usage;
mod version_name;

use clap::Parser;
use clap::error::ErrorKind;
use context::{Context, Global};
use failure::Exit;
use output::Output;
use std::process::ExitCode;

/// Envelope encryption with named, versioned master keys.
#[derive(Parser)]
#[command(name = "envelock", version)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<commands::Command>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return not_parsed(&error),
    };
    let output = Output::new(arguments.global.json);
    let context = Context::new(arguments.global);
    let done = match arguments.command {
        Some(command) => command.run(&context),
        None => Err(commands::no_command()),
    };
    match done {
        Ok(()) => Exit::Done.into(),
        Err(failure) => output.failure(&failure, &context.arguments()),
    }
}

/// Prints help and version as they are, and a usage error as every other error.
fn not_parsed(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that has left needs no help.
        drop(error.print());
        return Exit::Done.into();
    }
    // The arguments were not parsed, so `--json` is looked for by itself.
    let json = std::env::args_os().skip(1).take_while(|it| it != "--").any(|it| it == "--json");
    Output::new(json).failure(&usage::failure(error), "")
}
