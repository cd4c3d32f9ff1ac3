//! Lies told when an operation delivers: about lengths, bytes and verdicts.
//!
//! The real module writes into a buffer of ours, and only what fits the caller's is copied there:
//! a lie may be about the length, never a write beyond it.

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::faults::iv::{self, GCM_IV};
use crate::forward::ask;
use crate::functions::Function::{self, C_Decrypt, C_Encrypt, C_Sign};
use crate::sessions::{self, Decrypting, Encrypting, IvOut, PutOff};
use crate::stage;

/// What any mechanism may write more than it reads: padding, tags, signatures.
const ROOM: usize = 4096;

/// What NSS forgets in its length query for AES-GCM.
const FORGOTTEN: CK_ULONG = 16;

/// Where an input lies.
#[derive(Clone, Copy)]
pub(crate) struct Input {
    pub(crate) start: *mut u8,
    pub(crate) len: CK_ULONG,
}

impl Input {
    /// # Safety
    /// `start` is NULL or points to `len` bytes.
    unsafe fn to_vec(self) -> Vec<u8> {
        if self.start.is_null() {
            return Vec::new();
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start, self.len as usize) }.to_vec()
    }
}

/// Where an output goes.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) start: *mut u8,
    pub(crate) len: *mut CK_ULONG,
}

/// Bytes that are wiped behind us, so that searches for residue find the caller's alone.
struct Scratch(Vec<u8>);

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.clear();
        self.0.resize(self.0.capacity(), 0);
        std::hint::black_box(&mut self.0);
    }
}

struct Job {
    function: Function,
    session: CK_SESSION_HANDLE,
    input: Input,
    /// Bytes of the tag behind the ciphertext.
    tag: usize,
    /// Bytes that are put around what the real module writes.
    around: usize,
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn encrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    input: Input,
    output: Output,
) -> CK_RV {
    let Encrypting { tag, iv } = sessions::encrypting(session);
    let around = match iv {
        IvOut::Appended(_) | IvOut::Prepended(_) => GCM_IV,
        _ => 0,
    };
    let job = Job { function: C_Encrypt, session, input, tag, around };
    let call = |start, len| {
        // SAFETY: the caller's input; the output is the caller's or of ours, with its length.
        unsafe { ask!(real, C_Encrypt(session, input.start, input.len, start, len)) }
    };
    let finish = |bytes: &mut Vec<u8>| match iv {
        IvOut::Nowhere => {}
        // SAFETY: who arms this lie promises that the parameters live until C_Encrypt.
        IvOut::Written(caller, iv) => unsafe { iv::write_back(caller, &iv) },
        IvOut::Appended(iv) => bytes.extend_from_slice(&iv),
        IvOut::Prepended(iv) => drop(bytes.splice(..0, iv)),
    };
    // SAFETY: the caller's promise.
    unsafe { deliver(job, output, call, finish) }
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn decrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    input: Input,
    output: Output,
) -> CK_RV {
    let Decrypting { tag, put_off } = sessions::decrypting(session);
    let input = match put_off {
        None => input,
        // SAFETY: the caller's promise.
        Some(put_off) => match unsafe { begin_now(real, session, put_off, input, output) } {
            Ok(rest) => rest,
            Err(code) => return code,
        },
    };
    let job = Job { function: C_Decrypt, session, input, tag, around: 0 };
    let call = |start, len| {
        // SAFETY: the caller's input; the output is the caller's or of ours, with its length.
        unsafe { ask!(real, C_Decrypt(session, input.start, input.len, start, len)) }
    };
    // SAFETY: the caller's promise.
    unsafe { deliver(job, output, call, |_| {}) }
}

