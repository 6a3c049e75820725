//! Durations with a unit: `100ms`, `3m`, `1h30m`, `1.5s`.

use std::{fmt::Write as _, time::Duration};

use crate::experiment::{
    violation::BadValue,
    wording::{quoted, shown},
};

/// No fault lives longer, and nothing is counted in longer units.
pub const MAX_DURATION: Duration = Duration::from_hours(30 * 24);

/// Units and their nanoseconds, the longest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 24 * 60 * 60 * NANOS_PER_SEC),
    ("h", 60 * 60 * NANOS_PER_SEC),
    ("m", 60 * NANOS_PER_SEC),
    ("s", NANOS_PER_SEC),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Reads a duration such as `100ms`, `3m`, `1h30m` or `1.5s`, from zero to [`MAX_DURATION`].
///
/// Units are `ns us ms s m h d`, each at most once and the longest first; only the last number
/// may have a fraction.
///
/// # Errors
/// What is wrong with the text, and what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, BadValue> {
    let mut rest = text;
    let mut total = 0_u64;
    // Index into UNITS of the longest unit that may still come.
    let mut next_unit = 0;
    let mut has_fraction = false;
    if rest.is_empty() {
        return Err(BadValue::new(
            "is empty",
            "say a duration, such as 30s or 1h30m",
        ));
    }
    while !rest.is_empty() {
        let number;
        let unit;
        (number, rest) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        (unit, rest) = split_where(rest, |c| c.is_ascii_digit() || c == '.');
        if number.is_empty() || has_fraction {
            return Err(not_a_duration(text));
        }
        let Some(index) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(bad_unit(text, unit));
        };
        if index < next_unit {
            return Err(BadValue::new(
                format!("{} has its units in no order", quoted(text)),
                "say each unit once, the longest first, such as 1h30m",
            ));
        }
        next_unit = index + 1;
        has_fraction = number.contains('.');
        total = nanos(text, number, UNITS[index].1)?
            .checked_add(total)
            .filter(|total| Duration::from_nanos(*total) <= MAX_DURATION)
            .ok_or_else(|| too_long(text))?;
    }
    Ok(Duration::from_nanos(total))
}

/// The shortest way of writing a duration that [`parse_duration`] reads back as the same.
///
/// From a second on in whole days, hours and minutes and a fraction of seconds, such as `1h0.5s`;
/// below in the largest fitting unit, such as `1.5ms`.
pub fn format_duration(duration: Duration) -> String {
    let mut out = String::new();
    let mut seconds = duration.as_secs();
    let nanos = u64::from(duration.subsec_nanos());
    if seconds == 0 && nanos > 0 {
        for (unit, size) in UNITS {
            if nanos >= size {
                push_decimal(&mut out, nanos, size, unit);
                break;
            }
        }
        return out;
    }
    for (unit, size) in &UNITS[..3] {
        let size = size / NANOS_PER_SEC;
        if seconds >= size {
            // Writing into a String can't fail.
            write!(out, "{}{unit}", seconds / size).ok();
            seconds %= size;
        }
    }
    if seconds > 0 || nanos > 0 || out.is_empty() {
        push_decimal(
            &mut out,
            seconds * NANOS_PER_SEC + nanos,
            NANOS_PER_SEC,
            "s",
        );
    }
    out
}

