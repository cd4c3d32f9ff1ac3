//! The exit code and the next step for each error of the library.

use super::{Exit, MAKE_ROOM};
use crate::new_name::RULE;
use envelock::Error;
use envelock::file::{
    FileError, FileKind, KeyFileError, KeyFileFault, MessageFileError, ProtectionsFault,
};
use envelock::keyset::{
    Guard, KeyFault, LabelFault, LifecycleError, Operation, Refusal, VersionState,
};
use std::io::{self, ErrorKind};
use std::sync::Arc;

const LIST: &str = "`envelock key list` shows the keys and their versions";
const AGAIN: &str = "run the same command again later";

/// Returns the exit code and the next step for an error of the library.
pub fn exit_and_next(error: &Error) -> (Exit, String) {
    if is_storage_full(error) {
        return (Exit::CouldNotRun, MAKE_ROOM.into());
    }
    if error.is_retryable() {
        return (Exit::TryLater, AGAIN.into());
    }
    let (exit, next) = match error {
        Error::NotEnvelock { .. } => {
            (Exit::CouldNotRun, "check the path: `envelock inspect FILE` reads one header")
        }
        Error::Truncated { .. } | Error::Header { .. } | Error::DetachedHeaderLength { .. } => {
            (Exit::NotVerified, "take the message from a backup, with its journal if there is one")
        }
        Error::Authentication { .. } => (
            Exit::NotVerified,
            "check the associated data; if it is right, the message was changed: take it from a backup",
        ),
        Error::NoKey { .. } | Error::MissingSlot { .. } => (
            Exit::CouldNotRun,
            "name the keyring of that key by `-k`: `envelock inspect FILE` lists the keys of a message",
        ),
        Error::Refused { key, version, refusal, .. }
        | Error::StreamRefused { key, version, refusal, .. } => {
            return (Exit::Refused, refused(&format!("{key}:{version}"), *refusal));
        }
        Error::LastSlot { .. } => {
            (Exit::Refused, "add a slot of another key first: `envelock rewrap --add KEYRING FILE`")
        }
        Error::OldVersionStillOpens { .. } => (
            Exit::Refused,
            "`envelock inspect FILE` lists the slots; rewrap without `--retiring` to see why",
        ),
        Error::NoPrimary => {
            (Exit::Refused, "promote a version: `envelock key promote KEY:VERSION`")
        }
        Error::WrapLimit { key, .. } => {
            return (Exit::Refused, format!("`envelock key rotate {key}`"));
        }
        Error::Lifecycle(error) => return lifecycle(error),
        Error::AadPair { .. } => (Exit::Usage, "correct the pair: `--aad-pair NAME=VALUE`"),
        Error::Backend(_) => return backend(error),
        Error::Io { .. } => (Exit::CouldNotRun, "check the disk and the pipe, then run it again"),
        _ => (Exit::CouldNotRun, "remove the cause and run the command again"),
    };
    (exit, next.into())
}

/// Reports whether a disk or a quota is full: the library takes that for temporary, but a person makes room.
fn is_storage_full(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(match error {
        Error::Io { source, .. } => source,
        _ => error,
    });
    while let Some(error) = cause {
        let shared = error.downcast_ref::<Arc<io::Error>>().map(|error| &**error);
        if let Some(error) = error.downcast_ref::<io::Error>().or(shared) {
            return matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        }
        cause = error.source();
    }
    false
}

fn refused(version: &str, refusal: Refusal) -> String {
    match refusal {
        Refusal::Disabled => {
            format!("`envelock key enable {version}` lets it open messages again")
        }
        Refusal::DestroyScheduled => format!("`envelock key destroy {version} --cancel` keeps it"),
        Refusal::Compromised => {
            format!("encrypt the message again, or rewrap it with `--from-compromised {version}`")
        }
        Refusal::Destroyed => {
            "take an older copy of the key file from a backup, if there is one".into()
        }
        _ => LIST.into(),
    }
}

