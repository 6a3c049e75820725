//! `io.max`: for each device so many bytes and operations a second, or no limit.

use std::{fmt, fmt::Write as _, str::FromStr};

use super::{IO_MAX, NoLimit};
use crate::experiment::{ByteRate, DiskLimit};

/// The names of the fields, in the kernel's order.
const FIELDS: [&str; 4] = ["rbps", "wbps", "riops", "wiops"];

/// What `io.max` holds of one device: bytes read and written, reads and writes a second; `None` is no
/// limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoMax(pub(super) [Option<u64>; 4]);

impl From<&DiskLimit> for IoMax {
    fn from(kind: &DiskLimit) -> Self {
        let bytes = |rate: Option<ByteRate>| rate.map(ByteRate::bytes);
        Self([
            bytes(kind.read_bps),
            bytes(kind.write_bps),
            kind.read_iops.map(u64::from),
            kind.write_iops.map(u64::from),
        ])
    }
}

impl IoMax {
    /// The smaller of each field.
    pub(super) fn tightest(self, other: Self) -> Self {
        self.with(other, |one, other| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        })
    }

    /// The fields of `next` where this one's are of `known`, else this one's.
    pub(super) fn replace(self, known: &[Self], next: Self) -> Self {
        let mut fields = self.0;
        for (index, field) in fields.iter_mut().enumerate() {
            if known.iter().any(|known| known.0[index] == *field) {
                *field = next.0[index];
            }
        }
        Self(fields)
    }

    /// Whether each field is one of `known`.
    pub(super) fn is_known(self, known: impl Iterator<Item = Self>) -> bool {
        let known: Vec<Self> = known.collect();
        (0..FIELDS.len()).all(|index| known.iter().any(|known| known.0[index] == self.0[index]))
    }

    /// The line of a device in the whole file; none is no limit.
    pub(super) fn of_device(file: &str, device: &str) -> Result<Self, NoLimit> {
        file.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == device)
            .map_or(Ok(Self::default()), |(_, fields)| fields.parse())
    }

    /// What has to be written to come to this one from `before`; nothing if they are equal. Fields
    /// that stay are not touched, so that nobody else's is overwritten.
    pub(super) fn step(self, device: &str, before: Self) -> Option<String> {
        let mut line = device.to_owned();
        for (index, name) in FIELDS.iter().enumerate() {
            if self.0[index] != before.0[index] {
                // Writing into a String can't fail.
                write!(line, " {name}={}", Shown(self.0[index])).ok();
            }
        }
        (self != before).then_some(line)
    }

    fn with(self, other: Self, pick: impl Fn(Option<u64>, Option<u64>) -> Option<u64>) -> Self {
        let mut fields = self.0;
        for (field, other) in fields.iter_mut().zip(other.0) {
            *field = pick(*field, other);
        }
        Self(fields)
    }
}

/// A field as the kernel writes it.
struct Shown(Option<u64>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("max"),
        }
    }
}

impl fmt::Display for IoMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in FIELDS.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={}", Shown(self.0[index]))?;
        }
        Ok(())
    }
}

impl FromStr for IoMax {
    type Err = NoLimit;

    fn from_str(text: &str) -> Result<Self, NoLimit> {
        let bad = || NoLimit::new(IO_MAX, text);
        let mut limit = Self::default();
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or_else(bad)?;
            // What a later kernel adds is none of ours, and is never written.
            let Some(index) = FIELDS.iter().position(|field| *field == name) else {
                continue;
            };
            limit.0[index] = match value {
                "max" => None,
                number => Some(number.parse().map_err(|_not_a_number| bad())?),
            };
        }
        Ok(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> IoMax {
        text.parse().unwrap()
    }

    #[test]
    fn the_line_of_a_device_is_found_and_written() {
        let file =
            "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=max wbps=2048 riops=9 wiops=max\n";
        let found = IoMax::of_device(file, "8:16").unwrap();
        assert_eq!(found.to_string(), "rbps=max wbps=2048 riops=9 wiops=max");
        assert_eq!(limit(&found.to_string()), found);
        // Not 8:1, which 8:16 begins with.
        assert_eq!(IoMax::of_device(file, "8:1"), Ok(IoMax::default()));
        assert_eq!(
            IoMax::default().step("8:16", found).unwrap(),
            "8:16 wbps=max riops=max",
            "no other field"
        );
        assert_eq!(found.step("8:16", found), None);
        for bad in ["rbps", "rbps=x", "rbps=-1"] {
            assert!(bad.parse::<IoMax>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_strictest_of_each_field_is_in_force_and_comes_apart() {
        let (original, one, two) = (
            limit("rbps=500"),
            limit("rbps=100 wiops=7"),
            limit("wiops=3"),
        );
        let both = original.tightest(one).tightest(two);
        assert_eq!(both, limit("rbps=100 wiops=3"));
        assert_eq!(both, two.tightest(one).tightest(original));
        let known = [original, one, two];
        assert!(both.is_known(known.into_iter()));
        assert_eq!(
            both.replace(&known, original.tightest(two)),
            limit("rbps=500 wiops=3")
        );
        // Somebody else has set wbps meanwhile: that stays, and the rest is undone.
        let touched = limit("rbps=100 wiops=3 wbps=77");
        assert!(!touched.is_known(known.into_iter()));
        assert_eq!(touched.replace(&known, original), limit("rbps=500 wbps=77"));
    }
}
