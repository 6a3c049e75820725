//! Percentages.

use std::{fmt, str::FromStr};

use super::percent::{self, Unreadable};
use crate::experiment::{violation::BadValue, wording::quoted};

/// A share from 0 % to 100 %, exact to a ten-millionth of a percent.
///
/// Parses from and displays as a percentage with its sign, such as `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(Self::WHOLE);

    const WHOLE: u32 = 1_000_000_000;
    /// Decimals of a percentage that a billionth of the whole can hold.
    const DECIMALS: u32 = 7;

    /// So many billionths; `None` for more than the whole.
    pub fn from_billionths(billionths: u32) -> Option<Self> {
        (billionths <= Self::WHOLE).then_some(Self(billionths))
    }

    /// How many billionths of the whole.
    pub const fn billionths(self) -> u32 {
        self.0
    }

    /// How many of the 2^32 values of a 32-bit hash fall into the share, rounded: 2^32 for 100 %.
    ///
    /// An event is hit when its hash is below this.
    pub const fn threshold(self) -> u64 {
        let whole = Self::WHOLE as u64;
        (((self.0 as u64) << 32) + whole / 2) / whole
    }

    /// Reads a percentage without its sign; `None` for what is none.
    fn percent(number: &str) -> Option<Result<Self, BadValue>> {
        let bad = |problem: &str, remedy: &str| {
            let said = quoted(&format!("{number}%"));
            Err(BadValue::new(format!("{said} {problem}"), remedy))
        };
        let too_much = || bad("is more than everything", "a share is from 0% to 100%");
        Some(match percent::parse(number, Self::DECIMALS) {
            Err(Unreadable::NoNumber) => return None,
            Err(Unreadable::TooFine) => bad("is too fine", "a share is a multiple of 0.0000001%"),
            Err(Unreadable::TooBig) => too_much(),
            Ok(billionths) => Self::from_billionths(billionths).map_or_else(too_much, Ok),
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        percent::write(f, self.0, Self::DECIMALS)
    }
}

impl FromStr for Share {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let number = text.strip_suffix('%');
        match (Self::percent(number.unwrap_or(text)), number) {
            (Some(share), Some(_)) => share,
            (Some(_), None) => Err(BadValue::new(
                format!("{} has no % sign", quoted(text)),
                format!("say a percentage, such as {}", with_sign(text)),
            )),
            (None, _) => Err(BadValue::new(
                format!("{} is not a percentage", quoted(text)),
                "say a number from 0% to 100%, such as 5% or 0.1%",
            )),
        }
    }
}

/// What somebody meant who left out the sign: `0.1` as a fraction of one, anything else as percent.
fn with_sign(text: &str) -> String {
    let fraction = text
        .strip_prefix("0.")
        .filter(|digits| digits.len() <= Share::DECIMALS as usize + 2);
    fraction
        .and_then(|digits| format!("{digits:0<9}").parse().ok())
        .and_then(Share::from_billionths)
        .or_else(|| format!("{text}%").parse().ok())
        .map_or_else(|| "5%".to_owned(), |share: Share| share.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<Share>().unwrap_err().to_string()
    }

    #[test]
    fn percentages_are_exact() {
        assert_eq!(share("0%"), Share::NONE);
        assert_eq!(share("100%"), Share::ALL);
        assert_eq!(share("100.000000000000%"), Share::ALL);
        assert_eq!(share("10%").billionths(), 100_000_000);
        assert_eq!(share("0.5%").billionths(), 5_000_000);
        assert_eq!(share("0.0000001%").billionths(), 1);
        assert_eq!(share("007%").billionths(), 70_000_000);
    }

    #[test]
    fn displays_no_needless_digit() {
        for text in [
            "0%",
            "1%",
            "10%",
            "100%",
            "0.5%",
            "33.3333333%",
            "0.0000001%",
            "50.05%",
        ] {
            assert_eq!(share(text).to_string(), text);
        }
        assert_eq!(share("2.50%").to_string(), "2.5%");
    }

    #[test]
    fn thresholds_are_rounded() {
        assert_eq!(share("0%").threshold(), 0);
        assert_eq!(share("100%").threshold(), 1 << 32);
        assert_eq!(share("50%").threshold(), 1 << 31);
        assert_eq!(share("10%").threshold(), 429_496_730);
        assert_eq!(share("0.0000001%").threshold(), 4);
    }

    #[test]
    fn no_share_is_more_than_everything() {
        let range = "is more than everything; a share is from 0% to 100%";
        for text in [
            "140%",
            "100.0000001%",
            "99999999999999999999%",
            "4294967295%",
        ] {
            assert_eq!(refused(text), format!("'{text}' {range}"));
        }
    }

    #[test]
    fn the_sign_is_required() {
        assert_eq!(
            refused("10"),
            "'10' has no % sign; say a percentage, such as 10%"
        );
        assert_eq!(
            refused("0.1"),
            "'0.1' has no % sign; say a percentage, such as 10%"
        );
        assert_eq!(
            refused("0.005"),
            "'0.005' has no % sign; say a percentage, such as 0.5%"
        );
        assert_eq!(
            refused("1000"),
            "'1000' has no % sign; say a percentage, such as 5%"
        );
    }

    #[test]
    fn what_is_no_percentage() {
        for text in [
            "", "%", "-1%", "+1%", "1.%", ".5%", "1e2%", "five%", "1 %", "5%%", "1,5%", "٣%",
        ] {
            assert_eq!(
                refused(text),
                format!(
                    "'{text}' is not a percentage; say a number from 0% to 100%, such as 5% or 0.1%"
                )
            );
        }
        assert_eq!(
            refused("1.00000001%"),
            "'1.00000001%' is too fine; a share is a multiple of 0.0000001%"
        );
    }
}
