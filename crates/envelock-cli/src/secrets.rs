//! Passphrases, PINs and key material: from a descriptor, a file, the environment or a person, never from an
//! argument. Each is wiped on drop.

use crate::context::variable;
use crate::failure::{Exit, Failure};
use crate::output::{printable, shell_word};
use crate::small_file;
use crate::terminal::Terminal;
use clap::Args;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Most bytes of a secret, as in the library.
const MAX_LEN: usize = 4096;

/// The variables that a secret was read from.
static READ: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Removes the secrets of this process from the environment of a command.
pub fn remove_secrets(command: &mut Command) {
    for name in ["ENVELOCK_PASSPHRASE", "ENVELOCK_PIN"] {
        command.env_remove(name);
    }
    for name in READ.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        command.env_remove(name);
    }
}

/// A secret, wiped on drop.
pub type Secret = Zeroizing<Vec<u8>>;

/// Where the secret of the keyring of `-k` comes from.
#[derive(Args, Debug, Default)]
pub struct SecretOptions {
    /// Read the passphrase of the keyring from this file.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Secrets")]
    passphrase_file: Option<PathBuf>,
    /// Read the passphrase of the keyring from this open descriptor: `3` with `3<FILE`.
    #[arg(
        long,
        global = true,
        value_name = "FD",
        conflicts_with = "passphrase_file",
        help_heading = "Secrets"
    )]
    passphrase_fd: Option<u16>,
    /// Read the PIN of the token from this file.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Secrets")]
    pin_file: Option<PathBuf>,
    /// Read the PIN of the token from this open descriptor.
    #[arg(
        long,
        global = true,
        value_name = "FD",
        conflicts_with = "pin_file",
        help_heading = "Secrets"
    )]
    pin_fd: Option<u16>,
}

/// Where one secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    File(PathBuf),
    Descriptor(u16),
    Variable(String),
}

/// What a secret is, for the question to a person and for errors.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    name: &'static str,
    variable: &'static str,
    option: &'static str,
}

pub const PASSPHRASE: Kind =
    Kind { name: "passphrase", variable: "ENVELOCK_PASSPHRASE", option: "--passphrase-file" };
pub const PIN: Kind = Kind { name: "PIN", variable: "ENVELOCK_PIN", option: "--pin-file" };

impl SecretOptions {
    /// Returns the options as they are given, for another command.
    pub fn arguments(&self) -> String {
        let file = |name: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| format!(" {name} {}", shell_word(path))).unwrap_or_default()
        };
        let descriptor = |name: &str, number: Option<u16>| {
            number.map(|number| format!(" {name} {number}")).unwrap_or_default()
        };
        file("--passphrase-file", &self.passphrase_file)
            + &descriptor("--passphrase-fd", self.passphrase_fd)
            + &file("--pin-file", &self.pin_file)
            + &descriptor("--pin-fd", self.pin_fd)
    }

    /// Returns the source of the passphrase of the keyring of `-k`, if the call has one.
    pub fn passphrase(&self) -> Option<SecretSource> {
        source(self.passphrase_file.as_ref(), self.passphrase_fd, PASSPHRASE)
    }

    /// Returns the source of the PIN of the token of `-k`, if the call has one.
    pub fn pin(&self) -> Option<SecretSource> {
        source(self.pin_file.as_ref(), self.pin_fd, PIN)
    }

    /// Refuses to read a secret from standard input where a command reads its data from there.
    pub fn check_standard_input(&self) -> Result<(), Failure> {
        if [self.passphrase_fd, self.pin_fd].contains(&Some(0)) {
            let what = "standard input cannot be both the data and a secret";
            return Err(Failure::usage(what, "pass the secret as descriptor 3: `3<FILE`"));
        }
        Ok(())
    }
}

fn source(file: Option<&PathBuf>, descriptor: Option<u16>, kind: Kind) -> Option<SecretSource> {
    let is_set = variable(kind.variable).is_some();
    file.cloned()
        .map(SecretSource::File)
        .or(descriptor.map(SecretSource::Descriptor))
        .or_else(|| is_set.then(|| SecretSource::Variable(kind.variable.into())))
}

impl SecretSource {
    /// Whether it is a variable that is there for every call.
    pub fn is_ambient(&self) -> bool {
        let is_default =
            |name: &String| [PASSPHRASE.variable, PIN.variable].contains(&name.as_str());
        matches!(self, SecretSource::Variable(name) if is_default(name))
    }

