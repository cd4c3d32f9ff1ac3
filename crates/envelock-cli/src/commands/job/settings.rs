//! How a job was started, so that it can be resumed by its directory alone: `job.json`.

use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::keyring_locator::rebased;
use crate::open_keyring::OpenKeyring;
use crate::open_source::absolute;
use crate::output::printable;
use crate::small_file;
use envelock_ops::Definition;
use envelock_ops::drivers::replace;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

const FORMAT: &str = "envelock job settings";
const VERSION: u32 = 1;
const FILE: &str = "job.json";

/// Most bytes of the file. A sample of a canary has 20 for each item.
const MAX_LEN: usize = 1 << 26;

/// The settings of a job. It holds no secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub format: String,
    pub version: u32,
    /// The locator of the source, with absolute paths.
    pub source: String,
    /// The name or locator of the keyring.
    pub keyring: String,
    /// The keyring whose slots are added.
    pub add: Option<String>,
    /// The template of associated data, for new encryptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aad: Option<String>,
    /// The command that is asked after each stage.
    pub gate: Option<String>,
    /// How long the command has for its decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_seconds: Option<u64>,
    /// The items of the failures of this job directory are done, with its undo log.
    pub retries: Option<PathBuf>,
    /// The undo log of this job directory is restored.
    pub undoes: Option<PathBuf>,
    pub definition: Definition,
}

impl Settings {
    pub fn new(source: String, keyring: String, definition: Definition) -> Self {
        Settings {
            format: FORMAT.into(),
            version: VERSION,
            source,
            keyring,
            add: None,
            aad: None,
            gate: None,
            gate_seconds: None,
            retries: None,
            undoes: None,
            definition,
        }
    }

    /// Reads the settings of a job directory. They can name a command and a PKCS#11 library, which is code that runs for
    /// this user.
    ///
    /// # Errors
    ///
    /// It is no job directory, or one of another version; the file belongs to another user, or others may write it.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(FILE);
        let file = Settings::open(directory)?;
        small_file::check_owner(&path, &file, |_| {
            "start a job in a directory of your own: `-d NEW`".into()
        })?;
        Settings::parse(&path, file)
    }

    /// Reads the settings of anyone's job directory. Nothing that they name may be run or opened.
    ///
    /// # Errors
    ///
    /// It is no job directory, or one of another version.
    pub fn of_anyone(directory: &Path) -> Result<Self, Failure> {
        Settings::parse(&directory.join(FILE), Settings::open(directory)?)
    }

    fn open(directory: &Path) -> Result<File, Failure> {
        let path = directory.join(FILE);
        small_file::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let subject = printable(directory);
                let what = format!("{subject} is no directory of a job: it has no {FILE}");
                Failure::new(Exit::CouldNotRun, what, "`envelock job start SOURCE` makes one")
            }
            _ => Failure::io(printable(&path), &error),
        })
    }

    fn parse(path: &Path, file: File) -> Result<Self, Failure> {
        let bytes = small_file::read(file, MAX_LEN)
            .map_err(|error| Failure::io(printable(path), &error))?;
        let subject = printable(path);
        let of_version = |value: &Value| {
            let is_of = value.get("format").is_some_and(|format| format == FORMAT);
            value.get("version").filter(|_| is_of).and_then(Value::as_u64)
        };
        let error = match serde_json::from_slice::<Settings>(&bytes) {
            Ok(settings) if settings.format == FORMAT && settings.version == VERSION => {
                return Ok(settings);
            }
            Ok(_) => format!("it is no {FORMAT}"),
            Err(error) => error.to_string(),
        };
        match serde_json::from_slice(&bytes).ok().as_ref().and_then(of_version) {
            Some(version) if version != u64::from(VERSION) => {
                let what =
                    format!("{subject} is of version {version}, and this program reads {VERSION}");
                let next = "use the envelock that started the job: `envelock --version`";
                Err(Failure::new(Exit::NotVerified, what, next))
            }
            _ => {
                let next = "take the file from a backup, or start the job again in another directory by \
                            `envelock job start SOURCE -d NEW`: what is done is found as current";
                Err(Failure::new(Exit::NotVerified, format!("{subject} is damaged: {error}"), next))
            }
        }
    }

    /// Returns whether a directory has settings.
    pub fn exist(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Writes the settings, unless they are there already.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        let path = directory.join(FILE);
        if Settings::exist(directory) && Settings::read(directory)? == *self {
            return Ok(());
        }
        let failed = |error: std::io::Error| Failure::io(printable(&path), &error);
        let json = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        replace(&path, &format!(".{}.new", std::process::id()), &json).map_err(failed)
    }

    /// Opens the keyring of the job. Only `-k` names another file of it, since the environment of the next call may be
    /// for something else.
    ///
    /// # Errors
    ///
    /// It does not open.
    pub fn open_keyring(&self, context: &Context) -> Result<OpenKeyring, Failure> {
        let given = context.keyring_argument().unwrap_or(&self.keyring);
        if lasting(given)? != self.keyring {
            let text = format!("keyring {given} by -k; the job was started with {}", self.keyring);
            context.output().progress(|| text.clone(), || serde_json::json!({ "warning": text }));
        }
        context.opening(given)?.open()
    }
}

/// Opens the keyring of the call, or the one of the source if the call names none. Returns its lasting name, too.
///
/// # Errors
///
/// It does not open.
pub fn open_keyring(
    context: &Context,
    of_source: Option<&str>,
) -> Result<(OpenKeyring, String), Failure> {
    let is_named = context.keyring_argument().is_some() || variable("ENVELOCK_KEYRING").is_some();
    let given = match of_source {
        Some(given) if !is_named => given.to_string(),
        _ => context.keyring_name()?,
    };
    let keyring = context.opening(&given)?.open()?;
    Ok((keyring, lasting(&given)?))
}

/// Returns a locator with absolute paths.
pub fn lasting(given: &str) -> Result<String, Failure> {
    Ok(rebased(given, &absolute(Path::new("."))?))
}
