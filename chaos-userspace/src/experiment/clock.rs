//! `clock.freeze`, `clock.offset`, `clock.speed` and `clock.step`: their keys, and their rules.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    ClockFreeze, ClockOffset, ClockSpeed, ClockStep, FaultKind,
    memory::check_twice,
    names::parse_flag,
    quantity::{format_duration, parse_duration},
    set::add,
    violation::BadValue,
    wording::{guess, quoted},
};

/// A clock with those that are derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time of day: `CLOCK_REALTIME`, `CLOCK_TAI`, `gettimeofday`, `time`.
    Realtime,
    /// Since some moment, without suspend: `CLOCK_MONOTONIC`, `CLOCK_MONOTONIC_RAW`.
    Monotonic,
    /// The same with suspend: `CLOCK_BOOTTIME`.
    Boottime,
}

impl Clock {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Realtime, Self::Monotonic, Self::Boottime];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Monotonic => "monotonic",
            Self::Boottime => "boottime",
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Clock {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|clock| clock.name() == text);
        known.ok_or_else(|| {
            let lower = text.to_lowercase();
            let lower = lower.trim_start_matches("clock_");
            let remedy = match lower {
                "realtime_coarse" | "realtime_alarm" | "tai" | "wall" | "system" => {
                    "say realtime, which stands for it as well".to_owned()
                }
                "monotonic_coarse" | "monotonic_raw" | "raw" => {
                    "say monotonic, which stands for it as well".to_owned()
                }
                "process_cputime_id" | "thread_cputime_id" | "cpu" => {
                    "clocks of processor time are left alone".to_owned()
                }
                _ => guess(lower, &Self::ALL.map(Self::name)),
            };
            BadValue::new(format!("{} is no clock", quoted(text)), remedy)
        })
    }
}

/// How far a clock is moved: `+1h`, `-600s`, `+400d`; not zero, and at most a hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeOffset(i64);

impl TimeOffset {
    /// The farthest, to either side.
    pub const MAX_DAYS: u64 = 36_500;

    const MAX_NS: i64 = 36_500 * Self::DAY_NS;
    const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

    /// One hour ahead.
    pub(crate) const HOUR: Self = Self(3600 * 1_000_000_000);

    /// So many nanoseconds; `None` for zero and beyond [`Self::MAX_DAYS`].
    pub const fn from_nanos(nanos: i64) -> Option<Self> {
        if nanos == 0 || nanos < -Self::MAX_NS || nanos > Self::MAX_NS {
            None
        } else {
            Some(Self(nanos))
        }
    }

    /// How many nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }
}

impl fmt::Display for TimeOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 < 0 { "-" } else { "+" })?;
        f.write_str(&format_duration(Duration::from_nanos(
            self.0.unsigned_abs(),
        )))
    }
}

impl FromStr for TimeOffset {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (negative, amount) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        // More days than a duration may have.
        let (days, rest) = match amount.split_once('d') {
            Some((days, rest)) if days.parse::<u32>().is_ok() => (days.parse().unwrap_or(0), rest),
            _ => (0_u64, amount),
        };
        let rest = if rest.is_empty() && days > 0 {
            Duration::ZERO
        } else {
            parse_duration(rest)?
        };
        let day = u128::from(Self::DAY_NS.unsigned_abs());
        let nanos = u128::from(days) * day + rest.as_nanos();
        let signed = i64::try_from(nanos).map(|nanos| if negative { -nanos } else { nanos });
        match signed.ok().filter(|nanos| nanos.abs() <= Self::MAX_NS) {
            Some(0) => Err(BadValue::new(
                format!("{} moves nothing", quoted(text)),
                "say how far, such as +1h or -600s",
            )),
            Some(nanos) => Ok(Self(nanos)),
            None => Err(BadValue::new(
                format!("{} is too far", quoted(text)),
                format!("say at most {}d", Self::MAX_DAYS),
            )),
        }
    }
}

/// How many times as fast a clock runs: `0.5`, `2`, `1.001`; exact to a billionth, and not 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClockRate(u64);

impl ClockRate {
    /// A thousandth.
    pub const MIN: Self = Self(1_000_000);
    /// A thousand times.
    pub const MAX: Self = Self(1000 * Self::ONE);
    /// Half as fast.
    pub(crate) const HALF: Self = Self(Self::ONE / 2);

    const ONE: u64 = 1_000_000_000;
    /// Decimals.
    const DECIMALS: usize = 9;

