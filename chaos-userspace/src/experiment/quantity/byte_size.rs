//! Bytes.

use std::{fmt, str::FromStr};

use super::bytes::{self, Words};
use crate::experiment::violation::BadValue;

/// So many bytes: `512B`, `64KiB`, `1.5GB`. From one byte to 1024 TiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// 1 MiB.
    pub const MEBIBYTE: Self = Self(1 << 20);
    /// 1024 TiB.
    pub const MAX: Self = Self(bytes::MAX);

    /// So many bytes; `None` outside of 1 to [`Self::MAX`].
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes::in_range(bytes) {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bytes::format(self.0))
    }
}

impl FromStr for ByteSize {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const WORDS: Words = Words {
            how_many: "how many",
            of_units: "",
            of_range: "",
        };
        bytes::parse(text, WORDS).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_rates_are_but_speak_of_no_second() {
        let size: ByteSize = "1.5MiB".parse().unwrap();
        assert_eq!(
            (size.bytes(), size.to_string().as_str()),
            (3 << 19, "1536KiB")
        );
        for (text, message) in [
            (
                "4096",
                "'4096' has no unit; say which, such as 4096KiB or 4096B",
            ),
            (
                "big",
                "'big' is not a number of bytes; say how many, such as 10MiB or 512KiB",
            ),
            ("0", "'0' is out of range; say from 1B to 1024TiB"),
            ("0B", "'0B' is out of range; say from 1B to 1024TiB"),
            (
                "1mb",
                "'1mb' has no unit of bytes in 'mb'; units are TiB, GiB, MiB, KiB, TB, GB, MB, kB, B",
            ),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), message);
        }
    }
}
