//! The digits of percentages: whole percents and a fraction, as one whole number of its last digit.

use std::fmt;

/// Why digits are no such number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// These are no digits with at most one point between them.
    NoNumber,
    /// More decimals than there are.
    TooFine,
    /// More than 32 bits can hold.
    TooBig,
}

/// Reads decimal digits with an optional fraction of so many decimals, without the sign.
pub(super) fn parse(number: &str, decimals: u32) -> Result<u32, Unreadable> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(Unreadable::NoNumber),
        Some(parts) => parts,
        None => (number, ""),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(Unreadable::NoNumber);
    }
    let fraction = fraction.trim_end_matches('0');
    let width = decimals as usize;
    if fraction.len() > width {
        return Err(Unreadable::TooFine);
    }
    let fraction = format!("{fraction:0<width$}");
    // Numbers that do not fit have only one thing wrong with them: they are too big.
    whole
        .parse::<u32>()
        .ok()
        .and_then(|whole| whole.checked_mul(10_u32.pow(decimals)))
        .zip(fraction.parse::<u32>().ok())
        .and_then(|(whole, fraction)| whole.checked_add(fraction))
        .ok_or(Unreadable::TooBig)
}

/// Writes it back, with the sign and no more decimals than it takes.
pub(super) fn write(f: &mut fmt::Formatter<'_>, value: u32, decimals: u32) -> fmt::Result {
    let one = 10_u32.pow(decimals);
    let (whole, fraction) = (value / one, value % one);
    if fraction == 0 {
        return write!(f, "{whole}%");
    }
    let fraction = format!("{fraction:0>width$}", width = decimals as usize);
    write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
}
