//! Bits a second.

use std::{fmt, str::FromStr};

use super::bytes::{decimal, parts, sum};
use crate::experiment::{
    violation::BadValue,
    wording::{quoted, shown},
};

/// So many bits a second, with the units of `tc(8)` in whatever case: `10mbit`, `1.5gbit`, and `2mbps`
/// for as many bytes; the second is not written otherwise.
///
/// From [`Self::MIN`] to [`Self::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BitRate(u64);

/// What stands in front of a unit, those that are tried first when a rate is written in front: people
/// count bits by thousands, so that the others are for what is whole in no thousand.
const PREFIXES: [(&str, u64); 9] = [
    ("t", 1_000_000_000_000),
    ("g", 1_000_000_000),
    ("m", 1_000_000),
    ("k", 1000),
    ("ti", 1 << 40),
    ("gi", 1 << 30),
    ("mi", 1 << 20),
    ("ki", 1 << 10),
    ("", 1),
];

/// Units and their bits.
const UNITS: [(&str, u64); 2] = [("bit", 1), ("bps", 8)];

impl BitRate {
    /// A byte a second, less than which the kernel does not count.
    pub const MIN: Self = Self(8);
    /// A million bits a second.
    pub const MEGABIT: Self = Self(1_000_000);
    /// 100 terabits a second: more than any device takes.
    pub const MAX: Self = Self(100_000_000_000_000);

    /// So many bits a second; `None` outside of [`Self::MIN`] to [`Self::MAX`].
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits < Self::MIN.0 || bits > Self::MAX.0 {
            None
        } else {
            Some(Self(bits))
        }
    }

    /// Bits a second.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, size) = PREFIXES
            .into_iter()
            .find(|(_, size)| self.0.is_multiple_of(*size))
            .unwrap_or(("", 1));
        write!(f, "{}{prefix}bit", self.0 / size)
    }
}

impl FromStr for BitRate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |problem: &str, remedy: &str| {
            BadValue::new(format!("{} {problem}", quoted(text)), remedy)
        };
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let Some((whole, fraction)) = decimal(number) else {
            return Err(bad(
                "is not a number of bits",
                "say how many each second, such as 10mbit or 512kbit",
            ));
        };
        let out_of_range = || {
            let range = format!("say from {} to {} a second", Self::MIN, Self::MAX);
            bad("is out of range", &range)
        };
        let Some(size) = size_of(unit) else {
            // A unit would not help it.
            if unit.is_empty() && number.bytes().all(|digit| digit == b'0') {
                return Err(out_of_range());
            }
            return Err(bad_unit(text, number, unit));
        };
        let parts =
            parts(fraction, size).ok_or_else(|| bad("is no whole number of bits", "round it"))?;
        sum(whole, parts, size)
            .and_then(Self::from_bits)
            .ok_or_else(out_of_range)
    }
}

/// How many bits a unit has.
fn size_of(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    UNITS.into_iter().find_map(|(name, bits)| {
        let prefix = unit.strip_suffix(name)?;
        Some(size_of_prefix(prefix)? * bits)
    })
}

fn size_of_prefix(prefix: &str) -> Option<u64> {
    let (_, size) = PREFIXES.iter().find(|(name, _)| *name == prefix)?;
    Some(*size)
}

