//! What a token says it can do, and what it turns out to do: for people who are to choose.

use super::error::Error;
use super::failure::Failure;
use super::key::TokenKeyName;
use super::key::gcm::IvMode;
use super::key::generate::ALGORITHMS;
use super::key::known_answers::KnownAnswer;
use super::key::wrap::random_iv;
use super::token::library::Access;
use super::token::time_limit::TimeLimit;
use super::token::{Inner, Token};
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What a token turned out to be able to do.
///
/// Printed, it is a page for people; `examples/hsm_probe.rs` does that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The label of the token.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Who made it, and as what.
    pub model: String,
    /// How many mechanisms it lists.
    pub mechanisms: usize,
    /// Each wrap algorithm, best first.
    pub algorithms: Vec<AlgorithmReport>,
}

/// What a token makes of a wrap algorithm.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AlgorithmReport {
    /// The algorithm.
    pub algorithm: WrapAlgorithm,
    /// Whether known answers were right; `None` if the token takes no keys from outside.
    pub known_answer: Option<bool>,
    /// Where the initialisation vector comes from, where the algorithm leaves a choice.
    pub iv: Option<&'static str>,
    /// Why new keys cannot be of it, if they cannot.
    pub error: Option<Error>,
}

impl Report {
    /// The algorithm that new keys get, unless
    /// [`Options::algorithm`](crate::pkcs11::Options::algorithm) says otherwise.
    pub fn chosen(&self) -> Option<WrapAlgorithm> {
        self.algorithms.iter().find(|it| it.error.is_none()).map(|it| it.algorithm)
    }
}

impl Token {
    /// Finds out what the token can do, by trying it with keys that last for a session.
    ///
    /// Nothing is left on the token.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`](crate::Error::Backend) if it cannot be reached. What it cannot do stands in the report.
    pub fn probe(&self) -> Result<Report, crate::Error> {
        let report = self.0.change(Inner::report_all);
        self.0.events.publish();
        Ok(report.map_err(Error::from_failure)?)
    }
}

impl Inner {
    fn report_all(&self) -> Result<Report, Failure> {
        let (info, mechanisms) = self.run(Access::Shared, &self.limit(), |work| {
            let slot = work.connection.slot;
            Ok((work.inside.token_info(slot)?, work.inside.mechanisms(slot)?.len()))
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Report {
            label: text(&info.label),
            serial: text(&info.serial),
            model: alloc::format!("{} {}", text(&info.manufacturer), text(&info.model)),
            mechanisms,
            algorithms: ALGORITHMS.map(|algorithm| self.report(algorithm)).to_vec(),
        })
    }

    fn report(&self, algorithm: WrapAlgorithm) -> AlgorithmReport {
        let mut report = AlgorithmReport { algorithm, known_answer: None, iv: None, error: None };
        let limit = self.limit();
        let outcome = self.check_algorithm(algorithm, &limit).and_then(|known| {
            report.known_answer = (known == KnownAnswer::Right).then_some(true);
            self.try_for_a_session(algorithm, &limit)
        });
        match outcome {
            Ok(iv) => report.iv = iv.map(IvMode::words),
            Err(failure) => {
                if matches!(failure, Failure::Wrong(super::error::WrongResponse::KnownAnswer)) {
                    report.known_answer = Some(false);
                }
                report.error = Some(Error::from_failure(failure));
            }
        }
        report
    }

    /// Tries an algorithm with keys that are gone with their session.
    fn try_for_a_session(
        &self,
        algorithm: WrapAlgorithm,
        limit: &TimeLimit,
    ) -> Result<Option<IvMode>, Failure> {
        let name = KeyName::new("envelock.probe");
        let name = name.map_err(|error| Error::Algorithm { what: alloc::format!("{error}") })?;
        let [id, iv, other_iv] = [random_iv()?, random_iv()?, random_iv()?];
        let [id @ .., _, _, _, _, _, _, _, _] = id;
        let id = MasterKeyId(id);
        let key = TokenKeyName::ours(name, KeyVersion::FIRST, id, algorithm);
        self.run(Access::Exclusive, limit, |work| {
            // Those of an earlier attempt went with its session.
            work.connection.forget_objects();
            let objects = [Some(&key.encrypt), key.mac.as_ref()].into_iter().flatten();
            for object in objects.clone() {
                object.generate_for_session(work.inside, work.session)?;
            }
            let tested = self.try_out(work, &key, [iv, other_iv]);
            for object in objects {
                object.destroy(work.inside, work.session)?;
            }
            work.connection.forget_objects();
            Ok(tested?.iv_mode())
        })
    }
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
                None => "not asked: the token takes no keys from outside",
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
            Some(chosen) => write!(f, "\nnew keys get wrap algorithm {}", chosen.id()),
            None => f.write_str(
                "\nno keys can be made here: use ExternalKeyring, with keys that the token's \
                 own tool has made",
            ),
        }
    }
}
