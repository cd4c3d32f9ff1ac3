//! The expected results of a reader for bytes that are not the whole message.

use super::subject::Subject;
use super::table::Reader;
use super::{CHUNK, SEALED};
use envelock::test_access::errors;
use envelock::{Error, Unverified};

/// A message, and where its first chunk stands in the bytes.
pub struct Whole<'a> {
    pub subject: Subject<'a>,
    pub chunks_at: usize,
    pub bytes: &'a [u8],
    pub plaintext: &'a [u8],
}

pub fn text(end: &Result<(), Error>) -> String {
    format!("{end:?}")
}

/// The error of one-shot decryption.
#[track_caller]
pub fn one_shot(whole: &Whole<'_>, changed: &[u8]) -> Result<(), Error> {
    let answer = whole.subject.decrypt(changed).map(drop);
    assert!(answer.is_err(), "one-shot decryption accepts it");
    answer
}

impl Whole<'_> {
    /// How many full chunks at the start of `changed` are the message's, and whether a full one
    /// comes behind them that is not.
    pub fn good_chunks(&self, changed: &[u8]) -> (usize, bool) {
        if !changed.starts_with(&self.bytes[..self.chunks_at]) {
            return (0, false);
        }
        let ours = self.bytes[self.chunks_at..].chunks_exact(SEALED);
        let theirs = changed.get(self.chunks_at..).unwrap_or_default().chunks_exact(SEALED);
        let full = theirs.len();
        let good = ours.zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
        (good, full > good)
    }

    /// Whether `part` is a chunk of `changed` that the message does not have there.
    fn is_not_there(&self, part: Unverified, changed: &[u8]) -> bool {
        let chunk = |bytes: &[u8], index: u64| -> Vec<u8> {
            let chunks = bytes.get(self.chunks_at..).unwrap_or_default();
            chunks.chunks(SEALED).nth(index as usize).unwrap_or_default().to_vec()
        };
        match part {
            Unverified::Chunk { index } => chunk(self.bytes, index) != chunk(changed, index),
            Unverified::End { index, len } => {
                chunk(changed, index).len() == len
                    && chunk(self.bytes, index) != chunk(changed, index)
            }
            _ => false,
        }
    }

    /// Runs `reader` on `changed`, which one-shot decryption refuses with `refused`:
    ///
    /// - it fails, and with the same error, but for readers that learn the length only at the end:
    ///   they meet a full chunk that does not verify before they know that no message has this
    ///   length;
    /// - all its output is plaintext at its offset, and of readers from the first byte on exactly the
    ///   chunks before the first that fails.
    pub fn refuses(
        &self,
        reader: Reader,
        changed: &[u8],
        refused: &Result<(), Error>,
        what: &dyn Fn() -> String,
    ) {
        let outcome = reader.run(&self.subject, changed);
        let (good, bad_full) = self.good_chunks(changed);
        let expected = match refused {
            Err(Error::Truncated { .. }) if bad_full && !reader.knows_len() => {
                Err(errors::authentication(Unverified::Chunk { index: good as u64 }))
            }
            other => other.clone(),
        };
        let label = || format!("{reader:?}: {}", what());
        match (&outcome.end, &expected) {
            // Parts are read in any order: any chunk that is not the message's may come first.
            (
                Err(Error::Authentication { part, .. }),
                Err(Error::Authentication {
                    part: Unverified::Chunk { .. } | Unverified::End { .. },
                    ..
                }),
            ) if reader.knows_len() && !reader.is_whole() => {
                assert!(self.is_not_there(*part, changed), "{}: {part:?}", label());
            }
            _ => assert_eq!(text(&outcome.end), text(&expected), "{}", label()),
        }
        assert!(outcome.is_part_of(self.plaintext), "{} released what is not there", label());
        if reader.is_whole() {
            assert_eq!(outcome.len(), 0, "{}", label());
        } else if !reader.knows_len() {
            assert_eq!(outcome.len(), good * CHUNK, "{}", label());
        }
    }

    /// Holds `reader` on the message itself.
    pub fn opens(&self, reader: Reader) {
        let outcome = reader.run(&self.subject, self.bytes);
        assert_eq!(text(&outcome.end), "Ok(())", "{reader:?}");
        let whole = outcome.joined() == self.plaintext;
        assert!(whole || reader == Reader::Finish, "{reader:?} read something else");
    }
}
