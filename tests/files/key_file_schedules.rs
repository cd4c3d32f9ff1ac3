//! Schedules that lost data, or a promise, in an earlier state of this crate. Each was found by a
//! reviewer, and is kept so that it stays found.

use crate::common::directory;

use directory::TestDirectory;
use envelock::keyset::LifecycleError;
use envelock::test_access::key_file::{
    Directory, DirectoryFile, FileError, FileStat, KeyFileError, OsDirectory, Store,
};
use envelock::{
    Aad, DataKeyReuse, Envelope, Error, FileKeyring, KeyVersion, Lifecycle, MasterKey, MasterKeyId,
    MemoryKeyring, OsRandom, RotationPolicy, Timestamp,
    file::{FileKeyringOptions, Protection, Salvage},
    format::WrapAlgorithm,
    inspect,
    keyset::{
        Change, ChangeOptions, Guard, Keyset, Material, NewMaterial, Operation, Origin,
        VersionState,
    },
    policy::PlanOutcome,
};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn raw() -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[7; 32]))
}

fn lazy() -> FileKeyringOptions {
    FileKeyringOptions::new().refresh_after(Duration::from_secs(1 << 30))
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn encrypt(keyring: &FileKeyring) -> Vec<u8> {
    Envelope::new(keyring).encrypt(b"text", Aad::none()).unwrap()
}

fn decrypt(keyring: &FileKeyring, message: &[u8]) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).decrypt(message, Aad::none())
}

fn written_under(message: &[u8]) -> u32 {
    inspect(message).unwrap().slots().next().unwrap().label.version.number()
}

fn overwrite(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("restored");
    fs::write(&beside, bytes).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// Reserving a wrap loads the file; the wrap was made before, under what the file no longer had.
#[test]
fn reserving_wrap_under_destroyed_version_is_not_made() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let stale = lazy().reserve_usage().create(&path, "orders", &raw()).unwrap();
    let other = FileKeyring::open_any(&path, &raw()).unwrap();
    other.rotate().unwrap();
    other.disable(version(1)).unwrap();
    other.destroy_immediately(version(1)).unwrap();
    // Its first wrap takes the first block.
    let message = encrypt(&stale);
    assert_eq!(written_under(&message), 2);
    assert_eq!(decrypt(&stale, &message).unwrap(), b"text");
    assert_eq!(decrypt(&other, &message).unwrap(), b"text");
}

/// Removing or ignoring a lock file must not admit two writers.
#[test]
fn change_applies_to_its_prepared_state_or_not_at_all() {
    let directory = TestDirectory::new();
    let path = directory.join("blob");
    let store = Store::open(&path).unwrap();
    let wait = Duration::from_secs(5);
    store.lock(wait).unwrap().create(b"one").unwrap();

    let mut writer = store.lock(wait).unwrap();
    writer.load().unwrap();
    overwrite(&path, b"two");
    let refused = writer.replace(b"three").unwrap_err();
    assert!(matches!(refused, KeyFileError::File(FileError::Changed { .. })), "{refused}");
    assert!(refused.is_retryable());
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), b"two");

    let mut writer = store.lock(wait).unwrap();
    writer.load().unwrap();
    fs::remove_file(store.lock_path()).unwrap();
    let mut second = store.lock(wait).unwrap();
    let refused = writer.replace(b"three").unwrap_err();
    assert!(matches!(refused, KeyFileError::File(FileError::Changed { .. })), "{refused}");
    drop(writer);
    second.load().unwrap();
    second.replace(b"four").unwrap();
    drop(second);
    assert_eq!(fs::read(&path).unwrap(), b"four");
    let leftovers = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(leftovers, 2, "the file and its lock");
}

/// A directory in which another process creates a file while the temporary one is being made.
struct Crowded {
    directory: OsDirectory,
    name: OsString,
    is_done: AtomicBool,
}

