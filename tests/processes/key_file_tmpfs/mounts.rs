//! How a key file reaches a process: mounts, links that are swapped, groups (THREATS row 74).

use super::key_files::{ROW, file_error, raw, version_of};
use super::mount::Mount;
use crate::common::directory::TestDirectory;
use envelock::{
    Envelope, Error, FileKeyring, KeyVersion, Keyring, Lifecycle,
    file::{FileError, FileKeyringOptions, KeyFileError},
    keyring::Refusal,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn eager() -> FileKeyringOptions {
    FileKeyringOptions::new().refresh_after(Duration::ZERO)
}

fn encrypt(keyring: impl Keyring) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).encrypt(b"text", ROW)
}

/// Rotates, and destroys version 1.
fn destroy_first(admin: &FileKeyring) {
    let first = KeyVersion::new(1).unwrap();
    admin.rotate().unwrap();
    admin.disable(first).unwrap();
    admin.destroy_immediately(first).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// `docker -v file:file`, Compose, `subPath`.
#[test]
fn file_that_is_mounted_alone_is_refused_at_open() {
    let directory = TestDirectory::new();
    let (host, inside) = (directory.join("host.keys"), directory.join("inside.keys"));
    let admin = FileKeyring::create(&host, "orders", &raw(7)).unwrap();
    fs::write(&inside, b"").unwrap();
    let Some(_mount) = Mount::bind(&host, &inside) else { return };
    for is_replaced in [false, true] {
        if is_replaced {
            destroy_first(&admin);
        }
        for options in [eager(), eager().read_only(), eager().without_usage()] {
            let error = file_error(&options.open(&inside, "orders", &raw(7)).unwrap_err());
            assert!(matches!(error, KeyFileError::MountedAlone { .. }), "{error}");
            assert!(error.to_string().contains("mount its directory"), "{error}");
        }
    }
}

#[test]
fn directory_that_is_mounted_is_followed() {
    let directory = TestDirectory::new();
    let (host, inside) = (directory.join("host"), directory.join("inside"));
    fs::create_dir(&host).unwrap();
    fs::create_dir(&inside).unwrap();
    let admin = FileKeyring::create(host.join("orders.keys"), "orders", &raw(7)).unwrap();
    let Some(_mount) = Mount::bind(&host, &inside) else { return };
    let path = inside.join("orders.keys");
    let keyring = eager().open_read_only(&path, "orders", &raw(7)).unwrap();
    let message = encrypt(&keyring).unwrap();
    destroy_first(&admin);
    assert_eq!(version_of(&encrypt(&keyring).unwrap()), 2);
    let refused = Envelope::new(&keyring).decrypt(&message, ROW).unwrap_err();
    assert!(matches!(refused, Error::Refused { refusal: Refusal::Destroyed, .. }), "{refused}");
}

/// What the kubelet does to a Secret: a new directory, and one link that is turned to it.
struct Volume<'a>(&'a Path);