    /// So many billionths; `None` for as fast as ever, and outside of [`Self::MIN`] to [`Self::MAX`].
    pub const fn from_billionths(billionths: u64) -> Option<Self> {
        if billionths == Self::ONE || billionths < Self::MIN.0 || billionths > Self::MAX.0 {
            None
        } else {
            Some(Self(billionths))
        }
    }

    /// How many billionths.
    pub const fn billionths(self) -> u64 {
        self.0
    }

    /// Whether it gets ahead of the time.
    pub const fn is_fast(self) -> bool {
        self.0 > Self::ONE
    }
}

impl fmt::Display for ClockRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / Self::ONE, self.0 % Self::ONE);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{fraction:09}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl FromStr for ClockRate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |problem: &str, remedy: &str| {
            BadValue::new(format!("{} {problem}", quoted(text)), remedy)
        };
        let no_number = || {
            bad(
                "is no speed",
                "say how many times as fast, such as 0.5 or 2",
            )
        };
        let out_of_range = || bad("is out of range", "say from 0.001 to 1000");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(no_number());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > Self::DECIMALS {
            return Err(bad("is too fine", "a speed is a multiple of 0.000000001"));
        }
        let parts: u64 = format!("{fraction:0<9}").parse().unwrap_or(0);
        let billionths = whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(Self::ONE)?.checked_add(parts))
            .ok_or_else(out_of_range)?;
        match billionths {
            0 => Err(bad("stands still", "clock.freeze does that")),
            Self::ONE => Err(bad(
                "is as fast as ever",
                "say another speed, such as 0.5 or 2",
            )),
            _ => Self::from_billionths(billionths).ok_or_else(out_of_range),
        }
    }
}

impl ClockStep {
    /// What is said nowhere: a step a minute.
    pub(crate) const EVERY: Duration = Duration::from_mins(1);
}

impl FaultKind {
    /// The clocks that it bends, if it is about clocks.
    pub(crate) fn clocks(&self) -> Option<&[Clock]> {
        match self {
            Self::ClockFreeze(ClockFreeze { clocks })
            | Self::ClockOffset(ClockOffset { clocks, .. })
            | Self::ClockSpeed(ClockSpeed { clocks, .. })
            | Self::ClockStep(ClockStep { clocks, .. }) => Some(clocks),
            _ => None,
        }
    }

    /// The same as a list to add to.
    fn clocks_mut(&mut self) -> Option<&mut Vec<Clock>> {
        match self {
            Self::ClockFreeze(ClockFreeze { clocks })
            | Self::ClockOffset(ClockOffset { clocks, .. })
            | Self::ClockSpeed(ClockSpeed { clocks, .. })
            | Self::ClockStep(ClockStep { clocks, .. }) => Some(clocks),
            _ => None,
        }
    }

    /// Whether clocks that never run backwards may do so.
    pub(crate) fn allows_backwards(&self) -> bool {
        match self {
            Self::ClockOffset(fault) => fault.allow_backwards,
            Self::ClockSpeed(fault) => fault.allow_backwards,
            Self::ClockStep(fault) => fault.allow_backwards,
            _ => false,
        }
    }

