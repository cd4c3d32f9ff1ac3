//! A directory: its content, the part that is on the medium, and the states after a crash.
//!
//! The model is adversarial, as in ALICE (OSDI 2014). Of bytes that were not synced, any prefix
//! may be there, with or without zeros or garbage up to the length that the file had, or the end
//! without the beginning. Of bytes that were overwritten, each sector is the old or the new one,
//! and any one of them is torn at every byte, in either order or alternately. Each name may have any value it had since the last sync of the
//! directory, whatever the other names have: so a rename may persist before the data of its file,
//! or one half of it without the other. A sync of a file does not make its name durable.

use envelock::test_access::key_file::FileKind;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Torn at every byte up to here, and at every sector behind.
const TORN_BYTEWISE: usize = 256;
const SECTOR: usize = 512;

/// Bytes that know their hash, so that counting distinct images is cheap.
#[derive(Clone)]
pub struct Content {
    bytes: Arc<Vec<u8>>,
    hash: u64,
}

impl Content {
    pub fn new(bytes: Vec<u8>) -> Self {
        let hash = hash(&bytes);
        Content { bytes: Arc::new(bytes), hash }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A file, or another target of a name.
#[derive(Clone)]
pub struct Inode {
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub visible: Content,
    pub durable: Content,
    /// Its contents since the last sync, the last appending only where it was appended to.
    pub pending: Vec<Content>,
    /// Whether the system takes it for synced although it is not.
    pub is_clean: bool,
    /// Nanoseconds since 1970.
    pub modified: u64,
    pub changed: u64,
}

impl Inode {
    pub fn write(&mut self, content: Content) {
        if self.pending.last().is_some_and(|last| content.bytes().starts_with(last.bytes())) {
            self.pending.pop();
        }
        self.pending.push(content.clone());
        self.visible = content;
        self.is_clean = false;
    }
}

/// Names and files.
#[derive(Clone, Default)]
pub struct Disk {
    pub inodes: BTreeMap<u64, Inode>,
    /// The target of each name on the medium, then after each change since the last sync.
    names: BTreeMap<OsString, Vec<Option<u64>>>,
}

impl Disk {
    /// Returns the present target of the name.
    pub fn lookup(&self, name: &OsStr) -> Option<u64> {
        self.names.get(name).and_then(|values| *values.last().unwrap())
    }

    pub fn list(&self) -> Vec<OsString> {
        self.names.keys().filter(|name| self.lookup(name).is_some()).cloned().collect()
    }

    pub fn links(&self, inode: u64) -> u64 {
        self.names.values().filter(|values| *values.last().unwrap() == Some(inode)).count() as u64
    }

    pub fn names_of(&self, inode: u64) -> Vec<&OsString> {
        self.names.keys().filter(|name| self.lookup(name) == Some(inode)).collect()
    }

    pub fn set_name(&mut self, name: &OsStr, inode: Option<u64>) {
        self.names.entry(name.to_os_string()).or_insert_with(|| vec![None]).push(inode);
    }

    pub fn sync_file(&mut self, inode: u64) {
        let inode = self.inodes.get_mut(&inode).unwrap();
        if !inode.is_clean {
            inode.durable = inode.visible.clone();
            inode.pending.clear();
        }
    }

    pub fn sync_names(&mut self) {
        self.names.retain(|_, values| {
            values.drain(..values.len() - 1);
            values[0].is_some()
        });
    }

    /// The bytes behind a name, now.
    pub fn bytes(&self, name: &OsStr) -> Option<&[u8]> {
        self.lookup(name).map(|inode| self.inodes[&inode].visible.bytes())
    }

    /// Visits every disk that a crash at this moment can leave; all of it is durable.
    pub fn crash(&self, visit: &mut dyn FnMut(Disk)) {
        self.crash_images(&mut |image| visit(image.named()));
    }

    /// The same for images that were not seen before, with their fingerprints.
    pub fn crash_unseen(&self, seen: &mut Seen, visit: &mut dyn FnMut(Disk, u64)) {
        // A call that changed nothing leaves the images of the one before.
        if !seen.disks.insert(self.state()) {
            return;
        }
        self.crash_images(&mut |image| {
            let fingerprint = image.fingerprint();
            if seen.images.insert(fingerprint) {
                visit(image.named(), fingerprint);
            }
        });
    }

    fn crash_images(&self, visit: &mut dyn FnMut(&Disk)) {
        let mut names: Vec<(&OsString, Vec<Option<u64>>)> = Vec::new();
        for (name, values) in &self.names {
            let mut distinct = values.clone();
            distinct.sort_unstable();
            distinct.dedup();
            names.push((name, distinct));
        }
        let torn: BTreeMap<u64, Vec<Content>> = self
            .inodes
            .iter()
            .filter(|(_, inode)| !inode.pending.is_empty())
            .map(|(&number, inode)| (number, torn(inode)))
            .collect();
        let mut image = Disk { inodes: self.inodes.clone(), names: BTreeMap::new() };
        choose_names(&mut image, &names, &torn, visit);
    }

    /// The same number for disks that differ in nothing but inode numbers, times and the random
    /// part of temporary names.
    pub fn fingerprint(&self) -> u64 {
        self.hash_of_files(|_, file| file.visible.hash)
    }

    /// The same number for disks that moreover differ in what temporary files hold only.
    pub fn shape(&self) -> u64 {
        self.hash_of_files(|is_temporary, file| match is_temporary {
            true => u64::from(file.visible.bytes().is_empty()),
            false => file.visible.hash,
        })
    }

    /// Sums what is known of each name, whose order is not known.
    fn hash_of_files(&self, content: impl Fn(bool, &Inode) -> u64) -> u64 {
        let mut sum = 0_u64;
        for (name, values) in &self.names {
            let Some(inode) = *values.last().unwrap() else { continue };
            let file = &self.inodes[&inode];
            let bytes = name.as_encoded_bytes();
            let is_temporary = bytes.ends_with(b".tmp") || bytes.ends_with(b".envelock-partial");
            let name: &[u8] = if is_temporary { b"temporary" } else { bytes };
            let entry = (name, content(is_temporary, file), file.mode, self.links(inode));
            sum = sum.wrapping_add(hash(entry));
        }
        sum
    }

    /// Another number for disks that differ in anything that a crash can leave, but for times.
    fn state(&self) -> u64 {
        let of_file = |(number, file): (&u64, &Inode)| {
            let pending: Vec<_> = file.pending.iter().map(|content| content.hash).collect();
            let contents = (file.visible.hash, file.durable.hash, pending);
            hash((number, file.mode, file.uid, file.gid, contents))
        };
        let files: Vec<u64> = self.inodes.iter().map(of_file).collect();
        hash((&self.names, files))
    }

    /// Without the files that have no name.
    fn named(&self) -> Disk {
        let mut disk = self.clone();
        disk.inodes.retain(|inode, _| self.links(*inode) > 0);
        disk
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The images of crashes that were visited, and the disks that all of their images were visited of.
#[derive(Default)]
pub struct Seen {
    images: HashSet<u64>,
    disks: HashSet<u64>,
}

impl Seen {
    pub fn images(&self) -> usize {
        self.images.len()
    }
}

/// Gives each name one of its values, then each file that has a name one of its contents.
fn choose_names(
    image: &mut Disk,
    names: &[(&OsString, Vec<Option<u64>>)],
    torn: &BTreeMap<u64, Vec<Content>>,
    visit: &mut dyn FnMut(&Disk),
) {
    let Some(((name, values), rest)) = names.split_first() else {
        let named: Vec<u64> =
            torn.keys().copied().filter(|&inode| image.links(inode) > 0).collect();
        return choose_contents(image, &named, torn, visit);
    };
    for value in values {
        match value {
            Some(_) => image.names.insert((*name).clone(), vec![*value]),
            None => image.names.remove(*name),
        };
        choose_names(image, rest, torn, visit);
    }
    image.names.remove(*name);
}

fn choose_contents(
    image: &mut Disk,
    inodes: &[u64],
    torn: &BTreeMap<u64, Vec<Content>>,
    visit: &mut dyn FnMut(&Disk),
) {
    let Some((inode, rest)) = inodes.split_first() else { return visit(image) };
    for content in &torn[inode] {
        let file = image.inodes.get_mut(inode).unwrap();
        file.visible = content.clone();
        file.durable = content.clone();
        file.pending.clear();
        file.is_clean = false;
        choose_contents(image, rest, torn, visit);
    }
}

/// The possible contents of a file whose bytes were not synced, after a crash.
fn torn(inode: &Inode) -> Vec<Content> {
    let mut found: BTreeMap<u64, Content> = BTreeMap::new();
    let mut find = |bytes: Vec<u8>| {
        let content = Content::new(bytes);
        found.insert(content.hash, content);
    };
    let durable = inode.durable.bytes();
    find(durable.to_vec());
    for pending in inode.pending.iter().map(Content::bytes) {
        if pending.starts_with(durable) {
            torn_append(durable, pending, &mut find);
        } else {
            assert_eq!(durable.len(), pending.len(), "the model knows no truncation");
            torn_overwrite(durable, pending, &mut find);
        }
    }
    found.into_values().collect()
}

fn torn_append(durable: &[u8], visible: &[u8], find: &mut dyn FnMut(Vec<u8>)) {
    let bytewise = durable.len()..visible.len().min(durable.len() + TORN_BYTEWISE);
    let sectors = (durable.len()..visible.len()).filter(|at| at % SECTOR == 0);
    for cut in bytewise.chain(sectors).chain([visible.len()]) {
        let (head, tail) = visible.split_at(cut);
        let garbage = (0..tail.len()).map(|i| (i as u8).wrapping_mul(29) ^ 0xA7);
        let mut without_head = visible.to_vec();
        without_head[durable.len()..cut].fill(0);
        find(head.to_vec());
        find(head.iter().copied().chain(std::iter::repeat_n(0, tail.len())).collect());
        find(head.iter().copied().chain(garbage).collect());
        find(without_head);
    }
}

fn torn_overwrite(old: &[u8], new: &[u8], find: &mut dyn FnMut(Vec<u8>)) {
    let ranges = (0..old.len()).step_by(SECTOR).map(|at| at..old.len().min(at + SECTOR));
    let sectors: Vec<_> = ranges.filter(|range| old[range.clone()] != new[range.clone()]).collect();
    assert!(sectors.len() <= 8, "too many sectors to try every set of them");
    for set in 0..1_u32 << sectors.len() {
        let mut whole = old.to_vec();
        for (_, range) in sectors.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1) {
            whole[range.clone()].copy_from_slice(&new[range.clone()]);
        }
        for range in &sectors {
            let differs = |at: &usize| old[*at] != new[*at];
            let first = range.clone().find(differs).unwrap();
            let last = range.clone().rev().find(differs).unwrap();
            // A cut at another point leaves what one of these leaves.
            for cut in first..=last + 1 {
                let mut torn = whole.clone();
                torn[range.start..cut].copy_from_slice(&new[range.start..cut]);
                torn[cut..range.end].copy_from_slice(&old[cut..range.end]);
                find(torn.clone());
                torn[range.start..cut].copy_from_slice(&old[range.start..cut]);
                torn[cut..range.end].copy_from_slice(&new[cut..range.end]);
                find(torn);
            }
            let mut alternate = whole.clone();
            for at in range.clone() {
                alternate[at] = if at % 2 == 0 { new[at] } else { old[at] };
            }
            find(alternate);
        }
        find(whole);
    }
}
