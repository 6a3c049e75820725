//! A process by its pid and start, which no later process has both of.

use std::{fmt, fs, str::FromStr};

use crate::target::Stat;

/// Whoever holds something that must be undone. Written `PID-START`, as in names of files and
/// cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Its pid.
    pub pid: u32,
    /// Its start, in clock ticks since boot.
    pub start: u64,
}

impl Owner {
    /// This process.
    pub fn this() -> Self {
        Self::of(std::process::id())
    }

    /// Whoever has this pid now.
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            start: stat(pid).map_or(0, |(start, _)| start),
        }
    }

    /// Whether it lives. A process that has ended but was not waited for does not.
    pub fn is_alive(&self) -> bool {
        stat(self.pid)
            .is_some_and(|(start, state)| start == self.start && !matches!(state, 'Z' | 'X' | 'x'))
    }

    /// Whether it lives and is held, by SIGSTOP or a debugger.
    pub fn is_stopped(&self) -> bool {
        stat(self.pid)
            .is_some_and(|(start, state)| start == self.start && matches!(state, 'T' | 't'))
    }
}

fn stat(pid: u32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Stat::parse(&text).map(|stat| (stat.start_ticks, stat.state))
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.start)
    }
}

/// This is not `PID-START`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a process as PID-START")]
pub struct NoOwner;

impl FromStr for Owner {
    type Err = NoOwner;

    fn from_str(text: &str) -> Result<Self, NoOwner> {
        let (pid, start) = text.split_once('-').ok_or(NoOwner)?;
        let number = |text: &str| text.parse().map_err(|_not_a_number| NoOwner);
        Ok(Self {
            pid: pid.parse().map_err(|_not_a_number| NoOwner)?,
            start: number(start)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_passed_on_is_somebody_else() {
        let own = Owner::this();
        assert!(own.is_alive() && !own.is_stopped());
        let before = Owner {
            start: own.start - 1,
            ..own
        };
        assert!(!before.is_alive());
        assert_eq!(own.to_string().parse(), Ok(own));
        assert_eq!("1".parse::<Owner>(), Err(NoOwner));
    }

    #[test]
    fn the_dead_who_are_not_waited_for_are_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let owner = Owner {
            pid,
            start: stat(pid).map_or(0, |(start, _)| start),
        };
        for _ in 0..200 {
            if !owner.is_alive() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!owner.is_alive());
        child.wait().unwrap();
    }
}
