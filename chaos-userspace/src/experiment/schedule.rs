//! Which of the matching events are hit, and in what rhythm: [`When`] and [`Pulse`].

use std::{fmt, str::FromStr, time::Duration};

use super::{
    Pulse, When,
    quantity::{MAX_DURATION, format_duration, parse_duration},
    violation::BadValue,
    wording::quoted,
};

impl When {
    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), BadValue> {
        let bad = |problem: &str, remedy: &str| Err(BadValue::new(problem, remedy));
        match *self {
            Self { first: 0, .. } => {
                bad("counts from 0", "events are counted from 1: the first is 1")
            }
            Self { step: 0, .. } => bad("has a step of 0", "a step is at least 1, as in 3+1"),
            Self {
                first,
                last: Some(last),
                ..
            } if last < first => Err(BadValue::new(
                format!("ends at {last}, before it begins at {first}"),
                format!("did you mean {last}..{first}?"),
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, step } = *self;
        match (last, step) {
            (Some(last), 1) if last == first => write!(f, "{first}"),
            (Some(last), 1) => write!(f, "{first}..{last}"),
            (Some(last), _) => write!(f, "{first}..{last}+{step}"),
            (None, 1) => write!(f, "{first}+"),
            (None, _) => write!(f, "{first}+{step}"),
        }
    }
}

impl FromStr for When {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || {
            BadValue::new(
                format!("{} does not say which events", quoted(text)),
                "say 3, 3+, 3..9, 3+2 or 3..9+2",
            )
        };
        let (range, step) = match text.split_once('+') {
            None => (text, None),
            Some((range, "")) => (range, Some(1)),
            Some((range, step)) => (range, Some(count(step).ok_or_else(bad)?)),
        };
        let (first, last) = match range.split_once("..") {
            None => (count(range).ok_or_else(bad)?, None),
            Some((first, last)) => (
                count(first).ok_or_else(bad)?,
                Some(count(last).ok_or_else(bad)?),
            ),
        };
        let when = Self {
            first,
            // `3` alone is one event, `3+` has no end.
            last: last.or(step.is_none().then_some(first)),
            step: step.unwrap_or(1),
        };
        when.check()
            .map_err(|bad| BadValue {
                problem: format!("{} {}", quoted(text), bad.problem),
                ..bad
            })
            .map(|()| when)
    }
}

/// Decimal digits only: no sign, no spaces.
pub(super) fn count(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl Pulse {
    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), BadValue> {
        if self.active.is_zero() {
            return Err(BadValue::new(
                "is never on",
                "say for how long of every how long: 2s/10s",
            ));
        }
        if self.active >= self.every {
            return Err(BadValue::new(
                "is never off",
                "say active/every with active shorter than every, such as 2s/10s",
            ));
        }
        if self.every > MAX_DURATION {
            return Err(BadValue::new("is too long", "say at most 30d"));
        }
        Ok(())
    }
}

impl fmt::Display for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            format_duration(self.active),
            format_duration(self.every)
        )
    }
}

impl FromStr for Pulse {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Some((active, every)) = text.split_once('/') else {
            return Err(BadValue::new(
                format!("{} is not a pulse", quoted(text)),
                "say for how long of every how long, such as 2s/10s",
            ));
        };
        let pulse = Self {
            active: parse_duration(active)?,
            every: parse_duration(every)?,
        };
        pulse
            .check()
            .map_err(|bad| BadValue {
                problem: format!("{} {}", quoted(text), bad.problem),
                ..bad
            })
            .map(|()| pulse)
    }
}

/// A duration in which something is meant to happen.
pub(super) fn check_lifetime(duration: Duration) -> Result<(), BadValue> {
    if duration.is_zero() {
        return Err(BadValue::new(
            "is zero",
            "say how long the fault lives, such as 30s",
        ));
    }
    check_at_most(duration)
}

/// Any duration.
pub(super) fn check_at_most(duration: Duration) -> Result<(), BadValue> {
    if duration > MAX_DURATION {
        return Err(BadValue::new(
            format!("{} is too long", format_duration(duration)),
            "say at most 30d",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when_refused(text: &str) -> String {
        text.parse::<When>().unwrap_err().to_string()
    }

    fn pulse_refused(text: &str) -> String {
        text.parse::<Pulse>().unwrap_err().to_string()
    }

    #[test]
    fn when_is_strace_s() {
        for (text, first, last, step) in [
            ("3", 3, Some(3), 1),
            ("3+", 3, None, 1),
            ("3..9", 3, Some(9), 1),
            ("3+2", 3, None, 2),
            ("3..9+2", 3, Some(9), 2),
            ("3..3+2", 3, Some(3), 2),
            ("18446744073709551615", u64::MAX, Some(u64::MAX), 1),
        ] {
            let when: When = text.parse().unwrap();
            assert_eq!(when, When { first, last, step }, "{text}");
            assert_eq!(when.to_string(), text);
        }
        assert_eq!("3..9+".parse::<When>().unwrap().to_string(), "3..9");
        assert_eq!("3..3".parse::<When>().unwrap().to_string(), "3");
    }

    #[test]
    fn bad_whens() {
        assert_eq!(
            when_refused("0"),
            "'0' counts from 0; events are counted from 1: the first is 1"
        );
        assert_eq!(
            when_refused("9..3"),
            "'9..3' ends at 3, before it begins at 9; did you mean 3..9?"
        );
        assert_eq!(
            when_refused("3+0"),
            "'3+0' has a step of 0; a step is at least 1, as in 3+1"
        );
        for text in [
            "",
            "+",
            "..",
            "3..",
            "..9",
            "3+2+1",
            "-3",
            "3-9",
            "3...9",
            "1e3",
            " 3",
            "18446744073709551616",
        ] {
            assert_eq!(
                when_refused(text),
                format!("'{text}' does not say which events; say 3, 3+, 3..9, 3+2 or 3..9+2")
            );
        }
    }

    #[test]
    fn pulses() {
        let pulse: Pulse = "2s/10s".parse().unwrap();
        assert_eq!((pulse.active.as_secs(), pulse.every.as_secs()), (2, 10));
        assert_eq!(pulse.to_string(), "2s/10s");
        assert_eq!(
            pulse_refused("2s"),
            "'2s' is not a pulse; say for how long of every how long, such as 2s/10s"
        );
        assert_eq!(
            pulse_refused("10s/2s"),
            "'10s/2s' is never off; say active/every with active shorter than every, such as 2s/10s"
        );
        assert_eq!(
            pulse_refused("0s/2s"),
            "'0s/2s' is never on; say for how long of every how long: 2s/10s"
        );
        assert_eq!(
            pulse_refused("2/10s"),
            "'2' has no unit; say which, such as 2s or 2m"
        );
    }
}
