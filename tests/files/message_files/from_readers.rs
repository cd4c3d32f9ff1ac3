//! Files that are made of what a reader returns: the bytes of a one-shot encryption, and no file of half a source.

use super::*;
use crate::common::{below, rng};
use envelock::file::{self, FileError, NewFileOptions};
use envelock::{MemoryKeyring, Suite};
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;

/// Lengths around a chunk, around the buffer between the files, and none.
const LENS: [usize; 9] = [0, 1, 16_383, 16_384, 16_385, 262_143, 262_144, 262_145, 600_000];

/// Returns a few bytes at a time, and is interrupted in between. After `fails_at` bytes it fails with `kind`.
struct Halting<'a> {
    rest: &'a [u8],
    rng: rand_chacha::ChaCha20Rng,
    fails_at: usize,
    kind: ErrorKind,
}

impl<'a> Halting<'a> {
    fn new(bytes: &'a [u8], seed: u64) -> Self {
        Halting { rest: bytes, rng: rng(seed), fails_at: usize::MAX, kind: ErrorKind::Other }
    }

    fn failing(bytes: &'a [u8], fails_at: usize, kind: ErrorKind) -> Self {
        Halting { fails_at, kind, ..Halting::new(bytes, fails_at as u64) }
    }
}

impl Read for Halting<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.fails_at == 0 {
            return Err(io::Error::new(self.kind, "the peer"));
        }
        if below(&mut self.rng, 4) == 0 {
            return Err(ErrorKind::Interrupted.into());
        }
        let most = out.len().min(self.rest.len()).min(self.fails_at);
        let len = most.min(1 + below(&mut self.rng, 100_000));
        let (now, rest) = self.rest.split_at(len);
        out[..len].copy_from_slice(now);
        (self.rest, self.fails_at) = (rest, self.fails_at - len);
        Ok(len)
    }
}

/// Both directions, to one new file.
struct Made {
    root: TestDirectory,
    envelope: Envelope<Elastic>,
    message: Vec<u8>,
}

impl Made {
    fn new(len: usize) -> Self {
        let envelope = Envelope::new(Elastic::new(72, 0));
        let message = envelope.encrypt(&text(len), ROW).unwrap();
        Made { root: TestDirectory::new(), envelope, message }
    }

    fn to(&self) -> PathBuf {
        self.root.join("to")
    }

    fn encrypt(&self, source: impl Read, options: NewFileOptions) -> Result<u64, Error> {
        file::encrypt_from(&self.envelope, source, self.to(), ROW, options)
    }

    fn decrypt(&self, source: impl Read, options: NewFileOptions) -> Result<u64, Error> {
        file::decrypt_from(&self.envelope, source, self.to(), ROW, options)
    }

    fn has_nothing(&self) {
        assert_eq!(names(self.root.path()), [""; 0]);
    }
}

/// The generator decides every byte, and the bytes of a one-shot encryption are pinned by the golden messages.
#[test]
fn file_from_reader_has_the_bytes_of_one_shot_encryption() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for &suite in Suite::ALL {
        let plain = Envelope::new(&keyring).with_suite(suite);
        let root = TestDirectory::new();
        for (seed, len) in (0..).zip(LENS) {
            let (text, message, back) = (text(len), root.join("message"), root.join("back"));
            let expected = plain.with_rng(rng(seed)).encrypt(&text, ROW).unwrap();
            let (envelope, source) = (plain.with_rng(rng(seed)), Halting::new(&text, seed));
            let options = NewFileOptions::new().replace();
            let written = file::encrypt_from(&envelope, source, &message, ROW, options).unwrap();
            assert!(fs::read(&message).unwrap() == expected, "{suite}, {len} bytes");
            assert_eq!(written, expected.len() as u64);
            let source = Halting::new(&expected, seed);
            let written = file::decrypt_from(&plain, source, &back, ROW, options).unwrap();
            assert!(fs::read(&back).unwrap() == text, "{suite}, {len} bytes");
            assert_eq!(written, len as u64);
            assert_eq!(names(root.path()), ["back", "message"]);
        }
    }
}

/// What a writer sends through a socket, which is read once.
#[test]
fn socket_is_read_to_its_end() {
    let made = Made::new(400_000);
    let (mut writer, reader) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let message = &made.message;
        scope.spawn(move || writer.write_all(message).unwrap());
        assert_eq!(made.decrypt(reader, NewFileOptions::new()).unwrap(), 400_000);
    });
    assert!(fs::read(made.to()).unwrap() == text(400_000));
}

