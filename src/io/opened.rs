//! The streams of `std` that an opened key makes.

use super::begin::{copy_plaintext, ranges_behind, read_behind};
use super::{DecryptReader, RangeReader, ReadAt, SeekReader};
use crate::aad::Aad;
#[cfg(doc)]
use crate::envelope::Envelope;
use crate::envelope::OpenedKey;
use crate::error::Error;
use crate::stream::MessageStart;
use std::io::{Read, Seek, Write};
use std::sync::Mutex;

impl OpenedKey {
    /// See [`Envelope::decrypt_reader`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_reader<S: Read>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        read_behind(MessageStart::new(), source, |start| self.stream_decryptor(start, aad))
    }

    /// See [`Envelope::decrypt_reader_detached`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_reader_detached<S: Read>(
        &self,
        header: &[u8],
        source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        let start = MessageStart::detached(header)?;
        read_behind(start, source, |start| self.stream_decryptor(start, aad))
    }

    /// See [`Envelope::decrypt_copy`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_copy<S: Read, W: Write>(
        &self,
        source: S,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<u64, Error> {
        copy_plaintext(self.decrypt_reader(source, aad)?, sink)
    }

    /// See [`Envelope::range_reader`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn range_reader<S: ReadAt>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        ranges_behind(MessageStart::new(), source, |start, len| {
            self.range_decryptor(start, len, aad)
        })
    }

    /// See [`Envelope::range_reader_detached`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn range_reader_detached<S: ReadAt>(
        &self,
        header: &[u8],
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        let start = MessageStart::detached(header)?;
        ranges_behind(start, source, |start, len| self.range_decryptor(start, len, aad))
    }

    /// See [`Envelope::seek_reader`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn seek_reader<S: Read + Seek>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<SeekReader<Mutex<S>>, Error> {
        Ok(self.range_reader(Mutex::new(source), aad)?.into_seek_reader())
    }
}
