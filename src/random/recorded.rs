//! A source of random bytes that gives an operation which runs again the same bytes.

use super::{RandomSource, RandomnessUnavailable};
use crate::sync::RwLock;
use crate::wiped::WipedBuffer;
use alloc::vec::Vec;

/// Draws from `source`, and after [`rewind`](Self::rewind) the same bytes again. They are wiped on drop.
pub(crate) struct RecordedRandom<'r, R> {
    source: &'r R,
    record: RwLock<Record>,
}

#[derive(Default)]
struct Record {
    draws: Vec<WipedBuffer>,
    used: usize,
}

impl<'r, R> RecordedRandom<'r, R> {
    pub(crate) fn new(source: &'r R) -> Self {
        RecordedRandom { source, record: RwLock::new(Record::default()) }
    }

    pub(crate) fn rewind(&self) {
        self.record.write().used = 0;
    }
}

impl<R: RandomSource> RandomSource for RecordedRandom<'_, R> {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        let mut record = self.record.write();
        let used = record.used;
        match record.draws.get(used) {
            Some(drawn) if drawn.len() == out.len() => out.copy_from_slice(drawn),
            // The keyring changed in between, and the operation takes another course.
            _ => {
                self.source.fill(out)?;
                record.draws.truncate(used);
                let mut drawn = WipedBuffer::default();
                drawn.push_slice(out, out.len());
                record.draws.push(drawn);
            }
        }
        record.used += 1;
        Ok(())
    }
}
