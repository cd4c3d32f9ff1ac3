//! A rotation in one process reaches another that is decrypting.
//!
//! ```text
//! cargo run --release --example two_processes
//! ```
//!
//! The first process makes a key file and starts itself a second time. It sends messages, each
//! encrypted under the version that is the primary at the time, and rotates in between; the second
//! one has had the key file open since before the first rotation, and decrypts every message.
//! Nothing is written but a directory of its own under the system's temporary one.

use envelock::{Aad, Envelope, FileKeyring, Lifecycle, MasterKey, file::Protection, inspect};
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// In production both processes get this secret from their environment.
const RAW_KEY: [u8; 32] = *b"a secret of both, 32 bytes long.";

const ROTATIONS: usize = 5;

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(path) => decrypt(Path::new(&path)),
        None => rotate(),
    }
}

fn protection() -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&RAW_KEY))
}

/// The first process: encrypts, rotates, encrypts.
fn rotate() -> Result<()> {
    let directory = Directory::create()?;
    let path = directory.0.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &protection())?;
    let envelope = Envelope::new(&keyring);

    let mut child = Command::new(std::env::current_exe()?)
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut to = child.stdin.take().ok_or("no pipe to the second process")?;
    let from = child.stdout.take().ok_or("no pipe from the second process")?;
    let mut answers = BufReader::new(from);
    next_answer(&mut answers)?;

    for round in 0..=ROTATIONS {
        let text = format!("message {round}");
        let message = envelope.encrypt(text.as_bytes(), Aad::new(b"two processes"))?;
        to.write_all(&u32::try_from(message.len())?.to_be_bytes())?;
        to.write_all(&message)?;
        to.flush()?;
        next_answer(&mut answers)?;
        if round < ROTATIONS {
            println!("first:  rotated to version {}", keyring.rotate()?);
        }
    }
    drop(to);
    if !child.wait()?.success() {
        return Err("the second process failed".into());
    }
    Ok(())
}

fn next_answer(answers: &mut BufReader<ChildStdout>) -> Result<()> {
    let mut line = String::new();
    if answers.read_line(&mut line)? == 0 {
        return Err("the second process ended early".into());
    }
    print!("second: {line}");
    Ok(())
}

/// The second process: decrypts each message, with the key file that it opened at its start.
fn decrypt(path: &Path) -> Result<()> {
    let keyring = FileKeyring::open(path, "orders", &protection())?;
    let envelope = Envelope::new(&keyring);
    println!("opened the key file at change {}", keyring.change_number());
    let mut input = std::io::stdin().lock();
    let mut len = [0; 4];
    while input.read_exact(&mut len).is_ok() {
        let mut message = vec![0; usize::try_from(u32::from_be_bytes(len))?];
        input.read_exact(&mut message)?;
        let version = inspect(&message)?.slots().next().map(|slot| slot.label.version);
        let version = version.ok_or("a message has a slot")?;
        let plaintext = envelope.decrypt(&message, Aad::new(b"two processes"))?;
        let text = String::from_utf8(plaintext)?;
        println!(
            "{text:?} is under version {version}; change {} is loaded",
            keyring.change_number()
        );
    }
    Ok(())
}

/// A directory that is removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self> {
        let name = format!("envelock-two-processes-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
