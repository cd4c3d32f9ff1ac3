//! Several processes at one name, in every order of their system calls, and with any of them killed at
//! any call.
//!
//! Two and three processes do whatever there is to do, and four some of it; under profile `soak` four
//! do all, three are killed too, and of two also the calls that no other process can see are tried in
//! every order.

use crate::common::elastic::Elastic;
use crate::common::is_soak;
use crate::common::simulated_directory::conductor::{Depth, Explored, Outcome, Work, explore};
use crate::common::simulated_directory::{LACKS_NOTHING, Lacks, SimulatedDirectory, USER};
use envelock::test_access::key_file::{Directory, FileKind};
use envelock::test_access::message_file::{
    decrypt_file_in, encrypt_file_in, encrypt_file_with_in, open_in, reencrypt_file_in,
    rewrap_file_in,
};
use envelock::{
    Aad, Envelope, Error, RewrapOptions,
    file::{FileChange, FileError, MessageFileError, NewFileOptions},
};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::Read;
use std::sync::{Arc, Mutex};

const TO: &str = "to";
const AWAY: &str = "away";
const ROW: Aad<'static> = Aad::new(b"row");

/// The operation of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// Encrypts to the name.
    Encrypt,
    /// Decrypts to the name; what comes out is a message itself.
    Decrypt,
    /// Encrypts to the name, and replaces the file there.
    Replace,
    /// Rewraps what has the name.
    Rewrap,
    /// Encrypts what has the name again.
    Reencrypt,
    /// Gives what has the name another one.
    MoveAway,
    /// Reads what has the name.
    Look,
}

use Act::{Decrypt, Encrypt, Look, MoveAway, Reencrypt, Replace, Rewrap};

/// The header that a new encryption replaced, if that was done.
type Answer = Result<Option<Vec<u8>>, Error>;

struct Scene {
    envelope: Envelope<Elastic>,
    acts: Vec<Act>,
    /// Whether something has the name to begin with.
    is_there: bool,
    lacks: Lacks,
    /// A message for each process to make, and the one that is there.
    messages: Vec<Vec<u8>>,
    outer: Vec<Vec<u8>>,
    /// Whose message each is that was found: many states have the same.
    opened: Mutex<HashMap<Vec<u8>, usize>>,
}

fn text(role: usize) -> Vec<u8> {
    vec![role as u8; 700]
}

fn source(role: usize) -> String {
    format!("from{role}")
}

impl Scene {
    fn new(acts: &[Act], is_there: bool, lacks: Lacks) -> Self {
        let envelope = Envelope::new(Elastic::new(72, 24));
        let encrypt = |text: &[u8]| envelope.encrypt(text, ROW).unwrap();
        let messages: Vec<_> = (0..=acts.len()).map(|role| encrypt(&text(role))).collect();
        let outer = messages.iter().map(|message| encrypt(message)).collect();
        envelope.keyring().promote(2);
        let (acts, opened) = (acts.to_vec(), Mutex::default());
        Scene { envelope, acts, is_there, lacks, messages, outer, opened }
    }

    fn directory(&self) -> SimulatedDirectory {
        let directory = SimulatedDirectory::new().lacking(self.lacks);
        directory.plan(crate::common::simulated_directory::Plan {
            is_frozen: true,
            ..Default::default()
        });
        for (role, act) in self.acts.iter().enumerate() {
            if *act == Decrypt {
                directory.plant(&source(role), FileKind::Regular, &self.outer[role], 0o600, USER);
            }
        }
        if self.is_there {
            let message = self.messages.last().unwrap();
            directory.plant(TO, FileKind::Regular, message, 0o600, USER);
        }
        directory
    }

    fn perform(&self, role: usize, directory: &SimulatedDirectory) -> Answer {
        let shared: Arc<dyn Directory> = Arc::new(directory.clone());
        let (to, text) = (OsStr::new(TO), text(role));
        match self.acts[role] {
            Encrypt => {
                encrypt_file_in(&self.envelope, &text[..], shared, to, ROW)?;
            }
            Replace => {
                let options = NewFileOptions::new().replace();
                encrypt_file_with_in(&self.envelope, &text[..], shared, to, ROW, options)?;
            }
            Decrypt => {
                let from = source(role);
                decrypt_file_in(&self.envelope, &shared, OsStr::new(&from), to, ROW)?;
            }
            Rewrap => {
                let done = rewrap_file_in(&self.envelope, shared, to, RewrapOptions::new())?;
                assert!(done.change() != FileChange::InPlace);
            }
            Reencrypt => {
                let old = open_in(shared.clone(), to)?.header().to_vec();
                let is_done = reencrypt_file_in(&self.envelope, shared, to, &old, ROW)?;
                return Ok(is_done.then_some(old));
            }
            MoveAway => drop(shared.rename(to, OsStr::new(AWAY))),
            Look => {
                let mut message = Vec::new();
                let mut file = open_in(shared, to)?;
                // A process that is killed reads no more.
                if file.read_to_end(&mut message).is_ok() {
                    self.envelope.decrypt(&message, ROW).unwrap();
                }
            }
        }
        Ok(None)
    }