    /// Sets a key, if it is one of a kind about clocks.
    pub(super) fn set_clock(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        if key == "clocks"
            && let Some(clocks) = self.clocks_mut()
        {
            add(clocks, text)?;
            return Ok(true);
        }
        match (key, self) {
            ("offset", Self::ClockOffset(fault)) => fault.offset = text.parse()?,
            ("offset", Self::ClockStep(fault)) => fault.offset = text.parse()?,
            ("speed", Self::ClockSpeed(fault)) => fault.speed = text.parse()?,
            ("every", Self::ClockStep(fault)) => fault.every = parse_duration(text)?,
            ("allowBackwards", Self::ClockOffset(fault)) => {
                fault.allow_backwards = parse_flag(text)?;
            }
            ("allowBackwards", Self::ClockSpeed(fault)) => {
                fault.allow_backwards = parse_flag(text)?;
            }
            ("allowBackwards", Self::ClockStep(fault)) => {
                fault.allow_backwards = parse_flag(text)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What a kind about clocks has to keep, key by key.
    pub(super) fn clock_rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let Some(clocks) = self.clocks() else {
            return Vec::new();
        };
        let named = if clocks.is_empty() {
            Err(BadValue::new("names no clock", "say one, such as realtime"))
        } else {
            check_twice(clocks)
        };
        let mut rules = vec![("clocks", named), ("clocks", self.check_backwards(clocks))];
        if let Self::ClockStep(fault) = self {
            rules.push(("every", check_every(fault.every)));
        }
        rules
    }

    /// That a clock which never runs backwards does so only where that was asked for.
    fn check_backwards(&self, clocks: &[Clock]) -> Result<(), BadValue> {
        let when = match self {
            Self::ClockOffset(fault) if fault.offset.nanos() < 0 => "when the fault begins",
            Self::ClockStep(fault) if fault.offset.nanos() < 0 => "with each step",
            Self::ClockOffset(_) | Self::ClockStep(_) => "when the fault ends",
            Self::ClockSpeed(fault) if fault.speed.is_fast() => "when the fault ends",
            _ => return Ok(()),
        };
        let clock = clocks.iter().find(|clock| **clock != Clock::Realtime);
        match clock {
            Some(clock) if !self.allows_backwards() => Err(BadValue::new(
                format!("{clock} would run backwards {when}, which it never does"),
                "say allowBackwards, if programs shall see that; a speed below 1 and clock.freeze do \
                 without",
            )),
            _ => Ok(()),
        }
    }
}

/// The shortest time between two steps.
const SHORTEST: Duration = Duration::from_millis(1);

fn check_every(every: Duration) -> Result<(), BadValue> {
    if every >= SHORTEST {
        return Ok(());
    }
    Err(BadValue::new(
        format!("'{}' is too short", format_duration(every)),
        "say at least 1ms",
    ))
}

#[cfg(test)]
mod tests {
    use crate::experiment::word;

    #[test]
    fn words_of_clocks() {
        for good in [
            "clock.offset:realtime=+1h",
            "clock.offset:realtime=-10m,pulse=10s/1m",
            "clock.offset:realtime=+400d",
            "clock.offset:realtime+monotonic+boottime=+1.5ms,allowBackwards=true",
            "clock.speed:monotonic+boottime=0.5",
            "clock.speed:realtime=1.001",
            "clock.speed:monotonic=2,allowBackwards=true",
            "clock.freeze:realtime",
            "clock.freeze:realtime+monotonic,exclude=/a/b",
            "clock.step:realtime=+10s,every=1m",
            "clock.step:realtime=-10s,every=1m,times=3",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        for (text, same) in [
            ("clock.offset:realtime=3600s", "clock.offset:realtime=+1h"),
            ("clock.speed:realtime=2.50", "clock.speed:realtime=2.5"),
        ] {
            assert_eq!(word::format(&word::parse(text).unwrap()), same);
        }
    }

    #[test]
    fn words_that_are_refused_say_why() {
        for (bad, message) in [
            (
                "clock.offset=+1h",
                "clocks: is missing; write it as in clock.offset:realtime=+1h",
            ),
            (
                "clock.offset:realtime",
                "offset: is missing; write it as in clock.offset:realtime=+1h",
            ),
            (
                "clock.offset:realtime=0s",
                "offset: '0s' moves nothing; say how far, such as +1h or -600s",
            ),
            (
                "clock.offset:realtime=+40000d",
                "offset: '+40000d' is too far; say at most 36500d",
            ),
            (
                "clock.offset:tai=+1h",
                "clocks: 'tai' is no clock; say realtime, which stands for it as well",
            ),
            (
                "clock.offset:monotonic=-1s",
                "clocks: monotonic would run backwards when the fault begins, which it never does; \
                 say allowBackwards, if programs shall see that; a speed below 1 and clock.freeze do \
                 without",
            ),
            (
                "clock.speed:realtime=1",
                "speed: '1' is as fast as ever; say another speed, such as 0.5 or 2",
            ),
            (
                "clock.speed:realtime=0",
                "speed: '0' stands still; clock.freeze does that",
            ),
            (
                "clock.speed:realtime=-1",
                "speed: '-1' is no speed; say how many times as fast, such as 0.5 or 2",
            ),
            (
                "clock.freeze:realtime=1s",
                "kind: clock.freeze takes nothing after '='; write clock.freeze:realtime",
            ),
            (
                "clock.freeze:realtime,allowBackwards=true",
                "allowBackwards: clock.freeze has no such key; it has exclude, mechanism, after, \
                 duration and pulse",
            ),
            (
                "clock.step:realtime=+1s,every=1us",
                "every: '1us' is too short; say at least 1ms",
            ),
            (
                "clock.offset:realtime=+1h@5%",
                "probability: clock.offset has none: it holds for every reading; leave it out",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }
}
