//! Kills a worker, looks at what it left, and goes on from there.

use crate::common::key_files::{ROW, decrypted_by, file_error, leftovers, raw, text};
use crate::common::process::Process;
use crate::key_file_kills::model::Model;
use crate::key_file_kills::worker::{CHANGES, GROWS};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Envelope, FileKeyring, KeyVersion, Lifecycle,
    file::{FileKeyringOptions, KeyFileError, KeyFileFault},
    keyset::Change,
};
use rand_chacha::ChaCha20Rng;
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The keys of the two protections: the worker changes from one to the other.
const KEYS: [u8; 2] = [7, 8];

/// How many operations a worker is left to finish, at most.
const MOST_FINISHED: u32 = 4;

/// How many times as many kills as are asked for there are at most.
const MOST_TIMES: u32 = 20;

/// Where the kills hit.
#[derive(Default)]
pub struct Report {
    pub kills: u32,
    /// An operation had begun and was not acknowledged.
    pub under_way: u32,
    /// A temporary file was there still.
    pub leftover: u32,
    /// The file was newer than what was acknowledged.
    pub newer: u32,
    operations: u32,
    counts: (usize, usize),
    decrypted: Option<u64>,
    took: Duration,
}

impl Report {
    /// Whether so many kills hit between the first byte written and the acknowledgement, and some on
    /// either side of the rename.
    fn has_hit(&self, torn: u32) -> bool {
        self.leftover + self.newer >= torn && self.leftover >= 1 && self.newer >= 1
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { kills, under_way, leftover, newer, operations, took, .. } = self;
        let (versions, messages) = self.counts;
        write!(
            f,
            "{kills} kills in {took:?}, {under_way} in an operation: {leftover} left a temporary \
             file, {newer} a newer file than acknowledged; {operations} operations acknowledged, \
             {versions} versions, {messages} messages"
        )?;
        match self.decrypted {
            Some(decrypted) => write!(f, "; {decrypted} decryptions beside"),
            None => Ok(()),
        }
    }
}

pub struct Drill {
    path: PathBuf,
    rng: ChaCha20Rng,
    model: Model,
    reader: Option<Process>,
    protect: bool,
    /// How long an operation takes, of late.
    typical: Duration,
    report: Report,
    started: Instant,
}

impl Drill {
    pub fn new(directory: &Path, name: &str, seed: u64) -> Self {
        let path = directory.join(name);
        let keyring = FileKeyring::create(&path, GROWS, &raw(KEYS[0])).unwrap();
        keyring.create_key(CHANGES).unwrap();
        Drill {
            model: Model::new(&keyring, KEYS[0]),
            path,
            rng: ChaCha20Rng::seed_from_u64(seed),
            reader: None,
            protect: false,
            typical: Duration::from_millis(5),
            report: Report::default(),
            started: Instant::now(),
        }
    }

    /// Has another process decrypt with one keyring until the end.
    pub fn start_reader(&mut self) {
        let mut reader = Process::start(super::MODULE, "read", &[text(&self.path)]);
        reader.expect("opened");
        self.reader = Some(reader);
    }

    /// Has workers change the protection, too.
    pub fn change_protection(&mut self) {
        self.protect = true;
    }

    /// Kills so often, and then on until enough kills hit a write for this to be a test: where they
    /// hit is the machine's.
    pub fn run(&mut self, kills: u32) {
        while self.report.kills < kills || !self.report.has_hit(kills / 10) {
            assert!(self.report.kills < kills * MOST_TIMES, "the kills miss: {}", self.report);
            let under_way = self.kill_one();
            self.look(under_way.as_deref());
            self.go_on();
        }
    }

    pub fn end(mut self) -> Report {
        let reader = self.reader.take();
        self.report.decrypted = reader.map(|reader| decrypted_by(&reader.end()));
        self.report.counts = self.model.counts();
        self.report.took = self.started.elapsed();
        self.report
    }