    /// Whose message has a name; no other bytes may have it.
    fn found(&self, directory: &SimulatedDirectory, name: &str) -> Option<usize> {
        let message = directory.content(name)?;
        let mut opened = self.opened.lock().unwrap();
        if let Some(role) = opened.get(message.bytes()) {
            return Some(*role);
        }
        let text = self.envelope.decrypt(message.bytes(), ROW);
        let text = text.expect("an unfinished file is seen under its name");
        assert_eq!(text.len(), 700);
        let role = usize::from(text[0]);
        opened.insert(message.bytes().to_vec(), role);
        Some(role)
    }

    fn check(&self, outcome: &Outcome<Answer>, seen: &[usize]) {
        let of = |act: &[Act]| {
            (0..self.acts.len()).filter(|role| act.contains(&self.acts[*role])).collect::<Vec<_>>()
        };
        let is_ok = |role: &usize| matches!(outcome.answers[*role], Some(Ok(_)));
        let kills = outcome.answers.iter().filter(|answer| answer.is_none()).count();
        for (role, answer) in outcome.answers.iter().enumerate() {
            match (self.acts[role], answer) {
                (Encrypt | Decrypt | Replace, Some(Ok(_))) => {
                    assert!(seen.contains(&role), "no reader saw the content of {role}");
                }
                (Encrypt | Decrypt, Some(Err(error))) => assert!(is_exists(error), "{error:?}"),
                (Replace, Some(Err(error))) => panic!("{error:?}"),
                (Rewrap | Reencrypt | Look, Some(Err(error))) => {
                    assert!(is_gone(error), "{error:?}");
                }
                (Reencrypt, Some(Ok(Some(old)))) if of(&[MoveAway]).is_empty() => {
                    let found = outcome.directory.content(TO).expect("the message is lost");
                    assert!(!found.bytes().starts_with(old), "the old message came back");
                }
                _ => {}
            }
        }
        // Each appeared once: nothing that was replaced came back, by a rewrap of it.
        let distinct: BTreeSet<_> = seen.iter().collect();
        let may_return = !of(&[MoveAway]).is_empty();
        assert!(may_return || distinct.len() == seen.len(), "{seen:?}");
        // A reported file exists in the end, unless it was to be replaced.
        let (to, away) = (self.found(&outcome.directory, TO), self.found(&outcome.directory, AWAY));
        if of(&[Replace]).is_empty() && of(&[MoveAway]).len() < 2 {
            for role in of(&[Encrypt, Decrypt]).iter().filter(|role| is_ok(role)) {
                assert!([to, away].contains(&Some(*role)), "the file of {role} is lost");
            }
            if self.is_there {
                assert!([to, away].contains(&Some(self.acts.len())), "what was there is lost");
            }
        }
        let writers = of(&[Encrypt, Decrypt]);
        if kills == 0 && writers.len() == self.acts.len() {
            let done = writers.iter().filter(|role| is_ok(role)).count();
            assert_eq!(done, usize::from(!self.is_there), "one of all writes it");
        }
        // Nothing is left but by who was killed.
        let expected =
            of(&[Decrypt]).len() + usize::from(to.is_some()) + usize::from(away.is_some());
        let left = outcome.directory.disk().list().len() - expected;
        assert!(left <= kills, "{left} files are left by {kills} that were killed");
        if self.lacks.is_nothing() && of(&[Replace, Rewrap, Reencrypt]).is_empty() {
            assert_eq!(left, 0, "a file without a name leaves nothing");
        }
    }