#[test]
fn changed_message_from_reader_makes_no_file() {
    let made = Made::new(300_000);
    let header_len = envelock::inspect(&made.message).unwrap().len();
    let refused = |bad: &[u8], aad| {
        let (to, options) = (made.to(), NewFileOptions::new());
        let error = file::decrypt_from(&made.envelope, bad, to, aad, options).unwrap_err();
        made.has_nothing();
        error
    };
    let with = |at: usize| {
        let mut bad = made.message.clone();
        bad[at] ^= 1;
        refused(&bad, ROW)
    };
    let cut = |len: usize| refused(&made.message[..len], ROW);
    // The first byte of the wrapped key, of the salt, of a chunk behind the first buffer, the last byte of all.
    for at in [header_len - 1, header_len, header_len + 280_000, made.message.len() - 1] {
        let error = with(at);
        assert!(matches!(error, Error::Authentication { .. }), "{at}: {error:?}");
    }
    assert!(matches!(with(0), Error::NotEnvelock { .. }));
    assert!(matches!(refused(b"plain text", ROW), Error::NotEnvelock { .. }));
    assert!(matches!(refused(&made.message, Aad::new(b"raw")), Error::Authentication { .. }));
    for len in [1, header_len - 1, header_len, header_len + 40] {
        let error = cut(len);
        assert!(matches!(error, Error::Truncated { .. }), "{len}: {error:?}");
    }
    // A shorter last chunk is one that was changed.
    for len in [header_len + 280_000, made.message.len() - 1] {
        let error = cut(len);
        assert!(matches!(error, Error::Authentication { .. }), "{len}: {error:?}");
    }
    let longer = [&made.message[..], b"."].concat();
    assert!(matches!(refused(&longer, ROW), Error::Authentication { .. }));
    let other = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let foreign = other.encrypt(b"text", ROW).unwrap();
    assert!(matches!(refused(&foreign, ROW), Error::NoKey { .. }));
}

/// An error of the source is the caller's own, wherever it comes, and leaves what was there.
#[test]
fn error_of_reader_makes_no_file_and_replaces_none() {
    let made = Made::new(300_000);
    let plain = text(300_000);
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::WouldBlock, ErrorKind::UnexpectedEof];
    let header_len = envelock::inspect(&made.message).unwrap().len();
    for options in [NewFileOptions::new(), NewFileOptions::new().replace()] {
        for (kind, fails_at) in (0..).zip([0, 1, header_len, 262_144, 299_999, 300_000]) {
            let kind = kinds[kind % kinds.len()];
            let errors = [
                made.encrypt(Halting::failing(&plain, fails_at, kind), options),
                made.decrypt(Halting::failing(&made.message, fails_at, kind), options),
            ];
            for error in errors.map(Result::unwrap_err) {
                let Error::Io { source, .. } = error else { panic!("{fails_at}: {error:?}") };
                assert_eq!((source.kind(), source.to_string()), (kind, "the peer".into()));
            }
            if options == NewFileOptions::new() {
                made.has_nothing();
            } else {
                assert_eq!(fs::read(made.to()).unwrap(), b"precious");
                assert_eq!(names(made.root.path()), ["to"]);
            }
        }
        fs::write(made.to(), b"precious").unwrap();
    }
}

#[test]
fn panic_of_reader_makes_no_file() {
    struct Panicking;
    impl Read for Panicking {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("of the source")
        }
    }
    let made = Made::new(100_000);
    let options = NewFileOptions::new();
    let panics = |run: &dyn Fn() -> Result<u64, Error>| {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        made.has_nothing();
    };
    panics(&|| made.encrypt(made.message.chain(Panicking), options));
    panics(&|| made.decrypt(made.message.chain(Panicking), options));
}

/// A source that can be read once is not read for a file that cannot be made.
#[test]
fn refusal_reads_nothing_of_the_source() {
    let made = Made::new(1_000);
    fs::write(made.to(), b"precious").unwrap();
    let mut source = &made.message[..];
    for done in [
        made.encrypt(&mut source, NewFileOptions::new()),
        made.decrypt(&mut source, NewFileOptions::new()),
    ] {
        let error = file_error(done.unwrap_err());
        let MessageFileError::File(FileError::Exists { path }) = error else { panic!("{error:?}") };
        assert_eq!(path, made.to());
    }
    assert_eq!(source, &made.message[..]);
    assert_eq!(fs::read(made.to()).unwrap(), b"precious");
    // The file that is replaced can be the source.
    let replacing = NewFileOptions::new().replace();
    made.encrypt(fs::File::open(made.to()).unwrap(), replacing).unwrap();
    made.decrypt(fs::File::open(made.to()).unwrap(), replacing).unwrap();
    assert_eq!(fs::read(made.to()).unwrap(), b"precious");
    assert_eq!(names(made.root.path()), ["to"]);
}
