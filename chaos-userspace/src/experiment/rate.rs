//! How often at most: [`Rate`].

use std::{fmt, str::FromStr, time::Duration};

use super::{
    quantity::{MAX_DURATION, format_duration, parse_duration},
    schedule::count,
    violation::BadValue,
    wording::quoted,
};

/// `maxRate=10/s`: so many injections at once, and then so many in each period, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u64,
    /// Longer than zero.
    pub per: Duration,
}

impl Rate {
    /// Nanoseconds that one injection takes out of the rate; 0 if it allows more than one each
    /// nanosecond.
    pub fn interval_ns(&self) -> u64 {
        let per = u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX);
        per / self.count.max(1)
    }

    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), BadValue> {
        let bad = |problem: &str, remedy: &str| Err(BadValue::new(problem, remedy));
        if self.count == 0 {
            return bad("lets nothing through", "say at least 1, as in 1/s");
        }
        if self.per.is_zero() || self.per > MAX_DURATION {
            return bad(
                "has no such period",
                "say one that is longer than nothing and at most 30d, such as 10/1m",
            );
        }
        if self.interval_ns() == 0 {
            return bad(
                "is more than one in each nanosecond",
                "leave it out: that is no limit",
            );
        }
        Ok(())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = format_duration(self.per);
        let per = match per.strip_prefix('1') {
            Some(unit) if unit.bytes().all(|b| b.is_ascii_alphabetic()) => unit,
            _ => &per,
        };
        write!(f, "{}/{per}", self.count)
    }
}

impl FromStr for Rate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || {
            BadValue::new(
                format!("{} is not a rate", quoted(text)),
                "say how many in how long, such as 10/s or 3/1m",
            )
        };
        let (number, per) = text.split_once('/').ok_or_else(bad)?;
        let one = per.starts_with(|c: char| c.is_ascii_alphabetic());
        let per = if one {
            format!("1{per}")
        } else {
            per.to_owned()
        };
        let rate = Self {
            count: count(number)
                .filter(|_| !number.is_empty())
                .ok_or_else(bad)?,
            per: parse_duration(&per).map_err(|_bad| bad())?,
        };
        rate.check()
            .map_err(|bad| BadValue {
                problem: format!("{} {}", quoted(text), bad.problem),
                ..bad
            })
            .map(|()| rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_how_many_in_how_long() {
        for (text, count, per) in [
            ("10/s", 10, Duration::from_secs(1)),
            ("3/1m", 3, Duration::from_mins(1)),
            ("1/h", 1, Duration::from_hours(1)),
            ("5/100ms", 5, Duration::from_millis(100)),
        ] {
            assert_eq!(text.parse(), Ok(Rate { count, per }), "{text}");
        }
        let rate = |text: &str| text.parse::<Rate>().unwrap().to_string();
        assert_eq!(rate("3/1m"), "3/m");
        assert_eq!(rate("7/10s"), "7/10s");
        for text in [
            "", "10", "/s", "10/", "0/s", "-1/s", "1/0s", "1/31d", "9/ns/s", "2/1ns",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
