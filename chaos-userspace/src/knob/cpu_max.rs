//! `cpu.max`: so much time in every period, or no limit.

use std::{cmp::Ordering, fmt, str::FromStr};

use super::{CPU_MAX, limit::NoLimit};
use crate::experiment::CpuQuota;

/// The period of limits that kchaos sets, in microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;

/// What `cpu.max` holds. Smaller is tighter.
#[derive(Clone, Copy, Debug)]
pub struct CpuMax {
    /// Microseconds of processor time in every period; `None` is no limit.
    quota: Option<u64>,
    /// Microseconds.
    period: u64,
}

impl From<CpuQuota> for CpuMax {
    fn from(quota: CpuQuota) -> Self {
        Self {
            quota: Some(u64::from(quota.millipercent())),
            period: PERIOD,
        }
    }
}

impl fmt::Display for CpuMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quota {
            Some(quota) => write!(f, "{quota} {}", self.period),
            None => write!(f, "max {}", self.period),
        }
    }
}

impl FromStr for CpuMax {
    type Err = NoLimit;

    fn from_str(text: &str) -> Result<Self, NoLimit> {
        let bad = || NoLimit::new(CPU_MAX, text);
        let (quota, period) = text.trim().split_once(' ').ok_or_else(bad)?;
        let quota = match quota {
            "max" => None,
            number => Some(number.parse().map_err(|_not_a_number| bad())?),
        };
        let period: u64 = period.parse().map_err(|_not_a_number| bad())?;
        if period == 0 {
            return Err(bad());
        }
        Ok(Self { quota, period })
    }
}

impl Ord for CpuMax {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.quota, other.quota) {
            // a/b < c/d as a·d < c·b.
            (Some(a), Some(b)) => (u128::from(a) * u128::from(other.period))
                .cmp(&(u128::from(b) * u128::from(self.period))),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

impl PartialOrd for CpuMax {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for CpuMax {
    /// As tight, in whatever period.
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for CpuMax {}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> CpuMax {
        text.parse().unwrap()
    }

    #[test]
    fn limits_are_compared_by_their_share_of_time() {
        assert!(limit("25000 100000") < limit("50000 100000"));
        assert!(limit("50000 200000") < limit("50000 100000"));
        assert!(limit("150000 100000") < limit("max 100000\n"));
        assert_eq!(limit("max 100000"), limit("max 50000"));
        assert_eq!(limit("25000 50000"), limit("50000 100000"));
        let quota: CpuQuota = "150%".parse().unwrap();
        assert_eq!(CpuMax::from(quota).to_string(), "150000 100000");
        for bad in ["", "max", "x 100000", "1 0", "-1 100000"] {
            assert!(bad.parse::<CpuMax>().is_err(), "{bad}");
        }
    }
}
