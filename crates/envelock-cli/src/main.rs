//! Command line of envelock.

mod inspect;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Envelope encryption with named, versioned master keys.
#[derive(Parser)]
#[command(name = "envelock", version)]
struct Arguments {
    /// Print one JSON object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print what the headers of messages say, without any key. Nothing of it is verified.
    Inspect(inspect::Inspect),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Inspect(inspect) => inspect.run(arguments.json),
    }
}
