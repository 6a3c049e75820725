//! A mark that a command's descendants inherit, so that they can be told without a cgroup.

use std::{
    fs,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use crate::{state::Owner, target::Stat};

/// How long it is tried to kill what may fork meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rounds without anybody to be killed before it is done: a parent may have ended and left a child
/// that was not there yet when its place was looked at.
const QUIET: u32 = 3;

/// A number that no other run has, as the soft `RLIMIT_LOCKS`: the kernel has not looked at that
/// limit since 2.6, hands it on over fork and exec, and shows it to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

impl Mark {
    /// That of this process's run.
    pub(super) fn this() -> Self {
        let Owner { pid, start } = Owner::this();
        Self((u64::from(pid) << 36) | (start & 0xf_ffff_ffff))
    }

    /// Marks the calling process. Where somebody has lowered the limit there is no mark.
    pub(super) fn set(self) {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: room for a limit.
        unsafe {
            if libc::getrlimit(libc::RLIMIT_LOCKS, &raw mut limit) == 0 {
                limit.rlim_cur = self.0;
                libc::setrlimit(libc::RLIMIT_LOCKS, &raw const limit);
            }
        }
    }

    fn is_on(self, pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/limits")).is_ok_and(|limits| {
            limits
                .lines()
                .find_map(|line| line.strip_prefix("Max file locks"))
                .and_then(|values| values.split_whitespace().next())
                .is_some_and(|soft| soft.parse() == Ok(self.0))
        })
    }

    /// Kills whoever has the mark and is in this session: what has a session of its own had detached
    /// itself.
    pub(super) fn kill_in_session(self, session: u32) {
        let start = Instant::now();
        let mut quiet = 0;
        while quiet < QUIET && start.elapsed() < PATIENCE {
            let mut busy = false;
            for pid in processes() {
                busy |= self.kill(pid, session);
            }
            if busy {
                // At once: whoever forks does not rest either.
                quiet = 0;
                continue;
            }
            quiet += 1;
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it was there to be killed.
    fn kill(self, pid: u32, session: u32) -> bool {
        // Held before it is looked at, so that nobody is hit who got its pid later.
        // SAFETY: takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let Ok(fd @ 0..) = i32::try_from(fd) else {
            return false;
        };
        // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
        let process = unsafe { OwnedFd::from_raw_fd(fd) };
        let attached = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| {
            Stat::parse(&text)
                .is_some_and(|stat| stat.session == session && !matches!(stat.state, 'Z' | 'X'))
        });
        if !attached || !self.is_on(pid) {
            return false;
        }
        // SAFETY: an open pidfd, two integers, and no information to go with the signal.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        true
    }
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_marked_by_a_number_of_its_own() {
        let mark = Mark::this();
        assert!(!mark.is_on(std::process::id()));
        assert_eq!(mark, Mark::this());
        assert_eq!(mark.0 >> 36, u64::from(std::process::id()));
    }
}