impl Directory for Crowded {
    fn path(&self) -> &Path {
        self.directory.path()
    }
    fn effective_uid(&self) -> u32 {
        self.directory.effective_uid()
    }
    fn open(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.directory.open(name)
    }
    fn open_write(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.directory.open_write(name)
    }
    fn create_new(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        if !self.is_done.swap(true, Relaxed) {
            overwrite(&self.directory.path().join(&self.name), b"restored");
        }
        self.directory.create_new(name)
    }
    fn open_lock(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.directory.open_lock(name)
    }
    fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        self.directory.stat(name)
    }
    fn list(&self) -> io::Result<Vec<OsString>> {
        self.directory.list()
    }
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.directory.rename(from, to)
    }
    fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.directory.rename_new(from, to)
    }
    fn unlink(&self, name: &OsStr) -> io::Result<()> {
        self.directory.unlink(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }
}

#[test]
fn new_file_does_not_replace_a_concurrent_one() {
    let root = TestDirectory::new();
    let path = root.join("orders.keys");
    let (directory, name) = OsDirectory::of_file(&path).unwrap();
    let crowded = Crowded { directory, name: name.clone(), is_done: AtomicBool::new(false) };
    let options = FileKeyringOptions::new();
    let created = options.create_in(Arc::new(crowded), &name, "orders", &raw());
    match created.unwrap_err() {
        error if matches!(error.backend(), Some(KeyFileError::File(FileError::Exists { .. }))) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), b"restored");
}

/// A key that is added later, and is first by name, must not become the selected one.
#[test]
fn key_is_not_selected_by_order_of_names() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    FileKeyring::create(&path, "orders", &raw()).unwrap().create_key("acme").unwrap();
    let keyring = FileKeyring::open_any(&path, &raw()).unwrap();
    let encrypted = Envelope::new(&keyring).encrypt(b"text", Aad::none());
    let is_exact = |error: &Error| matches!(error, Error::Lifecycle(LifecycleError::NoKeySelected { keys }) if keys.len() == 2 && keys[0] == "acme");
    assert!(is_exact(&encrypted.unwrap_err()));
    assert!(is_exact(&keyring.rotate().unwrap_err()));
    let orders = keyring.with_key("orders").unwrap();
    let message = encrypt(&orders);
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
}

/// A machine that boots without a clock is in 1970.
#[test]
fn slow_clock_does_not_shorten_destruction_delay() {
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let mut keyset = Keyset::new("orders").unwrap();
    for number in 1..=2 {
        let material = NewMaterial {
            master_key_id: MasterKeyId([number; 8]),
            algorithm: WrapAlgorithm::XAES_256_GCM,
            origin: Origin::Generated,
        };
        keyset.add(version(number.into()), material, now).unwrap();
        keyset.apply(version(number.into()), Operation::Promote, &ChangeOptions::at(now)).unwrap();
    }
    let schedule = Operation::ScheduleDestruction { after: DAY * 30 };
    let boot = Timestamp::UNIX_EPOCH;
    keyset.apply(version(1), Operation::Disable, &ChangeOptions::at(boot)).unwrap();
    match keyset.apply(version(1), schedule, &ChangeOptions::at(boot)) {
        Err(LifecycleError::Guarded { guard: Guard::Clock { newest, now: reported }, .. }) => {
            assert_eq!((newest, reported), (now, boot));
        }
        other => panic!("{other:?}"),
    }
    // A little behind: it counts from the newest date on record.
    let behind = Timestamp::from_unix_seconds(now.unix_seconds() - 86_400);
    keyset.apply(version(1), schedule, &ChangeOptions::at(behind)).unwrap();
    let due = now.plus(DAY * 30);
    match keyset.apply(version(1), Operation::Destroy, &ChangeOptions::at(now)) {
        Err(LifecycleError::DestructionNotDue { due: reported, .. }) => {
            assert_eq!(reported, due)
        }
        other => panic!("{other:?}"),
    }
    keyset.apply(version(1), Operation::Destroy, &ChangeOptions::at(due)).unwrap();
}

