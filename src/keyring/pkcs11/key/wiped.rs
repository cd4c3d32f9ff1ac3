//! Room for what goes to a token and comes from it, wiped on drop.

use alloc::boxed::Box;
use zeroize::Zeroize;

/// The longest data key, in bytes.
pub(crate) const MAX_KEY_LEN: usize = crate::crypto::secret::MAX_DATA_KEY_LEN;

/// More than any answer needs: some tokens refuse a buffer that is just long enough.
const ROOM: usize = 128;

/// See the module. Boxed, so that moves leave no copies.
pub(crate) struct WipedBuffer(Box<[u8; ROOM]>);

impl WipedBuffer {
    pub(crate) fn new() -> Self {
        WipedBuffer(Box::new([0; ROOM]))
    }

    /// All of it, for a token to write to.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    pub(crate) fn get(&self, range: core::ops::RangeTo<usize>) -> Option<&[u8]> {
        self.0.get(range)
    }

    /// Writes `pieces`, one behind the other, and tells their length; they fit.
    #[expect(clippy::expect_used, reason = "the room is that of the longest key and its context")]
    pub(crate) fn fill(&mut self, pieces: &[&[u8]]) -> usize {
        crate::format::codec::concat(self.0.as_mut_slice(), pieces).expect("room for the longest")
    }
}

impl Drop for WipedBuffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