fn lifecycle(error: &LifecycleError) -> (Exit, String) {
    use LifecycleError as L;
    let (exit, next) = match error {
        L::UnknownKey { .. } | L::UnknownVersion { .. } => (Exit::CouldNotRun, LIST.into()),
        L::NoKeySelected { keys } => {
            let key = keys.first().map_or("NAME", String::as_str);
            let next = format!(
                "name one in the locator of the keyring: `?key={key}`; `encrypt` takes `--key {key}`, too"
            );
            (Exit::Usage, next)
        }
        L::Label { fault: LabelFault::Value, .. } => {
            (Exit::Usage, "use at most 256 bytes, and no control characters".into())
        }
        L::Label { fault: LabelFault::TooMany, .. } => (
            Exit::Usage,
            "remove a label first: `envelock key label KEY:VERSION --remove NAME`".into(),
        ),
        L::KeyName(_) | L::Label { .. } => (Exit::Usage, RULE.into()),
        L::NameTaken { .. } => (Exit::CouldNotRun, format!("choose another name; {LIST}")),
        L::VersionState { key, version, state, operation } => {
            (Exit::Refused, in_state(&format!("{key}:{version}"), key, *state, *operation))
        }
        L::RecordRemoved { key, .. } => (Exit::Refused, format!("`envelock key show {key}`")),
        L::Guarded { key, version, guard, .. } => (Exit::Refused, guarded(key, *version, guard)),
        L::NotOffered { instead, .. } => (Exit::Refused, instead.clone()),
        L::VersionNumber { last, .. } => {
            (Exit::CouldNotRun, format!("take a version above {last}: `--version N`"))
        }
        L::DestructionDelay { .. } => (Exit::Usage, "`--after DAYS`, from 7 to 30".into()),
        L::DestructionNotDue { key, version, due } => (
            Exit::Refused,
            format!("run it after {due}; `envelock key destroy {key}:{version} --cancel` keeps it"),
        ),
        L::NotDestroyed { .. } => (
            Exit::ItemsLeft,
            "make the token available; the next change of any key destroys it there".into(),
        ),
        L::KeyMaterial => (Exit::CouldNotRun, "import other key material".into()),
        L::ImportRefused => {
            (Exit::CouldNotRun, "`envelock key add KEY` has the token generate a version".into())
        }
        L::Conflict { found, .. } => (
            Exit::Refused,
            format!(
                "`envelock key list` shows what it is now; `--if-unchanged-since {found}` changes that"
            ),
        ),
        L::Key { key, fault: KeyFault::Erased } => {
            (Exit::Refused, format!("create a key of another name than {key}"))
        }
        L::Key { key, .. } => (Exit::Refused, format!("`envelock key show {key}`")),
        _ => (Exit::CouldNotRun, LIST.into()),
    };
    (exit, next)
}

/// Returns the step that comes before an operation that the state does not allow.
fn in_state(name: &str, key: &str, state: VersionState, operation: Operation) -> String {
    use Operation::{Destroy, DestroyImmediately, Disable, Promote, ScheduleDestruction};
    use VersionState as S;
    match (state, operation) {
        (S::Primary, Disable | ScheduleDestruction { .. } | Destroy | DestroyImmediately) => {
            format!("make another version the primary first: `envelock key rotate {key}`")
        }
        (
            S::Pending | S::Enabled | S::Compromised,
            ScheduleDestruction { .. } | Destroy | DestroyImmediately,
        ) => format!("disable it first: `envelock key disable {name}`"),
        (S::Disabled, Destroy) => {
            format!("schedule the destruction first: `envelock key destroy {name}`")
        }
        (S::Disabled, Promote) => format!("enable it first: `envelock key enable {name}`"),
        (S::DestroyScheduled, Operation::Enable | Promote) => {
            format!("cancel the destruction first: `envelock key destroy {name} --cancel`")
        }
        (S::Compromised, Promote) => {
            format!("a compromised version never wraps again: `envelock key rotate {key}`")
        }
        _ => format!("`envelock key show {key}` shows the states"),
    }
}

