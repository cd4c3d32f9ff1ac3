//! Encryption of a stream.

use super::Envelope;
use super::encrypt::retry_once;
use crate::aad::Aad;
use crate::body::{ChunkEncryptor, ForkGuard};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::observe::Observer;
use crate::random::RandomSource;
use crate::stream::{Completion, MessageStart, RangeDecryptor, StreamDecryptor, StreamEncryptor};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Returns an encryptor of a message piece by piece, without I/O. `encrypt_reader` and `encrypt_writer`
    /// are for `Read` and `Write`, [`StreamEncryptor::take_header`] detaches the header.
    ///
    /// A stream has a data key of its own, even if the envelope reuses data keys.
    ///
    /// # Errors
    ///
    /// Those of [`encrypt`](Self::encrypt).
    pub fn stream_encryptor<'k>(&self, aad: Aad<'_>) -> Result<StreamEncryptor<'k>, Error>
    where
        K: 'k,
    {
        let begun = self.begin_stream(aad)?;
        let keyring = self.keyring.clone();
        Ok(self.stream_of(begun, |header, observer| Completion::new(keyring, header, observer)))
    }

    /// Returns the header of a stream, and the key of its body.
    pub(super) fn begin_stream(&self, aad: Aad<'_>) -> Result<(Vec<u8>, ChunkEncryptor), Error> {
        retry_once(|| {
            let fork_guard = ForkGuard::new();
            let mut header = vec![0; self.header_len()?];
            let encryptor = self.begin(&mut header, None, aad, Some(fork_guard))?;
            Ok((header, encryptor))
        })
    }
}

impl<K, R> Envelope<K, R> {
    /// Returns the stream behind a header.
    pub(super) fn stream_of<'k>(
        &self,
        (mut start, encryptor): (Vec<u8>, ChunkEncryptor),
        completion: impl FnOnce(&[u8], Option<Arc<dyn Observer>>) -> Completion<'k>,
    ) -> StreamEncryptor<'k> {
        let completion = completion(&start, self.observer.clone());
        start.extend_from_slice(encryptor.prefix());
        let threads = self.settings.threads.as_deref().cloned();
        StreamEncryptor::new(encryptor, start, threads, Some(completion))
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    pub(crate) fn stream_decryptor(
        &self,
        start: &MessageStart,
        aad: Aad<'_>,
    ) -> Result<StreamDecryptor, Error> {
        let header = start.header()?;
        let prefix = start.prefix(&header)?;
        self.with_opened(&header, |key| key.stream_decryptor(prefix, aad))
    }

    pub(crate) fn range_decryptor(
        &self,
        start: &MessageStart,
        len: u64,
        aad: Aad<'_>,
    ) -> Result<RangeDecryptor, Error> {
        let header = start.header()?;
        let place = start.body_place(&header, len)?;
        let prefix = start.prefix(&header)?;
        self.with_opened(&header, |key| key.range_decryptor(prefix, place, aad))
    }
}