/// `value / size` as a decimal without needless digits; `size` is a power of ten.
fn push_decimal(out: &mut String, value: u64, size: u64, unit: &str) {
    let fraction = value % size;
    // Writing into a String can't fail.
    if fraction == 0 {
        write!(out, "{}{unit}", value / size).ok();
    } else {
        let width = size.to_string().len() - 1;
        let fraction = format!("{fraction:0>width$}");
        let fraction = fraction.trim_end_matches('0');
        write!(out, "{}.{fraction}{unit}", value / size).ok();
    }
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

/// `number` times `unit`, which has to come out as whole nanoseconds.
fn nanos(text: &str, number: &str, unit: u64) -> Result<u64, BadValue> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(not_a_duration(text));
    }
    let too_fine = || {
        BadValue::new(
            format!("{} is finer than a nanosecond", quoted(text)),
            "round it",
        )
    };
    let fraction = fraction.trim_end_matches('0');
    // The longest unit is a multiple of 2^16: of more digits no fraction is whole nanoseconds.
    if fraction.len() > 16 {
        return Err(too_fine());
    }
    let (mut parts, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes() {
        parts = parts * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    parts *= u128::from(unit);
    if !parts.is_multiple_of(scale) {
        return Err(too_fine());
    }
    whole
        .parse::<u64>()
        .ok()
        .and_then(|whole| whole.checked_mul(unit))
        .zip(u64::try_from(parts / scale).ok())
        .and_then(|(whole, parts)| whole.checked_add(parts))
        .ok_or_else(|| too_long(text))
}

fn not_a_duration(text: &str) -> BadValue {
    BadValue::new(
        format!("{} is not a duration", quoted(text)),
        "say numbers with units, such as 100ms, 30s or 1h30m",
    )
}

fn too_long(text: &str) -> BadValue {
    BadValue::new(format!("{} is too long", quoted(text)), "say at most 30d")
}

fn bad_unit(text: &str, unit: &str) -> BadValue {
    if unit.is_empty() {
        // No key takes none at all, so that zero of another unit would be refused next.
        let number = if text.parse() == Ok(0) {
            "10".into()
        } else {
            shown(text)
        };
        return BadValue::new(
            format!("'{}' has no unit", shown(text)),
            format!("say which, such as {number}s or {number}m"),
        );
    }
    let meant = match unit.to_lowercase().trim_end_matches('s') {
        "min" | "minute" => Some("m"),
        "" | "sec" | "second" => Some("s"),
        "hour" | "hr" => Some("h"),
        "day" => Some("d"),
        "µ" | "μ" | "usec" => Some("us"),
        "m" | "msec" => Some("ms"),
        lower => UNITS
            .iter()
            .map(|(name, _)| *name)
            .find(|name| *name == lower),
    };
    BadValue::new(
        format!("{} in {} is not a unit of time", quoted(unit), quoted(text)),
        match meant {
            Some(name) => format!("did you mean {name}?"),
            None => format!("units are {}", UNITS.map(|(name, _)| name).join(", ")),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos_of(text: &str) -> u128 {
        parse_duration(text).unwrap().as_nanos()
    }

    fn refused(text: &str) -> String {
        parse_duration(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_every_unit() {
        assert_eq!(nanos_of("7ns"), 7);
        assert_eq!(nanos_of("7us"), 7_000);
        assert_eq!(nanos_of("100ms"), 100_000_000);
        assert_eq!(nanos_of("1.5s"), 1_500_000_000);
        assert_eq!(nanos_of("3m"), 180_000_000_000);
        assert_eq!(nanos_of("1h30m"), 5_400_000_000_000);
        assert_eq!(nanos_of("0.5d"), 43_200_000_000_000);
        assert_eq!(nanos_of("0s"), 0);
        assert_eq!(parse_duration("30d").unwrap(), MAX_DURATION);
    }

    #[test]
    fn a_number_needs_a_unit() {
        assert_eq!(
            refused("10"),
            "'10' has no unit; say which, such as 10s or 10m"
        );
        assert_eq!(
            refused("1h30"),
            "'1h30' has no unit; say which, such as 1h30s or 1h30m"
        );
        assert_eq!(
            refused("0"),
            "'0' has no unit; say which, such as 10s or 10m"
        );
        assert_eq!(
            refused(""),
            "is empty; say a duration, such as 30s or 1h30m"
        );
    }

    #[test]
    fn unknown_units_are_guessed() {
        assert_eq!(
            refused("5min"),
            "'min' in '5min' is not a unit of time; did you mean m?"
        );
        assert_eq!(
            refused("5seconds"),
            "'seconds' in '5seconds' is not a unit of time; did you mean s?"
        );
        assert_eq!(
            refused("5µs"),
            "'µs' in '5µs' is not a unit of time; did you mean us?"
        );
        assert_eq!(
            refused("5MS"),
            "'MS' in '5MS' is not a unit of time; did you mean ms?"
        );
        assert_eq!(
            refused("5H"),
            "'H' in '5H' is not a unit of time; did you mean h?"
        );
        assert_eq!(
            refused("5y"),
            "'y' in '5y' is not a unit of time; units are d, h, m, s, ms, us, ns"
        );
    }

    #[test]
    fn bounds_hold_without_overflow() {
        for text in [
            "31d",
            "30d1ns",
            "99999999999999999999999s",
            "18446744073709551615d",
            "721h",
        ] {
            assert_eq!(
                refused(text),
                format!("'{text}' is too long; say at most 30d")
            );
        }
        for text in [
            "0.1ns",
            "1.0000000001s",
            "0.00000000000000000000000000000000001d",
        ] {
            assert_eq!(
                refused(text),
                format!("'{text}' is finer than a nanosecond; round it")
            );
        }
    }

    #[test]
    fn what_is_no_duration() {
        for text in [
            "s", "-1s", "+1s", " 1s", "1..5s", "1.s", ".5s", "1.5h30m", "forever",
        ] {
            let message = refused(text);
            assert!(
                message.starts_with(&format!("'{text}' is not a duration; ")),
                "{message}"
            );
        }
        assert_eq!(
            refused("30m1h"),
            "'30m1h' has its units in no order; say each unit once, the longest first, such as 1h30m"
        );
    }

    #[test]
    fn formats_the_shortest_way() {
        for text in [
            "0s", "1ns", "1.5us", "100ms", "1.5s", "1m30s", "1h", "1h30m", "1d12h", "1h0.5s", "30d",
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(parse_duration("90s").unwrap()), "1m30s");
        assert_eq!(format_duration(parse_duration("0.001s").unwrap()), "1ms");
    }
}
