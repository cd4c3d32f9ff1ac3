//! The part that `quickstart` and `hsm_quickstart` share: everything but the constructor.
//!
//! Encrypts every file of a directory, rotates the master key, rewraps, decrypts and compares.
//! Without an argument the directory is this project's own tree. Messages are written to a
//! directory below the system's temporary one, which is removed at the end.

use envelock::keyset::LifecycleError;
use envelock::{
    Aad, AadPairs, Envelope, Header, KeyVersion, Keyring, Lifecycle, RewrapOptions, RotationPolicy,
    Timestamp,
    file::{self, FileChange, MessageFile, NewFileOptions},
    inspect,
};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Name of the master key.
pub const KEY: &str = "quickstart";

/// Seconds in a day.
const DAY: u64 = 86_400;

/// Enough for the header of every message here; `inspect` says how much it needs if it is not.
const HEADER_READ: u64 = 4096;

/// `create` makes a keyring of the master key [`KEY`], or opens one that is there; `open` opens it
/// again. Both are given the path that a key file may have.
pub fn run<K: Keyring + Lifecycle>(
    create: impl FnOnce(&Path) -> Result<K>,
    open: impl FnOnce(&Path) -> Result<K>,
) -> Result<()> {
    let source = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let files = list_files(&source)?;
    if files.is_empty() {
        return Err(format!("{} has no files", source.display()).into());
    }
    let store = Store::create()?;

    // 1. A keyring, and each file encrypted, bound to its path.
    let keyring = create(&store.key_file())?;
    let envelope = Envelope::new(&keyring);
    let old = keyring.keyset()?.primary().ok_or("a new keyring has a primary")?;
    let (bytes, encrypt_time) = encrypt_all(&envelope, &source, &files, &store)?;
    let before = store.versions()?;

    // 2. A policy says that a rotation is due, and why. New messages then use the new version, old
    // ones keep opening.
    let policy = RotationPolicy::every_90_days().rotate_after_wraps(files.len() as u64);
    let plan = policy.plan(&keyring.keysets()?, KEY, Timestamp::now())?;
    println!("policy: {plan}");
    plan.apply(&keyring)?;
    println!("policy: {}", policy.plan(&keyring.keysets()?, KEY, Timestamp::now())?);
    let stale = find_stale(&envelope, &files, &store)?;
    println!("rotated; under a stale version are {}", name_some(&stale));

    // 3. Rewrap each header in place; no body is read, no associated data needed.
    let (rewrapped, rewrap_time) = rewrap_all(&envelope, &store, old)?;
    let after = store.versions()?;

    // 4. Nothing needs the old version any more: disable it, and have it destroyed in 30 days.
    keyring.disable(old)?;
    keyring.schedule_destruction(old, Duration::from_secs(30 * DAY))?;
    match keyring.destroy(old) {
        Err(refused @ envelock::Error::Lifecycle(LifecycleError::DestructionNotDue { .. })) => {
            println!("guard: {refused}")
        }
        other => return Err(format!("an early destruction came to {other:?}").into()),
    }

    // 5. As another process would, days later: open the keyring and read everything.
    let open_start = Instant::now();
    let keyring = open(&store.key_file())?;
    let open_time = open_start.elapsed();
    let compared = decrypt_and_compare(&Envelope::new(&keyring), &source, &files, &store)?;

    println!();
    for record in keyring.keyset()?.versions() {
        let since = record.state_since;
        println!("{KEY} version {}: {}, since {since}", record.version, record.state);
    }
    println!();
    println!("files            {:>12}", files.len());
    println!("bytes            {bytes:>12}");
    println!("versions before  {:>12}", describe(&before));
    println!("versions after   {:>12}", describe(&after));
    println!("time to encrypt  {:>12}", millis(encrypt_time));
    println!("time to rewrap   {:>12}  ({rewrapped} headers)", millis(rewrap_time));
    println!("time to open     {:>12}  (the keyring)", millis(open_time));
    println!("decrypted and compared, version {old} being refused: {compared} files, all equal");
    store.remove()
}

fn encrypt_all<K: Keyring>(
    envelope: &Envelope<&K>,
    source: &Path,
    files: &[PathBuf],
    store: &Store,
) -> Result<(u64, Duration)> {
    let mut bytes = 0;
    let start = Instant::now();
    for (index, file) in files.iter().enumerate() {
        // In constant memory, however long; the message appears whole and synced, or not at all.
        let context = path_context(file)?;
        file::encrypt(
            envelope,
            source.join(file),
            store.path(index),
            Aad::new(&context),
            NewFileOptions::new(),
        )?;
        bytes += fs::metadata(source.join(file)).map_err(at(file))?.len();
    }
    Ok((bytes, start.elapsed()))
}

/// The files whose messages still name another version than the primary, going by their headers.
fn find_stale<'f, K: Keyring>(
    envelope: &Envelope<&K>,
    files: &'f [PathBuf],
    store: &Store,
) -> Result<Vec<&'f Path>> {
    let mut stale = Vec::new();
    for (index, file) in files.iter().enumerate() {
        if envelope.needs_rewrap(&read_header(&store.path(index))?)? {
            stale.push(file.as_path());
        }
    }
    Ok(stale)
}