impl Volume<'_> {
    fn publish(&self, number: u32, bytes: &[u8]) {
        let data = self.0.join(format!("..v{number}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("orders.keys"), bytes).unwrap();
        set_mode(&data.join("orders.keys"), 0o440);
        let link = self.0.join("..data_tmp");
        symlink(format!("..v{number}"), &link).unwrap();
        fs::rename(&link, self.0.join("..data")).unwrap();
        if number > 1 {
            fs::remove_dir_all(self.0.join(format!("..v{}", number - 1))).unwrap();
        } else {
            symlink("..data/orders.keys", self.0.join("orders.keys")).unwrap();
        }
    }
}

#[test]
fn secret_volume_is_followed_over_its_data_link() {
    let directory = TestDirectory::new();
    let (source, volume) = (directory.join("source.keys"), directory.join("volume"));
    fs::create_dir(&volume).unwrap();
    let admin = FileKeyring::create(&source, "orders", &raw(7)).unwrap();
    let first = fs::read(&source).unwrap();
    Volume(&volume).publish(1, &first);
    let options = eager().allow_permissions();
    for path in [volume.join("orders.keys"), volume.join("..data/orders.keys")] {
        options.open(&path, "orders", &raw(7)).unwrap();
    }
    let path = volume.join("orders.keys");
    let reader = options.open_read_only(&path, "orders", &raw(7)).unwrap();
    let direct = volume.join("..data/orders.keys");
    let direct = options.open_read_only(&direct, "orders", &raw(7)).unwrap();
    let default = options.clone().without_usage().open(&path, "orders", &raw(7)).unwrap();
    for keyring in [&reader as &dyn Keyring, &direct, &default] {
        assert_eq!(version_of(&encrypt(keyring).unwrap()), 1);
    }
    destroy_first(&admin);
    Volume(&volume).publish(2, &fs::read(&source).unwrap());
    let message = encrypt(&admin).unwrap();
    for keyring in [&reader as &dyn Keyring, &direct, &default] {
        assert_eq!(version_of(&encrypt(keyring).unwrap()), 2);
        assert_eq!(Envelope::new(keyring).decrypt(&message, ROW).unwrap(), b"text");
    }
    // An old state put back by the same way is seen, too.
    Volume(&volume).publish(3, &first);
    for keyring in [&reader as &dyn Keyring, &direct, &default] {
        let error = file_error(&encrypt(keyring).unwrap_err());
        assert!(matches!(error, KeyFileError::RolledBack { .. }), "{error}");
    }
}

#[test]
fn release_link_is_followed_by_the_writer() {
    let directory = TestDirectory::new();
    let (one, two) = (directory.join("r1"), directory.join("r2"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let current = directory.join("current");
    symlink("r1", &current).unwrap();
    let path = current.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw(7)).unwrap();
    keyring.rotate().unwrap();
    fs::copy(one.join("orders.keys"), two.join("orders.keys")).unwrap();
    let former = fs::read(one.join("orders.keys")).unwrap();
    let link = directory.join("next");
    symlink("r2", &link).unwrap();
    fs::rename(&link, &current).unwrap();
    keyring.rotate().unwrap();
    assert_eq!(fs::read(one.join("orders.keys")).unwrap(), former);
    assert_eq!(version_of(&encrypt(&keyring).unwrap()), 3);
    let there = FileKeyring::open(two.join("orders.keys"), "orders", &raw(7)).unwrap();
    assert_eq!(there.versions().len(), 3);
}

const TASK: &str = "ENVELOCK_UID_TASK";

/// Runs `task` of [`another_user_entry`] as user 1000 of group 2000; `false`, said aloud, where
/// this machine does not allow that.
fn as_user(task: &str, path: &Path) {
    let executable = std::env::current_exe().unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=1000", "--regid=2000", "--clear-groups"])
        .arg(executable)
        .args(["--exact", "key_file_tmpfs::mounts::another_user_entry", "--nocapture"])
        .env(TASK, format!("{task} {}", path.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{task}: {output:?}");
}

#[test]
fn another_user_entry() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (task, path) = task.split_once(' ').unwrap();
    let options = eager().allow_permissions();
    match task {
        "read" => {
            let keyring = options.open_read_only(path, "orders", &raw(7)).unwrap();
            drop(encrypt(&keyring).unwrap());
        }
        "fail-to-write" => {
            let keyring = options.without_usage().open(path, "orders", &raw(7)).unwrap();
            drop(encrypt(&keyring).unwrap());
            assert!(keyring.health().write_error.is_some());
            let error = file_error(&keyring.rotate().unwrap_err());
            assert!(matches!(error, KeyFileError::File(FileError::Io { .. })), "{error}");
        }
        "rotate" => {
            let keyring = eager().open(path, "orders", &raw(7)).unwrap();
            assert!(keyring.health().write_error.is_none());
            keyring.rotate().unwrap();
        }
        other => panic!("{other}"),
    }
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: only root acts as another user; run this test as root");
    }
    is_root
}

/// root rotates, and a service reads by its group.
#[test]
fn file_that_a_group_reads_stays_readable_to_it() {
    if !is_root() {
        return;
    }
    let directory = TestDirectory::new();
    set_mode(directory.path(), 0o755);
    let path = directory.join("orders.keys");
    let admin = eager().allow_permissions().create(&path, "orders", &raw(7)).unwrap();
    chown(&path, None, Some(2000)).unwrap();
    set_mode(&path, 0o640);
    as_user("read", &path);
    admin.rotate().unwrap();
    as_user("read", &path);
    as_user("fail-to-write", &path);
    // Names that may not be listed.
    set_mode(directory.path(), 0o711);
    as_user("read", &path);
    as_user("fail-to-write", &path);
}

/// root's tool on the file of a service.
#[test]
fn allowed_file_of_another_owner_keeps_its_owner() {
    if !is_root() {
        return;
    }
    let directory = TestDirectory::new();
    chown(directory.path(), Some(1000), Some(2000)).unwrap();
    let path = directory.join("orders.keys");
    drop(FileKeyring::create(&path, "orders", &raw(7)).unwrap());
    fs::remove_file(directory.join("orders.keys.lock")).unwrap();
    chown(&path, Some(1000), Some(2000)).unwrap();
    let error = file_error(&FileKeyring::open(&path, "orders", &raw(7)).unwrap_err());
    assert!(matches!(error, KeyFileError::Owner { owner: 1000, user: 0, .. }), "{error}");
    let tool = eager().allow_owner(1000).open(&path, "orders", &raw(7)).unwrap();
    tool.rotate().unwrap();
    for name in ["orders.keys", "orders.keys.lock"] {
        let stat = fs::metadata(directory.join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o777), (1000, 2000, 0o600), "{name}");
    }
    as_user("rotate", &path);
    assert_eq!(tool.versions().len(), 3);
}

#[test]
fn read_only_medium_is_reported_before_a_change() {
    let directory = TestDirectory::new();
    let Some(mount) = Mount::tmpfs(directory.path(), "size=1m") else { return };
    let path = mount.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw(7)).unwrap();
    assert!(keyring.health().write_error.is_none());
    mount.remount("ro");
    let Some(KeyFileError::File(FileError::Io { source, .. })) = keyring.health().write_error
    else {
        panic!("{:?}", keyring.health());
    };
    assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(keyring.health().last_error.is_none());
    mount.remount("rw");
}
