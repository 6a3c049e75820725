//! What numbers of bytes have in common, in a second or not.

use crate::experiment::{
    violation::BadValue,
    wording::{quoted, shown},
};

/// Units, those that are tried first when bytes are written in front.
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

/// 1024 TiB: more than any machine has, and nothing that the kernel would overflow with.
pub(super) const MAX: u64 = 1 << 50;

/// How messages speak of such a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// `how many each second`
    pub(super) how_many: &'static str,
    /// What is said behind the list of units.
    pub(super) of_units: &'static str,
    /// What is said behind a range.
    pub(super) of_range: &'static str,
}

/// From one byte to [`MAX`].
pub(super) const fn in_range(bytes: u64) -> bool {
    bytes != 0 && bytes <= MAX
}

/// In the unit that comes first and divides everything.
pub(super) fn format(bytes: u64) -> String {
    let (unit, size) = UNITS
        .into_iter()
        .find(|(_, size)| bytes.is_multiple_of(*size))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}

/// `512KiB`, `10MiB`, `1.5GB`.
pub(super) fn parse(text: &str, words: Words) -> Result<u64, BadValue> {
    let bad =
        |problem: &str, remedy: &str| BadValue::new(format!("{} {problem}", quoted(text)), remedy);
    let no_number = || {
        bad(
            "is not a number of bytes",
            &format!("say {}, such as 10MiB or 512KiB", words.how_many),
        )
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let out_of_range = || {
        let range = format!("say from 1B to {}{}", format(MAX), words.of_range);
        bad("is out of range", &range)
    };
    if unit.is_empty() && !number.is_empty() {
        // A unit would not help it.
        if number.bytes().all(|digit| digit == b'0') {
            return Err(out_of_range());
        }
        let text = shown(text);
        return Err(bad(
            "has no unit",
            &format!("say which, such as {text}KiB or {text}B"),
        ));
    }
    let (whole, fraction) = decimal(number).ok_or_else(no_number)?;
    let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let names = UNITS.map(|(name, _)| name).join(", ");
        return Err(bad(
            &format!("has no unit of bytes in {}", quoted(unit)),
            &format!("units are {names}{}", words.of_units),
        ));
    };
    let parts =
        parts(fraction, *size).ok_or_else(|| bad("is no whole number of bytes", "round it"))?;
    sum(whole, parts, *size)
        .filter(|bytes| in_range(*bytes))
        .ok_or_else(out_of_range)
}

/// The digits in front of the point and behind it, of what is made of digits and points; `None` for
/// what is no number.
pub(super) fn decimal(number: &str) -> Option<(&str, &str)> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    (!whole.is_empty() && !fraction.contains('.')).then_some((whole, fraction))
}

/// `whole` times `size`, and what its fraction is of it; `None` for more than there is room for.
pub(super) fn sum(whole: &str, parts: u64, size: u64) -> Option<u64> {
    let whole = whole.parse::<u64>().ok()?.checked_mul(size)?;
    whole.checked_add(parts)
}

/// `0.fraction` of `size`, if that is whole.
pub(super) fn parts(fraction: &str, size: u64) -> Option<u64> {
    let fraction = fraction.trim_end_matches('0');
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