/// Rewraps every header in its place, behind a journal, so that no crash costs a message.
fn rewrap_all<K: Keyring>(
    envelope: &Envelope<&K>,
    store: &Store,
    old: KeyVersion,
) -> Result<(usize, Duration)> {
    let start = Instant::now();
    let mut rewrapped = 0;
    for path in store.messages()? {
        let done = file::rewrap(envelope, &path, RewrapOptions::new().retiring(KEY, old))?;
        rewrapped += usize::from(done.change() != FileChange::Unchanged);
    }
    Ok((rewrapped, start.elapsed()))
}

fn decrypt_and_compare<K: Keyring>(
    envelope: &Envelope<&K>,
    source: &Path,
    files: &[PathBuf],
    store: &Store,
) -> Result<usize> {
    for (index, file) in files.iter().enumerate() {
        let message = MessageFile::open(store.path(index))?;
        let context = path_context(file)?;
        let mut decrypted = envelope.decrypt_reader(message, Aad::new(&context))?;
        let original = File::open(source.join(file)).map_err(at(file))?;
        let mut original = BufReader::new(original);
        loop {
            let (there, here) = (decrypted.fill_buf()?, original.fill_buf().map_err(at(file))?);
            let len = there.len().min(here.len());
            if there[..len] != here[..len] || there.is_empty() != here.is_empty() {
                return Err(format!("{} differs", file.display()).into());
            }
            if len == 0 {
                break;
            }
            decrypted.consume(len);
            original.consume(len);
        }
        // The end is verified already. A caller that stops earlier has to call this.
        decrypted.finish()?;
    }
    Ok(files.len())
}

/// The path as associated data: a message that is moved to another path does not open there.
fn path_context(file: &Path) -> Result<Vec<u8>> {
    let path = file.as_os_str().as_encoded_bytes();
    Ok(AadPairs::new().with("application", "quickstart")?.with("path", path)?.to_bytes())
}

/// The header of a message on disk, and nothing of its body.
fn read_header(path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(at(path))?;
    file.take(HEADER_READ).read_to_end(&mut start).map_err(at(path))?;
    let len = inspect(&start)?.len();
    start.truncate(len);
    Ok(start)
}

/// Every regular file below `root`, as paths relative to it, sorted; no build output, no
/// symbolic links.
fn list_files(root: &Path) -> Result<Vec<PathBuf>> {
    const SKIPPED: [&str; 3] = ["target", ".git", ".venv"];
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let path = root.join(&directory);
        for entry in fs::read_dir(&path).map_err(at(&path))? {
            let entry = entry.map_err(at(&path))?;
            let kind = entry.file_type().map_err(at(&path))?;
            let relative = directory.join(entry.file_name());
            if kind.is_file() {
                files.push(relative);
            } else if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                directories.push(relative);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A directory of messages.
struct Store(PathBuf);

impl Store {
    fn create() -> Result<Self> {
        let directory = format!("envelock-quickstart-{}", std::process::id());
        let path = std::env::temp_dir().join(directory);
        fs::create_dir(&path).map_err(at(&path))?;
        Ok(Store(path))
    }

    fn key_file(&self) -> PathBuf {
        self.0.join("quickstart.keys")
    }

    fn path(&self, index: usize) -> PathBuf {
        self.0.join(format!("{index:06}.envelock"))
    }

    fn messages(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.0).map_err(at(&self.0))?;
        let mut messages = Vec::new();
        for entry in entries {
            let path = entry.map_err(at(&self.0))?.path();
            if path.extension().is_some_and(|extension| extension == "envelock") {
                messages.push(path);
            }
        }
        Ok(messages)
    }

    /// Key versions that the headers name, each with the number of messages.
    fn versions(&self) -> Result<Vec<(KeyVersion, usize)>> {
        let mut versions: Vec<(KeyVersion, usize)> = Vec::new();
        for path in self.messages()? {
            let header = read_header(&path)?;
            let header: Header<'_> = inspect(&header)?;
            for slot in header.slots() {
                match versions.iter_mut().find(|(version, _)| *version == slot.label.version) {
                    Some((_, count)) => *count += 1,
                    None => versions.push((slot.label.version, 1)),
                }
            }
        }
        versions.sort();
        Ok(versions)
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.0).map_err(at(&self.0))?;
        Ok(())
    }
}

fn name_some(files: &[&Path]) -> String {
    const NAMED: usize = 3;
    let named = files.iter().take(NAMED).map(|file| file.display().to_string());
    let named = named.collect::<Vec<_>>().join(", ");
    format!("{} messages: {named}{}", files.len(), if files.len() > NAMED { ", ..." } else { "" })
}

fn describe(versions: &[(KeyVersion, usize)]) -> String {
    let each = versions.iter().map(|(version, count)| format!("{version} (x{count})"));
    each.collect::<Vec<_>>().join(", ")
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Names the file that an I/O error is about.
fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
