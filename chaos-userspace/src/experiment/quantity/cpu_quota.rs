//! Shares of processors.

use std::{fmt, str::FromStr};

use super::percent::{self, Unreadable};
use crate::experiment::{violation::BadValue, wording::quoted};

/// Time on the processors, as a percentage of one of them: `25%`, `150%`.
///
/// From 1 %, below which the kernel takes no limit, to 1024 processors, exact to a thousandth of a
/// percent. Means the same as systemd's `CPUQuota=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CpuQuota(u32);

impl CpuQuota {
    /// The least that the kernel takes: 1 ms of every 100 ms.
    pub const MIN: Self = Self(Self::ONE_PERCENT);
    /// One whole processor.
    pub const ONE: Self = Self(100 * Self::ONE_PERCENT);
    /// 1024 whole processors.
    pub const MAX: Self = Self(102_400 * Self::ONE_PERCENT);

    const ONE_PERCENT: u32 = 1000;
    /// Decimals of a percentage.
    const DECIMALS: u32 = 3;

    /// So many thousandths of a percent; `None` outside of [`Self::MIN`] to [`Self::MAX`].
    pub const fn from_millipercent(millipercent: u32) -> Option<Self> {
        if millipercent < Self::MIN.0 || millipercent > Self::MAX.0 {
            None
        } else {
            Some(Self(millipercent))
        }
    }

    /// How many thousandths of a percent of one processor: also the microseconds of processor time
    /// in every 100 ms.
    pub const fn millipercent(self) -> u32 {
        self.0
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        percent::write(f, self.0, Self::DECIMALS)
    }
}

impl FromStr for CpuQuota {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |problem: &str, remedy: &str| {
            BadValue::new(format!("{} {problem}", quoted(text)), remedy)
        };
        let no_percentage = || bad("is not a percentage", "say one, such as 25% or 150%");
        let out_of_range = || {
            bad(
                "is out of range",
                "say what the target keeps of one processor, from 1% to 102400%",
            )
        };
        let number = text.strip_suffix('%').ok_or_else(no_percentage)?;
        match percent::parse(number, Self::DECIMALS) {
            Err(Unreadable::NoNumber) => Err(no_percentage()),
            Err(Unreadable::TooFine) => Err(bad("is too fine", "a quota is a multiple of 0.001%")),
            Err(Unreadable::TooBig) => Err(out_of_range()),
            Ok(millipercent) => Self::from_millipercent(millipercent).ok_or_else(out_of_range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_one_processor_is_fine() {
        for (text, millipercent) in [("25%", 25_000), ("150%", 150_000), ("1.5%", 1500)] {
            let quota: CpuQuota = text.parse().unwrap();
            assert_eq!(quota.millipercent(), millipercent);
            assert_eq!(quota.to_string(), text);
        }
        assert_eq!("102400%".parse(), Ok(CpuQuota::MAX));
        assert_eq!("1.000%".parse(), Ok(CpuQuota::MIN));
    }

    #[test]
    fn bad_quotas_say_what_would_be_good() {
        for (text, message) in [
            (
                "25",
                "'25' is not a percentage; say one, such as 25% or 150%",
            ),
            ("%", "'%' is not a percentage; say one, such as 25% or 150%"),
            (
                "1.%",
                "'1.%' is not a percentage; say one, such as 25% or 150%",
            ),
            (
                "-1%",
                "'-1%' is not a percentage; say one, such as 25% or 150%",
            ),
            (
                "0.5%",
                "'0.5%' is out of range; say what the target keeps of one processor, from 1% to 102400%",
            ),
            (
                "99999999999%",
                "'99999999999%' is out of range; say what the target keeps of one processor, from 1% to 102400%",
            ),
            (
                "2.0001%",
                "'2.0001%' is too fine; a quota is a multiple of 0.001%",
            ),
        ] {
            assert_eq!(text.parse::<CpuQuota>().unwrap_err().to_string(), message);
        }
    }
}
