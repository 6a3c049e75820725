//! Bytes a second.

use std::{fmt, str::FromStr};

use super::bytes::{self, Words};
use crate::experiment::violation::BadValue;

/// So many bytes a second: `512KiB`, `10MiB`, `1.5GB`; the second is not written.
///
/// From one byte to [`Self::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRate(u64);

impl ByteRate {
    /// 1 MiB a second.
    pub const MEBIBYTE: Self = Self(1 << 20);
    /// 1024 TiB a second.
    pub const MAX: Self = Self(bytes::MAX);

    /// So many bytes a second; `None` outside of 1 to [`Self::MAX`].
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes::in_range(bytes) {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Bytes a second.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bytes::format(self.0))
    }
}

impl FromStr for ByteRate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const WORDS: Words = Words {
            how_many: "how many each second",
            of_units: "; the second is not written",
            of_range: " a second",
        };
        bytes::parse(text, WORDS).map(Self)
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