    /// Starts a worker, lets it finish a few operations, and kills it some time after it began
    /// another one. Answers the one that was not acknowledged, if there is one.
    fn kill_one(&mut self) -> Option<String> {
        let protect = if self.protect { "protect" } else { "" };
        let (key, seed) = (self.model.key.to_string(), self.rng.next_u64().to_string());
        let mut worker =
            Process::start(super::MODULE, "work", &[text(&self.path), &key, protect, &seed]);
        for _ in 0..self.rng.next_u32() % MOST_FINISHED {
            let step = started_by(&worker.must_hear());
            let began = Instant::now();
            let done = worker.must_hear();
            // Most kills are to hit a write, whatever else the machine does.
            self.typical = (self.typical * 7 + began.elapsed()) / 8;
            self.acknowledge(&step, &done);
        }
        let mut under_way = Some(started_by(&worker.must_hear()));
        let delay = self.typical.mul_f64(f64::from(self.rng.next_u32() % 1_024) / 800.0);
        thread::sleep(delay);
        worker.kill();
        self.report.kills += 1;
        // Its output from before the kill is still in the pipe.
        while let Some(line) = worker.hear() {
            match under_way.take() {
                Some(step) => self.acknowledge(&step, &line),
                None => under_way = Some(started_by(&line)),
            }
        }
        self.report.under_way += u32::from(under_way.is_some());
        under_way
    }

    fn acknowledge(&mut self, step: &str, line: &str) {
        let done = line.strip_prefix("done ").unwrap();
        self.report.operations += 1;
        if let Some(message) = self.model.acknowledge(step, done) {
            self.hand_out(&message);
        }
    }

    fn hand_out(&mut self, message: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.say(&hex::encode(message));
        }
    }

    /// Opens the file and checks what it holds.
    fn look(&mut self, under_way: Option<&str>) {
        self.report.leftover += u32::from(!leftovers(&self.path).is_empty());
        let keyring = self.open(under_way);
        let is_newer = self.model.check(&keyring, under_way);
        self.report.newer += u32::from(is_newer);
        self.model.take_over(&keyring);
    }

    /// Opens the file under the one protection that it has.
    fn open(&mut self, under_way: Option<&str>) -> FileKeyring {
        let options = FileKeyringOptions::new().lock_wait(Duration::ZERO);
        let open = |key| options.open_any(&self.path, &raw(key));
        let [known, other] = if self.model.key == KEYS[0] { KEYS } else { [KEYS[1], KEYS[0]] };
        let (keyring, key) = match open(known) {
            Ok(keyring) => (keyring, known),
            Err(error) => {
                // A wrong key is all that this can be, and only if it was just being changed.
                assert_eq!(under_way, Some(&*format!("protect {other}")), "{error}");
                let error = file_error(&error);
                let KeyFileError::Content { fault: KeyFileFault::Authentication, .. } = error
                else {
                    panic!("{error:?}");
                };
                (open(other).unwrap(), other)
            }
        };
        assert!(open(15 - key).is_err(), "two keys open one file");
        self.model.key = key;
        keyring
    }

    /// The next process works at once: no lock is left, and what is left over goes.
    fn go_on(&mut self) {
        let options = FileKeyringOptions::new().lock_wait(Duration::ZERO);
        let keyring = options.open_any(&self.path, &raw(self.model.key)).unwrap();
        if self.report.kills.is_multiple_of(4) {
            keyring.change_now(Change::Rotate { key: GROWS }).unwrap();
        } else {
            let value = self.report.kills.to_string();
            let (version, value) = (KeyVersion::FIRST, Some(&*value));
            let change = Change::SetLabel { key: GROWS, version, name: "drill", value };
            keyring.change_now(change).unwrap();
        }
        assert_eq!(leftovers(&self.path), [""; 0]);
        self.model.take_over(&keyring);
        let plaintext = format!("message after kill {}", self.report.kills);
        let grows = keyring.with_key(GROWS).unwrap();
        let message = Envelope::new(&grows).encrypt(plaintext.as_bytes(), ROW).unwrap();
        self.hand_out(&message);
        self.model.encrypted(GROWS, message, plaintext);
        // The drop writes what was counted.
        drop((grows, keyring));
        let options = FileKeyringOptions::new().read_only();
        self.model.take_over(&options.open_any(&self.path, &raw(self.model.key)).unwrap());
    }
}

fn started_by(line: &str) -> String {
    line.strip_prefix("start ").unwrap().to_owned()
}