    fn explore(&self, depth: Depth) -> Explored {
        let works: Vec<Work<'_, Answer>> = (0..self.acts.len())
            .map(|role| -> Work<'_, Answer> {
                Box::new(move |directory| self.perform(role, directory))
            })
            .collect();
        let seen = RefCell::new(Vec::new());
        let look = |directory: &SimulatedDirectory, is_first: bool| {
            let mut seen = seen.borrow_mut();
            if is_first {
                seen.clear();
            }
            let found = self.found(directory, TO);
            if let Some(role) = found.filter(|role| seen.last() != Some(role)) {
                seen.push(role);
            }
            self.found(directory, AWAY);
        };
        let check = |outcome: Outcome<Answer>| {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.check(&outcome, &seen.borrow());
            }));
            if let Err(panic) = checked {
                println!("{:?}, {:?}: {:?}", self.acts, self.lacks, outcome.steps);
                println!("{:?}", outcome.answers);
                std::panic::resume_unwind(panic);
            }
        };
        explore(depth, || self.directory(), &works, look, check)
    }
}

fn is_exists(error: &Error) -> bool {
    matches!(error.backend(), Some(MessageFileError::File(FileError::Exists { .. })))
}

/// The file of that name is removed or replaced.
fn is_gone(error: &Error) -> bool {
    matches!(
        error.backend(),
        Some(
            MessageFileError::File(FileError::NotFound { .. })
                | MessageFileError::File(FileError::Changed { .. })
        )
    )
}

/// Every choice of `count` acts, in whatever order.
fn choices(count: usize) -> Vec<Vec<Act>> {
    let all = [Encrypt, Decrypt, Replace, Rewrap, Reencrypt, MoveAway, Look];
    let mut choices = vec![Vec::new()];
    for _ in 0..count {
        choices = choices
            .into_iter()
            .flat_map(|chosen: Vec<Act>| {
                let last = chosen.last().copied().unwrap_or(Encrypt);
                let next = all.into_iter().filter(move |act| *act >= last);
                next.map(move |act| [&chosen[..], &[act]].concat())
            })
            .collect();
    }
    choices
}

fn run(choices: &[Vec<Act>], systems: &[Lacks], depth: Depth) {
    let started = std::time::Instant::now();
    let mut all = Explored::default();
    for acts in choices {
        for is_there in [false, true] {
            for lacks in systems {
                let explored = Scene::new(acts, is_there, *lacks).explore(depth);
                all.runs += explored.runs;
                all.states += explored.states;
                all.ends += explored.ends;
            }
        }
    }
    println!("{} choices, {depth:?}: {all:?}, {:?}", choices.len(), started.elapsed());
    assert!(all.ends > choices.len());
}

const NAMED: Lacks = Lacks { unnamed: true, ..LACKS_NOTHING };
const LINKED: Lacks = Lacks { moves: true, ..NAMED };
const ALL: [Lacks; 3] = [LACKS_NOTHING, NAMED, LINKED];
const UNLOCKED: Lacks = Lacks { locks: true, ..NAMED };

#[test]
fn two_processes_never_show_an_unfinished_file() {
    let systems = if is_soak() { &ALL[..] } else { &ALL[..2] };
    run(&choices(2), systems, Depth { kills: 1, is_full: is_soak() });
}

#[test]
fn three_processes_never_show_an_unfinished_file() {
    let some = [
        vec![Encrypt, Encrypt, Decrypt],
        vec![Encrypt, Encrypt, MoveAway],
        vec![Encrypt, Replace, MoveAway],
        vec![Encrypt, MoveAway, Look],
    ];
    let choices = if is_soak() { choices(3) } else { some.to_vec() };
    run(&choices, &ALL, Depth { kills: usize::from(is_soak()), is_full: false });
}

#[test]
fn four_processes_never_show_an_unfinished_file() {
    let some =
        [vec![Encrypt, Encrypt, Encrypt, MoveAway], vec![Encrypt, Encrypt, Decrypt, MoveAway]];
    let choices = if is_soak() { choices(4) } else { some.to_vec() };
    run(&choices, &ALL, Depth { kills: 0, is_full: false });
}

/// A lock is nothing that a new file needs.
#[test]
fn processes_without_locks_show_no_unfinished_file() {
    let acts = [Encrypt, Decrypt, Replace, MoveAway];
    let mut choices = choices(if is_soak() { 3 } else { 2 });
    choices.retain(|choice| choice.iter().all(|act| acts.contains(act)));
    run(&choices, &[UNLOCKED], Depth { kills: usize::from(is_soak()), is_full: false });
}
