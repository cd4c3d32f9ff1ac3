//! The undo log, which is also the journal of intents (FORMAT 2): each old header, durable before it is replaced.

use crate::digest::{header_digest, sha256};
use crate::header_bytes::{is_of_message, same_core};
use crate::item::{ItemKey, MAX_ITEM_KEY_LEN};
use std::collections::BTreeMap;

/// The first bytes of an undo log, before the id of its job.
const MAGIC: &[u8; 24] = b"envelock undo log v1\n\0\0\0";

/// Length of the start of a log: magic, and the id of the job in hexadecimal.
const START_LEN: usize = MAGIC.len() + 64;

/// Length of a record before its key: the check, the length of the key, that of the header, and the digest.
const FIXED_LEN: usize = 8 + 2 + 4 + 16;

/// An intent: the header that was to be replaced, and the digest of the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) old: Vec<u8>,
    pub(crate) new: [u8; 16],
}

/// Returns the length of a record in the log.
pub(crate) fn record_len(item: &ItemKey, old: &[u8]) -> u64 {
    (FIXED_LEN + item.as_bytes().len() + old.len()) as u64
}

/// Appends a record to a batch.
pub(crate) fn encode(batch: &mut Vec<u8>, item: &ItemKey, (old, new): (&[u8], [u8; 16])) {
    let key = item.as_bytes();
    // Both lengths have bounds: `MAX_ITEM_KEY_LEN`, and the memory that the header is in.
    let key_len = u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes();
    let header_len = u32::try_from(old.len()).unwrap_or(u32::MAX).to_be_bytes();
    let check_at = batch.len();
    let parts = [&[0; 8], key_len.as_slice(), &header_len, &new, key, old];
    parts.iter().for_each(|part| batch.extend_from_slice(part));
    let end = batch.get_mut(check_at..).and_then(|record| record.split_first_chunk_mut());
    if let Some((check, checked)) = end {
        let [a, b, c, d, e, f, g, h, ..] = sha256(&[checked]);
        *check = [a, b, c, d, e, f, g, h];
    }
}

/// Reads one record; `None` if it is cut off or was changed.
fn decode(bytes: &[u8]) -> Option<(ItemKey, Record, &[u8])> {
    let (check, rest) = bytes.split_first_chunk::<8>()?;
    let checked = rest;
    let (key_len, rest) = rest.split_first_chunk::<2>()?;
    let (header_len, rest) = rest.split_first_chunk::<4>()?;
    let (new, rest) = rest.split_first_chunk::<16>()?;
    let key_len = usize::from(u16::from_be_bytes(*key_len));
    let header_len = usize::try_from(u32::from_be_bytes(*header_len)).ok()?;
    if key_len > MAX_ITEM_KEY_LEN {
        return None;
    }
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (old, rest) = rest.split_at_checked(header_len)?;
    let checked = checked.get(..checked.len() - rest.len())?;
    let hash = sha256(&[checked]);
    let is_intact = hash.first_chunk::<8>() == Some(check);
    is_intact.then_some(())?;
    Some((ItemKey::new(key)?, Record { old: old.to_vec(), new: *new }, rest))
}

/// The records of an undo log, by item. Held in memory: about 250 bytes for each item.
#[derive(Clone, Debug, Default)]
pub struct UndoIndex {
    job: Option<String>,
    records: BTreeMap<ItemKey, Vec<Record>>,
    damaged: u64,
}

/// The bytes are not an undo log of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an undo log of version 1")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to add")]
pub struct NotAnUndoLog;

impl UndoIndex {
    /// Returns the bytes that an undo log begins with: a magic and the id of its job.
    pub fn log_start(job: &str) -> Vec<u8> {
        [MAGIC.as_slice(), job.as_bytes()].concat()
    }

