//! Questions to a person on the terminal, whatever standard input and output are.

use crate::failure::{Exit, Failure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{SigId, flag, low_level};
use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use zeroize::Zeroizing;

/// Most bytes of a typed line.
const MAX_LINE: usize = 4096;

/// The terminal of this process.
pub struct Terminal(File);

impl Terminal {
    /// Opens the terminal, if this process has one.
    pub fn open() -> Option<Self> {
        File::options().read(true).write(true).open("/dev/tty").ok().map(Terminal)
    }

    /// Asks for a secret, which is not shown.
    ///
    /// # Errors
    ///
    /// Ctrl-C or Ctrl-D; the terminal fails.
    pub fn ask_secret(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let hidden = Hidden::begin(&self.0)?;
        self.print(question)?;
        let line = self.read_keys();
        drop(hidden);
        // The line end was not shown either.
        self.print("\n")?;
        line
    }

    /// Asks for a line of text.
    ///
    /// # Errors
    ///
    /// Ctrl-D; the terminal fails.
    pub fn ask_line(&self, question: &str) -> Result<String, Failure> {
        self.print(question)?;
        let mut line = Vec::new();
        loop {
            match self.read_byte()? {
                Some(b'\n') => return Ok(String::from_utf8_lossy(&line).into_owned()),
                Some(byte) if line.len() < MAX_LINE => line.push(byte),
                Some(_) => {}
                None => return Err(cancelled()),
            }
        }
    }

    /// Reads keys up to Enter from a terminal without line editing.
    fn read_keys(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
        loop {
            match self.read_byte()? {
                Some(b'\n' | b'\r') => return Ok(line),
                // Ctrl-C, Ctrl-D, Ctrl-\.
                None | Some(0x03 | 0x04 | 0x1c) => return Err(cancelled()),
                // Backspace removes a character of UTF-8.
                Some(0x08 | 0x7f) => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
                // Ctrl-U
                Some(0x15) => line.clear(),
                Some(byte) if line.len() < MAX_LINE => line.push(byte),
                Some(_) => return Err(Failure::usage("the line is too long", "type less")),
            }
        }
    }

    fn read_byte(&self) -> Result<Option<u8>, Failure> {
        let mut byte = Zeroizing::new([0]);
        loop {
            if self.is_interrupted()? {
                return Err(cancelled());
            }
            match (&self.0).read(byte.as_mut_slice()) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(byte.first().copied()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::io("terminal", &error)),
            }
        }
    }

    /// Waits for a key; returns whether a signal came instead, if signals wait for the terminal.
    fn is_interrupted(&self) -> Result<bool, Failure> {
        let Some(signals) = SIGNALS.get().filter(|it| !it.ends.load(Ordering::SeqCst)) else {
            return Ok(false);
        };
        let mut ready =
            [PollFd::new(&self.0, PollFlags::IN), PollFd::new(&signals.pipe, PollFlags::IN)];
        loop {
            match poll(&mut ready, None) {
                Err(Errno::INTR) => {}
                polled => {
                    polled.map_err(|error| Failure::io("terminal", &error.into()))?;
                    break;
                }
            }
        }
        Ok(signals.last.load(Ordering::SeqCst) != 0)
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        let written = (&self.0).write_all(text.as_bytes());
        written.map_err(|error| Failure::io("terminal", &error))
    }
}

fn cancelled() -> Failure {
    Failure::new(
        Exit::Stopped,
        "cancelled",
        "nothing was changed; run the command again when ready",
    )
}

/// A terminal that shows no keys and raises no signals, until drop.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(terminal: &'a File) -> Result<Self, Failure> {
        let failed = |error: Errno| Failure::io("terminal", &error.into());
        let signals = Signals::get().map_err(|error| Failure::io("signals", &error))?;
        let before = tcgetattr(terminal).map_err(failed)?;
        let mut hidden = before.clone();
        // Without signals Ctrl-C does not leave a terminal that shows nothing.
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        signals.ends.store(false, Ordering::SeqCst);
        let hidden_now = tcsetattr(terminal, OptionalActions::Flush, &hidden).map_err(failed);
        let hidden = Hidden { terminal, before };
        hidden_now.map(|()| hidden)
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Nothing else can be done about a terminal that has gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
        if let Some(signals) = SIGNALS.get() {
            signals.ends.store(true, Ordering::SeqCst);
            let last = signals.last.swap(0, Ordering::SeqCst);
            if let Some(signal) = c_int::try_from(last).ok().filter(|signal| *signal != 0) {
                // Ends the process, as it would have before.
                drop(signal_hook::low_level::raise(signal));
            }
        }
    }
}

/// Signals that end the process, and wait while the terminal hides keys, until it shows them again.
struct Signals {
    /// Whether a signal ends the process at once.
    ends: Arc<AtomicBool>,
    /// The signal that came meanwhile, or 0.
    last: Arc<AtomicUsize>,
    /// Readable after a signal.
    pipe: UnixStream,
    actions: Mutex<Vec<(c_int, SigId)>>,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

impl Signals {
    fn get() -> io::Result<&'static Self> {
        if let Some(signals) = SIGNALS.get() {
            return Ok(signals);
        }
        let (pipe, writer) = UnixStream::pair()?;
        let (ends, last) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let mut actions = Vec::new();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or_default();
            actions.push((signal, flag::register_conditional_default(signal, ends.clone())?));
            actions.push((signal, flag::register_usize(signal, last.clone(), number)?));
            actions.push((signal, low_level::pipe::register(signal, writer.try_clone()?)?));
        }
        Ok(SIGNALS.get_or_init(|| Signals { ends, last, pipe, actions: Mutex::new(actions) }))
    }
}

/// Leaves a signal to its next handler, after the last question.
pub fn leave_signal(signal: c_int) {
    let Some(signals) = SIGNALS.get() else { return };
    let mut actions = signals.actions.lock().unwrap_or_else(PoisonError::into_inner);
    actions.retain(|(of, action)| *of != signal || !low_level::unregister(*action));
}
