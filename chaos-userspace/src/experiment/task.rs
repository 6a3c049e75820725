//! What inside a target: names of processes and threads, cgroups that are left out, and what `when`
//! counts.

use std::{fmt, str::FromStr};

use super::{
    names::{MAX_PID, bad_pid},
    paths::check_cgroup,
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

/// A part of a target that is left out, with its subtree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclude {
    /// A cgroup by its path below the mount.
    Cgroup(String),
    /// The cgroup that a process is in when the fault is armed: `pid:17`.
    Pid(u32),
}

impl Exclude {
    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), BadValue> {
        match self {
            Self::Cgroup(path) => check_cgroup(path),
            Self::Pid(pid) if *pid < 1 || *pid > MAX_PID => Err(bad_pid((*pid).into())),
            Self::Pid(_) => Ok(()),
        }
    }
}

impl fmt::Display for Exclude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgroup(path) => f.write_str(path),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
        }
    }
}

impl FromStr for Exclude {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let exclude = match text.strip_prefix("pid:") {
            Some(pid) => Self::Pid(pid.parse().map_err(|_error| {
                BadValue::new(
                    format!("{} is not a pid", quoted(text)),
                    "say it as in pid:17",
                )
            })?),
            None => Self::Cgroup(text.to_owned()),
        };
        exclude.check().map(|()| exclude)
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
    fn a_part_is_a_cgroup_or_that_of_a_pid() {
        assert_eq!("/a/b".parse(), Ok(Exclude::Cgroup("/a/b".to_owned())));
        assert_eq!("pid:17".parse(), Ok(Exclude::Pid(17)));
        for bad in [
            "",
            "a",
            "/",
            "pid:",
            "pid:0",
            "pid:x",
            "/a/",
            "/sys/fs/cgroup/a",
        ] {
            assert!(bad.parse::<Exclude>().is_err(), "{bad:?}");
        }
    }

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
