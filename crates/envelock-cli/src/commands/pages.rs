//! `envelock completion` and `envelock man`: what the shell and `man` know of this program.

use crate::failure::{Exit, Failure};
use crate::new_file;
use crate::output::printable;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Arguments of `envelock completion`.
#[derive(Args)]
pub struct Completion {
    /// The shell.
    shell: Shell,
}

impl Completion {
    /// Prints the script that completes commands and options.
    pub fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut crate::Arguments::command(),
            "envelock",
            &mut script,
        );
        print(&script)
    }
}

/// Arguments of `envelock man`.
#[derive(Args)]
pub struct Man {
    /// The command whose page is printed, such as `key rotate`. Default: the page of all.
    command: Vec<String>,
    /// Write the pages of all commands into this directory.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints a page for `man -l -`, or writes all pages.
    pub fn run(&self) -> Result<(), Failure> {
        let mut command = crate::Arguments::command();
        if let Some(directory) = &self.dir {
            let there = std::fs::read_dir(directory).map(drop);
            there.map_err(|error| Failure::io(printable(directory), &error))?;
            let mut command = command.disable_help_subcommand(true);
            command.build();
            return write_all(&command, directory);
        }
        // Global options and full names are known after this.
        command.build();
        let mut page = &command;
        for name in &self.command {
            page = page.find_subcommand(name).ok_or_else(|| {
                let next = "`envelock --help` lists the commands";
                Failure::new(Exit::Usage, format!("there is no command {name:?}"), next)
            })?;
        }
        let mut text = Vec::new();
        let rendered = clap_mangen::Man::new(page.clone()).render(&mut text);
        rendered.map_err(|error| Failure::from_io(&error))?;
        print(&text)
    }
}

/// Writes the page of a command and those of its subcommands. A symbolic link of such a name is replaced, not followed.
fn write_all(command: &clap::Command, directory: &Path) -> Result<(), Failure> {
    for subcommand in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_all(subcommand, directory)?;
    }
    let page = clap_mangen::Man::new(command.clone());
    let path = directory.join(page.get_filename());
    let mut text = Vec::new();
    let written = page.render(&mut text).and_then(|()| new_file::replace(&path, &text));
    written.map_err(|error| Failure::io(printable(&path), &error))
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error))
        }
        _ => Ok(()),
    }
}