/// A letter too few or too many is the usual thing, and then bits may be meant, or bytes.
fn bad_unit(text: &str, number: &str, unit: &str) -> BadValue {
    let number = shown(number);
    if unit.is_empty() {
        return BadValue::new(
            format!("{} has no unit", quoted(text)),
            format!("say which, such as {number}mbit or {number}kbit"),
        );
    }
    let lower = unit.to_ascii_lowercase();
    let after = |names: &[&str]| {
        let prefix = names.iter().find_map(|name| lower.strip_suffix(name))?;
        size_of_prefix(prefix).map(|_size| prefix)
    };
    let remedy = if let Some(prefix) = after(&["bits/s", "bit/s", "bits", "bitps"]) {
        format!("say {number}{prefix}bit; the second is not written")
    } else if let Some(prefix) = after(&["bytes/s", "byte/s", "bytes", "byte"]) {
        format!("say {number}{prefix}bps")
    } else if let Some(prefix) = after(&["b/s", "b", ""]) {
        format!("say {number}{prefix}bit, or {number}{prefix}bps for bytes")
    } else {
        "units are bit, kbit, mbit, gbit, tbit, and for bytes bps, kbps, mbps, gbps, tbps; \
         kibit, mibit and so on count by 1024"
            .to_owned()
    };
    let problem = format!(
        "{} in {} is not a unit of bits a second",
        quoted(unit),
        quoted(text)
    );
    BadValue::new(problem, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tc_reads_and_writes_the_largest_that_fits() {
        for (text, bits, written) in [
            ("8bit", 8, "8bit"),
            ("10mbit", 10_000_000, "10mbit"),
            ("10Mbit", 10_000_000, "10mbit"),
            ("1500kbit", 1_500_000, "1500kbit"),
            ("1.5mbit", 1_500_000, "1500kbit"),
            ("1000mbit", 1_000_000_000, "1gbit"),
            ("100tbit", 100_000_000_000_000, "100tbit"),
            // Bytes.
            ("1bps", 8, "8bit"),
            ("125kbps", 1_000_000, "1mbit"),
            ("10MBPS", 80_000_000, "80mbit"),
            ("1gbps", 8_000_000_000, "8gbit"),
            // By 1024.
            ("1kibit", 1024, "1kibit"),
            ("10mibit", 10 << 20, "10mibit"),
            ("1000kibit", 1_024_000, "1024kbit"),
            ("1mibps", 8 << 20, "8mibit"),
            ("1.25kbit", 1250, "1250bit"),
        ] {
            let rate: BitRate = text.parse().unwrap();
            assert_eq!((rate.bits(), rate.to_string().as_str()), (bits, written));
            assert_eq!(written.parse(), Ok(rate));
        }
        assert_eq!(BitRate::from_bits(7), None);
        assert_eq!(BitRate::from_bits(BitRate::MAX.bits() + 1), None);
        assert_eq!(BitRate::from_bits(1_000_000), Some(BitRate::MEGABIT));
    }

    #[test]
    fn bad_rates_say_what_would_be_good() {
        let units = "units are bit, kbit, mbit, gbit, tbit, and for bytes bps, kbps, mbps, gbps, \
                     tbps; kibit, mibit and so on count by 1024";
        for (text, message) in [
            (
                "10",
                "'10' has no unit; say which, such as 10mbit or 10kbit".to_owned(),
            ),
            (
                "10mb",
                "'mb' in '10mb' is not a unit of bits a second; say 10mbit, or 10mbps for bytes"
                    .to_owned(),
            ),
            (
                "10M",
                "'M' in '10M' is not a unit of bits a second; say 10mbit, or 10mbps for bytes"
                    .to_owned(),
            ),
            (
                "1.5MiB",
                "'MiB' in '1.5MiB' is not a unit of bits a second; \
                 say 1.5mibit, or 1.5mibps for bytes"
                    .to_owned(),
            ),
            (
                "10Mbit/s",
                "'Mbit/s' in '10Mbit/s' is not a unit of bits a second; \
                 say 10mbit; the second is not written"
                    .to_owned(),
            ),
            (
                "10kbytes",
                "'kbytes' in '10kbytes' is not a unit of bits a second; say 10kbps".to_owned(),
            ),
            (
                "10pbit",
                format!("'pbit' in '10pbit' is not a unit of bits a second; {units}"),
            ),
            (
                "10ärbit",
                format!("'ärbit' in '10ärbit' is not a unit of bits a second; {units}"),
            ),
            (
                "fast",
                "'fast' is not a number of bits; say how many each second, such as 10mbit or 512kbit"
                    .to_owned(),
            ),
            (
                "1.mbit",
                "'1.mbit' is not a number of bits; \
                 say how many each second, such as 10mbit or 512kbit"
                    .to_owned(),
            ),
            (
                "0",
                "'0' is out of range; say from 8bit to 100tbit a second".to_owned(),
            ),
            (
                "7bit",
                "'7bit' is out of range; say from 8bit to 100tbit a second".to_owned(),
            ),
            (
                "101tbit",
                "'101tbit' is out of range; say from 8bit to 100tbit a second".to_owned(),
            ),
            (
                "99999999999999999999tbit",
                "'99999999999999999999tbit' is out of range; say from 8bit to 100tbit a second"
                    .to_owned(),
            ),
            (
                "8.5bit",
                "'8.5bit' is no whole number of bits; round it".to_owned(),
            ),
        ] {
            assert_eq!(text.parse::<BitRate>().unwrap_err().to_string(), message);
        }
    }
}
