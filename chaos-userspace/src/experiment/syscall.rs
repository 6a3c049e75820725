//! System calls by name.

use std::{fmt, str::FromStr};

use syscalls::x86_64::Sysno;

use super::{
    violation::BadValue,
    wording::{nearest, quoted},
};

/// A system call of x86-64 that may be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall(Sysno);

impl Syscall {
    /// Its name, as in the manual.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Its number on x86-64.
    pub fn number(self) -> u32 {
        self.0.id().unsigned_abs()
    }

    /// Every system call that may be made to fail.
    pub fn all() -> impl Iterator<Item = Self> {
        Sysno::iter()
            .filter(|call| refusal(*call).is_none())
            .map(Self)
    }
}

/// Why a system call can't be made to fail.
fn refusal(call: Sysno) -> Option<&'static str> {
    match call {
        Sysno::exit | Sysno::exit_group => Some("it never returns, so that no error can be seen"),
        Sysno::rt_sigreturn => Some("it ends a signal's handler, and no caller sees its result"),
        Sysno::restart_syscall => Some("the kernel calls it to go on with another one"),
        Sysno::execve | Sysno::execveat => Some("the command itself could not start"),
        _ => None,
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Syscall {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Some(call) = Sysno::iter().find(|call| call.name() == text) else {
            let remedy = nearest(text, Self::all().map(Self::name)).map_or_else(
                || "say a name as in syscalls(2), such as fsync".to_owned(),
                |name| format!("did you mean {name}?"),
            );
            return Err(BadValue::new(
                format!("{} is not a system call of x86-64", quoted(text)),
                remedy,
            ));
        };
        match refusal(call) {
            Some(reason) => Err(BadValue::new(
                format!("{} can't be made to fail: {reason}", quoted(text)),
                "name another system call",
            )),
            None => Ok(Self(call)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_names_and_numbers_of_x86_64() {
        for (name, number) in [("read", 0), ("fsync", 74), ("openat", 257)] {
            let call: Syscall = name.parse().unwrap();
            assert_eq!((call.name(), call.number()), (name, number));
        }
        assert!(Syscall::all().count() > 300);
        for call in Syscall::all() {
            assert_eq!(call.name().parse(), Ok(call));
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (text, message) in [
            (
                "fsynk",
                "'fsynk' is not a system call of x86-64; did you mean fsync?",
            ),
            (
                "earthquakes_everywhere",
                "'earthquakes_everywhere' is not a system call of x86-64; \
                 say a name as in syscalls(2), such as fsync",
            ),
            (
                "execve",
                "'execve' can't be made to fail: the command itself could not start; \
                 name another system call",
            ),
        ] {
            assert_eq!(text.parse::<Syscall>().unwrap_err().to_string(), message);
        }
        for text in [
            "exit",
            "exit_group",
            "rt_sigreturn",
            "restart_syscall",
            "execveat",
        ] {
            let said = text.parse::<Syscall>().unwrap_err().to_string();
            assert!(said.contains("can't be made to fail: "), "{said}");
        }
    }
}