/// Begins the decryption of a ciphertext that starts with its IV, and answers what follows that.
/// A query, or a buffer too small, is answered without beginning.
///
/// # Safety
/// Arguments as the standard has them.
unsafe fn begin_now(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    put_off: PutOff,
    input: Input,
    output: Output,
) -> Result<Input, CK_RV> {
    // SAFETY: the caller's place for the length, or NULL.
    let Some(len) = (unsafe { output.len.as_mut() }) else { return Err(CKR_ARGUMENTS_BAD) };
    let tag = put_off.tag_bits as usize / 8;
    let Some(least) = (input.len as usize).checked_sub(GCM_IV + tag) else {
        sessions::set_decrypting(session, Decrypting::default());
        return Err(CKR_ENCRYPTED_DATA_LEN_RANGE);
    };
    let is_query = output.start.is_null();
    if is_query || (*len as usize) < least {
        *len = least as CK_ULONG;
        return Err(if is_query { CKR_OK } else { CKR_BUFFER_TOO_SMALL });
    }
    sessions::set_decrypting(session, Decrypting { tag, put_off: None });
    // SAFETY: the input is longer than an IV.
    let iv = unsafe { input.start.cast::<[u8; GCM_IV]>().read() };
    let mut aad = put_off.aad;
    let params = CK_GCM_PARAMS {
        pAAD: aad.as_mut_ptr(),
        ulAADLen: aad.len() as CK_ULONG,
        ulTagBits: put_off.tag_bits,
        ..CK_GCM_PARAMS::default()
    };
    let code = iv::with_gcm(params, &iv, |mechanism| {
        // SAFETY: a mechanism of ours, whose pointers are alive.
        unsafe { ask!(real, C_DecryptInit(session, mechanism, put_off.key)) }
    });
    if code != CKR_OK {
        return Err(code);
    }
    // SAFETY: the input is longer than an IV.
    let start = unsafe { input.start.add(GCM_IV) };
    Ok(Input { start, len: input.len - GCM_IV as CK_ULONG })
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn sign(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    input: Input,
    output: Output,
) -> CK_RV {
    let job = Job { function: C_Sign, session, input, tag: 0, around: 0 };
    let call = |start, len| {
        // SAFETY: the caller's input; the output is the caller's or of ours, with its length.
        unsafe { ask!(real, C_Sign(session, input.start, input.len, start, len)) }
    };
    // SAFETY: the caller's promise.
    unsafe { deliver(job, output, call, |_| {}) }
}

/// # Safety
/// Arguments as the standard has them.
unsafe fn deliver(
    job: Job,
    output: Output,
    call: impl Fn(*mut u8, *mut CK_ULONG) -> CK_RV,
    finish: impl FnOnce(&mut Vec<u8>),
) -> CK_RV {
    // SAFETY: the caller's place for the length, or NULL.
    let Some(len) = (unsafe { output.len.as_mut() }) else { return call(output.start, output.len) };
    if output.start.is_null() {
        return query(&job, len, call);
    }
    let capacity = *len as usize;
    let read = job.input.len as usize;
    let lie = match before(&job, capacity, len) {
        Before::Answer(code) => return code,
        Before::Go(lie) => lie,
    };
    let mut bytes = Scratch(vec![0; capacity.min(read.saturating_add(ROOM))]);
    let given = bytes.0.len() as CK_ULONG;
    let mut written = given;
    let code = call(bytes.0.as_mut_ptr(), &mut written);
    bytes.0.truncate(written as usize);
    let code = if lie == Some(Lie::OutputEcho) && code != CKR_BUFFER_TOO_SMALL {
        // SAFETY: the caller's input.
        bytes.0 = echo(&job, unsafe { job.input.to_vec() });
        CKR_OK
    } else if is_refusal(job.function, code) {
        judge_anew(&job, code, &mut bytes.0)
    } else {
        code
    };
    if code != CKR_OK {
        if written != given {
            *len = written;
        }
        return code;
    }
    finish(&mut bytes.0);
    let lie = stage::lie(job.function, |lie| match lie {
        Lie::OutputLonger => bytes.0.len() < capacity,
        Lie::LengthLess | Lie::FlipFirst | Lie::FlipLast => !bytes.0.is_empty(),
        _ => is_about_output(lie),
    });
    if let Some((Lie::GoodDecryptSays, other)) = lie {
        return other;
    }
    let told = tell(lie.map(|(lie, _)| lie), &mut bytes.0, capacity);
    let copied = told.copied.min(capacity);
    // SAFETY: the caller's buffer holds `capacity` bytes, ours `copied`, and ours is nobody else's.
    unsafe { output.start.copy_from_nonoverlapping(bytes.0.as_ptr(), copied) };
    *len = told.said;
    CKR_OK
}

enum Before {
    Answer(CK_RV),
    Go(Option<Lie>),
}

/// What is said without asking the real module.
fn before(job: &Job, capacity: usize, len: &mut CK_ULONG) -> Before {
    let lie = stage::lie(job.function, |lie| {
        matches!(lie, Lie::BufferTooSmall | Lie::Stuck | Lie::OutputEcho)
    });
    match lie {
        Some((Lie::BufferTooSmall, _)) => {
            *len = len.saturating_add(1);
            return Before::Answer(CKR_BUFFER_TOO_SMALL);
        }
        Some((Lie::Stuck, _)) => {
            sessions::stick(job.session);
            return Before::Answer(CKR_GENERAL_ERROR);
        }
        _ => {}
    }
    let least = job.input.len as usize + job.tag + job.around;
    if job.around > 0 && capacity < least {
        *len = least as CK_ULONG;
        return Before::Answer(CKR_BUFFER_TOO_SMALL);
    }
    Before::Go(lie.map(|(lie, _)| lie))
}

/// The verdict on a ciphertext that the real module has refused.
fn judge_anew(job: &Job, code: CK_RV, bytes: &mut Vec<u8>) -> CK_RV {
    match stage::lie(job.function, |lie| matches!(lie, Lie::BadTagSays | Lie::BadTagAccepted)) {
        Some((Lie::BadTagSays, other)) => other,
        Some(_) => {
            *bytes = vec![0x5a; (job.input.len as usize).saturating_sub(job.tag)];
            CKR_OK
        }
        None => code,
    }
}

/// Answers a length query.
fn query(job: &Job, len: &mut CK_ULONG, call: impl Fn(*mut u8, *mut CK_ULONG) -> CK_RV) -> CK_RV {
    let code = call(std::ptr::null_mut(), len);
    if code != CKR_OK {
        return code;
    }
    *len += job.around as CK_ULONG;
    match stage::lie(job.function, |lie| {
        matches!(lie, Lie::QueryZero | Lie::QueryLess | Lie::QueryHuge)
    }) {
        Some((Lie::QueryZero, _)) => *len = 0,
        Some((Lie::QueryLess, _)) => *len = len.saturating_sub(FORGOTTEN),
        Some(_) => *len = CK_UNAVAILABLE_INFORMATION,
        None => {}
    }
    CKR_OK
}

/// What a cipher that does nothing would write.
fn echo(job: &Job, mut bytes: Vec<u8>) -> Vec<u8> {
    let len = match job.function {
        C_Encrypt => bytes.len() + job.tag,
        _ => bytes.len().saturating_sub(job.tag),
    };
    bytes.resize(len, 0);
    bytes
}

/// Whether this is how a token refuses a ciphertext.
fn is_refusal(function: Function, code: CK_RV) -> bool {
    function == C_Decrypt
        && matches!(
            code,
            CKR_GENERAL_ERROR
                | CKR_FUNCTION_FAILED
                | CKR_DATA_INVALID
                | CKR_ENCRYPTED_DATA_INVALID
                | CKR_ENCRYPTED_DATA_LEN_RANGE
                | CKR_AEAD_DECRYPT_FAILED
        )
}

fn is_about_output(lie: Lie) -> bool {
    matches!(
        lie,
        Lie::LengthZero
            | Lie::LengthMore
            | Lie::LengthHuge
            | Lie::LengthBeyond
            | Lie::OutputShort
            | Lie::OutputUntouched
            | Lie::OutputZeros
            | Lie::GoodDecryptSays
    )
}

struct Told {
    said: CK_ULONG,
    copied: usize,
}

/// Changes the bytes, and says how many are copied and how many are said to be.
fn tell(lie: Option<Lie>, bytes: &mut Vec<u8>, capacity: usize) -> Told {
    match lie {
        Some(Lie::OutputLonger) => bytes.push(0xa5),
        Some(Lie::OutputZeros) => bytes.fill(0),
        Some(Lie::FlipFirst) => bytes.first_mut().into_iter().for_each(|byte| *byte ^= 1),
        Some(Lie::FlipLast) => bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1),
        _ => {}
    }
    let (said, copied) = (bytes.len() as CK_ULONG, bytes.len());
    match lie {
        Some(Lie::LengthZero) => Told { said: 0, copied },
        Some(Lie::LengthLess) => Told { said: said - 1, copied },
        Some(Lie::LengthMore) => Told { said: said + 1, copied },
        Some(Lie::LengthHuge) => Told { said: CK_UNAVAILABLE_INFORMATION, copied },
        Some(Lie::LengthBeyond) => Told { said: (capacity as CK_ULONG).saturating_add(1), copied },
        Some(Lie::OutputShort) => Told { said, copied: copied / 2 },
        Some(Lie::OutputUntouched) => Told { said, copied: 0 },
        _ => Told { said, copied },
    }
}
