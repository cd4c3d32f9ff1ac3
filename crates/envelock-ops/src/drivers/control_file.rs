//! A file that changes a job while it runs (FORMAT 5).

use super::{Control, now};
use crate::limits::Limits;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the file is read.
const PERIOD: Duration = Duration::from_secs(1);

/// How often the window is computed again.
const RESOLVE_PERIOD: Duration = Duration::from_secs(60);

/// A longer file is not one of controls.
const MAX_LEN: u64 = 64 * 1024;

/// What an operator can change while a job runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers set some fields and take the others from `default`"
)]
pub struct Controls {
    /// The limits. The calendar overwrites `closed_until` and `closes_at` if there is a window.
    pub limits: Limits,
    /// Whether no item is begun.
    pub paused: bool,
    /// When items are begun, such as `22:00-05:00 Europe/Berlin`. The [`Calendar`] of the caller reads it.
    pub window: Option<String>,
    /// A job stops when this becomes a number that it was not when the job began.
    pub stop: Option<u64>,
}

/// A time in which items may be begun, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Window {
    /// The start.
    pub opens_at: u64,
    /// The end, which does not belong to it.
    pub closes_at: u64,
}

/// Returns the present or the next window for the text of one, or why the text is none.
pub type Calendar = Box<dyn FnMut(&str, Duration) -> Result<Window, String> + Send>;

/// The file with the [`Controls`] of a job. A driver reads it each second: it is a [`Control`].
///
/// A file with wrong content is reported by [`error`](Self::error) and changes nothing, and neither does a file that
/// was removed.
pub struct ControlFile {
    path: PathBuf,
    calendar: Option<Calendar>,
    content: Vec<u8>,
    controls: Controls,
    window: Option<Window>,
    stop_at_first: Option<u64>,
    read_at: Duration,
    resolved_at: Duration,
    is_changed: bool,
    error: Option<String>,
}

/// Why a file of controls is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlFileError {
    /// The operating system refused.
    #[error("cannot use {path:?}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The content is wrong.
    #[error("{path:?}: {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Controls {
    /// Reads the controls of a file; those by default if it does not exist.
    ///
    /// # Errors
    ///
    /// [`ControlFileError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ControlFileError> {
        let path = path.as_ref();
        let io = |source| ControlFileError::Io { path: path.into(), source };
        let Some(content) = content(path).map_err(io)? else { return Ok(Controls::default()) };
        parse(&content).map_err(|why| ControlFileError::Content { path: path.into(), why })
    }

    /// Replaces a file of controls, atomically.
    ///
    /// # Errors
    ///
    /// [`ControlFileError::Io`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ControlFileError> {
        let path = path.as_ref();
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = json.and_then(|mut json| {
            json.push(b'\n');
            super::replace(path, &format!(".{}.new", std::process::id()), &json)
        });
        written.map_err(|source| ControlFileError::Io { path: path.into(), source })
    }
}

fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(MAX_LEN).read_to_end(&mut content)?,
    };
    Ok(Some(content))
}

fn parse(content: &[u8]) -> Result<Controls, String> {
    let controls: Controls = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    match controls.limits.concurrency {
        0 => Err("concurrency is 0: use at least 1, or pause the job".into()),
        _ => Ok(controls),
    }
}

impl ControlFile {
    /// Opens the file, which need not exist. `now` is a duration since 1970.
    ///
    /// # Errors
    ///
    /// [`ControlFileError`]: a job does not begin with limits that nobody can read.
    pub fn open(
        path: impl Into<PathBuf>,
        calendar: Option<Calendar>,
        now: Duration,
    ) -> Result<Self, ControlFileError> {
        let path = path.into();
        let io = |source| ControlFileError::Io { path: path.clone(), source };
        let content = content(&path).map_err(io)?;
        let mut file = ControlFile {
            calendar,
            content: Vec::new(),
            controls: Controls::default(),
            window: None,
            stop_at_first: None,
            read_at: now,
            resolved_at: now,
            is_changed: true,
            error: None,
            path,
        };
        if let Some(content) = content {
            file.take(content, now);
        }
        if let Some(why) = file.error.take() {
            return Err(ControlFileError::Content { path: file.path, why });
        }
        file.stop_at_first = file.controls.stop;
        Ok(file)
    }

    /// Reads the file again, at most once a second, and follows the calendar.
    pub fn poll(&mut self, now: Duration) {
        // The clock can be set back.
        if now.abs_diff(self.read_at) < PERIOD {
            return;
        }
        self.read_at = now;
        match content(&self.path) {
            Ok(Some(content)) if content != self.content => self.take(content, now),
            Ok(_) => self.follow_calendar(now),
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    /// Takes new content, or keeps the old controls and the error.
    fn take(&mut self, content: Vec<u8>, now: Duration) {
        let parsed = parse(&content).and_then(|controls| {
            let window = self.resolve(controls.window.as_deref(), now)?;
            Ok((controls, window))
        });
        self.content = content;
        match parsed {
            Ok((controls, window)) => {
                (self.controls, self.window, self.error) = (controls, window, None);
                self.is_changed = true;
            }
            Err(why) => self.error = Some(why),
        }
    }

    fn resolve(&mut self, text: Option<&str>, now: Duration) -> Result<Option<Window>, String> {
        let Some(text) = text else { return Ok(None) };
        let calendar = self.calendar.as_mut().ok_or("a window needs a calendar")?;
        calendar(text, now).map(Some)
    }

    /// Finds the next window when one has ended, and each minute, since the clock can be set.
    fn follow_calendar(&mut self, now: Duration) {
        let is_over = |window: Window| now.as_secs() >= window.closes_at;
        let is_due = now.abs_diff(self.resolved_at) >= RESOLVE_PERIOD;
        if !self.window.is_some_and(|window| is_due || is_over(window)) {
            return;
        }
        self.resolved_at = now;
        let text = self.controls.window.clone();
        match self.resolve(text.as_deref(), now) {
            Ok(window) => {
                self.is_changed |= window != self.window;
                self.window = window;
            }
            // The window that has ended stays, so that nothing begins.
            Err(why) => self.error = Some(why),
        }
    }

    /// Returns the controls.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// Returns the limits that the controls and the calendar make.
    pub fn effective_limits(&self) -> Limits {
        let Controls { mut limits, paused, .. } = self.controls;
        if paused {
            limits.items_per_second = Some(0);
        }
        if let Some(Window { opens_at, closes_at }) = self.window {
            (limits.closed_until, limits.closes_at) = (opens_at, Some(closes_at));
        }
        limits
    }

    /// Returns whether the job is to stop.
    pub fn wants_stop(&self) -> bool {
        self.controls.stop.is_some() && self.controls.stop != self.stop_at_first
    }

    /// Takes what is wrong with the file, once for each change of it.
    pub fn error(&mut self) -> Option<String> {
        self.error.take().map(|why| format!("{:?}: {why}", self.path))
    }

    /// Takes the limits, if they have changed.
    pub fn changed(&mut self) -> Option<Limits> {
        std::mem::take(&mut self.is_changed).then(|| self.effective_limits())
    }
}

impl Control for ControlFile {
    fn is_stopped(&mut self) -> bool {
        self.poll(now());
        self.wants_stop()
    }

    fn limits(&mut self) -> Option<Limits> {
        self.poll(now());
        self.changed()
    }
}

impl fmt::Debug for ControlFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlFile")
            .field("path", &self.path)
            .field("controls", &self.controls)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
