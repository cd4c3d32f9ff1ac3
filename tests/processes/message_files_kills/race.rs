//! Processes that write to one name at the same time, some of which are killed.

use crate::common::directory::TestDirectory;
use crate::common::elastic::Elastic;
use crate::common::process::{Process, listen, send};
use envelock::file;
use envelock::{
    Aad, Envelope, Error,
    file::{FileError, MessageFileError, NewFileOptions},
};
use std::fs;
use std::path::Path;

const ROW: Aad<'static> = Aad::new(b"row");
const PROCESSES: u8 = 8;
const ROUNDS: usize = 40;

fn envelope() -> Envelope<Elastic> {
    Envelope::new(Elastic::new(72, 0))
}

fn text(number: u8) -> Vec<u8> {
    vec![number; 100_000]
}

/// The child: at each word encrypts, or decrypts what is a message itself, to the name.
pub fn run(place: &Path, number: u8) {
    let envelope = envelope();
    let (to, from) = (place.join("to"), place.join(format!("from{number}")));
    send("ready");
    while let Some(word) = listen() {
        let options = match word.as_str() {
            "replace" => NewFileOptions::new().replace(),
            _ => NewFileOptions::new(),
        };
        // On a busy machine one of them can wait for the file's lock for longer than it is let.
        let done = loop {
            let done = match number % 2 {
                0 => file::decrypt(&envelope, &from, &to, ROW, options),
                _ => file::encrypt(&envelope, &from, &to, ROW, options),
            };
            let is_locked = |error: &Error| {
                matches!(error.backend(), Some(MessageFileError::File(FileError::Locked { .. })))
            };
            if !done.as_ref().is_err_and(is_locked) {
                break done;
            }
        };
        match done {
            Ok(_) => send("done"),
            Err(error)
                if matches!(
                    error.backend(),
                    Some(MessageFileError::File(FileError::Exists { .. }))
                ) =>
            {
                send("exists")
            }
            Err(error) => send(&format!("{error:?}")),
        }
    }
}

/// Whose message has a name, if any; nothing else may have it, at any moment.
fn found(path: &Path) -> Option<u8> {
    let message = fs::read(path).ok()?;
    let text = envelope().decrypt(&message, ROW).expect("an unfinished file has the name");
    assert_eq!(text.len(), 100_000);
    Some(text[0])
}

#[test]
fn processes_never_show_an_unfinished_file() {
    let place = TestDirectory::new();
    let (to, envelope) = (place.join("to"), envelope());
    for number in 0..PROCESSES {
        // The plaintext is a message, too.
        let mut source = text(number);
        if number % 2 == 0 {
            source = envelope.encrypt(&envelope.encrypt(&source, ROW).unwrap(), ROW).unwrap();
        }
        fs::write(place.join(&format!("from{number}")), source).unwrap();
    }
    let start = |number: u8| {
        let mut child = Process::start(
            super::MODULE,
            "race",
            &[place.path().to_str().unwrap(), &number.to_string()],
        );
        child.expect("ready");
        child
    };
    let mut children: Vec<Process> = (0..PROCESSES).map(start).collect();
    let (mut done, mut kills) = (0, 0);
    for round in 0..ROUNDS {
        drop(fs::remove_file(&to));
        let replaces = round % 4 == 3;
        let word = if replaces { "replace" } else { "create" };
        children.iter_mut().for_each(|child| child.say(word));
        // Every other round one is killed, whatever it is about.
        let killed = (round % 2 == 1).then_some(round % usize::from(PROCESSES));
        if let Some(killed) = killed {
            found(&to);
            children[killed].kill();
            kills += 1;
        }
        let mut winners = Vec::new();
        for (number, child) in children.iter_mut().enumerate() {
            if killed == Some(number) {
                continue;
            }
            match child.must_hear().as_str() {
                "done" => winners.push(number as u8),
                "exists" => assert!(!replaces),
                other => panic!("{other}"),
            }
            found(&to);
        }
        done += winners.len();
        let last = found(&to).expect("one of them has written it");
        let is_killed = killed.is_some_and(|killed| killed == usize::from(last));
        match replaces {
            true => assert_eq!(winners.len(), children.len() - usize::from(killed.is_some())),
            false => assert!(winners == [last] || (winners.is_empty() && is_killed), "{winners:?}"),
        }
        if let Some(killed) = killed {
            children[killed] = start(killed as u8);
        }
        let names = fs::read_dir(place.path()).unwrap().count();
        if !replaces {
            assert_eq!(names, usize::from(PROCESSES) + 1, "a file without a name leaves nothing");
        }
    }
    println!("{done} files by {PROCESSES} processes in {ROUNDS} rounds, {kills} kills");
}