    /// Returns the path of the file, for a comparison with others.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            SecretSource::File(path) => Some(path.clone()),
            SecretSource::Descriptor(number) => Some(format!("/dev/fd/{number}").into()),
            SecretSource::Variable(_) => None,
        }
    }

    /// Reads text: without the final line end, at most 4096 bytes, not empty.
    ///
    /// # Errors
    ///
    /// It cannot be read, is empty or too long, or others than its owner may read its file.
    pub fn read(&self, what: &str) -> Result<Secret, Failure> {
        let secret = self.read_bytes(what)?;
        checked(secret).map_err(|fault| {
            let next = "pass another source of the secret: `envelock --help` lists them";
            Failure::usage(format!("the {what} {fault}"), next).of(self)
        })
    }

    /// Reads bytes as they are.
    ///
    /// # Errors
    ///
    /// It cannot be read, or others than its owner may read its file.
    pub fn read_bytes(&self, what: &str) -> Result<Secret, Failure> {
        let io = |error| Failure::io(self, &error);
        Ok(match self {
            SecretSource::Variable(name) => {
                READ.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
                let value = std::env::var_os(name).ok_or_else(|| {
                    let next = "set the variable, or pass the secret in a file";
                    Failure::usage(format!("{self} is not set"), next)
                })?;
                Zeroizing::new(value.into_vec())
            }
            SecretSource::Descriptor(number) => {
                let file = inherited(*number).map_err(|error| {
                    io(error).with_next("open it in the shell: `envelock ... 3<FILE`")
                })?;
                read_all(file).map_err(io)?
            }
            SecretSource::File(path) => {
                let file = small_file::open(path).map_err(|error| match error.kind() {
                    io::ErrorKind::InvalidInput => io(error)
                        .with_next("pass it as an open descriptor: `--passphrase-fd 3 3<FILE`"),
                    _ => io(error),
                })?;
                let stat = file.metadata().map_err(io)?;
                let user = rustix::process::geteuid().as_raw();
                if ![0, user].contains(&stat.uid()) {
                    let what =
                        format!("{self} belongs to user {}, not to {user} or root", stat.uid());
                    let next =
                        format!("`chown {user} {}`, or pass it as a descriptor", shell_word(path));
                    return Err(Failure::new(Exit::Refused, what, next));
                }
                if let Some(owner) = small_file::owner_of_link(path).map_err(io)? {
                    let what = format!(
                        "{self} is behind a symbolic link of user {owner}, not of {user} or root"
                    );
                    let next = "pass the path of the file itself, or a descriptor: `3<FILE`";
                    return Err(Failure::new(Exit::Refused, what, next));
                }
                let mode = stat.mode() & 0o7777;
                if mode & 0o077 != 0 {
                    let what =
                        format!("{self} has mode {mode:04o}: others have access to the {what}");
                    let next =
                        format!("`chmod 600 {}`, or pass it as a descriptor", shell_word(path));
                    return Err(Failure::new(Exit::Refused, what, next));
                }
                read_all(file).map_err(io)?
            }
        })
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::File(path) => f.write_str(&printable(path)),
            SecretSource::Descriptor(number) => write!(f, "descriptor {number}"),
            SecretSource::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// Decodes hexadecimal digits, with or without a final line end.
pub fn hexadecimal(text: &[u8]) -> Option<Secret> {
    let text = text.trim_ascii_end();
    let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
    base16ct::mixed::decode(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Refuses a new passphrase that nobody can type again: at the question, or in an editor.
pub fn check_new(secret: &[u8]) -> Result<(), Failure> {
    let is_typed = |text: &str| {
        !text.starts_with('\u{feff}') && text.chars().all(|c| c == '\t' || !c.is_control())
    };
    match std::str::from_utf8(secret) {
        Ok(text) if is_typed(text) => Ok(()),
        _ => {
            let what = "the new passphrase is no line of text: it has control characters, a byte order \
                        mark, or is not UTF-8";
            Err(Failure::usage(
                what,
                "write one line of text, or use `file:PATH?raw-key-file=PATH`",
            ))
        }
    }
}

/// Asks a person for the secret of the keyring `of`, which is that of `-k` or another; twice if it is new, so
/// that a typing error is found.
///
/// # Errors
///
/// There is no terminal; the person cancels, or types two different secrets.
pub fn ask(kind: Kind, of: &str, of_call: bool, is_new: bool) -> Result<Secret, Failure> {
    let Kind { name, variable, option } = kind;
    let Some(terminal) = Terminal::open() else {
        let what = format!("{of} needs a {name}, and there is no terminal to ask for it");
        // Options and variables belong to the keyring of the call.
        let next = match (of_call, name) {
            (true, _) => format!("pass `{option} FILE`, or set {variable}"),
            (false, "passphrase") => {
                "name its file in the locator: `file:PATH?passphrase-file=FILE`".into()
            }
            (false, _) => "name its file in the locator: `pin-source=file:PATH`".into(),
        };
        return Err(Failure::usage(what, next));
    };
    let new = if is_new { "new " } else { "" };
    let secret = terminal.ask_secret(&format!("{new}{name} of {of}: "))?;
    if is_new {
        let again = terminal.ask_secret(&format!("{new}{name} again: "))?;
        if *secret != *again {
            let what = format!("the two {name}s differ");
            return Err(Failure::usage(what, "run the command again, and type it twice"));
        }
    }
    checked(secret)
        .map_err(|fault| Failure::usage(format!("the {name} {fault}"), "type another one"))
}

/// Returns a copy of a descriptor that this process inherited. Opened again by its path, a socket fails, and so does a
/// file that only its opener may open; and a file begins at its start.
fn inherited(number: u16) -> io::Result<File> {
    if number == 0 {
        return io::stdin().as_fd().try_clone_to_owned().map(File::from);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

        let copy = pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|this| pidfd_getfd(this, number.into(), PidfdGetfdFlags::empty()));
        match copy {
            // Old kernels and many containers have no such call. A pipe is the same by its path.
            Err(Errno::NOSYS | Errno::PERM) => {}
            copy => return Ok(copy?.into()),
        }
    }
    File::open(format!("/dev/fd/{number}"))
}

/// Reads to the end of `source` without a copy left behind by a growing buffer.
fn read_all(source: impl Read) -> io::Result<Secret> {
    let mut secret = Zeroizing::new(Vec::with_capacity(MAX_LEN + 2));
    let mut source = source.take(MAX_LEN as u64 + 2);
    let mut buffer = Zeroizing::new([0; 512]);
    loop {
        match source.read(buffer.as_mut_slice()) {
            Ok(0) => return Ok(secret),
            Ok(read) => secret.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes a final line end, and refuses an empty or too long secret.
fn checked(mut secret: Secret) -> Result<Secret, &'static str> {
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    match secret.len() {
        0 => Err("is empty"),
        1..=MAX_LEN => Ok(secret),
        _ => Err("has more than 4096 bytes"),
    }
}
