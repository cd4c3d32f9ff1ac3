//! The records of jobs in a directory.

use super::{Records, options, sync_directory};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::definition::Definition;
use crate::job::{Job, Start, StartError};
use crate::operation::Operation;
use crate::report::Report;
use crate::shard::Shard;
use crate::undo::{NotAnUndoLog, UndoIndex};
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The records of one shard of a job in a directory, which its other shards may share.
///
/// | file | is |
/// |---|---|
/// | `0-of-1.checkpoint` | the state between two pages |
/// | `0-of-1.undo` | every old header, durable before it is replaced |
/// | `0-of-1.failures.jsonl` | the items that are left, one a line |
/// | `0-of-1.report.json` | the report, at the end |
/// | `0-of-1.lock` | locked while a process works on the shard |
///
/// Headers are no secrets; the files have mode 0600 all the same.
#[derive(Debug)]
pub struct WorkDirectory {
    path: PathBuf,
    shard: Shard,
    definition: Definition,
    adopts: bool,
    /// The bytes that the undo log begins with.
    log_start: Vec<u8>,
    /// `None` until the job begins: one that is refused leaves no log.
    undo: Option<File>,
    /// Keeps the lock.
    _lock: File,
}

/// Why the records of a job cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkDirectoryError {
    /// The operating system refused.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// Another process works on the shard.
    #[error("{path:?} is locked: another process works on this shard")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The checkpoint is damaged.
    #[error("{path:?}: {source}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CheckpointError,
    },
    /// The file is not an undo log.
    #[error("{path:?}: {source}")]
    Undo {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NotAnUndoLog,
    },
    /// The directory has the undo log of another job.
    #[error("{path:?} is the undo log of another job: use another directory, or adopt the job")]
    OtherJob {
        /// The undo log.
        path: PathBuf,
    },
    /// The job does not begin.
    #[error(transparent)]
    Start(#[from] StartError),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkDirectoryError {
    let path = path.to_path_buf();
    move |source| WorkDirectoryError::Io { action, path, source }
}

impl WorkDirectory {
    /// Opens the records of a shard, and creates the directory if it does not exist.
    ///
    /// # Errors
    ///
    /// [`WorkDirectoryError::Locked`] while another process has them; [`WorkDirectoryError::OtherJob`].
    pub fn open(
        path: impl AsRef<Path>,
        definition: Definition,
        shard: Shard,
    ) -> Result<Self, WorkDirectoryError> {
        WorkDirectory::open_as(path.as_ref(), definition, shard, false)
    }

