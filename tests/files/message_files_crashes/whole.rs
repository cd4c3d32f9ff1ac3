//! A crash at every system call of an encryption or decryption to a new file.

use crate::common::elastic::Elastic;
use crate::common::simulated_directory::disk::{Disk, Seen};
use crate::common::simulated_directory::{
    Kind, LACKS_NOTHING, Lacks, Plan, SimulatedDirectory, USER,
};
use crate::message_files_crashes::scene::{LINKED, NAMED, finished};
use envelock::test_access::key_file::{Directory, FileKind};
use envelock::test_access::message_file::{decrypt_file_in, encrypt_file_in};
use envelock::{
    Aad, Envelope, Error,
    file::{FileError, MessageFileError},
};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Arc;

const FROM: &str = "from";
const TO: &str = "to";
const ROW: Aad<'static> = Aad::new(b"row");
const TEXT: [u8; 700] = [0x5a; 700];

struct Scene {
    envelope: Envelope<Elastic>,
    message: Vec<u8>,
    encrypts: bool,
    lacks: Lacks,
}

impl Scene {
    fn new(encrypts: bool, lacks: Lacks) -> Self {
        let envelope = Envelope::new(Elastic::new(72, 0));
        let message = envelope.encrypt(&TEXT, ROW).unwrap();
        Scene { envelope, message, encrypts, lacks }
    }

    fn perform(&self, directory: &SimulatedDirectory) -> Result<u64, Error> {
        let directory: Arc<dyn Directory> = Arc::new(directory.clone());
        let to = OsStr::new(TO);
        match self.encrypts {
            true => encrypt_file_in(&self.envelope, &TEXT[..], directory, to, ROW),
            false => decrypt_file_in(&self.envelope, &directory, OsStr::new(FROM), to, ROW),
        }
    }

    /// Whether the new file is there, or that it is there and not whole.
    fn found(&self, disk: &Disk) -> Result<bool, String> {
        assert_eq!(disk.bytes(OsStr::new(FROM)), Some(&self.message[..]));
        let Some(bytes) = disk.bytes(OsStr::new(TO)) else { return Ok(false) };
        let is_whole = match self.encrypts {
            true => self.envelope.decrypt(bytes, ROW).is_ok_and(|text| text == TEXT),
            false => bytes == TEXT,
        };
        if is_whole { Ok(true) } else { Err(format!("{} bytes are there", bytes.len())) }
    }

    fn directory(&self) -> SimulatedDirectory {
        let directory = SimulatedDirectory::new().lacking(self.lacks);
        directory.plant(FROM, FileKind::Regular, &self.message, 0o600, USER);
        directory
    }

    /// Every image of every moment, and what is bad about it; each is recovered from if asked.
    fn enumerate(&self, ignored_syncs: BTreeSet<usize>, recover: bool) -> (usize, Vec<String>) {
        let directory = self.directory();
        let most_at_once = Some(300);
        let record_disks = true;
        directory.plan(Plan { record_disks, most_at_once, ignored_syncs, ..Plan::default() });
        self.perform(&directory).unwrap();
        let (returned, disks) = (directory.calls().len(), directory.recorded_disks());
        let (mut seen, mut bad) = (Seen::default(), Vec::new());
        for (index, disk) in disks.iter().enumerate().rev() {
            disk.crash_unseen(&mut seen, &mut |image, _| {
                match self.found(&image) {
                    Ok(is_there) if is_there || index < returned => {}
                    Ok(_) => bad.push("nothing is there after the return".into()),
                    Err(error) => bad.push(error),
                }
                if recover {
                    self.recover(image);
                }
            });
        }
        (seen.images(), bad)
    }

    /// Tries again: the file is there then, and nothing else.
    fn recover(&self, image: Disk) {
        let was_there = self.found(&image).unwrap();
        let left = image.list().len() - finished(&image).len();
        let directory = SimulatedDirectory::from_disk(image).lacking(self.lacks);
        match self.perform(&directory) {
            Ok(_) => assert!(!was_there),
            Err(error)
                if matches!(
                    error.backend(),
                    Some(MessageFileError::File(FileError::Exists { .. }))
                ) =>
            {
                assert!(was_there)
            }
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(self.found(&directory.disk()), Ok(true));
        assert_eq!(finished(&directory.disk()), [FROM, TO]);
        assert_eq!(directory.disk().list().len(), 2 + left, "nothing is left by it");
    }
}

#[test]
fn every_crash_leaves_the_whole_file_or_none() {
    for (lacks, least) in [(LACKS_NOTHING, 2), (NAMED, 1_000), (LINKED, 1_000)] {
        for encrypts in [true, false] {
            let (images, bad) = Scene::new(encrypts, lacks).enumerate(BTreeSet::new(), true);
            println!("encrypts: {encrypts}, {lacks:?}: {images} images, each recovered from");
            assert_eq!(bad, [""; 0]);
            assert!(images >= least);
        }
    }
}

#[test]
fn without_either_sync_the_file_is_torn_or_lost() {
    let scenes = [(true, LACKS_NOTHING), (false, LACKS_NOTHING), (true, NAMED), (false, LINKED)];
    for (encrypts, lacks) in scenes {
        let scene = Scene::new(encrypts, lacks);
        let directory = scene.directory();
        directory.plan(Plan::default());
        scene.perform(&directory).unwrap();
        let is_sync = |kind: &Kind| matches!(kind, Kind::SyncFile | Kind::SyncDirectory);
        let syncs: Vec<Kind> =
            directory.calls().iter().map(|call| call.kind).filter(is_sync).collect();
        assert_eq!(syncs, [Kind::SyncFile, Kind::SyncDirectory]);
        for (number, kind) in syncs.iter().enumerate() {
            let (images, bad) = scene.enumerate(BTreeSet::from([number]), false);
            println!("encrypts: {encrypts}, without {kind:?}: {} of {images} fail", bad.len());
            assert!(!bad.is_empty());
        }
    }
}