fn guarded(key: &str, version: envelock::KeyVersion, guard: &Guard) -> String {
    match guard {
        Guard::OnHold { .. } => format!(
            "a person decides: `envelock key hold {key}:{version} --release` (or `{key}`) lifts the hold"
        ),
        Guard::EvidenceRequired => "pass the digest of the judgement: `--evidence SHA256`".into(),
        Guard::Clock { .. } => "correct the clock of this machine: `date -u`".into(),
        _ => format!("`envelock key show {key}`"),
    }
}

fn backend(error: &Error) -> (Exit, String) {
    if let Some(error) = error.backend::<KeyFileError>() {
        return key_file(error);
    }
    let (exit, next) = match error.backend::<MessageFileError>() {
        Some(MessageFileError::File(error)) => return file(error),
        Some(MessageFileError::HardLinks { .. }) => {
            (Exit::Refused, "remove the other names, or copy the file: `cp FILE FILE.copy`")
        }
        Some(_) => (Exit::Refused, "inspect that file, and move it away: `ls -l`"),
        None => (
            Exit::CouldNotRun,
            token(error)
                .or_else(|| service(error))
                .unwrap_or("check the back end of the keyring, then run it again"),
        ),
    };
    (exit, next.into())
}

fn key_file(error: &KeyFileError) -> (Exit, String) {
    let (exit, next) = match error {
        KeyFileError::File(error) => return file(error),
        KeyFileError::Permissions { path, .. } => {
            (Exit::Refused, format!("`chmod 600 {}`", crate::output::shell_word(path)))
        }
        KeyFileError::Owner { .. } => {
            (Exit::Refused, "run it as the owner of the file, or `chown` the file".into())
        }
        KeyFileError::Content { fault, .. } => return content(fault),
        KeyFileError::RolledBack { .. } | KeyFileError::Diverged { .. } => (
            Exit::NotVerified,
            "find out which process put an older copy back, and take the newest from a backup"
                .into(),
        ),
        KeyFileError::MountedAlone { .. } => {
            (Exit::CouldNotRun, "mount the directory of the file instead of the file".into())
        }
        KeyFileError::Umask { .. } => (Exit::CouldNotRun, "`umask 077`, then run it again".into()),
        _ => (Exit::CouldNotRun, "remove the cause and run the command again".into()),
    };
    (exit, next)
}

fn content(fault: &KeyFileFault) -> (Exit, String) {
    let (exit, next) = match fault {
        KeyFileFault::OuterKeyring(error) => return exit_and_next(error),
        // A wrong passphrase is the likely cause, which is no reason to page somebody.
        KeyFileFault::Authentication => (
            Exit::CouldNotRun,
            "try the passphrase again; if it is right, the first line is damaged: take a backup",
        ),
        KeyFileFault::NotKeyFile { .. } | KeyFileFault::Converted { .. } => {
            (Exit::NotVerified, "check the path; a converted key file has to come from a backup")
        }
        KeyFileFault::FormatVersion { .. } | KeyFileFault::UnknownCritical { .. } => {
            (Exit::CouldNotRun, "take a newer envelock: `envelock --version`")
        }
        KeyFileFault::TokenVersion { .. } => (
            Exit::CouldNotRun,
            "name the token: `-k 'pkcs11:token=LABEL?module-path=PATH&x-catalogue=PATH'`",
        ),
        KeyFileFault::ProtectionKind { .. } => (
            Exit::CouldNotRun,
            "name the secret that the file has: `file:PATH?raw-key-file=PATH` or `?outer=KEYRING`",
        ),
        KeyFileFault::Protections { what } => return protections(*what),
        KeyFileFault::EmptySecret => (Exit::Usage, "choose a passphrase that is not empty"),
        _ => (Exit::NotVerified, "take the key file from a backup; keep the damaged one"),
    };
    (exit, next.into())
}

fn protections(fault: ProtectionsFault) -> (Exit, String) {
    let next = match fault {
        ProtectionsFault::TooMany { .. } | ProtectionsFault::TooManyPassphrases { .. } => {
            "remove one first: `envelock key protection list` shows the ids"
        }
        ProtectionsFault::Plaintext => {
            "`envelock key protection replace-file-key SECRET`: the file key of now was in the clear"
        }
        ProtectionsFault::Name => {
            return (Exit::Usage, RULE.into());
        }
        ProtectionsFault::Last => "add another one first: `envelock key protection add SECRET`",
        ProtectionsFault::Unknown { .. } => "`envelock key protection list` shows the ids",
        _ => {
            let next = "take the key file from a backup; keep the damaged one";
            return (Exit::NotVerified, next.into());
        }
    };
    (Exit::Refused, next.into())
}