    /// Opens the records of a shard that may have another definition: the job goes on under `definition`, and its
    /// checkpoint and report say so ([`Checkpoint::adopt`]).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn adopt(
        path: impl AsRef<Path>,
        definition: Definition,
        shard: Shard,
    ) -> Result<Self, WorkDirectoryError> {
        WorkDirectory::open_as(path.as_ref(), definition, shard, true)
    }

    fn open_as(
        path: &Path,
        definition: Definition,
        shard: Shard,
        adopts: bool,
    ) -> Result<Self, WorkDirectoryError> {
        create_directory(path).map_err(failed("create", path))?;
        let lock_path = file_path(path, shard, "lock");
        let lock = options().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WorkDirectoryError::Locked { path: lock_path.clone() },
            TryLockError::Error(error) => failed("lock", &lock_path)(error),
        })?;
        let undo_path = file_path(path, shard, "undo");
        // A job that was adopted goes on with its undo log.
        let checkpoint = checkpoint(&file_path(path, shard, "checkpoint"));
        let log_job = match &checkpoint {
            Ok(Some(found)) if adopts || *found.definition() == definition => found.undo_job(),
            _ => &definition.id(),
        };
        let log_start = UndoIndex::log_start(log_job);
        let undo = match options().read(true).append(true).open(&undo_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(failed("open", &undo_path))?),
        };
        if let Some(undo) = &undo {
            let mut found = Vec::new();
            let read = undo.take(log_start.len() as u64).read_to_end(&mut found);
            read.map_err(failed("read", &undo_path))?;
            if found != log_start {
                return Err(WorkDirectoryError::OtherJob { path: undo_path });
            }
        }
        let path = path.to_path_buf();
        Ok(WorkDirectory { path, shard, definition, adopts, log_start, undo, _lock: lock })
    }

    /// Begins the job, or resumes it if there is a checkpoint.
    ///
    /// # Errors
    ///
    /// [`WorkDirectoryError::Start`]; [`WorkDirectoryError::Checkpoint`] if the checkpoint is damaged.
    pub fn job(
        &mut self,
        start: &Start<'_>,
        operation: &dyn Operation,
    ) -> Result<Job, WorkDirectoryError> {
        let undo_path = self.file("undo");
        let undo_len = match &self.undo {
            Some(undo) => undo.metadata().map_err(failed("read", &undo_path))?.len(),
            None => self.log_start.len() as u64,
        };
        let job = match self.checkpoint()? {
            None => {
                let records = self.undo_from(self.log_start.len() as u64)?;
                let undo = (records.as_slice(), undo_len);
                Job::new(self.definition.clone(), self.shard, undo, start, operation)?
            }
            Some(checkpoint) => self.resume(checkpoint, undo_len, start, operation)?,
        };
        if self.undo.is_none() {
            replace(&undo_path, &self.log_start).map_err(failed("create", &undo_path))?;
            let undo = options().read(true).append(true).open(&undo_path);
            self.undo = Some(undo.map_err(failed("open", &undo_path))?);
        }
        Ok(job)
    }

    fn resume(
        &mut self,
        mut checkpoint: Checkpoint,
        undo_len: u64,
        start: &Start<'_>,
        operation: &dyn Operation,
    ) -> Result<Job, WorkDirectoryError> {
        if self.adopts {
            checkpoint = checkpoint.adopt(&self.definition, start, operation)?;
        }
        let tail = self.undo_from(checkpoint.undo_bytes())?;
        let undo = (tail.as_slice(), undo_len);
        Ok(Job::resume(&self.definition, self.shard, checkpoint, undo, start, operation)?)
    }

    /// Reads the undo log from an offset on.
    fn undo_from(&mut self, offset: u64) -> Result<Vec<u8>, WorkDirectoryError> {
        let mut records = Vec::new();
        if let Some(undo) = &mut self.undo {
            let read = undo.seek(SeekFrom::Start(offset));
            let read = read.and_then(|_| undo.read_to_end(&mut records));
            read.map_err(failed("read", &self.path))?;
        }
        Ok(records)
    }

    /// Returns the checkpoint, if there is one.
    ///
    /// # Errors
    ///
    /// [`WorkDirectoryError::Checkpoint`] if it is damaged.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, WorkDirectoryError> {
        checkpoint(&self.file("checkpoint"))
    }

    /// Reads the whole undo log.
    ///
    /// # Errors
    ///
    /// [`WorkDirectoryError::Io`] and [`WorkDirectoryError::Undo`].
    pub fn undo_index(&self) -> Result<UndoIndex, WorkDirectoryError> {
        let path = self.file("undo");
        let log = std::fs::read(&path).map_err(failed("read", &path))?;
        UndoIndex::read(&log).map_err(|source| WorkDirectoryError::Undo { path, source })
    }

    /// Writes the report, durably.
    ///
    /// # Errors
    ///
    /// [`WorkDirectoryError::Io`].
    pub fn write_report(&self, report: &Report) -> Result<(), WorkDirectoryError> {
        let path = self.file("report.json");
        let json = serde_json::to_vec_pretty(report).map_err(io::Error::from);
        json.and_then(|json| replace(&path, &json)).map_err(failed("write", &path))
    }

    fn file(&self, end: &str) -> PathBuf {
        file_path(&self.path, self.shard, end)
    }
}

impl Records for WorkDirectory {
    fn append(&mut self, batch: &[u8]) -> io::Result<u64> {
        let undo = self.undo.as_mut().ok_or_else(|| io::Error::other("the job has not begun"))?;
        undo.write_all(batch)?;
        undo.sync_data()?;
        Ok(undo.metadata()?.len())
    }

    fn save(&mut self, failures_at: u64, failures: &[u8], checkpoint: &[u8]) -> io::Result<()> {
        let path = self.file("failures.jsonl");
        let mut file = options().write(true).create(true).truncate(false).open(&path)?;
        let end = failures_at + failures.len() as u64;
        if !failures.is_empty() || file.metadata()?.len() != end {
            file.seek(SeekFrom::Start(failures_at))?;
            file.write_all(failures)?;
            file.set_len(end)?;
            file.sync_all()?;
        }
        replace(&self.file("checkpoint"), checkpoint)
    }
}

fn checkpoint(path: &Path) -> Result<Option<Checkpoint>, WorkDirectoryError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", path))?,
    };
    let checkpoint = Checkpoint::read(&bytes).map(Some);
    checkpoint.map_err(|source| WorkDirectoryError::Checkpoint { path: path.into(), source })
}

/// Replaces a file under the lock of its shard.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    super::replace(path, ".new", bytes)
}

fn file_path(directory: &Path, shard: Shard, end: &str) -> PathBuf {
    directory.join(format!("{}-of-{}.{end}", shard.index(), shard.count()))
}

/// Creates a directory and those above it, durably: a power failure must not take an undo log with its directory.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    create_directory(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => created?,
    }
    sync_directory(parent)
}

/// No records, for a dry run and for a census that is not resumed.
impl Records for () {
    fn append(&mut self, _: &[u8]) -> io::Result<u64> {
        Err(io::Error::other("there is no undo log: open a directory for the records of the job"))
    }

    fn save(&mut self, _: u64, _: &[u8], _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
