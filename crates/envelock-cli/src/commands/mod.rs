//! The commands: one file for each, with its arguments and what it prints.

mod associated_data;
mod census;
mod decrypt;
mod doctor;
mod encrypt;
mod inspect;
mod job;
mod key;
mod pages;
mod rewrap;
mod status;
mod streams;

pub use job::money;

use crate::context::Context;
use crate::failure::Failure;
use clap::Subcommand;

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Command {
    /// Create, rotate, disable and destroy master keys.
    #[command(subcommand)]
    Key(key::Key),
    /// Encrypt a file or standard input.
    Encrypt(encrypt::Encrypt),
    /// Decrypt a message. A file appears only once all of it is verified.
    Decrypt(decrypt::Decrypt),
    /// Print what the headers of messages say, without any key. Nothing of it is verified.
    Inspect(inspect::Inspect),
    /// Move messages in files to the primary version of their keys. Only headers are written.
    Rewrap(rewrap::Rewrap),
    /// Print which versions are due by a policy, and why.
    Status(status::Status),
    /// Print the completion script of a shell.
    Completion(pages::Completion),
    /// Print a manual page, or write all of them.
    Man(pages::Man),
    /// Plan, start, watch, stop, resume and undo work on many messages.
    #[command(subcommand)]
    Job(job::Job),
    /// Count the messages of a source by the versions that they need.
    Census(census::Census),
    /// Try what a job needs: wrap, unwrap, list, rewrap, and replace one scratch message for each source.
    Doctor(doctor::Doctor),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// A [`Failure`] says what failed, what to do next, and the exit code.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Command::Key(key) => key.run(context),
            Command::Encrypt(encrypt) => encrypt.run(context),
            Command::Decrypt(decrypt) => decrypt.run(context),
            Command::Inspect(inspect) => inspect.run(context),
            Command::Rewrap(rewrap) => rewrap.run(context),
            Command::Status(status) => status.run(context),
            Command::Completion(completion) => completion.run(),
            Command::Man(man) => man.run(),
            Command::Job(job) => job.run(context),
            Command::Census(census) => census.run(context),
            Command::Doctor(doctor) => doctor.run(context),
        }
    }
}

/// Tells how to begin.
pub fn no_command() -> Failure {
    let next = "begin with one of these; `envelock --help` lists the commands\n\
        \n  make a key file and a master key   envelock -k file:orders.keys key create orders --new-keyring\
        \n  encrypt a file                     envelock -k file:orders.keys encrypt letter.txt -o letter.envelock\
        \n  print it again                     envelock -k file:orders.keys decrypt letter.envelock\
        \n  a new version for new messages     envelock -k file:orders.keys key rotate orders\
        \n  move a message to the new version  envelock -k file:orders.keys rewrap letter.envelock\n";
    Failure::usage("no command is given", next)
}
