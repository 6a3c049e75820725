//! The words with rules of their own: names, units, and the words of small closed sets.

use std::{fmt, str::FromStr};

use super::{
    Direction, Mechanism,
    violation::BadValue,
    wording::{either, guess, quoted, shown},
};

/// A label of DNS, which an experiment's name is in a cluster; an id may have dots too.
pub(super) fn check_label(text: &str, dots: bool) -> Result<(), BadValue> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<&u8>| b.is_some_and(|b| inner(*b));
    let bytes = text.as_bytes();
    if bytes.len() <= 63
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| inner(*b) || *b == b'-' || (dots && *b == b'.'))
    {
        return Ok(());
    }
    let also = if dots { "'-' and '.'" } else { "'-'" };
    Err(BadValue::new(
        format!("{} is not a name", quoted(text)),
        format!(
            "use lowercase letters, digits and {also}, at most 63, a letter or digit at both ends"
        ),
    ))
}

/// The full name of a systemd unit that has a cgroup.
pub(super) fn check_unit(text: &str) -> Result<(), BadValue> {
    let suffixes = [".service", ".scope", ".slice"];
    let bad = |problem: &str, remedy: String| {
        Err(BadValue::new(format!("{} {problem}", quoted(text)), remedy))
    };
    let Some(stem) = suffixes.iter().find_map(|suffix| text.strip_suffix(suffix)) else {
        return bad(
            "is not the full name of a unit",
            format!("say its suffix: {}", either(&suffixes)),
        );
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if stem.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
        return bad(
            "is not the name of a unit",
            "say it as systemctl prints it, such as nginx.service".to_owned(),
        );
    }
    if text == "-.slice" {
        return bad("is the whole machine", "name a unit below it".to_owned());
    }
    if stem.ends_with('@') {
        return bad(
            "is a template",
            format!("name one instance, such as {}1.service", shown(stem)),
        );
    }
    Ok(())
}

/// Largest pid that Linux gives out, `PID_MAX_LIMIT`.
pub(super) const MAX_PID: u32 = 1 << 22;

pub(super) fn bad_pid(pid: u64) -> BadValue {
    let problem = format!("{pid} is not a pid of a process");
    BadValue::new(problem, format!("say a number from 2 to {MAX_PID}"))
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 3] = [Self::Egress, Self::Ingress, Self::Both];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Direction {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Self::ALL
            .into_iter()
            .find(|direction| direction.name() == text)
            .ok_or_else(|| {
                let problem = format!("{} is not a direction", quoted(text));
                BadValue::new(problem, guess(text, &Self::ALL.map(Self::name)))
            })
    }
}

impl FromStr for Mechanism {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name() == text)
            .ok_or_else(|| {
                let problem = format!("{} is not a mechanism", quoted(text));
                BadValue::new(problem, guess(text, &Self::ALL.map(Self::name)))
            })
    }
}

/// `true` or `false`, and no other word for them.
pub(super) fn parse_flag(text: &str) -> Result<bool, BadValue> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(BadValue::new(
            format!("{} is neither true nor false", quoted(text)),
            "say true or false",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "pg-fsync", "0", &"x".repeat(63)] {
            assert_eq!(check_label(good, false), Ok(()));
        }
        assert_eq!(check_label("file.error-2", true), Ok(()));
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "ä",
            "a b",
            &"x".repeat(64),
        ] {
            assert!(check_label(bad, false).is_err(), "{bad}");
        }
        for bad in [".a", "a.", "a/b"] {
            assert!(check_label(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn units() {
        for good in [
            "nginx.service",
            "postgresql@15-main.service",
            "user-0.slice",
            r"a\x2db.scope",
        ] {
            assert_eq!(check_unit(good), Ok(()), "{good}");
        }
        for (bad, message) in [
            (
                "nginx",
                "'nginx' is not the full name of a unit; say its suffix: .service, .scope or .slice",
            ),
            (
                ".service",
                "'.service' is not the name of a unit; say it as systemctl prints it, such as nginx.service",
            ),
            (
                "a/b.service",
                "'a/b.service' is not the name of a unit; say it as systemctl prints it, such as nginx.service",
            ),
            (
                "-.slice",
                "'-.slice' is the whole machine; name a unit below it",
            ),
            (
                "pg@.service",
                "'pg@.service' is a template; name one instance, such as pg@1.service",
            ),
        ] {
            assert_eq!(check_unit(bad).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn words_of_closed_sets() {
        assert_eq!("fmod-ret".parse(), Ok(Mechanism::FmodRet));
        assert_eq!("both".parse(), Ok(Direction::Both));
        assert_eq!(
            "in".parse::<Direction>().unwrap_err().to_string(),
            "'in' is not a direction; say egress, ingress or both"
        );
        assert_eq!(
            "fmod_ret".parse::<Mechanism>().unwrap_err().to_string(),
            "'fmod_ret' is not a mechanism; did you mean fmod-ret?"
        );
        assert_eq!(
            parse_flag("yes").unwrap_err().to_string(),
            "'yes' is neither true nor false; say true or false"
        );
    }
}
