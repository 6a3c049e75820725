//! Which tasks inside a target: names of processes and threads, and what `when` counts.

use std::{fmt, str::FromStr};

use super::{
    violation::BadValue,
    wording::{guess, quoted},
};

/// The name of a process or a thread as the kernel keeps it: 1 to 15 bytes, without a zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comm(String);

impl Comm {
    /// `TASK_COMM_LEN` less the zero behind the name.
    const MAX_BYTES: usize = chaos_common::limits::COMM_BYTES - 1;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Comm {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |problem: String, remedy: &str| Err(BadValue::new(problem, remedy));
        if text.is_empty() {
            return bad("is empty".to_owned(), "say a name as /proc/PID/comm has it");
        }
        if text.contains(['\0', '\n']) {
            return bad(
                format!("{} is no name of a task", quoted(text)),
                "say it as /proc/PID/comm has it",
            );
        }
        if text.len() > Self::MAX_BYTES {
            return bad(
                format!(
                    "{} is longer than the 15 bytes that Linux keeps",
                    quoted(text)
                ),
                "say the first 15 of them, as /proc/PID/comm has it",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// Over which events `when` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Over all of the rule, whichever thread they are of.
    #[default]
    Rule,
    /// Over those of each thread for itself, as strace does.
    Thread,
}

impl Scope {
    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Thread => "thread",
        }
    }
}

/// A scope, unless it is the default, which nobody writes.
pub(super) fn changed(scope: Scope) -> Option<Scope> {
    (scope != Scope::default()).then_some(scope)
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "rule" => Ok(Self::Rule),
            "thread" => Ok(Self::Thread),
            _ => Err(BadValue::new(
                format!("{} is not a scope", quoted(text)),
                guess(text, &["rule", "thread"]),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_can_keep() {
        for good in ["a", "nginx", "kworker/0:1", "123456789012345", "ä b"] {
            assert_eq!(good.parse::<Comm>().unwrap().as_str(), good);
        }
        for bad in ["", "1234567890123456", "a\0b", "a\nb"] {
            assert!(bad.parse::<Comm>().is_err(), "{bad:?}");
        }
    }
}