#[cfg(feature = "pkcs11")]
fn token(error: &Error) -> Option<&'static str> {
    use envelock::pkcs11::{Error as TokenError, PinFault};
    Some(match error.backend::<TokenError>()? {
        TokenError::Library { .. } => "correct `module-path`: `ls -l` shows whether it is there",
        TokenError::TokenNotUnique { .. } => "select the token by `serial=NUMBER` in the locator",
        TokenError::Login { fault } => match fault {
            PinFault::Rejected => "correct the PIN before the token locks: `--pin-file FILE`",
            PinFault::Locked | PinFault::Expired | PinFault::NotInitialized => {
                "the security officer of the token sets a new PIN"
            }
            PinFault::FinalTry => "make sure of the PIN, and log in once with the vendor's tool",
            _ => "check the PIN and the token",
        },
        TokenError::WeakKey { .. } => "make another version: `envelock key rotate KEY`",
        TokenError::KeyNotFound { .. } => "restore the key on the token from the vendor's backup",
        _ => "check the token with the vendor's tool",
    })
}

#[cfg(feature = "transit")]
fn service(error: &Error) -> Option<&'static str> {
    use envelock_remote::ServiceError as S;
    Some(match error.backend::<S>()? {
        S::Denied(_) => {
            "check the token, and its policy: docs/TRANSIT.md has the rules that it needs"
        }
        S::UnknownKey => "`envelock key create KEY` makes it, if the name in the locator is right",
        _ => "check the locator and the service: `bao status`",
    })
}

#[cfg(not(feature = "transit"))]
fn service(_: &Error) -> Option<&'static str> {
    None
}

#[cfg(not(feature = "pkcs11"))]
fn token(_: &Error) -> Option<&'static str> {
    None
}

fn file(error: &FileError) -> (Exit, String) {
    let next = match error {
        FileError::NotFound { .. } => "check the path: `ls -l` lists a directory",
        FileError::Exists { .. } => "choose another name, or pass `--replace` where there is one",
        FileError::NotRegular { kind: FileKind::Symlink, .. } => {
            "pass the path of the file that the link leads to"
        }
        FileError::NotRegular { .. } => "pass the path of a regular file",
        FileError::Name { .. } => "choose another file name",
        FileError::NoLocks { .. } | FileError::UnstableIdentity { .. } => {
            "use a local file system: this one cannot lock files"
        }
        FileError::NotDurable { .. } => "check the medium: `dmesg`, then run it again",
        FileError::Io { .. } => "check owner, mode and room: `ls -l`, `df -h`",
        _ => "remove the cause and run the command again",
    };
    let exit = match error {
        FileError::Exists { .. } => Exit::Usage,
        _ => Exit::CouldNotRun,
    };
    (exit, next.into())
}

#[cfg(test)]
mod tests {
    use super::{Exit, exit_and_next};
    use envelock::Error;
    use envelock::file::{FileAction, FileError, KeyFileError, MessageFileError};
    use std::io::{self, ErrorKind};
    use std::sync::Arc;

    #[test]
    fn full_disk_has_one_exit_code() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        let in_file = |source| {
            let (path, source) = ("keys".into(), Arc::new(source));
            FileError::Io { action: FileAction::Write, path, source }
        };
        for error in [
            Error::from(full()),
            Error::from(KeyFileError::File(in_file(full()))),
            Error::from(MessageFileError::File(in_file(full()))),
        ] {
            let (exit, next) = exit_and_next(&error);
            assert_eq!(exit, Exit::CouldNotRun, "{error:?}");
            assert!(next.starts_with("make room"), "{next}");
        }
        let busy = Error::from(KeyFileError::File(in_file(ErrorKind::WouldBlock.into())));
        assert_eq!(exit_and_next(&busy).0, Exit::TryLater);
    }
}
