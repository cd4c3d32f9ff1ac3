//! The command language. A text is read as a whole before any of its commands is run.

use cryptoki_sys::{CK_RV, CK_ULONG};

use crate::codes;
use crate::functions::Function;
use crate::wrong_results::WrongResult;

/// The fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It returns a code without being forwarded.
    Fail(CK_RV),
    /// It is forwarded, and returns a code.
    Answer(CK_RV),
    /// It sleeps first, for this many milliseconds.
    Delay(u64),
    LoseSessions,
    Logout,
    /// Every call returns a code until the library is initialised again.
    Dead(CK_RV),
    /// It returns a wrong result, with an argument.
    Wrong(WrongResult, CK_ULONG),
}

/// A fault, and the calls that it affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArmedFault {
    pub(crate) fault: Fault,
    /// The function; `None` for every function that can have the fault.
    pub(crate) on: Option<Function>,
    /// Matching calls that pass before.
    pub(crate) after: u64,
    /// Affected calls after that; `None` for all.
    pub(crate) times: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RandomOptions {
    pub(crate) seed: u64,
    /// Affected calls of a thousand.
    pub(crate) rate: u64,
    /// The number of faults in all.
    pub(crate) max: u64,
    /// Calls without a fault after each fault.
    pub(crate) gap: u64,
    /// Whether every fault is a return code.
    pub(crate) codes_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Arm(ArmedFault),
    Random(RandomOptions),
    Clear,
    Reset,
}

/// Enough for a few threads to recover, and to check an ambiguous failure, without another fault.
const DEFAULT_GAP: u64 = 50;

/// Reads commands divided by line ends or semicolons; `#` starts a comment.
pub(crate) fn parse(text: &str) -> Result<Vec<Command>, String> {
    text.split(['\n', ';'])
        .map(|line| line.split('#').next().unwrap_or(line))
        .filter(|line| !line.trim().is_empty())
        .map(|line| command(line).ok_or_else(|| format!("not understood: {}", line.trim())))
        .collect()
}

fn command(line: &str) -> Option<Command> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (verb, rest) = words.split_first()?;
    let options = rest.iter().position(|word| is_option(word)).unwrap_or(rest.len());
    let (arguments, options) = rest.split_at(options);
    match (*verb, arguments) {
        ("clear", []) if options.is_empty() => Some(Command::Clear),
        ("reset", []) if options.is_empty() => Some(Command::Reset),
        ("random" | "random-codes", [seed, rate, max]) => random(verb, [seed, rate, max], options),
        _ => arm(verb, arguments, options),
    }
}

fn is_option(word: &str) -> bool {
    matches!(word, "on" | "after" | "times" | "always" | "gap")
}

fn random(verb: &str, numbers: [&str; 3], options: &[&str]) -> Option<Command> {
    let codes_only = verb == "random-codes";
    let gap = match options {
        [] if codes_only => 0,
        [] => DEFAULT_GAP,
        ["gap", calls] if !codes_only => codes::number(calls)?,
        _ => return None,
    };
    let [Some(seed), Some(rate @ ..=1000), Some(max)] = numbers.map(codes::number) else {
        return None;
    };
    Some(Command::Random(RandomOptions { seed, rate, max, gap, codes_only }))
}

fn arm(verb: &str, arguments: &[&str], options: &[&str]) -> Option<Command> {
    let (fault, named) = match (verb, arguments) {
        ("fail", [function, code]) => (Fault::Fail(codes::parse(code)?), one_or_any(function)?),
        ("answer", [function, code]) => (Fault::Answer(codes::parse(code)?), one_or_any(function)?),
        ("delay", [function, ms]) => (Fault::Delay(codes::number(ms)?), one_or_any(function)?),
        ("dead", [code]) => (Fault::Dead(codes::parse(code)?), None),
        ("lose-sessions", []) => (Fault::LoseSessions, None),
        ("logout", []) => (Fault::Logout, None),
        (name, [] | [_]) => {
            let wrong = WrongResult::named(name)?;
            (Fault::Wrong(wrong, wrong.read_argument(arguments.first().copied())?), None)
        }
        _ => return None,
    };
    let mut armed = ArmedFault { fault, on: named, after: 0, times: Some(1) };
    let mut words = options.iter();
    while let Some(option) = words.next() {
        match *option {
            "always" => armed.times = None,
            "after" => armed.after = codes::number(words.next()?)?,
            "times" => armed.times = Some(codes::number(words.next()?)?),
            "on" if named.is_none() => armed.on = Some(Function::named(words.next()?)?),
            _ => return None,
        }
    }
    // A fault that no call can have is a mistake of the test that arms it.
    if let (Fault::Wrong(wrong, _), Some(on)) = (armed.fault, armed.on)
        && !wrong.functions().contains(&on)
    {
        return None;
    }
    Some(Command::Arm(armed))
}

/// `Some(None)` for `any`.
fn one_or_any(word: &str) -> Option<Option<Function>> {
    if word == "any" { Some(None) } else { Function::named(word).map(Some) }
}

impl ArmedFault {
    /// Whether a call of this function can have the fault.
    pub(crate) fn covers(&self, function: Function) -> bool {
        match (self.on, self.fault) {
            (Some(on), _) => on == function,
            (None, Fault::Wrong(wrong, _)) => wrong.functions().contains(&function),
            (None, _) => !function.is_excluded(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::CKR_GENERAL_ERROR;

    fn one(text: &str) -> Option<Command> {
        parse(text).ok().and_then(|commands| commands.first().copied())
    }

    #[test]
    fn reads_the_line_of_the_manual() {
        let armed = ArmedFault {
            fault: Fault::Fail(CKR_GENERAL_ERROR),
            on: Some(Function::C_Encrypt),
            after: 3,
            times: Some(2),
        };
        assert_eq!(one("fail C_Encrypt 0x05 after 3 times 2"), Some(Command::Arm(armed)));
        assert_eq!(one("fail C_Encrypt GENERAL_ERROR times 2 after 3"), Some(Command::Arm(armed)));
        assert_eq!(
            one("fail C_Encrypt CKR_GENERAL_ERROR after 0x3 times 2"),
            one("fail C_Encrypt 5 after 3 times 2")
        );
    }

    #[test]
    fn refuses_all_when_one_line_is_wrong() {
        for line in [
            "nonsense",
            "fail C_Encrypt",
            "fail C_Nothing 5",
            "fail C_Encrypt NO_SUCH_CODE",
            "fail C_Encrypt 5 on C_Decrypt",
            "flip-first on C_Login",
            "flip-first 3",
            "flip-first after",
            "random 1 1001 5",
            "random 1 10",
            "random-codes 1 10 5 gap 3",
            "reset always",
            "dead",
        ] {
            assert!(parse(&format!("reset\n{line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn comments_and_semicolons() {
        assert_eq!(
            parse("reset; clear # fail\n# nothing\n"),
            Ok(vec![Command::Reset, Command::Clear])
        );
    }
}