/// A keyring whose directory is moved away must not write there: the path counts.
#[test]
fn keyring_whose_directory_is_replaced_follows_path() {
    let directory = TestDirectory::new();
    let (here, away) = (directory.join("keys"), directory.join("keys.bad"));
    fs::create_dir(&here).unwrap();
    let path = here.join("orders.keys");
    let eager = FileKeyringOptions::new().refresh_after(Duration::ZERO);
    let keyring = eager.create(&path, "orders", &raw()).unwrap();
    let message = encrypt(&keyring);
    fs::rename(&here, &away).unwrap();
    let encrypted = Envelope::new(&keyring).encrypt(b"lost", Aad::none()).unwrap_err();
    assert!(matches!(encrypted, Error::Backend(_)), "{encrypted:?}");
    assert!(keyring.last_error().is_some());
    fs::create_dir(&here).unwrap();
    fs::copy(away.join("orders.keys"), &path).unwrap();
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
    let old = fs::read(away.join("orders.keys")).unwrap();
    keyring.rotate().unwrap();
    assert_eq!(fs::read(away.join("orders.keys")).unwrap(), old);
    assert_eq!(FileKeyring::open_any(&path, &raw()).unwrap().versions().len(), 2);
}

/// A history that forgot that a version is compromised is another history.
#[test]
fn compromise_is_not_forgotten_with_a_restored_file() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw()).unwrap();
    keyring.rotate().unwrap();
    let backup = fs::read(&path).unwrap();
    keyring.mark_compromised(version(1)).unwrap();
    overwrite(&path, &backup);
    let other = FileKeyring::open_any(&path, &raw()).unwrap();
    for value in ["a", "b", "c"] {
        let (key, name) = ("orders", "note");
        let change = Change::SetLabel { key, version: version(2), name, value: Some(value) };
        other.change_now(change).unwrap();
    }
    let followed = keyring.reload().unwrap_err();
    assert!(matches!(followed.backend(), Some(KeyFileError::Diverged { .. })), "{followed:?}");
    assert_eq!(keyring.versions()[0].state, VersionState::Compromised);
}

/// Of two records of a version salvage takes the later one, and keeps what either noted for good.
#[test]
fn salvage_does_not_forget_a_compromise() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw()).unwrap();
    keyring.rotate().unwrap();
    keyring.disable(version(1)).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    keyring.mark_compromised(version(1)).unwrap();
    let after = fs::read_to_string(&path).unwrap();
    let line = |text: &str| {
        let line = text.lines().skip(1).find(|line| line.contains("\"version\":1,"));
        format!("{}\n", line.unwrap())
    };
    for (base, extra) in [(&before, line(&after)), (&after, line(&before))] {
        for at_front in [true, false] {
            let (first, rest) = base.split_once('\n').unwrap();
            let mixed = match at_front {
                true => format!("{first}\n{extra}{rest}"),
                false => format!("{base}{extra}"),
            };
            overwrite(&path, mixed.as_bytes());
            FileKeyring::open_any(&path, &raw()).unwrap_err();
            let salvage = Salvage::read(&path, &raw()).unwrap();
            let fresh = directory.join("fresh");
            let keyring = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
            assert!(keyring.versions()[0].compromised.is_some());
            keyring.enable(version(1)).unwrap();
            assert_eq!(keyring.versions()[0].state, VersionState::Compromised);
            drop(keyring);
            fs::remove_file(&fresh).unwrap();
        }
    }
}

/// A line from before, under a clock that went back, must not bring a leaked version back into use.
#[test]
fn salvage_makes_no_compromised_version_promotable() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw()).unwrap();
    let noon = 1_800_000_000;
    let change = |change: Change<'_>, second: u64| {
        let terms = ChangeOptions::at(Timestamp::from_unix_seconds(noon + second));
        keyring.change(&[change], &terms, &mut OsRandom).map(drop)
    };
    let operate = |operation| Change::Version { key: "orders", version: version(2), operation };
    let add = Change::AddVersion { key: "orders", version: None, material: Material::Fresh };
    change(add, 60).unwrap();
    let line = |text: &str| {
        let line = text.lines().skip(1).find(|line| line.contains("\"version\":2,"));
        format!("{}\n", line.unwrap())
    };
    let pending = line(&fs::read_to_string(&path).unwrap());
    change(operate(Operation::Disable), 0).unwrap();
    change(operate(Operation::MarkCompromised), 0).unwrap();
    let refused = change(operate(Operation::Promote), 1).unwrap_err();
    assert!(matches!(refused, Error::Lifecycle(LifecycleError::VersionState { .. })), "{refused}");
    drop(keyring);

    let text = fs::read_to_string(&path).unwrap();
    overwrite(&path, format!("{text}{pending}").as_bytes());
    let salvage = Salvage::read(&path, &raw()).unwrap();
    let fresh = directory.join("fresh");
    let keyring = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
    let record = keyring.versions()[1].clone();
    assert!(record.compromised.is_some());
    assert_ne!(record.state, VersionState::Pending);
    let refused = keyring.promote(version(2)).unwrap_err();
    assert!(matches!(refused, Error::Lifecycle(LifecycleError::VersionState { .. })), "{refused}");
}

