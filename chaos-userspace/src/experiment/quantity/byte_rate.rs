//! Bytes a second.

use std::{fmt, str::FromStr};

use crate::experiment::{
    violation::BadValue,
    wording::{quoted, shown},
};

/// So many bytes a second: `512KiB`, `10MiB`, `1.5GB`; the second is not written.
///
/// From one byte to [`Self::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRate(u64);

/// Units, those that are tried first when a rate is written in front.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl ByteRate {
    /// 1 MiB a second.
    pub const MEBIBYTE: Self = Self(1 << 20);
    /// 1024 TiB a second: more than any disk does, and nothing that the kernel would overflow with.
    pub const MAX: Self = Self(1 << 50);

    /// So many bytes a second; `None` outside of 1 to [`Self::MAX`].
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes == 0 || bytes > Self::MAX.0 {
            None
        } else {
            Some(Self(bytes))
        }
    }

    /// Bytes a second.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last unit divides everything.
        let (unit, size) = UNITS
            .into_iter()
            .find(|(_, size)| self.0.is_multiple_of(*size))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl FromStr for ByteRate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |problem: &str, remedy: &str| {
            BadValue::new(format!("{} {problem}", quoted(text)), remedy)
        };
        let no_rate = || {
            bad(
                "is not a number of bytes",
                "say how many each second, such as 10MiB or 512KiB",
            )
        };
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        if unit.is_empty() && !number.is_empty() {
            let text = shown(text);
            return Err(bad(
                "has no unit",
                &format!("say which, such as {text}KiB or {text}B"),
            ));
        }
        let (whole, fraction) = match number.split_once('.') {
            Some((_, "")) => return Err(no_rate()),
            Some(parts) => parts,
            None => (number, ""),
        };
        if whole.is_empty() || fraction.contains('.') {
            return Err(no_rate());
        }
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let names = UNITS.map(|(name, _)| name).join(", ");
            return Err(bad(
                &format!("has no unit of bytes in {}", quoted(unit)),
                &format!("units are {names}; the second is not written"),
            ));
        };
        let out_of_range = || bad("is out of range", "say from 1B to 1024TiB a second");
        let fraction = fraction.trim_end_matches('0');
        let parts = Self::parts(fraction, *size)
            .ok_or_else(|| bad("is no whole number of bytes", "round it"))?;
        whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(*size))
            .and_then(|whole| whole.checked_add(parts))
            .and_then(Self::from_bytes)
            .ok_or_else(out_of_range)
    }
}

impl ByteRate {
    /// `0.fraction` of `size`, if that is whole.
    fn parts(fraction: &str, size: u64) -> Option<u64> {
        // What overflows has more digits than whole bytes of any unit can have.
        let (mut value, mut scale) = (0_u128, 1_u128);
        for digit in fraction.bytes() {
            value = value
                .checked_mul(10)?
                .checked_add(u128::from(digit - b'0'))?;
            scale = scale.checked_mul(10)?;
        }
        let whole = value.checked_mul(u128::from(size))?;
        if !whole.is_multiple_of(scale) {
            return None;
        }
        u64::try_from(whole / scale).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units_and_writes_the_largest_that_fits() {
        for (text, bytes, written) in [
            ("10MiB", 10 << 20, "10MiB"),
            ("512KiB", 512 << 10, "512KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("1.5MiB", 3 << 19, "1536KiB"),
            ("2MB", 2_000_000, "2MB"),
            ("1.25kB", 1250, "1250B"),
            ("7B", 7, "7B"),
            ("1024TiB", 1 << 50, "1024TiB"),
        ] {
            let rate: ByteRate = text.parse().unwrap();
            assert_eq!((rate.bytes(), rate.to_string().as_str()), (bytes, written));
            assert_eq!(written.parse(), Ok(rate));
        }
    }

    #[test]
    fn bad_rates_say_what_would_be_good() {
        for (text, message) in [
            ("10", "'10' has no unit; say which, such as 10KiB or 10B"),
            (
                "",
                "'' is not a number of bytes; say how many each second, such as 10MiB or 512KiB",
            ),
            (
                "-1MiB",
                "'-1MiB' is not a number of bytes; say how many each second, such as 10MiB or 512KiB",
            ),
            (
                "1.MiB",
                "'1.MiB' is not a number of bytes; say how many each second, such as 10MiB or 512KiB",
            ),
            (
                "1..5MiB",
                "'1..5MiB' is not a number of bytes; say how many each second, such as 10MiB or 512KiB",
            ),
            (
                "10MiB/s",
                "'10MiB/s' has no unit of bytes in 'MiB/s'; units are TiB, GiB, MiB, KiB, TB, GB, \
                 MB, kB, B; the second is not written",
            ),
            (
                "0B",
                "'0B' is out of range; say from 1B to 1024TiB a second",
            ),
            (
                "1025TiB",
                "'1025TiB' is out of range; say from 1B to 1024TiB a second",
            ),
            (
                "99999999999999999999999B",
                "'99999999999999999999999B' is out of range; say from 1B to 1024TiB a second",
            ),
            ("0.1B", "'0.1B' is no whole number of bytes; round it"),
            (
                "0.00000000000000000000000000000000000000000001TiB",
                "'0.00000000000000000000000000000000000000000001TiB' is no whole number of bytes; \
                 round it",
            ),
        ] {
            assert_eq!(text.parse::<ByteRate>().unwrap_err().to_string(), message);
        }
    }
}
