//! A report of the algorithms that a token supports.

use super::error::{Error, WrongResponse};
use super::failure::Failure;
use super::key::cipher::random_iv;
use super::key::known_answers::check_algorithm;
use super::key::object::{ALGORITHMS, TokenKeyName};
use super::key::self_test::{CipherMode, IvMode, KnownAnswers};
use super::key::wrap::KeyOperation;
use super::token::Token;
use super::token::library::LibraryAccess;
use super::token::time_limit::TimeLimit;
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What a token supports, as its tests show.
///
/// `Display` writes a page, which `examples/hsm_probe.rs` prints.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The label of the token.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Its manufacturer and model.
    pub model: String,
    /// The number of mechanisms that it lists.
    pub mechanisms: usize,
    /// Its support of each wrap algorithm, best first.
    pub algorithms: Vec<AlgorithmReport>,
}

/// How a token supports a wrap algorithm.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AlgorithmReport {
    /// The algorithm.
    pub algorithm: WrapAlgorithm,
    /// Whether known-answer tests passed; `None` if the token imports no keys for them.
    pub known_answer: Option<bool>,
    /// Who generates the IV, if the algorithm allows more than one way.
    pub iv: Option<&'static str>,
    /// Why new keys cannot have this algorithm.
    pub error: Option<Error>,
}

impl Report {
    /// The algorithm of new keys, unless
    /// [`Options::algorithm`](crate::pkcs11::Options::algorithm) selects one.
    pub fn chosen(&self) -> Option<WrapAlgorithm> {
        self.algorithms.iter().find(|it| it.error.is_none()).map(|it| it.algorithm)
    }

    /// Tests a token.
    pub(crate) fn of(token: &Token) -> Result<Self, Failure> {
        let (info, mechanisms) =
            token.run(LibraryAccess::Shared, &token.time_limit(), |attempt| {
                let (functions, slot) = (attempt.session.functions, attempt.connection.slot);
                Ok((functions.token_info(slot)?, functions.mechanisms(slot)?.len()))
            })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Report {
            label: text(&info.label),
            serial: text(&info.serial),
            model: alloc::format!("{} {}", text(&info.manufacturer), text(&info.model)),
            mechanisms,
            algorithms: ALGORITHMS.map(|it| AlgorithmReport::of(token, it)).to_vec(),
        })
    }
}

impl AlgorithmReport {
    fn of(token: &Token, algorithm: WrapAlgorithm) -> Self {
        let mut report = AlgorithmReport { algorithm, known_answer: None, iv: None, error: None };
        let limit = token.time_limit();
        let outcome = check_algorithm(token, algorithm, &limit).and_then(|known| {
            report.known_answer = (known == KnownAnswers::Passed).then_some(true);
            test_session_key(token, algorithm, limit)
        });
        match outcome {
            Ok(CipherMode::Gcm(mode)) => report.iv = Some(IvMode::description(mode.iv)),
            Ok(CipherMode::CbcHmac) => {}
            Err(failure) => {
                if matches!(failure, Failure::Wrong(WrongResponse::KnownAnswer)) {
                    report.known_answer = Some(false);
                }
                report.error = Some(Error::from(failure));
            }
        }
        report
    }
}

/// Runs the self-test on keys that last as long as their session.
fn test_session_key(
    token: &Token,
    algorithm: WrapAlgorithm,
    limit: TimeLimit,
) -> Result<CipherMode, Failure> {
    #[expect(clippy::expect_used, reason = "the constant is a key name")]
    let name = KeyName::new("envelock.probe").expect("a key name");
    let [id, iv, other_iv] = [random_iv()?, random_iv()?, random_iv()?];
    let [id @ .., _, _, _, _, _, _, _, _] = id;
    let key = TokenKeyName::generated(name, KeyVersion::FIRST, MasterKeyId(id), algorithm);
    let operation = KeyOperation { token, name: &key, limit };
    token.run(LibraryAccess::Exclusive, &operation.limit, |attempt| {
        // The keys of an earlier attempt ended with its session.
        attempt.connection.forget_objects();
        for object in key.objects() {
            object.generate(attempt.session, None)?;
        }
        let tested = operation.self_test_modes(attempt, [iv, other_iv]);
        for object in key.objects() {
            object.destroy(attempt.session)?;
        }
        attempt.connection.forget_objects();
        Ok(tested?.mode)
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "token      {} (serial {})", self.label, self.serial)?;
        writeln!(f, "model      {}", self.model)?;
        writeln!(f, "mechanisms {}", self.mechanisms)?;
        for it in &self.algorithms {
            writeln!(f, "\nwrap algorithm {}: {}", it.algorithm.id(), it.algorithm)?;
            let known = match it.known_answer {
                Some(true) => "right",
                Some(false) => "WRONG",
                None => "not tested: the token imports no keys",
            };
            writeln!(f, "  known answers  {known}")?;
            if let Some(iv) = it.iv {
                writeln!(f, "  IV             {iv}")?;
            }
            match &it.error {
                None => writeln!(f, "  round trip     right")?,
                Some(error) => writeln!(f, "  cannot be used {error}")?,
            }
        }
        match self.chosen() {
            Some(chosen) => write!(f, "\nnew keys have wrap algorithm {}", chosen.id()),
            None => f.write_str(
                "\nno keys can be generated here: use pkcs11::ExternalKeyring, with keys made by the \
                 token's own tool",
            ),
        }
    }
}
