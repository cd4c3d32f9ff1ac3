//! Prices of calls and sums of money, as an operator writes them.

use envelock_ops::Prices;

/// Digits behind the point of a sum: the engine counts billionths.
const SUM_DIGITS: usize = 9;

/// Digits behind the point of a price of a million calls: the engine has billionths for one call.
const PRICE_DIGITS: usize = 3;

/// Parses a sum of money, such as `12.50`, into billionths.
///
/// # Errors
///
/// It is no decimal number, or too large or too fine.
pub fn sum(text: &str) -> Result<u64, String> {
    decimal(text, SUM_DIGITS)
}

/// Returns billionths as [`sum`] parses them, with two digits behind the point or more.
pub fn text_of_sum(billionths: u64) -> String {
    let (whole, part) = (billionths / 1_000_000_000, billionths % 1_000_000_000);
    let part = format!("{part:09}");
    let end = part.trim_end_matches('0').len().max(2);
    format!("{whole}.{}", part.get(..end).unwrap_or(&part))
}

/// Sets one price, such as `write=5` for 5 units of currency for a million.
///
/// # Errors
///
/// There is no call of that name, or the price is no decimal number.
pub fn set_price(prices: &mut Prices, setting: &str) -> Result<(), String> {
    let (name, value) = setting.split_once('=').ok_or("it is not CALL=PRICE")?;
    let price = decimal(value, PRICE_DIGITS)?;
    match name {
        "list" => prices.list = price,
        "read" => prices.read = price,
        "write" => prices.write = price,
        "key" => prices.key = price,
        _ => return Err(format!("there is no call {name:?} but list, read, write, key")),
    }
    Ok(())
}

/// Parses a decimal number into units of its last digit.
fn decimal(text: &str, digits: usize) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no amount: write a number such as 5 or 0.4");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return Err(wrong());
    }
    if part.trim_end_matches('0').len() > digits {
        return Err(format!("{text:?} has more than {digits} digits behind the point"));
    }
    let padded = format!("{part:0<digits$}");
    let units = format!("{whole}{}", padded.get(..digits).unwrap_or(&padded));
    units.parse().map_err(|_| format!("{text:?} is too large"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let cases = [
            ("12.50", 12_500_000_000, "12.50"),
            ("0.000000001", 1, "0.000000001"),
            ("1234", 1_234_000_000_000, "1234.00"),
            ("0.1", 100_000_000, "0.10"),
            ("3.0000000000", 3_000_000_000, "3.00"),
            ("18446744073.709551615", u64::MAX, "18446744073.709551615"),
        ];
        for (text, billionths, written) in cases {
            assert_eq!(sum(text).unwrap(), billionths, "{text}");
            assert_eq!(text_of_sum(billionths), written);
        }
        for (text, why) in [
            ("", "no amount"),
            ("-1", "no amount"),
            ("1e3", "no amount"),
            ("1.", "no amount"),
            (".5", "no amount"),
            ("1,5", "no amount"),
            ("1.2.3", "no amount"),
            ("0.0000000001", "more than 9 digits"),
            ("18446744073.709551616", "too large"),
        ] {
            assert!(sum(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn price_is_of_a_million_calls() {
        let mut prices = Prices::default();
        for setting in ["list=5", "read=0.4", "write=5.25", "key=3"] {
            set_price(&mut prices, setting).unwrap();
        }
        assert_eq!(prices, Prices { list: 5000, read: 400, write: 5250, key: 3000 });
        for setting in ["write", "put=1", "write=0.0001", "write=x"] {
            assert!(set_price(&mut prices, setting).is_err(), "{setting}");
        }
        assert_eq!(prices.write, 5250);
    }
}