    /// Reads an undo log. Bytes that are no record are passed over: a record that was cut off by a crash was
    /// not acted upon. [`damaged_bytes`](Self::damaged_bytes) has their number.
    ///
    /// # Errors
    ///
    /// [`NotAnUndoLog`].
    pub fn read(log: &[u8]) -> Result<Self, NotAnUndoLog> {
        let (start, records) = log.split_at_checked(START_LEN).ok_or(NotAnUndoLog)?;
        let job = start.strip_prefix(MAGIC).ok_or(NotAnUndoLog)?;
        let job = std::str::from_utf8(job).map_err(|_| NotAnUndoLog)?;
        Ok(UndoIndex { job: Some(job.into()), ..UndoIndex::tail(records) })
    }

    /// Returns the records of both, as of the shards of one job.
    #[must_use]
    pub fn merge(mut self, other: UndoIndex) -> Self {
        self.job = self.job.or(other.job);
        self.damaged += other.damaged;
        for (item, records) in other.records {
            self.records.entry(item).or_default().extend(records);
        }
        self
    }

    /// Reads the records of the end of a log.
    pub(crate) fn tail(mut rest: &[u8]) -> Self {
        let mut index = UndoIndex::default();
        while let Some((_, after_byte)) = rest.split_first() {
            if let Some((item, record, after)) = decode(rest) {
                index.add(item, record);
                rest = after;
            } else {
                index.damaged += 1;
                rest = after_byte;
            }
        }
        index
    }

    pub(crate) fn add(&mut self, item: ItemKey, record: Record) {
        // Few items have more than one.
        self.records.entry(item).or_insert_with(|| Vec::with_capacity(1)).push(record);
    }

    /// Forgets the records of other items.
    pub(crate) fn retain(&mut self, needs: impl Fn(&ItemKey) -> bool) {
        if self.records.keys().any(&needs) {
            self.records.retain(|item, _| needs(item));
        } else {
            // The usual end of a page, and faster than one by one.
            self.records.clear();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the id of the job that wrote the log.
    pub fn job(&self) -> Option<&String> {
        self.job.as_ref()
    }

    /// Returns how many bytes are no record. More than one batch of records was then damaged by something
    /// else than a crash.
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged
    }

    /// Returns the items that have a record, by ascending key. A restore lists these with
    /// [`Selection`](crate::stores::Selection).
    pub fn items(&self) -> impl Iterator<Item = &ItemKey> {
        self.records.keys()
    }

    /// Returns the old headers.
    pub fn old_headers(&self) -> impl Iterator<Item = &[u8]> {
        self.records.values().flatten().map(|record| record.old.as_slice())
    }

    pub(crate) fn records(&self, item: &ItemKey) -> &[Record] {
        self.records.get(item).map_or(&[], Vec::as_slice)
    }

    /// Returns what stood there before the job, if `header` is what the job wrote.
    pub(crate) fn old_of(&self, item: &ItemKey, header: &[u8]) -> Option<&[u8]> {
        let mut records = self.records(item);
        let mut found: Option<&[u8]> = None;
        // The job can have changed the item more than once, and each change has an earlier record.
        loop {
            let digest = header_digest(found.unwrap_or(header));
            let Some(at) = records.iter().rposition(|record| record.new == digest) else { break };
            let (earlier, rest) = records.split_at(at);
            found = Some(&rest.first()?.old);
            records = earlier;
        }
        found.filter(|old| *old != header && same_core(old, header))
    }

    /// Returns whether the job wrote `header` with another body than the one before.
    pub(crate) fn is_reencrypted(&self, item: &ItemKey, header: &[u8]) -> bool {
        let digest = header_digest(header);
        let wrote = |record: &Record| record.new == digest && !same_core(&record.old, header);
        self.records(item).iter().any(wrote)
    }

    /// Returns what stood there before the job, if `header` may be what is left of a torn write.
    pub(crate) fn old_of_torn(&self, item: &ItemKey, header: &[u8]) -> Option<&[u8]> {
        let first = self.records(item).first()?;
        is_of_message(header, &first.old).then_some(&first.old)
    }

    /// Returns whether `header` is what stood there before the job.
    pub(crate) fn is_old(&self, item: &ItemKey, header: &[u8]) -> bool {
        self.records(item).first().is_some_and(|record| record.old == header)
    }
}
