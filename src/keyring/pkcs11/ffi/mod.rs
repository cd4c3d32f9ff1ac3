//! The one unsafe module of the crate: calls into a PKCS#11 library.
//!
//! Arguments are slices and values; results are values whose lengths were checked. Callers decide
//! which calls make sense and what a failure means. Names are those of PKCS#11 (OASIS, Cryptographic
//! Token Interface Base Specification, versions 2.40 and 3.0).

mod buffer;
mod calls;
mod crypt;
mod failure;
mod library;
mod template;

pub(crate) use buffer::{MAX_KEY_LEN, TokenBuffer};
pub(crate) use calls::{ObjectHandle, Session, SessionHandle, SlotId, TokenInfo};
pub(crate) use crypt::{CryptOperation, GcmIv, Mechanism};
pub use failure::CallFailure;
pub(crate) use failure::{CallFault, Function};
pub(crate) use library::FunctionList;
pub(crate) use template::Attribute;

pub(crate) use cryptoki_sys as ck;
