//! The command language: one command a line, read as a whole before any of it counts.

use cryptoki_sys::{CK_RV, CK_ULONG};

use crate::catalogue::Lie;
use crate::codes;
use crate::functions::Function;

/// Something that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers a code, not forwarded.
    Fail(CK_RV),
    /// Forwarded, and a code all the same.
    Answer(CK_RV),
    /// Milliseconds before anything else happens.
    Delay(u64),
    LoseSessions,
    Logout,
    /// A code to everything, until re-initialised.
    Dead(CK_RV),
    /// One of the catalogue, with its argument.
    Lie(Lie, CK_ULONG),
}

/// A fault, and which of the matching calls it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) fault: Fault,
    /// The one function to hit; `None` for all that the fault can hit.
    pub(crate) on: Option<Function>,
    /// Matching calls to let pass first.
    pub(crate) after: u64,
    /// Calls to hit then; `None` for always.
    pub(crate) times: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StormOrder {
    pub(crate) seed: u64,
    /// Of a thousand calls, how many are hit.
    pub(crate) rate: u64,
    /// The most faults there will be.
    pub(crate) max: u64,
    /// Calls of peace after each fault.
    pub(crate) calm: u64,
    /// Whether all that befalls a call is a code.
    pub(crate) codes_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Arm(Order),
    Storm(StormOrder),
    Clear,
    Reset,
}

/// Enough for a handful of threads to recover and to settle a doubtful answer undisturbed.
const CALM: u64 = 50;

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
        ("storm", [seed, rate, max]) => storm(seed, rate, max, options),
        ("hail", [seed, rate, max]) if options.is_empty() => hail(seed, rate, max),
        _ => arm(verb, arguments, options),
    }
}

fn is_option(word: &str) -> bool {
    matches!(word, "on" | "after" | "times" | "always" | "calm")
}

fn storm(seed: &str, rate: &str, max: &str, options: &[&str]) -> Option<Command> {
    let calm = match options {
        [] => CALM,
        ["calm", calls] => codes::number(calls)?,
        _ => return None,
    };
    gale(seed, rate, max).map(|order| Command::Storm(StormOrder { calm, ..order }))
}

fn hail(seed: &str, rate: &str, max: &str) -> Option<Command> {
    gale(seed, rate, max).map(|order| Command::Storm(StormOrder { codes_only: true, ..order }))
}

fn gale(seed: &str, rate: &str, max: &str) -> Option<StormOrder> {
    let rate = codes::number(rate).filter(|rate| *rate <= 1000)?;
    let (seed, max) = (codes::number(seed)?, codes::number(max)?);
    Some(StormOrder { seed, rate, max, calm: 0, codes_only: false })
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
            let lie = Lie::named(name)?;
            (Fault::Lie(lie, lie.read_argument(arguments.first().copied())?), None)
        }
        _ => return None,
    };
    let mut order = Order { fault, on: named, after: 0, times: Some(1) };
    let mut words = options.iter();
    while let Some(option) = words.next() {
        match *option {
            "always" => order.times = None,
            "after" => order.after = codes::number(words.next()?)?,
            "times" => order.times = Some(codes::number(words.next()?)?),
            "on" if named.is_none() => order.on = Some(Function::named(words.next()?)?),
            _ => return None,
        }
    }
    // A fault that could never strike is a mistake of the test that arms it.
    if let (Fault::Lie(lie, _), Some(on)) = (order.fault, order.on)
        && !lie.functions().contains(&on)
    {
        return None;
    }
    Some(Command::Arm(order))
}

/// `Some(None)` for `any`.
fn one_or_any(word: &str) -> Option<Option<Function>> {
    if word == "any" { Some(None) } else { Function::named(word).map(Some) }
}

impl Order {
    /// Whether a call of this function can be hit.
    pub(crate) fn covers(&self, function: Function) -> bool {
        match (self.on, self.fault) {
            (Some(on), _) => on == function,
            (None, Fault::Lie(lie, _)) => lie.functions().contains(&function),
            (None, _) => !function.is_spared(),
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
        let order = Order {
            fault: Fault::Fail(CKR_GENERAL_ERROR),
            on: Some(Function::C_Encrypt),
            after: 3,
            times: Some(2),
        };
        assert_eq!(one("fail C_Encrypt 0x05 after 3 times 2"), Some(Command::Arm(order)));
        assert_eq!(one("fail C_Encrypt GENERAL_ERROR times 2 after 3"), Some(Command::Arm(order)));
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
            "storm 1 1001 5",
            "storm 1 10",
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
