//! Streams of `std` by an opened key.

use super::OpenedKey;
use crate::aad::Aad;
use crate::error::Error;
use crate::format::layout;
use crate::io::open::{PrefixReader, copy_plaintext};
use crate::io::{DecryptReader, RangeReader, ReadAt};
use std::io::{Read, Write};

impl OpenedKey {
    /// Decrypts a body that goes up to the end of `source`, whose first 56 bytes are read at once.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt); [`Error::Io`].
    pub fn decrypt_reader<S: Read>(
        &self,
        mut source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        let prefix = PrefixReader::new().read(|room, _| source.read(room))?;
        Ok(DecryptReader::new(source, self.key().stream_decryptor(&prefix, aad)?, &[]))
    }

    /// Decrypts the body that goes up to the end of `source`, writes its plaintext to `sink`, flushes it, and
    /// returns the length of the plaintext in bytes.
    ///
    /// `Ok` means that the body is complete. **After an error, discard the written bytes**: they are the
    /// authentic beginning of a plaintext whose end is missing or changed.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt_reader`](Self::decrypt_reader) and [`DecryptReader::finish`]. `WouldBlock` is an
    /// error here.
    pub fn decrypt_copy<S: Read, W: Write>(
        &self,
        source: S,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<u64, Error> {
        copy_plaintext(self.decrypt_reader(source, aad)?, sink)
    }

    /// Returns a reader of any part of the body in `source`. For a source with a whole message
    /// see [`range_decryptor`](Self::range_decryptor) and [`RangeReader::from_decryptor`].
    ///
    /// # Errors
    ///
    /// Those of [`decrypt_reader`](Self::decrypt_reader).
    pub fn range_reader<S: ReadAt>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        let len = source.size()?;
        layout::plaintext_len(len)?;
        let prefix = PrefixReader::new().read(|room, offset| source.read_at(room, offset))?;
        let ranges = self.key().range_decryptor(&prefix, (0, len), aad)?;
        Ok(RangeReader::from_decryptor(source, ranges))
    }
}