/// Lost lines may have contained versions: none of their numbers is returned again.
#[test]
fn salvage_gives_out_no_number_possibly_taken() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw()).unwrap();
    for _ in 1..20 {
        keyring.rotate().unwrap();
    }
    let change = keyring.change_number();
    drop(keyring);
    let mut bytes = fs::read(&path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let offset = |what: &str| text.find(what).unwrap();
    // The record of the key, and versions 11 to 20 in one block of zeros.
    bytes[offset("\"taken\"") + 3] ^= 1;
    let (from, to) = (offset("\"version\":11,"), offset("\"version\":20,"));
    bytes[from..to].fill(0);
    for truncated in [false, true] {
        if truncated {
            bytes.truncate(to);
        }
        overwrite(&path, &bytes);
        let salvage = Salvage::read(&path, &raw()).unwrap();
        assert_eq!(salvage.change_number(), Some(change));
        let fresh = directory.join("fresh");
        let keyring = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
        assert!(keyring.rotate().unwrap() > version(20));
        drop(keyring);
        fs::remove_file(&fresh).unwrap();
    }
}

/// A plan for a later day does nothing before that day.
#[test]
fn plan_is_not_carried_out_before_its_time() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    keyring.rotate().unwrap();
    let policy = RotationPolicy::every_90_days().disable_after(DAY * 365);
    let later = Timestamp::now().plus(DAY * 400);
    let plan = policy.plan(&keyring.keysets().unwrap(), "orders", later).unwrap();
    assert_eq!(plan.due().len(), 2);
    assert_eq!(plan.apply(&keyring).unwrap(), PlanOutcome::NothingDue);
    assert_eq!(keyring.versions()[0].state, VersionState::Enabled);
}

/// The bytes under a reused data key count with the next wrap.
#[test]
fn bytes_under_reused_data_key_count_at_next_wrap() {
    let memory = Arc::new(MemoryKeyring::create("orders").unwrap());
    let reuse = Arc::new(DataKeyReuse::new(3, u64::MAX, Duration::from_secs(60)));
    let envelope = Envelope::new(&memory).with_data_key_reuse(reuse);
    let mut protected = 0;
    for (wraps, len) in [(1, 1), (1, 1 << 20), (1, 1 << 20), (2, 7)] {
        envelope.encrypt(&vec![0; len], Aad::none()).unwrap();
        protected += len as u64;
        let usage = memory.versions()[0].usage;
        assert_eq!((usage.wraps, usage.bytes), (wraps, if wraps == 1 { 1 } else { protected }));
    }
    // Bytes under the former version do not count under the new one.
    envelope.encrypt(b"reused", Aad::none()).unwrap();
    memory.rotate().unwrap();
    envelope.encrypt(b"new", Aad::none()).unwrap();
    let bytes: Vec<u64> = memory.versions().iter().map(|record| record.usage.bytes).collect();
    assert_eq!(bytes, [protected, 3]);
}

/// A master key that another process has added a moment ago is looked for like a version.
#[test]
fn key_of_another_process_is_found() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = lazy().create(&path, "orders", &raw()).unwrap();
    let other = FileKeyring::open_any(&path, &raw()).unwrap();
    other.create_key("acme").unwrap();
    let message = encrypt(&other.with_key("acme").unwrap());
    thread::sleep(Duration::from_millis(150));
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
}
