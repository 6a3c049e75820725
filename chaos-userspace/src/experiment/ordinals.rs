//! Which events a replay hits: [`Ordinals`].

use std::{fmt, str::FromStr};

use chaos_common::limits::RECORD_ORDINALS;

use super::{schedule::count, violation::BadValue, wording::quoted};

/// The most that one fault can replay: what is recorded of it.
const MAX: usize = RECORD_ORDINALS as usize;

/// `replay=2+5..9+17`: exactly these of the matching events of a fault, counted from 1.
///
/// `none` is no event at all. In order, and none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordinals(Vec<u64>);

impl Ordinals {
    /// Puts them in order.
    ///
    /// # Errors
    /// More than are recorded of one fault, or one that is 0.
    pub fn new(mut ordinals: Vec<u64>) -> Result<Self, BadValue> {
        ordinals.sort_unstable();
        ordinals.dedup();
        if ordinals.first() == Some(&0) {
            return Err(BadValue::new(
                "names event 0",
                "events are counted from 1: the first is 1",
            ));
        }
        if ordinals.len() > MAX {
            return Err(too_many(ordinals.len() as u64));
        }
        Ok(Self(ordinals))
    }

    /// In order.
    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

fn too_many(count: u64) -> BadValue {
    BadValue::new(
        format!("names {count} events"),
        format!("a replay hits at most {MAX} events of a fault"),
    )
}

impl fmt::Display for Ordinals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let runs = self.0.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        for (index, run) in runs.enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            match run {
                [first, .., last] => write!(f, "{first}..{last}")?,
                [one] => write!(f, "{one}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

impl FromStr for Ordinals {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == "none" {
            return Ok(Self::default());
        }
        let bad = || {
            BadValue::new(
                format!("{} does not say which events", quoted(text)),
                "say them as in 2+5..9+17, or none",
            )
        };
        let mut ordinals = Vec::new();
        for part in text.split('+') {
            let (first, last) = match part.split_once("..") {
                Some((first, last)) => (count(first), count(last)),
                None => (count(part), count(part)),
            };
            let (Some(first), Some(last)) = (first, last) else {
                return Err(bad());
            };
            if last < first {
                return Err(bad());
            }
            // Before they are written out.
            let long = last - first >= MAX as u64;
            if long || ordinals.len() > 2 * MAX {
                return Err(too_many((last - first).saturating_add(1)));
            }
            ordinals.extend(first..=last);
        }
        Self::new(ordinals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        text.parse::<Ordinals>().unwrap_err().to_string()
    }

    #[test]
    fn runs_are_written_as_runs() {
        for (text, ordinals, written) in [
            ("3", vec![3], "3"),
            ("5..7+2", vec![2, 5, 6, 7], "2+5..7"),
            ("1+2+3+3", vec![1, 2, 3], "1..3"),
            ("none", vec![], "none"),
        ] {
            let parsed: Ordinals = text.parse().unwrap();
            assert_eq!(parsed.as_slice(), ordinals, "{text}");
            assert_eq!(parsed.to_string(), written, "{text}");
        }
        let all = Ordinals::new((1..=MAX as u64).collect()).unwrap();
        assert_eq!(all.to_string().parse(), Ok(all));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, problem) in [
            ("", "does not say which events"),
            ("1,2", "does not say which events"),
            ("9..3", "does not say which events"),
            ("0", "names event 0"),
            ("1..2049", "names 2049 events; a replay hits at most 2048"),
            ("1..18446744073709551615", "a replay hits at most 2048"),
        ] {
            assert!(said(text).contains(problem), "{text}: {}", said(text));
        }
        let far = said("1..2000+3001..5000");
        assert!(far.contains("names 4000 events"), "{far}");
    }
}
